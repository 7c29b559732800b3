"""The pictures of the cases: real digits, photographs and nuclei where they are at hand, and drawn shapes.

Photographs and nuclei are those of ../shared/data beside the repository; where it is absent, textures with a hue and
a direction for each class stand for photographs, and shaded ellipses on noise for nuclei.
"""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Pixels = NDArray[np.uint8]
_OF_A_CLASS, _CELLS, _CELL_SIDE = 220, 72, 128


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures to learn from, and others to try it on.

    Args:
        inputs: N C H W, float32 in [0, 1], shuffled.
        targets: N, or N H W, int64.
        test: inputs and targets of the same kind.
    """

    inputs: Tensor
    targets: Tensor
    test: tuple[Tensor, Tensor]

    def normalized(self) -> Pictures:
        """Return them with zero mean and unit deviation in every channel of `inputs`."""
        mean, std = self.inputs.mean((0, 2, 3), keepdim=True), self.inputs.std((0, 2, 3), keepdim=True)
        return Pictures((self.inputs - mean) / std, self.targets, ((self.test[0] - mean) / std, self.test[1]))


def _split(inputs: Tensor, targets: Tensor, num: int, num_test: int, seed: int) -> Pictures:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    learn, test = order[:num], order[num : num + num_test]
    return Pictures(inputs[learn], targets[learn], (inputs[test], targets[test]))


@lru_cache
def _all_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target).long()


def digits(seed: int, num: int = 512, size: int = 16, num_test: int = 400) -> Pictures:
    """Return scikit-learn's handwritten digits, one channel, ten classes, enlarged from 8 x 8 pixels."""
    images, labels = _all_digits()
    chosen = _split(images, labels, num, num_test, seed)
    learn, test = (F.interpolate(one, size=size, mode="bilinear") for one in (chosen.inputs, chosen.test[0]))
    return Pictures(learn, chosen.targets, (test, chosen.test[1]))


@lru_cache
def _photo_names() -> dict[str, list[str]]:
    """Return the training files of CIFAR-10 by class, some of each; none where it is absent."""
    if not (DATA / "cifar10.zip").is_file():
        return {}
    found: dict[str, list[str]] = {}
    with ZipFile(DATA / "cifar10.zip") as packed:
        for name in packed.namelist():
            _, split, label, file = name.split("/")
            if split == "train" and file.endswith(".png") and len(found.setdefault(label, [])) < _OF_A_CLASS:
                found[label].append(name)
    return dict(sorted(found.items()))


@lru_cache
def _photo_pool(classes: int) -> tuple[Tensor, Tensor]:
    kinds = list(_photo_names().values())[:classes]
    if not kinds:
        return _textures(classes)
    with ZipFile(DATA / "cifar10.zip") as packed:
        pixels = [np.asarray(Image.open(io.BytesIO(packed.read(name)))) for names in kinds for name in names]
    labels = torch.arange(classes).repeat_interleave(_OF_A_CLASS)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255, labels


