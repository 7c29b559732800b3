"""Warps against slicing, against SciPy's interpolation, against block means; masks never gain a value."""

# N batch, H W output size, h w stored size

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from provenet.core.log import Silent
from provenet.data.build import build_store
from provenet.data.index import Index
from provenet.data.options import DataOptions, View
from provenet.data.warp import center, place, render, warp, warp_mask, window_corner


def moved(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    out = np.empty((*size, picture.shape[2]), picture.dtype)
    warp(picture, matrix, out)
    return out


def mirrored(at: np.ndarray, length: int) -> np.ndarray:
    """Return positions mirrored at the edge pixels, which are not repeated."""
    period = max(2 * (length - 1), 1)
    at = np.mod(at, period)
    return np.minimum(at, period - at) if length > 1 else np.zeros_like(at)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(-9, 9),
    st.integers(-9, 9),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_shifts_and_flips_are_exact(h, w, down, across, flip_x, flip_y, channels, dtype) -> None:  # type: ignore[no-untyped-def]
    picture = np.random.default_rng(h * 13 + w).integers(0, np.iinfo(dtype).max, (h, w, channels), endpoint=True)
    picture = picture.astype(dtype)
    size = (7, 9)
    matrix = np.array([[-1 if flip_x else 1, 0, across], [0, -1 if flip_y else 1, down], [0, 0, 1]], float)
    columns = mirrored((-1 if flip_x else 1) * np.arange(9) + across, w)
    rows = mirrored((-1 if flip_y else 1) * np.arange(7) + down, h)
    expected = picture[rows][:, columns]
    assert (moved(picture, matrix, size) == expected).all()
    mask = np.empty(size, np.uint8)
    warp_mask(picture[..., 0].astype(np.uint8), matrix, mask)
    assert (mask == expected[..., 0].astype(np.uint8)).all()


@given(st.floats(-180, 180), st.floats(0.7, 1.4), st.floats(-6, 6), st.floats(-6, 6))
def test_any_warp_agrees_with_scipy_on_a_smooth_picture(angle: float, scale: float, x: float, y: float) -> None:
    rows, columns = np.mgrid[0:40, 0:50]
    picture = (120 + 60 * np.sin(rows / 7) + 50 * np.cos(columns / 9)).round().astype(np.uint8)[..., None]
    turn = np.deg2rad(angle)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = rotation, (25 + x, 20 + y)
    matrix = matrix @ center((24, 24))
    points = matrix @ np.stack([*np.mgrid[0:24, 0:24][::-1].reshape(2, -1), np.ones(24 * 24)])
    expected = map_coordinates(picture[..., 0].astype(float), points[1::-1], order=1, mode="mirror").reshape(24, 24)
    # OpenCV rounds positions to 1/32 pixel; the slope is at most 9 levels a pixel a direction
    assert np.abs(moved(picture, matrix, (24, 24))[..., 0] - expected).max() <= 1.5


def test_squash_follows_pixel_centres() -> None:
    """Upscaling by 3 against the linear interpolation of (u + 0.5) * w / W - 0.5, written out."""
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 1), dtype=np.uint8)
    view = View(size=(15, 21))
    got = moved(picture, place((5, 7), view) @ center((15, 21)), (15, 21))[..., 0]
    y, x = np.meshgrid((np.arange(15) + 0.5) / 3 - 0.5, (np.arange(21) + 0.5) / 3 - 0.5, indexing="ij")
    expected = map_coordinates(picture[..., 0].astype(float), [y, x], order=1, mode="mirror")
    # positions in 1/32 pixel: up to 1/64 of 255 levels off in each direction, and rounding
    assert np.abs(got - expected).max() <= 255 / 64 * 2 + 0.5


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_squash_averages_the_pixels_that_it_covers(factor: int) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (8 * factor, 6 * factor, 3), dtype=np.uint8)
    got = moved(picture, place(picture.shape[:2], View(size=(8, 6))) @ center((8, 6)), (8, 6))
    means = picture.reshape(8, factor, 6, factor, 3).mean((1, 3))
    assert np.abs(got - means).max() <= 0.51


def test_a_fine_pattern_does_not_alias_under_any_warp() -> None:
    """A checkerboard of single pixels, reduced by 5 and turned, is grey; without a low pass it would be noise."""
    board = ((np.indices((200, 200)).sum(0) % 2) * 255).astype(np.uint8)[..., None]
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrix = place((200, 200), View(size=(40, 40))) @ rotation @ center((40, 40))
    got = moved(board, matrix, (40, 40))
    assert np.abs(got.astype(int) - 127).max() <= 12


