"""Headers of some files say what all of them will be, without decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from provenet.core.log import Silent
from provenet.data.dataset import prepare
from provenet.data.index import Index
from provenet.data.options import DataOptions
from provenet.data.survey import survey

pytestmark = pytest.mark.usefixtures("inline")
MakeIndex = Callable[..., Index]
Pictures = Callable[..., dict[str, np.ndarray]]


def test_sizes_and_modes(make_index: MakeIndex, pictures: Pictures) -> None:
    images: dict = pictures(9, (4, 6, 3)) | {"tall.png": np.zeros((40, 2), np.uint8), "x.png": b"broken"}
    found = survey(make_index(images, dict.fromkeys(images, "a")))
    assert (found.median_size, found.min_size, found.max_size) == ((4, 6), (4, 2), (40, 6))
    assert found.modes == {"RGB": 9, "L": 1}
    assert found.unreadable == ("x.png",)
    assert not found.all_grey
    assert not found.same_size


def test_grey_pictures_are_seen(make_index: MakeIndex, pictures: Pictures) -> None:
    images = pictures(5, (4, 4)) | {"deep.png": np.zeros((4, 4), np.uint16)}
    assert survey(make_index(images, dict.fromkeys(images, "a"))).all_grey


def test_a_sample_is_enough_and_nothing_else_is_read(make_index: MakeIndex, pictures: Pictures) -> None:
    images = pictures(50)
    index = make_index(images, dict.fromkeys(images, "a"))
    found = survey(index, sample=10)
    assert index.source.num_reads == 10  # type: ignore[attr-defined]
    assert found.same_size
    assert found.counts == {"": {"a": 50}}


@pytest.mark.parametrize("splits", [(), ("test",), ("val",), ("val", "test")])
@pytest.mark.parametrize("limit", [None, 9])
def test_the_training_images_are_foreseen(
    splits: tuple[str, ...], limit: int | None, make_index: MakeIndex, pictures: Pictures, tmp_path: Path
) -> None:
    images = pictures(40)
    labels = {name: "ab"[i % 2] for i, name in enumerate(images)}
    given = dict.fromkeys(images, "train") if splits else {}
    given |= {name: split for split, name in zip(splits * 5, images, strict=False)}
    index, options = make_index(images, labels, splits=given), DataOptions(limit=limit)
    dataset = prepare(index, options, tmp_path, Silent())
    assert survey(index, options).num_train == len(dataset.splits["train"])
