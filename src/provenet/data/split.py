"""Splits: given ones kept, others made by a seed, stratified, with what belongs together in one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from provenet.core.errors import DataError, Fault, listed
from provenet.core.rng import numpy_generator
from provenet.data.options import DataOptions

Ids = NDArray[np.int64]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Samples:
    """What a split is made from, a row a sample.

    Args:
        given: the split that the layout names, or None.
        groups: name of the group that must stay in one split, or None.
        hashes: decoded-pixel hashes, N x 32 bytes; equal pictures stay in one split.
        strata: number of the stratum (the class, or a bucket of pictures alike), (N).
        each: whether every stratum of three or more must stand in every split (classes).
    """

    given: Sequence[str | None]
    groups: Sequence[str | None]
    hashes: NDArray[np.uint8]
    strata: Ids
    each: bool


def make_splits(samples: Samples, options: DataOptions) -> tuple[dict[str, Ids], list[str]]:
    """Return the ids of train, val and test (which may be empty), and how they came about in words.

    Given splits are kept. Without any, validation and test are drawn. With train but no validation, validation is drawn
    from train; a test is never drawn where train and validation are given.

    Raises:
        DataError: splits are given and none of them is for training.
    """
    splits, said = _given(samples)
    todo = {}
    if not any(name in splits for name in ("val", "test")):
        todo = {"test": options.test_frac, "val": options.val_frac}
    elif "val" not in splits:
        todo = {"val": options.val_frac}
    units = _units(samples)
    whole = splits["train"]
    for name, frac in todo.items():
        least = _common(samples, whole) if frac else whole[:0]
        splits[name] = _drawn(samples, units, splits["train"], (round(frac * len(whole)), least), options.split_seed)
        splits["train"] = np.setdiff1d(splits["train"], splits[name])
        said.append(
            f"{name}: {len(splits[name]):,} images drawn from train (seed {options.split_seed}, {_alike(samples)})"
        )
    if "test" not in splits:
        said.append("test: none, as train and val are given without one")
    if options.limit is not None and len(splits["train"]) > options.limit:
        splits["train"] = _limited(samples, splits["train"], options)
        said.append(f"train: limited to {len(splits['train']):,} images, the classes in proportion")
    return {name: splits.get(name, whole[:0]) for name in SPLITS}, said


def _alike(samples: Samples) -> str:
    what = "stratified by class" if samples.each else "stratified by foreground share and size"
    return what + (", groups kept together" if any(samples.groups) else "")


def _given(samples: Samples) -> tuple[dict[str, Ids], list[str]]:
    """Return the given splits; samples that name none are training samples."""
    names = np.array([name or "" for name in samples.given], dtype="U5")
    found = [name for name in SPLITS if (names == name).any()]
    if not found:
        return {"train": np.arange(len(names))}, []
    splits = {name: np.flatnonzero(names == name) for name in found}
    said = [f"{name}: {len(ids):,} images as given" for name, ids in splits.items()]
    if (names == "").any():
        unnamed = np.flatnonzero(names == "")
        splits["train"] = np.union1d(splits.get("train", unnamed[:0]), unnamed)
        said.append(f"train: {len(unnamed):,} images that no split names")
    if "train" not in splits:
        raise DataError(Fault("no split for training", listed(found), "train, and val and test beside it", ""))
    return splits, said


def _units(samples: Samples) -> Ids:
    """Return a number a sample that is equal for samples which belong together: by group, or as equal pictures."""
    num = len(samples.strata)
    _, pictures = np.unique(samples.hashes, axis=0, return_inverse=True)
    keys = [("group", name) if name is not None else ("own", i) for i, name in enumerate(samples.groups)]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    groups = np.array([numbers[key] for key in keys])
    # samples 0..N-1, then pictures, then groups, are the nodes of a graph; what hangs together is a unit
    links = np.concatenate([num + pictures.ravel(), num + num + groups])
    ends = np.tile(np.arange(num), 2)
    graph = coo_matrix((np.ones(2 * num, np.int8), (ends, links)), shape=(3 * num, 3 * num))
    return connected_components(graph, directed=False)[1][:num].astype(np.int64)


def _common(samples: Samples, pool: Ids) -> Ids:
    """Return the strata that must stand in every split: the classes with three samples or more."""
    kinds, counts = np.unique(samples.strata[pool], return_counts=True)
    return kinds[(counts >= 3) & samples.each]


def quotas(counts: Ids, total: int, least: Ids | int = 0) -> Ids:
    """Return how many of each stratum to take: in proportion, by largest remainder, `total` in all.

    Args:
        counts: samples of each stratum.
        total: samples to take, at most the sum of `counts`.
        least: take at least this many of each stratum, though it makes the sum larger.

    Example:
        >>> quotas(np.array([50, 30, 3]), 8).tolist(), quotas(np.array([50, 30, 3]), 8, least=1).tolist()
        ([5, 3, 0], [5, 3, 1])
    """
    shares = counts * (total / max(int(counts.sum()), 1))
    take = np.floor(shares).astype(np.int64)
    rest = total - int(take.sum())
    take[np.argsort(-(shares - take), kind="stable")[:rest]] += 1
    return np.maximum(take, least)


def _drawn(samples: Samples, units: Ids, pool: Ids, amount: tuple[int, Ids], seed: int) -> Ids:
    """Return ids drawn from a pool, whole units only, each stratum in proportion.

    Args:
        samples: all samples.
        units: unit of each sample.
        pool: ids to draw from.
        amount: how many in all, and the strata of which at least one is drawn.
        seed: seed of the draw.
    """
    total, common = amount
    strata = _unit_strata(samples, units, pool)
    kinds, counts = np.unique(strata, return_counts=True)
    taken = [
        _fill(units[pool[strata == kind]], pool[strata == kind], int(quota), seed)
        for kind, quota in zip(kinds, quotas(counts, total, np.isin(kinds, common).astype(np.int64)), strict=True)
    ]
    return np.sort(np.concatenate([*taken, pool[:0]]))


def _unit_strata(samples: Samples, units: Ids, pool: Ids) -> Ids:
    """Return the stratum of each sample's unit: that of its first sample."""
    _, first, unit = np.unique(units[pool], return_index=True, return_inverse=True)
    return samples.strata[pool][first][unit]


