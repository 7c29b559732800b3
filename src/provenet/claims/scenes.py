"""Scenes of real handwritten digits with masks of their strokes: the segmentation data when the user gives none."""

# N digits

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.core.files import write_bytes
from provenet.core.rng import numpy_generator
from provenet.run.views import encode_png

SIDES = (16, 28)
"""Smallest and largest side of an enlarged digit, pixels; the strokes are then 2 to 6 pixels wide."""
CONTRAST = (22.0, 45.0)
"""How much brighter than the ground a stroke is, grey levels."""
GROUND = (40.0, 190.0)
"""Between what grey levels the ground varies within a scene: far more than a stroke stands out of it."""
NOISE = 9.0
"""Standard deviation of the noise, grey levels."""
TRIES = 8
"""How many digits are thrown on a scene; one that would touch another is left out."""

Grey = NDArray[np.float32]


def write_scenes(folder: Path, num: int = 160, side: int = 64, seed: int = 0) -> Path:
    """Write scenes as `images/NNN.png` and their masks, 0 and 255, as `masks/NNN.png`.

    The same arguments give the same bytes; a file that holds them already is left alone, so that what was made of it
    stays valid.

    Args:
        folder: where to; made when absent.
        num: number of scenes.
        side: height and width of a scene, pixels, at least 32.
        seed: of all draws.

    Returns:
        The folder, which is a data set for segmentation.

    Source: The digits are those of E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, which
        come with scikit-learn; the scenes are ours.
    """
    from sklearn.datasets import load_digits

    digits = load_digits().images.astype(np.float32) / 16
    for number in range(num):
        image, mask = scene(digits, side, numpy_generator(seed, "scene", number))
        for kind, picture in (("images", image), ("masks", mask)):
            path, data = folder / kind / f"{number:03d}.png", encode_png(picture)
            if not path.exists() or path.read_bytes() != data:
                write_bytes(path, data)
    return folder


def scene(digits: Grey, side: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture and its mask, both side x side.

    Args:
        digits: values in [0, 1], N 8 8.
        side: pixels.
        rng: draws which digits, their places, sizes and contrast, the ground and the noise.
    """
    strokes, levels = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for _ in range(TRIES):
        size = int(rng.integers(SIDES[0], SIDES[1] + 1))
        top, left = rng.integers(0, side - size + 1, 2)
        digit, contrast = enlarged(digits[rng.integers(len(digits))], size), rng.uniform(*CONTRAST)
        window = (slice(top, top + size), slice(left, left + size))
        if np.any((strokes[window] > 0) & (digit > 0)):
            continue
        strokes[window] += digit
        levels[window] += np.float32(contrast) * digit
    picture = ground(side, rng) + levels + rng.normal(0, NOISE, (side, side))
    return picture.clip(0, 255).round().astype(np.uint8), np.where(strokes > 0.5, 255, 0).astype(np.uint8)


def enlarged(digit: Grey, size: int) -> Grey:
    """Return a digit at another size, smooth, its values in [0, 1]."""
    return cv2.resize(digit, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def ground(side: int, rng: np.random.Generator) -> Grey:
    """Return an uneven ground: few random levels, smoothly stretched over the scene."""
    coarse = rng.uniform(*GROUND, (4, 4)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(*GROUND)
