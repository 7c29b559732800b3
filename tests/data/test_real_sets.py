"""The development images: what their README says was measured on them is what comes out here."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from provenet.core.errors import DataError
from provenet.core.log import Silent
from provenet.data.dataset import prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions

pytestmark = pytest.mark.data


def test_membranes(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "membranes.zip"
    dataset = prepare(read_index(str(archive)), DataOptions(), tmp_path, Silent())
    assert {name: len(ids) for name, ids in dataset.splits.items()} == {"train": 20, "val": 5, "test": 5}
    pixels = dataset.store.arrays["class_pixels"].sum(0)
    assert round(float(pixels[1] / pixels.sum()), 3) == 0.780
    with ZipFile(archive) as packed:
        for i in (0, 17):
            name = next(name for name in packed.namelist() if name.endswith(dataset.store.files[i]))
            pixels = np.asarray(Image.open(BytesIO(packed.read(name))))
            assert (dataset.store.image(i)[..., 0] == pixels).all()
            mask = np.asarray(Image.open(BytesIO(packed.read(name.replace("images", "masks")))))
            assert (dataset.store.mask(i) == mask // 255).all()


def test_odd_masks(shared_data: Path, tmp_path: Path) -> None:
    """Masks of every kind at once say nothing clear; with names, each file is used or left out for its own reason."""
    with ZipFile(shared_data / "odd_formats.zip") as packed:
        for name in packed.namelist():
            if "/mask_cases/" in name and not name.endswith("/"):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(packed.read(name))
    index = read_index(str(tmp_path / "odd_formats" / "mask_cases"))
    with pytest.raises(DataError, match="do not say which classes"):
        prepare(index, DataOptions(), tmp_path, Silent())
    classes = {"0": "ground", "1": "one", "2": "two", "255": "cell"}
    dataset = prepare(index, DataOptions(classes=classes, max_bad_frac=1), tmp_path, Silent())
    reasons = {Path(file).stem: reason for file, reason in dataset.store.quarantined}
    expected = {
        "antialiased": "no class", "corrupt_mask": "truncated", "exif_rotated": "EXIF", "jpeg_mask": "JPEG",
        "no_mask": "no mask", "rgb_colours": "(128, 0, 0)", "stray_value": "37 (1 pixel)", "transposed": "200 x 256",
        "wrong_size": "250 x 256",
    }  # fmt: skip
    assert set(reasons) == set(expected)
    assert all(expected[name] in reason for name, reason in reasons.items())
