"""Pictures for the report, from arrays whose answer can be said beforehand."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from provenet.run.views import colored, displayed, encode_png, fitted, overlaid

PALETTE = ((0, 0, 0), (200, 10, 20))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_a_png_gives_the_pixels_back(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    read = np.asarray(Image.open(BytesIO(encode_png(pixels))))
    assert (read.reshape(shape) == pixels).all()


def test_pictures_are_shown_in_eight_bits_and_colour():
    grey = np.linspace(0, 65535, 12).reshape(3, 4, 1).astype(np.uint16)
    shown = displayed(grey)
    assert (shown.shape, shown.dtype) == ((3, 4, 3), np.uint8)
    assert (np.abs(shown[..., 0] - grey[..., 0] / 257) <= 1).all()
    dark = np.full((4, 4, 3), 10, np.uint8)
    dark[0, 0] = 20
    assert displayed(dark).max() == 255


@pytest.mark.parametrize(("size", "expected"), [((10, 20), (40, 80)), ((200, 100), (90, 45)), ((70, 60), (70, 60))])
def test_pictures_are_fitted_in_proportion(size, expected):
    longest = 90
    shown = fitted(np.zeros((*size, 3), np.uint8), longest)
    assert shown.shape[:2] == expected
    assert max(shown.shape[:2]) <= longest


def test_classes_are_coloured_and_void_is_white():
    mask = np.array([[0, 1, 255]], np.uint8)
    assert colored(mask, PALETTE).tolist() == [[[0, 0, 0], [200, 10, 20], [255, 255, 255]]]


def test_an_overlay_tints_classes_and_leaves_the_rest():
    picture, mask = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), np.uint8)
    mask[3:6, 3:6] = 1
    shown = overlaid(picture, mask, PALETTE, 0.5)
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[4, 4].tolist() == [150, 55, 60]
    assert shown[3, 3].tolist() == [200, 40, 40]


def test_a_run_has_its_pictures(photo_run, cell_run):
    names = {path.name for path in (photo_run / "views").iterdir()}
    assert {"views.json", "augmented-00.png"} <= names
    overlays = [path for path in (cell_run / "views").iterdir() if path.name.startswith("overlay-00")]
    assert sorted(path.stem.rsplit("-", 1)[1] for path in overlays) == ["image", "prediction", "truth"]
