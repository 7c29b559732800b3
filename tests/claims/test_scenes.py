"""Scenes of digits: the same bytes every time, a data set that is read as any other, and no threshold solves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenet.claims.scenes import write_scenes
from provenet.data.index import read_index


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes."""
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes", num=12)


def pictures(folder: Path, kind: str) -> np.ndarray:
    """Return all pictures of a kind, N H W."""
    return np.stack([np.asarray(Image.open(file)) for file in sorted((folder / kind).iterdir())])


def contents(folder: Path) -> dict[str, bytes]:
    """Return what each file holds."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def test_the_same_arguments_give_the_same_bytes(scenes: Path, tmp_path: Path) -> None:
    again = write_scenes(tmp_path / "again", num=12)
    assert contents(again) == contents(scenes)
    assert contents(write_scenes(tmp_path / "other", num=12, seed=1)) != contents(scenes)


def test_files_that_are_right_are_left_alone_and_wrong_ones_mended(scenes: Path, tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", num=3)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    broken = folder / "masks" / "001.png"
    broken.write_bytes(b"")
    write_scenes(folder, num=3)
    changed = {file for file in before if file.stat().st_mtime_ns != before[file]}
    assert changed == {broken}
    assert broken.read_bytes() == (scenes / "masks" / "001.png").read_bytes()


def test_every_scene_has_strokes_and_ground(scenes: Path) -> None:
    images, masks = pictures(scenes, "images"), pictures(scenes, "masks")
    assert images.shape == masks.shape == (12, 64, 64)
    assert set(np.unique(masks)) == {0, 255}
    share = (masks > 0).mean((1, 2))
    assert share.min() > 0.02
    assert share.max() < 0.4


def test_no_threshold_finds_the_strokes(scenes: Path) -> None:
    images, masks = pictures(scenes, "images"), pictures(scenes, "masks") > 0

    def best(image: np.ndarray, mask: np.ndarray) -> float:
        found = image.reshape(1, -1) > np.arange(256)[:, None]
        both, either = (found & mask.ravel()).sum(1), (found | mask.ravel()).sum(1)
        return float((both / either).max())

    # even with the best threshold of each scene, chosen with the truth at hand
    assert np.mean([best(image, mask) for image, mask in zip(images, masks, strict=True)]) < 0.5


def test_scenes_are_read_as_segmentation_data(scenes: Path) -> None:
    index = read_index(str(scenes))
    assert index.task == "segmentation"
    assert len(index.items) == 12
