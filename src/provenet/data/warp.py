"""One affine warp a sample, from the stored picture straight to the net's size, and the same for its mask.

Matrices are 3 x 3 and map output pixels to stored pixels; a pixel's centre has integer coordinates (x to the right, y
down), so that output pixel u of a squash from w to W pixels lies at (u + 0.5) * w / W - 0.5.
"""

# N batch, H W output size, h w stored size, C channels

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.data.options import View
from provenet.data.store import Store

# Threads inside a warp of so few pixels cost more than they bring, and fight with torch's.
cv2.setNumThreads(0)

Matrix = NDArray[np.float64]
Size = tuple[int, int]

SHARPEST = 1.5
"""Stored pixels an output pixel above which the picture is first reduced by area averaging, against aliasing."""


def center(size: Size) -> Matrix:
    """Return the matrix from output pixels to centred view coordinates, (3, 3)."""
    height, width = size
    return _scale_shift(1.0, 1.0, -(width - 1) / 2, -(height - 1) / 2)


def place(shape: Size, view: View, middle: tuple[float, float] | None = None) -> Matrix:
    """Return the matrix from centred view coordinates to a stored picture.

    Args:
        shape: height and width of the stored picture.
        view: what the net sees.
        middle: where the view's middle lies in the stored picture, (y, x) in pixels; None: the picture's middle (for a
            window, moved by half a pixel where that puts it on whole pixels).

    Returns:
        (3, 3), output to input.

    Example:
        >>> (place((32, 64), View(size=(16, 16))) @ center((16, 16)))[:2].tolist()
        [[4.0, 0.0, 1.5], [0.0, 2.0, 0.5]]
    """
    (h, w), (height, width) = shape, view.size
    if view.resize == "window":
        y, x = middle or tuple(np.add(window_corner(shape, view.size, (0.5, 0.5)), center_of(view.size)))
        return _scale_shift(1.0, 1.0, x, y)
    y, x = middle or center_of(shape)
    across, down = w / width, h / height
    if view.resize == "letterbox":
        across = down = max(across, down)
    elif view.resize == "crop":
        across = down = min(across, down)
    return _scale_shift(across, down, x, y)


def center_of(size: Size) -> tuple[float, float]:
    """Return the middle (y, x) of a picture in pixels."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def window_corner(shape: Size, size: Size, where: tuple[float, float]) -> tuple[int, int]:
    """Return top and left of a window, inside the picture; a picture smaller than the window lies in its middle.

    Args:
        shape: height and width of the stored picture.
        size: height and width of the window.
        where: position along the free room, down and across, in [0, 1).

    Example:
        >>> window_corner((100, 20), (50, 50), (0.5, 0.5))
        (25, -15)
    """
    rooms = (shape[0] - size[0], shape[1] - size[1])
    top, left = (int(at * (room + 1)) if room >= 0 else room // 2 for at, room in zip(where, rooms, strict=True))
    return top, left


def _scale_shift(across: float, down: float, x: float, y: float) -> Matrix:
    return np.array([[across, 0.0, x], [0.0, down, y], [0.0, 0.0, 1.0]])


def render(
    store: Store, ids: NDArray[np.int64], matrices: Matrix, size: Size, masks: bool = False, threads: int = 1
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return the warped pictures of some samples.

    Args:
        store: the stored pictures.
        ids: sample ids, (N).
        matrices: output pixel to stored pixel, (N, 3, 3).
        size: output height and width.
        masks: also warp the masks, with the same matrices and nearest sampling.
        threads: how many render side by side; the bytes do not depend on it.

    Returns:
        images N H W C of the store's type; class indices N H W, or None without masks.
    """
    images = np.empty((len(ids), *size, store.channels), store.dtype)
    targets = np.empty((len(ids), *size), np.uint8) if masks else None

    def rows(first: int) -> None:
        for row in range(first, len(ids), threads):
            sample = int(ids[row])
            warp(store.image(sample), matrices[row], images[row])
            if targets is not None:
                warp_mask(store.mask(sample), matrices[row], targets[row])

    if threads == 1:
        rows(0)
    else:
        with ThreadPoolExecutor(threads, "render") as pool:
            list(pool.map(rows, range(threads)))
    return images, targets


def warp(picture: NDArray[Any], matrix: Matrix, out: NDArray[Any]) -> None:
    """Write a picture h w C, warped, into `out` H W C; outside it is mirrored at its edge (edge pixel not repeated)."""
    picture, matrix = _low_pass(picture, matrix)
    target = out if out.shape[2] > 1 else out[..., 0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    _warp_into(picture, matrix, target, flags)


def warp_mask(mask: NDArray[np.uint8], matrix: Matrix, out: NDArray[np.uint8]) -> None:
    """Write a mask h w, warped with nearest sampling, into `out` H W; no value appears that was not there."""
    _warp_into(mask, matrix, out, cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)


def _warp_into(source: NDArray[Any], matrix: Matrix, out: NDArray[Any], flags: int) -> None:
    done = cv2.warpAffine(
        source, matrix[:2], (out.shape[1], out.shape[0]), dst=out, flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    assert done.base is out or done is out or np.shares_memory(done, out)


def _low_pass(picture: NDArray[Any], matrix: Matrix) -> tuple[NDArray[Any], Matrix]:
    """Return a picture of which no output pixel skips pixels, with the matrix that fits it."""
    height, width = picture.shape[:2]
    across, down = np.hypot(matrix[:2, 0], matrix[:2, 1])
    columns = max(1, round(width / across)) if across > SHARPEST else width
    rows = max(1, round(height / down)) if down > SHARPEST else height
    if (rows, columns) == (height, width):
        return picture, matrix
    reduced = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    across, down = columns / width, rows / height
    fit = _scale_shift(across, down, across / 2 - 0.5, down / 2 - 0.5)
    return reduced, fit @ matrix
