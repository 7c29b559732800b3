"""Splits that are made: whole, stratified, repeatable, and nothing that belongs together apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.core.errors import DataError
from provenet.data.options import DataOptions
from provenet.data.split import Samples, make_splits, picture_strata, quotas


def samples(
    labels: Sequence[int],
    given_splits: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
    pictures: Sequence[int] | None = None,
) -> Samples:
    num = len(labels)
    hashes = np.zeros((num, 32), np.uint8)
    hashes[:, :4] = np.array(range(num) if pictures is None else pictures, np.uint32)[:, None].view(np.uint8)
    return Samples(given_splits or [None] * num, groups or [None] * num, hashes, np.array(labels), each=True)


def check_whole(splits: dict[str, np.ndarray], num: int) -> None:
    assert np.sort(np.concatenate(list(splits.values()))).tolist() == list(range(num))


@given(st.lists(st.integers(0, 4), min_size=3, max_size=80), st.integers(0, 5))
def test_each_class_of_three_stands_in_every_split(labels: list[int], seed: int) -> None:
    splits, _ = make_splits(samples(labels), DataOptions(split_seed=seed))
    check_whole(splits, len(labels))
    for label in set(labels):
        count = labels.count(label)
        held = {name: int((np.array(labels)[ids] == label).sum()) for name, ids in splits.items()}
        assert held["train"] >= 1
        if count >= 3:
            assert min(held[name] for name in ("train", "val", "test")) >= 1
    again, _ = make_splits(samples(labels), DataOptions(split_seed=seed))
    assert {name: ids.tolist() for name, ids in again.items()} == {name: ids.tolist() for name, ids in splits.items()}


def test_shares_are_as_asked_and_stratified() -> None:
    labels = [0] * 600 + [1] * 300 + [2] * 100
    splits, _ = make_splits(samples(labels), DataOptions(val_frac=0.2, test_frac=0.1))
    for name, frac in (("val", 0.2), ("test", 0.1), ("train", 0.7)):
        assert np.bincount(np.array(labels)[splits[name]]).tolist() == [600 * frac, 300 * frac, 100 * frac]


def test_seeds_differ() -> None:
    labels = [0] * 50 + [1] * 50
    first, second = (make_splits(samples(labels), DataOptions(split_seed=seed))[0]["val"] for seed in (0, 1))
    assert first.tolist() != second.tolist()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=60))
def test_groups_and_equal_pictures_stay_together(rows: list[tuple[int, int, int]]) -> None:
    labels, groups, pictures = zip(*rows, strict=True)
    named = [f"g{group}" if group < 6 else None for group in groups]
    pictures = tuple(picture if picture < 5 else 100 + i for i, picture in enumerate(pictures))
    splits, _ = make_splits(samples(labels, groups=named, pictures=pictures), DataOptions(val_frac=0.3, test_frac=0.2))
    check_whole(splits, len(rows))
    home = {int(i): name for name, ids in splits.items() for i in ids}
    for keys in (named, pictures):
        for key in set(keys) - {None}:
            assert len({home[i] for i, other in enumerate(keys) if other == key}) == 1
    assert len(splits["train"]) >= 1


def test_given_splits_are_kept() -> None:
    given_splits = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    splits, said = make_splits(samples([0] * 10, given_splits), DataOptions())
    assert {name: ids.tolist() for name, ids in splits.items()} == {
        "train": [0, 1, 2, 3, 4], "val": [5, 6], "test": [7, 8, 9]
    }  # fmt: skip
    assert any("as given" in text for text in said)


def test_validation_is_taken_from_train_and_the_test_left_alone() -> None:
    given_splits = ["train"] * 40 + ["test"] * 10
    splits, _ = make_splits(samples([0, 1] * 25, given_splits), DataOptions(val_frac=0.25))
    assert splits["test"].tolist() == list(range(40, 50))
    assert (len(splits["val"]), len(splits["train"])) == (10, 30)
    assert splits["val"].max() < 40


def test_without_a_test_there_is_none() -> None:
    splits, said = make_splits(samples([0, 1] * 10, ["train"] * 16 + ["val"] * 4), DataOptions())
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 16, "val": 4, "test": 0}
    assert any(text.startswith("test: none") for text in said)


def test_a_split_of_nothing_is_not_there() -> None:
    splits, _ = make_splits(samples([0, 1] * 10), DataOptions(val_frac=0, test_frac=0))
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 20, "val": 0, "test": 0}


def test_only_a_test_is_refused() -> None:
    with pytest.raises(DataError, match="no split for training"):
        make_splits(samples([0, 1], ["test", "val"]), DataOptions())


@given(st.lists(st.integers(0, 5), min_size=10, max_size=80), st.integers(2, 60))
def test_a_limit_keeps_the_classes(labels: list[int], limit: int) -> None:
    whole, _ = make_splits(samples(labels), DataOptions())
    cut, _ = make_splits(samples(labels), DataOptions(limit=limit))
    assert len(cut["train"]) == min(limit, len(whole["train"]))
    assert set(cut["train"]) <= set(whole["train"])
    assert cut.get("val", np.empty(0)).tolist() == whole.get("val", np.empty(0)).tolist()
    kinds = set(np.array(labels)[whole["train"]])
    if limit >= len(kinds):
        assert set(np.array(labels)[cut["train"]]) == kinds


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.floats(0, 1))
def test_quotas_are_within_one_of_the_share(counts: list[int], frac: float) -> None:
    total = round(frac * sum(counts))
    take = quotas(np.array(counts), total)
    assert take.sum() == total
    shares = np.array(counts) * total / max(sum(counts), 1)
    assert (np.abs(take - shares) < 1 + 1e-9).all()
    assert (take <= counts).all()


def test_pictures_with_masks_are_stratified_by_share_and_size() -> None:
    rng = np.random.default_rng(0)
    foreground, areas = rng.random(400), rng.choice([100, 400, 900], 400)
    strata = picture_strata(foreground, areas)
    given_none: list[str | None] = [None] * 400
    hashes = np.arange(400, dtype=np.uint64).repeat(4).view(np.uint8).reshape(400, 32)
    splits, _ = make_splits(Samples(given_none, given_none, hashes, strata, each=False), DataOptions(val_frac=0.25))
    for name in ("train", "val", "test"):
        assert abs(foreground[splits[name]].mean() - foreground.mean()) < 0.03
        assert abs(areas[splits[name]].mean() - areas.mean()) < 30
    assert len(set(strata)) == 12
    assert len(set(picture_strata(np.full(9, 0.5), np.full(9, 100)))) == 1
