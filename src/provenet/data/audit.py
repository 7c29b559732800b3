"""What may be wrong with a data set: found before training, said in sentences, kept as figures."""

# K classes

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.core.errors import DataError, Fault, listed
from provenet.data.masks import counted
from provenet.data.options import DataOptions
from provenet.data.split import SPLITS
from provenet.data.store import Store

Ids = NDArray[np.int64]

FLAT_STD = 1.0
"""Grey levels of 255 below which the spread of a picture counts as none."""
IMBALANCE = 10.0
"""Largest over smallest class above which an imbalance is worth a warning."""


@dataclass
class Audit:
    """What was found.

    Args:
        errors: sentences on what spoils results if it stays.
        warnings: sentences on what to look at.
        counts: split -> class -> images of the class (segmentation: images that hold it).
        pixels: split -> class -> pixels (segmentation only).
        duplicates: groups of files with equal pixels.
        leaks: files dropped (or kept) because a later split has the same picture, each with the file it equals.
        flat: files that are nearly of one colour.
        sizes: "width x height" -> images, most frequent first.
        notes: what the decoder did -> images.
        imbalance: images (segmentation: pixels) of the largest class over those of the smallest in train; None when
            a class has none.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    pixels: dict[str, dict[str, int]] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    imbalance: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return asdict(self)


def equal_pictures(store: Store) -> list[Ids]:
    """Return the groups of two or more samples with equal decoded pixels, ids in order."""
    _, number, count = np.unique(store.arrays["pixel_hash"], axis=0, return_inverse=True, return_counts=True)
    number = number.ravel()
    order = np.argsort(number, kind="stable")
    groups = np.split(order, np.cumsum(count)[:-1])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def drop_leaks(store: Store, splits: dict[str, Ids], options: DataOptions, audit: Audit) -> dict[str, Ids]:
    """Return the splits without pictures that a later split has too, as `data.leaks` says.

    Raises:
        DataError: there are such pictures and `data.leaks` is refuse.
    """
    home = np.full(len(store), -1)
    for number, name in enumerate(SPLITS):
        home[splits.get(name, np.empty(0, np.int64))] = number
    dropped: list[int] = []
    for group in equal_pictures(store):
        used = group[home[group] >= 0]
        last = home[used].max(initial=-1)
        early = used[home[used] < last]
        twin = store.files[used[home[used] == last][0]] if len(early) else ""
        audit.leaks += [(store.files[i], twin) for i in early]
        dropped += early.tolist()
    if not dropped:
        return splits
    pairs = listed((f"{file} = {twin}" for file, twin in audit.leaks), 8)
    if options.leaks == "refuse":
        remedy = "remove them, or give data.leaks=drop to leave the earlier copies out"
        raise DataError(Fault("pictures stand in more than one split", f"{len(dropped)} of them: {pairs}", "", remedy))
    done = (
        "left out of the earlier split"
        if options.leaks == "drop"
        else "kept, as data.leaks=keep says: scores are too good"
    )
    audit.errors.append(f"{counted(len(dropped), 'picture')} of a split found in a later one; {done}: {pairs}.")
    if options.leaks == "keep":
        return splits
    return {name: np.setdiff1d(ids, dropped) for name, ids in splits.items()}


def examine(store: Store, classes: Sequence[str], labels: Ids | None, splits: dict[str, Ids], audit: Audit) -> None:
    """Fill the audit: counts, duplicates, contradictions, flat pictures, sizes."""
    for name, ids in splits.items():
        audit.counts[name], pixels = _counts(store, classes, labels, ids)
        if pixels is not None:
            audit.pixels[name] = pixels
    _examine_duplicates(store, classes, labels, audit)
    used = np.concatenate(list(splits.values()))
    flat = used[store.arrays["std"][used] < FLAT_STD]
    audit.flat = [store.files[i] for i in np.sort(flat)]
    if audit.flat:
        audit.warnings.append(f"{counted(len(audit.flat), 'picture')} of nearly one colour: {listed(audit.flat, 6)}.")
    shapes = Counter(map(tuple, store.arrays["originals"].tolist()))
    audit.sizes = {f"{w} x {h}": n for (h, w), n in sorted(shapes.items(), key=lambda item: (-item[1], item[0]))[:50]}
    audit.notes = dict(Counter(store.facts["notes"].values()).most_common(50))
    for name, counts in audit.counts.items():
        missing = [label for label, count in counts.items() if count == 0]
        if missing and name != "train" and len(splits[name]):
            audit.warnings.append(f"{name} has no image of {listed(missing)}: there is no score for it.")


def _counts(
    store: Store, classes: Sequence[str], labels: Ids | None, ids: Ids
) -> tuple[dict[str, int], dict[str, int] | None]:
    """Return images of each class, and pixels of each class where there are masks."""
    if labels is not None:
        images = np.bincount(labels[ids], minlength=len(classes))
        return dict(zip(classes, images.tolist(), strict=True)), None
    pixels = store.arrays["class_pixels"][ids]
    held = (pixels > 0).sum(0).tolist()
    return dict(zip(classes, held, strict=True)), dict(zip(classes, pixels.sum(0).tolist(), strict=True))


def _examine_duplicates(store: Store, classes: Sequence[str], labels: Ids | None, audit: Audit) -> None:
    """Name equal pictures, and those of them that say different things."""
    groups = equal_pictures(store)
    audit.duplicates = [[store.files[i] for i in group] for group in groups]
    if groups:
        files = listed((" = ".join(names) for names in audit.duplicates), 4)
        extra = sum(len(group) - 1 for group in groups)
        audit.warnings.append(f"{counted(extra, 'duplicate')} of another picture: {files}.")
    truths = store.arrays["mask_hash"] if labels is None else labels[:, None]
    torn = [group for group in groups if len(np.unique(truths[group], axis=0)) > 1]
    if torn:
        what = "masks" if labels is None else "labels"
        named = [" = ".join(_named(store, classes, labels, int(i)) for i in group) for group in torn]
        audit.errors.append(
            f"{counted(len(torn), 'picture')} there several times with different {what}: {listed(named, 6)}."
        )


def _named(store: Store, classes: Sequence[str], labels: Ids | None, i: int) -> str:
    return store.files[i] if labels is None else f"{store.files[i]} ({classes[labels[i]]})"


def demand(task: str, splits: dict[str, Ids], audit: Audit) -> None:
    """Refuse what cannot be learnt and say what will be hard, from the figures of an audit.

    Raises:
        DataError: a class without training images, fewer than two images to train on; all faults at once.
    """
    faults = []
    train = audit.counts["train"]
    empty = [name for name, count in train.items() if count == 0]
    if empty and task == "classification":
        remedy = "add images, or remove the class"
        faults.append(
            Fault("classes have no usable training image", listed(empty), "at least 1 each, better 20", remedy)
        )
    elif empty:
        audit.errors.append(f"no training mask holds {listed(empty)}: the net cannot learn it.")
    if len(splits["train"]) < 2:
        faults.append(Fault("too few training images", str(len(splits["train"])), "at least 2", "add images"))
    if faults:
        raise DataError(faults)
    if not len(splits["val"]):
        audit.warnings.append("there are no images for validation: nothing tells when to stop, or which net is best.")
    amounts = audit.pixels.get("train", train)
    smallest, largest = min(amounts, key=amounts.__getitem__), max(amounts, key=amounts.__getitem__)
    if amounts[smallest]:
        audit.imbalance = amounts[largest] / amounts[smallest]
        if audit.imbalance >= IMBALANCE:
            much = f"{amounts[largest]:,} of {largest}, {amounts[smallest]:,} of {smallest}"
            audit.warnings.append(f"classes are out of balance by {audit.imbalance:.0f} to 1 in train: {much}.")
