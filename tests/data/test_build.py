"""A store holds what the files hold, whoever decoded them, and is whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from provenet.core.batch import VOID
from provenet.core.errors import DataError, StorageError
from provenet.core.log import Silent
from provenet.data.build import build_store, open_store
from provenet.data.draft import Draft
from provenet.data.index import Index
from provenet.data.options import DataOptions
from provenet.data.store import Store, store_key

pytestmark = pytest.mark.usefixtures("inline")
MakeIndex = Callable[..., Index]
Pictures = Callable[..., dict[str, np.ndarray]]


def build(index: Index, folder: Path, num_children: int = 0, **options: object) -> Store:
    return build_store(index, DataOptions(**options), folder / "store", Silent(), num_children)  # type: ignore[arg-type]


def test_pictures_come_back_as_they_were(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(3) | {"wide.png": np.arange(40, dtype=np.uint8).reshape(1, 40)[..., None].repeat(3, 2)}
    store = build(make_index(images, dict.fromkeys(images, "a")), tmp_path)
    assert store.files == sorted(images)
    assert (store.channels, store.dtype) == (3, np.uint8)
    for i, name in enumerate(store.files):
        assert (store.image(i) == images[name]).all()
        assert store.shape(i) == store.original_size(i) == images[name].shape[:2]


def test_the_store_does_not_depend_on_who_decoded(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images: dict = pictures(70) | {"broken.png": b"\x89PNG\r\n\x1a\n nothing", "empty.png": b""}
    index = make_index(images, dict.fromkeys(images, "a"))
    folders = [tmp_path / str(num) for num in (0, 1, 3)]
    stores = [build(index, folder, num) for folder, num in zip(folders, (0, 1, 3), strict=True)]
    for name in ("pictures.bin", "index.npz", "store.json"):
        assert len({(folder / "store" / name).read_bytes() for folder in folders}) == 1
    assert [file for file, _ in stores[0].quarantined] == ["broken.png", "empty.png"]
    assert len(stores[0]) == 70


def test_grey_colour_and_deep_pictures_become_alike(make_index: MakeIndex, tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    deep = np.array([[0, 1000, 65535]], np.uint16)
    color = np.array([[[1, 2, 3], [4, 5, 6], [255, 0, 9]]], np.uint8)
    images = {"a.png": grey, "b.png": deep, "c.png": color}
    store = build(make_index(images, dict.fromkeys(images, "x")), tmp_path)
    assert (store.channels, store.dtype) == (3, np.uint16)
    assert (store.image(0) == (grey.astype(int) * 257)[..., None]).all()
    assert (store.image(1) == deep[..., None]).all()
    assert (store.image(2) == color.astype(int) * 257).all()


def test_grey_pictures_stay_grey_and_colour_can_be_made_grey(make_index: MakeIndex, tmp_path: Path) -> None:
    grey = {"a.png": np.full((4, 5), 7, np.uint8)}
    assert build(make_index(grey, {"a.png": "x"}), tmp_path / "grey").channels == 1
    color = {"a.png": np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)}
    store = build(make_index(color, {"a.png": "x"}), tmp_path / "color", channels=1)
    luma = color["a.png"] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(store.image(0)[..., 0] - luma).max() <= 1


def test_large_pictures_are_reduced_and_the_truth_is_kept(make_index: MakeIndex, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    small = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    mask = (np.indices((40, 80)).sum(0) % 3 == 0).astype(np.uint8) * 255
    tiny = np.zeros((10, 12), np.uint8)
    index = make_index({"big.png": image, "small.png": small}, masks={"big.png": mask, "small.png": tiny})
    store = build(index, tmp_path, max_side=20)
    assert store.shape(0) == (10, 20)
    assert store.original_size(0) == (40, 80)
    assert np.abs(store.image(0) - image.reshape(10, 4, 20, 4, 3).mean((1, 3))).max() <= 0.51
    assert (store.truth(0) == (mask > 0)).all()
    # every fourth pixel, one of the two in the middle of its block
    at = [mask[row::4, column::4] > 0 for row in (1, 2) for column in (1, 2)]
    assert any((store.mask(0) == one).all() for one in at)
    assert (store.truth(1) == store.mask(1)).all()
    assert store.arrays["class_pixels"][0].sum() == 10 * 20


def test_masks_become_class_indices(make_index: MakeIndex, tmp_path: Path) -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    first = np.array([[0, 1, 2, 255]] * 3, np.uint8)
    second = np.array([[2, 2, 0, 0]] * 3, np.uint8)
    listener = Silent()
    index = make_index({"a.png": image, "b.png": image}, masks={"a.png": first, "b.png": second})
    store = build_store(index, DataOptions(), tmp_path / "store", listener, 0)
    assert store.rule is not None
    assert store.rule.classes == ("class 0", "class 1", "class 2")
    assert (store.mask(0) == np.where(first == 255, VOID, first)).all()
    assert (store.mask(1) == second).all()
    assert store.arrays["class_pixels"].tolist() == [[3, 3, 3], [6, 0, 6]]
    assert listener.notes == [store.rule.sentence]


def test_a_mask_of_another_size_is_quarantined_with_both_sizes(make_index: MakeIndex, tmp_path: Path) -> None:
    image, mask = np.zeros((6, 4, 3), np.uint8), np.eye(6, 4, dtype=np.uint8)
    images = {f"{i}.png": image for i in range(3)}
    index = make_index(images, masks={"0.png": mask, "1.png": mask[:5], "2.png": mask.T})
    store = build(index, tmp_path)
    assert store.files == ["0.png"]
    reasons = dict(store.quarantined)
    assert "4 x 5" in reasons["1.png"]
    assert "4 x 6" in reasons["1.png"]
    assert "EXIF" in reasons["2.png"]


def test_a_stray_value_costs_its_file_only(make_index: MakeIndex, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = {f"{i:02d}.png": rng.choice(np.array([0, 255], np.uint8), (6, 6)) for i in range(30)}
    masks["07.png"][0, 0] = 37
    images = {name: np.zeros((6, 6, 3), np.uint8) for name in masks}
    store = build(make_index(images, masks=masks), tmp_path)
    assert len(store) == 29
    assert store.quarantined == [("07.png", "its mask holds values that are no class: 37 (1 pixel)")]
    assert store.positions.tolist() == [i for i in range(30) if i != 7]
    assert (store.mask(7) == masks["08.png"] // 255).all()


def test_a_file_that_is_gone_is_quarantined(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(3)
    index = make_index(images, dict.fromkeys(images, "a"))
    index.source.gone.add("001.png")  # type: ignore[attr-defined]
    store = build(index, tmp_path)
    assert store.files == ["000.png", "002.png"]
    assert "No such file" in dict(store.quarantined)["001.png"]


def test_nothing_usable_is_refused_with_the_reasons(make_index: MakeIndex, tmp_path: Path) -> None:
    index = make_index({"a.png": b"", "b.png": b"text"}, {"a.png": "x", "b.png": "x"})
    with pytest.raises(DataError, match=r"a\.png: empty file"):
        build(index, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_built_once(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(4)
    index = make_index(images, dict.fromkeys(images, "a"))
    first = open_store(index, DataOptions(), tmp_path, Silent())
    reads = index.source.num_reads  # type: ignore[attr-defined]
    again = open_store(index, DataOptions(val_frac=0.4, split_seed=3, max_bad_frac=0.5), tmp_path, Silent())
    assert again.folder == first.folder
    assert Store.open(first.folder, "the key of other files") is None
    assert index.source.num_reads == reads  # type: ignore[attr-defined]


def test_the_key_follows_pixels_and_not_labels(make_index: MakeIndex, pictures: Pictures) -> None:
    images = pictures(3)
    plain = store_key(make_index(images, dict.fromkeys(images, "a")), DataOptions())
    relabelled = make_index(images, dict.fromkeys(images, "b"), splits={"000.png": "val"})
    assert store_key(relabelled, DataOptions()) == plain
    other = images | {"000.png": images["001.png"]}
    assert store_key(make_index(other, dict.fromkeys(other, "a")), DataOptions()) != plain
    for changed in (DataOptions(max_side=9), DataOptions(channels=1), DataOptions(max_pixels=10)):
        assert store_key(make_index(images, dict.fromkeys(images, "a")), changed) != plain


def test_a_full_disk_leaves_nothing(
    make_index: MakeIndex, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    images = pictures(3)
    monkeypatch.setattr(Draft, "add", full)
    with pytest.raises(StorageError, match="free some space"):
        build(make_index(images, dict.fromkeys(images, "a")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_build_is_no_store_and_is_swept(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    """A build forked here is killed in the middle; its folder is no store, and the next build removes it."""
    images = pictures(3)
    index = make_index(images, dict.fromkeys(images, "a"))
    child = os.fork()
    if child == 0:
        Draft.add = lambda *_: os.kill(os.getpid(), 9)  # type: ignore[method-assign,assignment]
        build(index, tmp_path)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".tmp-")
    store = build(index, tmp_path)
    assert len(store) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["pictures.bin", "store.json", "index.npz"])
def test_a_damaged_store_is_built_again(name: str, make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(3)
    index = make_index(images, dict.fromkeys(images, "a"))
    store = open_store(index, DataOptions(), tmp_path, Silent())
    content = (store.folder / name).read_bytes()
    (store.folder / name).write_bytes(content[:-5])
    assert Store.open(store.folder, store.facts["key"]) is None
    again = open_store(index, DataOptions(), tmp_path, Silent())
    assert (again.folder / name).read_bytes() == content


def test_the_warp_limit_of_a_side_is_a_reason(make_index: MakeIndex, tmp_path: Path) -> None:
    images = {"long.png": np.zeros((1, 40_000), np.uint8), "ok.png": np.zeros((4, 4), np.uint8)}
    index = make_index(images, dict.fromkeys(images, "a"))
    assert build(index, tmp_path / "a").files == ["ok.png"]
    reduced = build(index, tmp_path / "b", max_side=100)
    assert reduced.files == ["long.png", "ok.png"]
    assert reduced.shape(0) == (1, 100)


def test_opencv_rounds_sizes_as_we_say() -> None:
    """The mask is reduced to the size of the picture, by the same arithmetic."""
    from provenet.data.child import reduced

    for height, width in ((7, 100), (33, 41), (1, 90)):
        image = reduced(np.zeros((height, width, 3), np.uint8), 20, cv2.INTER_AREA)
        mask = reduced(np.zeros((height, width), np.uint8), 20, cv2.INTER_NEAREST_EXACT)
        assert image.shape[:2] == mask.shape
        assert max(mask.shape) == 20