def _fill(units: Ids, ids: Ids, quota: int, seed: int) -> Ids:
    """Return the ids of whole units in a seeded order, until one more would lead further from the quota.

    One unit always stays behind.
    """
    names, sizes = np.unique(units, return_counts=True)
    # keyed by the first id, so that strata of one size are not drawn alike
    shuffled = numpy_generator(seed, "split", int(ids.min())).permutation(len(names))
    chosen, count = [], 0
    for i in shuffled[: max(len(names) - 1, 0)]:
        if count + sizes[i] / 2 <= quota:
            chosen.append(names[i])
            count += int(sizes[i])
    return ids[np.isin(units, chosen)]


def _limited(samples: Samples, train: Ids, options: DataOptions) -> Ids:
    """Return at most `limit` training ids, the strata in proportion; each that is there keeps one where room is."""
    assert options.limit is not None
    kinds, counts = np.unique(samples.strata[train], return_counts=True)
    take = quotas(counts, options.limit)
    while (take == 0).any() and take.max() > 1:
        take[np.argmax(take)] -= 1
        take[np.argmin(take)] += 1
    kept = []
    for kind, quota in zip(kinds, take, strict=True):
        members = train[samples.strata[train] == kind]
        kept.append(numpy_generator(options.split_seed, "limit", int(kind)).permutation(members)[:quota])
    return np.sort(np.concatenate(kept))


def picture_strata(foreground: NDArray[np.float64], areas: Ids) -> Ids:
    """Return strata for pictures with masks: four buckets of foreground share in each of three buckets of size.

    Equal values share a bucket.
    """
    share = np.floor(4 * (rankdata(foreground) - 0.5) / len(foreground))
    size = np.floor(3 * (rankdata(areas) - 0.5) / len(areas))
    return (size * 4 + share).astype(np.int64)