@given(st.floats(-180, 180), st.floats(0.2, 5), st.integers(0, 1000))
def test_masks_gain_no_value(angle: float, scale: float, seed: int) -> None:
    mask = np.random.default_rng(seed).choice(np.array([0, 1, 7, 255], np.uint8), (13, 17))
    turn = np.deg2rad(angle)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    out = np.full((11, 11), 99, np.uint8)
    warp_mask(mask, matrix, out)
    assert set(np.unique(out)) <= set(np.unique(mask))


@given(st.floats(-180, 180), st.floats(0.5, 1.5), st.integers(0, 100))
def test_image_and_mask_stay_together(angle: float, scale: float, seed: int) -> None:
    """The mask of a picture of two levels, warped, is the warped picture cut at the middle level, edges aside."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:60, 0:60]
    disc = np.hypot(rows - rng.uniform(20, 40), columns - rng.uniform(20, 40)) < 14
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrix[:2] *= scale
    matrix = place((60, 60), View(size=(60, 60))) @ matrix @ center((60, 60))
    cut = moved((disc * 255).astype(np.uint8)[..., None], matrix, (60, 60))[..., 0] > 127
    out = np.empty((60, 60), np.uint8)
    warp_mask(disc.astype(np.uint8), matrix, out)
    together, either = (cut & (out > 0)).sum(), (cut | (out > 0)).sum()
    assert together / max(either, 1) >= 0.9


def corners(view: View, shape: tuple[int, int]) -> np.ndarray:
    """Return where the outer edges of the view lie in the stored picture: x0, y0, x1, y1."""
    height, width = view.size
    matrix = place(shape, view) @ center(view.size)
    ends = matrix @ np.array([[-0.5, -0.5, 1], [width - 0.5, height - 0.5, 1]]).T
    return ends[:2].T.ravel()


def test_resize_policies_cover_what_they_say() -> None:
    shape = (30, 60)
    squash = corners(View(size=(16, 16)), shape)
    assert np.allclose(squash, (-0.5, -0.5, 59.5, 29.5))
    letterbox = corners(View(size=(16, 16), resize="letterbox"), shape)
    assert np.allclose(letterbox, (-0.5, 14.5 - 30, 59.5, 14.5 + 30))
    crop = corners(View(size=(16, 16), resize="crop"), shape)
    assert np.allclose(crop, (29.5 - 15, -0.5, 29.5 + 15, 29.5))
    window = corners(View(size=(16, 16), resize="window"), shape)
    assert np.allclose(window, (21.5, 6.5, 37.5, 22.5))


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 0.999), st.floats(0, 0.999))
def test_windows_lie_inside_or_around(h: int, w: int, down: float, across: float) -> None:
    top, left = window_corner((h, w), (10, 10), (down, across))
    for length, at in ((h, top), (w, left)):
        if length >= 10:
            assert 0 <= at <= length - 10
        else:
            assert at <= 0 and at + 10 >= length


def test_render_is_the_same_with_threads(make_index: Callable[..., Index], pictures: Callable, tmp_path: Path) -> None:
    images = pictures(7, (9, 12, 3))
    masks = {name: (pixels[..., 0] > 127).astype(np.uint8) for name, pixels in images.items()}
    index = make_index(images, masks=masks)
    store = build_store(index, DataOptions(), tmp_path / "store", Silent(), 0)
    ids = np.array([3, 0, 6, 3, 1])
    matrices = np.stack([place((9, 12), View(size=(6, 6))) @ center((6, 6))] * 5)
    matrices[:, 0, 2] += np.linspace(-2, 2, 5)
    images_1, masks_1 = render(store, ids, matrices, (6, 6), masks=True)
    images_3, masks_3 = render(store, ids, matrices, (6, 6), masks=True, threads=3)
    assert images_1.shape == (5, 6, 6, 3)
    assert masks_1 is not None
    assert masks_3 is not None
    assert (images_1 == images_3).all()
    assert (masks_1 == masks_3).all()
    for row, sample in enumerate(ids):
        assert (images_1[row] == moved(images[f"{sample:03d}.png"], matrices[row], (6, 6))).all()
