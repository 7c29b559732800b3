"""From files to a described data set: what is said, what is refused, and that it repeats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from provenet.core.errors import DataError
from provenet.core.log import Silent
from provenet.data.dataset import Dataset, gather, prepare, summary
from provenet.data.index import Index, read_index
from provenet.data.options import DataOptions

pytestmark = pytest.mark.usefixtures("inline")
MakeIndex = Callable[..., Index]
Pictures = Callable[..., dict[str, np.ndarray]]


def labelled(images: dict, classes: str = "ab") -> dict[str, str]:
    return {name: classes[i % len(classes)] for i, name in enumerate(images)}


def ready(index: Index, folder: Path, **options: object) -> Dataset:
    return prepare(index, DataOptions(**options), folder, Silent())  # type: ignore[arg-type]


def test_labels_follow_the_files(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images: dict = pictures(12)
    labels = labelled(images)
    images["004.png"] = b"broken"
    dataset = ready(make_index(images, labels), tmp_path, max_bad_frac=0.2)
    assert dataset.classes == ("a", "b")
    assert dataset.labels is not None
    assert len(dataset.labels) == len(dataset.store) == 11
    assert all(dataset.classes[dataset.labels[i]] == labels[file] for i, file in enumerate(dataset.store.files))
    assert any("004.png" in text for text in dataset.audit.warnings)


def test_the_description_is_json_and_complete(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(20)
    dataset = ready(make_index(images, labelled(images)), tmp_path)
    found = json.loads(json.dumps(dataset.describe(), allow_nan=False))
    assert sorted(file for files in found["splits"].values() for file in files) == sorted(images)
    assert set(found["file_sha256"]) == set(images)
    assert found["counts"]["train"] == {"a": 7, "b": 7}
    for key in ("layout", "task", "classes", "palette", "quarantined", "errors", "warnings", "rules", "sizes"):
        assert key in found
    assert "file_sha256" not in json.loads(json.dumps(summary(dataset), allow_nan=False))


def test_the_fingerprint_follows_what_training_sees(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(12)
    labels = labelled(images)
    once = ready(make_index(images, labels), tmp_path / "a").fingerprint()
    assert ready(make_index(images, labels), tmp_path / "b").fingerprint() == once
    other = {name: pixels.copy() for name, pixels in images.items()}
    other["003.png"][0, 0, 0] ^= 1
    assert ready(make_index(other, labels), tmp_path / "b").fingerprint() != once
    swapped = labels | {"003.png": labels["002.png"], "002.png": labels["003.png"]}
    assert ready(make_index(images, swapped), tmp_path / "b").fingerprint() != once
    assert ready(make_index(images, labels), tmp_path / "b", split_seed=1).fingerprint() != once


def test_too_many_bad_files_are_refused_by_name(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images: dict = pictures(30) | {f"bad{i}.png": b"no picture" for i in range(14)}
    index = make_index(images, labelled(images))
    with pytest.raises(DataError) as caught:
        ready(index, tmp_path)
    message = str(caught.value)
    assert "14 of 44 files" in message
    assert "bad0.png (" in message
    assert "and 2 more" in message
    assert "data.max_bad_frac" in message
    assert len(ready(index, tmp_path, max_bad_frac=0.5).store) == 30


def test_one_class_and_unknown_classes_are_refused_together(
    make_index: MakeIndex, pictures: Pictures, tmp_path: Path
) -> None:
    images = pictures(6)
    splits = dict(zip(images, ["train"] * 4 + ["val", "test"], strict=True))
    with pytest.raises(DataError, match="one class only"):
        ready(make_index(images, dict.fromkeys(images, "a"), splits=splits), tmp_path)
    labels = dict(zip(images, "ababcd", strict=True))
    with pytest.raises(DataError) as caught:
        ready(make_index(images, labels, splits=splits), tmp_path)
    assert [fault.got for fault in caught.value.faults] == ["c", "d"]


def test_a_class_without_a_usable_training_image_is_refused(
    make_index: MakeIndex, pictures: Pictures, tmp_path: Path
) -> None:
    images: dict = pictures(6)
    labels = dict(zip(images, "aabbcc", strict=True))
    splits = dict.fromkeys(images, "train") | {"005.png": "val"}
    images["004.png"] = b"broken"
    with pytest.raises(DataError, match="no usable training image; got c"):
        ready(make_index(images, labels, splits=splits), tmp_path, max_bad_frac=0.5)


def copies(pictures: Pictures) -> tuple[dict, dict, dict]:
    """Return 20 pictures of which two training and one validation picture come again in a later split."""
    images = pictures(20)
    splits = {name: "train" if i < 14 else "val" if i < 17 else "test" for i, name in enumerate(images)}
    images["003.png"] = images["015.png"]
    images["004.png"] = images["018.png"]
    images["016.png"] = images["019.png"]
    return images, labelled(images), splits


def test_leaks_are_dropped_from_the_earlier_split(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images, labels, splits = copies(pictures)
    dataset = ready(make_index(images, labels, splits=splits), tmp_path)
    assert {name: len(ids) for name, ids in dataset.splits.items()} == {"train": 12, "val": 2, "test": 3}
    assert dataset.audit.leaks == [("003.png", "015.png"), ("004.png", "018.png"), ("016.png", "019.png")]
    assert any("left out of the earlier split" in text for text in dataset.audit.errors)
    hashes = dataset.store.arrays["pixel_hash"]
    held = [{hashes[i].tobytes() for i in ids} for ids in dataset.splits.values()]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


def test_leaks_can_be_refused_or_kept(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images, labels, splits = copies(pictures)
    index = make_index(images, labels, splits=splits)
    with pytest.raises(DataError, match=r"3 of them: 003\.png = 015\.png"):
        ready(index, tmp_path, leaks="refuse")
    kept = ready(index, tmp_path, leaks="keep")
    assert {name: len(ids) for name, ids in kept.splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert any("too good" in text for text in kept.audit.errors)


def test_one_picture_with_two_labels_is_an_error(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(12)
    images["001.png"] = images["000.png"]
    images["004.png"] = images["002.png"]
    audit = ready(make_index(images, labelled(images)), tmp_path).audit
    assert audit.duplicates == [["000.png", "001.png"], ["002.png", "004.png"]]
    (sentence,) = audit.errors
    assert "000.png (a) = 001.png (b)" in sentence
    assert "002.png" not in sentence


def test_flat_pictures_and_imbalance_are_named(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(60)
    images["007.png"] = np.full((8, 10, 3), (10, 200, 30), np.uint8)
    labels = {name: "rare" if i < 4 else "common" for i, name in enumerate(images)}
    audit = ready(make_index(images, labels), tmp_path).audit
    assert audit.flat == ["007.png"]
    assert audit.imbalance == audit.counts["train"]["common"] / audit.counts["train"]["rare"]
    assert any("out of balance" in text for text in audit.warnings)
    assert audit.sizes == {"10 x 8": 60}


def test_segmentation_counts_images_and_pixels(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(20)
    masks = {name: np.zeros((8, 10), np.uint8) for name in images}
    for i, mask in enumerate(masks.values()):
        mask[: i % 3] = 255
    dataset = ready(make_index(images, masks=masks), tmp_path)
    assert dataset.labels is None
    assert dataset.classes == ("background", "foreground")
    for name, ids in dataset.splits.items():
        rows = [int(dataset.store.files[i][:3]) % 3 for i in ids]
        assert dataset.audit.pixels[name]["foreground"] == 10 * sum(rows)
        assert dataset.audit.counts[name]["foreground"] == sum(row > 0 for row in rows)
    assert dataset.describe()["mask_census"][1] == [255, 10 * sum(i % 3 for i in range(20)), 13]


def test_digits_from_the_beginning(tmp_path: Path) -> None:
    """The real data set that needs no file: 1,797 grey 8 x 8 digits."""
    dataset = prepare(read_index("digits"), DataOptions(), tmp_path, Silent())
    assert dataset.classes == tuple("0123456789")
    assert dataset.store.channels == 1
    assert sum(len(ids) for ids in dataset.splits.values()) == 1797
    from sklearn.datasets import load_digits

    truth = load_digits()
    for i in (0, 500, 1796):
        candidates = np.flatnonzero(truth.target == dataset.labels[i])  # type: ignore[index]
        levels = np.round(truth.images[candidates] * 255 / 16).astype(np.uint8)
        assert (levels == dataset.store.image(i)[..., 0]).all((1, 2)).any()


def test_other_data_are_gathered_for_scoring(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(6)
    index = make_index(images, dict.fromkeys(images, "b"))
    scored = gather(index, ("c", "b", "a"), DataOptions(), tmp_path, Silent())
    assert scored.labels is not None
    assert scored.labels.tolist() == [1] * 6
    assert scored.splits["test"].tolist() == list(range(6))
    given = make_index(images, dict.fromkeys(images, "b"), splits={"003.png": "test"})
    assert gather(given, ("a", "b"), DataOptions(), tmp_path, Silent()).splits["test"].tolist() == [3]
    with pytest.raises(DataError, match=r"got b\. Allowed: a, c"):
        gather(index, ("a", "c"), DataOptions(), tmp_path, Silent())


def test_nothing_for_validation_is_said(make_index: MakeIndex, pictures: Pictures, tmp_path: Path) -> None:
    images = pictures(6)
    dataset = ready(make_index(images, labelled(images)), tmp_path, val_frac=0, test_frac=0)
    assert any("validation" in text for text in dataset.audit.warnings)
    assert not any("there is no score" in text for text in dataset.audit.warnings)