def _textures(classes: int) -> tuple[Tensor, Tensor]:
    """Return noisy gratings, whose direction, spacing and hue go with the class."""
    generator = torch.Generator().manual_seed(classes)
    labels = torch.arange(classes).repeat_interleave(_OF_A_CLASS)
    angles = labels / classes * np.pi + 0.15 * torch.randn(len(labels), generator=generator)
    phases = 6.3 * torch.rand(len(labels), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    along = angles.cos()[:, None, None] * columns + angles.sin()[:, None, None] * rows
    waves = (along * (0.5 + 0.1 * (labels % 3))[:, None, None] + phases[:, None, None]).sin()
    hues = torch.stack([(angles * 2 + shift).cos() for shift in (0.0, 2.1, 4.2)], 1)[:, :, None, None]
    noise = torch.randn(len(labels), 3, 32, 32, generator=generator)
    return (0.5 + 0.15 * waves[:, None] + 0.06 * hues + 0.12 * noise).clamp(0, 1), labels


def photos(seed: int, classes: int = 4, num: int = 512, size: int = 32) -> Pictures:
    """Return photographs of the first classes of CIFAR-10, three channels."""
    images, labels = _photo_pool(classes)
    images = images if size == 32 else F.interpolate(images, size=size, mode="bilinear")
    return _split(images, labels, num, min(300, len(images) - num), seed)


@lru_cache
def _cell_pool() -> tuple[Tensor, Tensor]:
    if not (DATA / "nuclei.zip").is_file():
        return _ellipses()
    pairs: list[tuple[Pixels, Pixels]] = []
    with ZipFile(DATA / "nuclei.zip") as packed:
        for name in (one for one in packed.namelist() if one.endswith(".jpg")):
            image = Image.open(io.BytesIO(packed.read(name)))
            if image.size != (256, 256):
                continue
            image.draft("RGB", (_CELL_SIDE, _CELL_SIDE))
            mask = Image.open(io.BytesIO(packed.read(name.replace("images", "masks").replace(".jpg", ".png"))))
            small = mask.convert("L").resize((_CELL_SIDE, _CELL_SIDE), Image.Resampling.NEAREST)
            pairs.append((np.asarray(image.convert("RGB")), np.asarray(small)))
            if len(pairs) == _CELLS:
                break
    images, masks = (torch.from_numpy(np.stack(one)) for one in zip(*pairs, strict=True))
    return images.permute(0, 3, 1, 2).float() / 255, (masks > 127).long()


def _ellipses() -> tuple[Tensor, Tensor]:
    """Return noisy pictures of shaded ellipses, brighter than their ground, with their masks."""
    rng, side = np.random.default_rng(0), _CELL_SIDE
    rows, columns = np.mgrid[:side, :side]
    images, masks = np.zeros((_CELLS, 3, side, side), np.float32), np.zeros((_CELLS, side, side), np.int64)
    for image, mask in zip(images, masks, strict=True):
        image += rng.uniform(0.05, 0.25) + 0.04 * rng.standard_normal((3, side, side))
        for _ in range(rng.integers(12, 24)):
            (row, column), (height, width) = rng.uniform(0, side, 2), rng.uniform(4, 11, 2)
            inside = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
            image[:, inside] += rng.uniform(0.15, 0.5) * (1 - 0.3 * rng.random(int(inside.sum())))
            mask[inside] = 1
    return torch.from_numpy(images.clip(0, 1)), torch.from_numpy(masks)


def cells(seed: int, num: int = 64, size: int = 48, num_test: int = 32) -> Pictures:
    """Return windows of microscope pictures of nuclei, three channels, with masks of 0 and 1.

    A window has at least a fiftieth of nuclei, the test windows are from pictures of their own.
    """
    images, masks = _cell_pool()
    rng, first_test = np.random.default_rng(seed), len(images) * 3 // 4
    parts = [(num, 0, first_test), (num_test, first_test, len(images))]
    found = [[_window(images, masks, rng, (low, high), size) for _ in range(count)] for count, low, high in parts]
    (inputs, targets), test = ((torch.stack([a for a, _ in one]), torch.stack([b for _, b in one])) for one in found)
    return Pictures(inputs, targets, test)


def _window(
    images: Tensor, masks: Tensor, rng: np.random.Generator, numbers: tuple[int, int], size: int
) -> tuple[Tensor, Tensor]:
    while True:
        number, (top, left) = rng.integers(*numbers), rng.integers(0, images.shape[-1] - size, 2)
        mask = masks[number, top : top + size, left : left + size]
        if mask.float().mean() >= 0.02:
            return images[number, :, top : top + size, left : left + size], mask


def shapes(seed: int, num: int = 96, size: int = 32, num_test: int = 48, sides: tuple[int, int] = (4, 8)) -> Pictures:
    """Return grey pictures of discs, squares, crosses and frames with masks of five classes, the ground among them.

    Args:
        seed: of the drawing.
        num: pictures to learn from.
        size: pixels a side.
        num_test: pictures to try it on.
        sides: half the size of a shape, from and to, pixels.
    """
    rng, total = np.random.default_rng(seed), num + num_test
    rows, columns = np.mgrid[:size, :size]
    images = 0.3 + 0.06 * rng.standard_normal((total, size, size))
    masks = np.zeros((total, size, size), np.int64)
    for image, mask in zip(images, masks, strict=True):
        for kind in rng.permutation(4)[:3]:
            half, (row, column) = rng.integers(*sides), rng.integers(sides[0], size - sides[0], 2)
            down, across = np.abs(rows - row), np.abs(columns - column)
            square = np.maximum(down, across) <= half
            thin = max(1, half // 3)
            inside = (
                down**2 + across**2 <= half**2,
                square,
                square & (np.minimum(down, across) <= thin),
                square & (np.maximum(down, across) > half - thin),
            )[kind]
            image[inside] = 0.55 + 0.1 * kind + 0.06 * rng.standard_normal(int(inside.sum()))
            mask[inside] = kind + 1
    pixels, targets = torch.from_numpy(images).float()[:, None].clamp(0, 1), torch.from_numpy(masks)
    return Pictures(pixels[:num], targets[:num], (pixels[num:], targets[num:]))
