"""A data set ready for training: decoded, split, checked, and described for the record."""

# N samples, K classes

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.core.batch import VOID
from provenet.core.errors import DataError, Fault, listed
from provenet.core.files import canonical, sha256
from provenet.core.log import Reporter
from provenet.data.audit import Audit, demand, drop_leaks, examine
from provenet.data.build import open_store
from provenet.data.index import Index
from provenet.data.masks import Color, MaskRule, counted, default_palette
from provenet.data.options import DataOptions
from provenet.data.split import Samples, make_splits, picture_strata
from provenet.data.store import Store

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded pictures with their classes and splits; a sample id is the position in the store.

    Args:
        task: "classification" or "segmentation".
        classes: class names; the position is the index.
        palette: display colour of each class.
        store: the decoded pictures (and masks).
        labels: class index of each picture, (N); None with masks.
        splits: split name -> sample ids, in order.
        audit: what was found.
        index_layout: the layout in words.
        options: the choices that led here.
        rules: what was decided about masks and splits, in words.
    """

    task: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    store: Store
    labels: Ids | None
    splits: dict[str, Ids]
    audit: Audit
    index_layout: str
    options: DataOptions
    rules: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the content of data.json."""
        files, hashes = self.store.files, self.store.arrays["file_hash"]
        used = np.sort(np.concatenate(list(self.splits.values())))
        return summary(self) | {
            "splits": {name: [files[i] for i in ids] for name, ids in self.splits.items()},
            "file_sha256": {files[i]: hashes[i].tobytes().hex() for i in used},
        }

    def fingerprint(self) -> str:
        """Return one hash of everything that training sees: names, pixels, masks or labels, splits."""
        arrays = self.store.arrays
        rows = []
        for name, ids in self.splits.items():
            for i in ids:
                truth = arrays["mask_hash"][i].tobytes().hex() if self.labels is None else int(self.labels[i])
                rows.append([name, self.store.files[i], arrays["pixel_hash"][i].tobytes().hex(), truth])
        choices = [self.classes, self.store.channels, self.options.max_side]
        return sha256(canonical([choices, rows]))


def summary(dataset: Dataset) -> dict[str, Any]:
    """Return what `inspect` shows, as JSON values: everything in data.json but the lists of all files."""
    store, audit = dataset.store, dataset.audit
    masks = store.facts["masks"]
    return {
        "layout": dataset.index_layout,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "palette": [list(color) for color in dataset.palette],
        "num_images": {name: len(ids) for name, ids in dataset.splits.items()},
        **audit.as_json(),
        "quarantined": [{"file": file, "reason": reason} for file, reason in store.quarantined],
        "mask_census": masks["census"] if masks else [],
        "rules": list(dataset.rules),
        "stored": {"channels": store.channels, "dtype": str(store.dtype), "max_side": dataset.options.max_side},
        "fingerprint": dataset.fingerprint(),
    }


def prepare(index: Index, options: DataOptions, cache: Path, reporter: Reporter) -> Dataset:
    """Decode, split and check a data set.

    Args:
        index: what there is.
        options: the choices about data.
        cache: folder of the stores; one that is there already is used.
        reporter: hears what was decided and found.

    Raises:
        DataError: the data cannot be trained on; all faults at once.
        StorageError: the store could not be written.
    """
    store = open_store(index, options, cache, reporter)
    refuse_bad(store, index, options)
    classes, palette, labels = _targets(index, store)
    audit = Audit()
    splits, said = make_splits(_samples(index, store, labels), options)
    splits = drop_leaks(store, splits, options, audit)
    examine(store, classes, labels, splits, audit)
    demand(index.task, splits, audit)
    rules = ([store.rule.sentence] if store.rule else []) + said
    for text in said:
        reporter.note(text)
    if store.quarantined:
        audit.warnings.insert(0, _quarantine_text(store))
    for text in audit.errors + audit.warnings:
        reporter.warn(text)
    return Dataset(index.task, classes, palette, store, labels, splits, audit, index.layout, options, tuple(rules))


def gather(
    index: Index,
    classes: tuple[str, ...],
    options: DataOptions,
    cache: Path,
    reporter: Reporter,
    values: Mapping[str, str] | None = None,
) -> Dataset:
    """Decode a data set that a trained net is to be scored on: one split, `test`, and nothing asked of the others.

    The split is the given test, where there is one, else everything.

    Args:
        index: what there is.
        classes: classes of the net, in the order of its answers; the data's are matched by name.
        options: the choices about data.
        cache: folder of the stores.
        reporter: hears what was found.
        values: class name by mask value as the net learnt it; masks that hold only some of them are read by it.

    Raises:
        DataError: there are classes that the net does not know, or too many bad files.
    """
    store = open_store(index, options, cache, reporter)
    if store.rule and store.rule.classes != classes and values and value_names(store.rule).keys() <= values.keys():
        options = options.model_copy(update={"classes": dict(values)})
        store = open_store(index, options, cache, reporter)
    refuse_bad(store, index, options)
    own = store.rule.classes if store.rule else tuple(sorted({str(item.label) for item in index.items}))
    strange = [name for name in own if name not in classes]
    if strange or (store.rule and own != classes):
        what = "the data have classes that the net does not know" if strange else "the masks have other classes"
        remedy = "evaluate on data of the classes that the run learnt"
        raise DataError(Fault(what, listed(strange or own), listed(classes), remedy))
    items = [index.items[i] for i in store.positions]
    labels = None if store.rule else np.array([classes.index(str(item.label)) for item in items], np.int64)
    given = np.array([i for i, item in enumerate(items) if item.split == "test"], np.int64)
    splits = {"test": given if len(given) else np.arange(len(items))}
    audit = Audit()
    examine(store, classes, labels, splits, audit)
    palette = store.rule.palette if store.rule else tuple(default_palette(len(classes) + 1)[1:])
    for text in audit.errors + audit.warnings + ([_quarantine_text(store)] if store.quarantined else []):
        reporter.warn(text)
    return Dataset(index.task, classes, palette, store, labels, splits, audit, index.layout, options)


def value_names(rule: MaskRule | None) -> dict[str, str]:
    """Return class name by mask value as `data.classes` takes them, void left out; empty without masks.

    Example:
        >>> value_names(MaskRule("", ("sky", "sea"), (), {0: 0, (9, 8, 7): 1, 255: 255}))
        {'0': 'sky', '9,8,7': 'sea'}
    """
    if rule is None:
        return {}
    named = {value: rule.classes[index] for value, index in rule.ids.items() if index != VOID}
    return {
        ",".join(map(str, value)) if isinstance(value, tuple) else str(value): name for value, name in named.items()
    }


def refuse_bad(store: Store, index: Index, options: DataOptions) -> None:
    """Refuse data of which more than `data.max_bad_frac` cannot be used, each file with its reason.

    Raises:
        DataError: there are too many.
    """
    bad, listed_files = store.quarantined, len(index.items) + len(index.missing)
    if len(bad) > options.max_bad_frac * listed_files:
        reasons = listed((f"{file} ({reason})" for file, reason in bad), 12)
        allowed = f"at most {options.max_bad_frac:.1%} of them (data.max_bad_frac)"
        remedy = "mend or remove these files, or allow more, as in data.max_bad_frac=0.1"
        raise DataError(Fault(f"{len(bad)} of {listed_files} files cannot be used", reasons, allowed, remedy))


def _quarantine_text(store: Store) -> str:
    reasons = listed((f"{file} ({reason})" for file, reason in store.quarantined), 6)
    return f"{counted(len(store.quarantined), 'file')} left out: {reasons}."


def _targets(index: Index, store: Store) -> tuple[tuple[str, ...], tuple[Color, ...], Ids | None]:
    """Return classes, palette and labels: from the mask rule, or from the index.

    Raises:
        DataError: one class only, or a class in validation or test that train does not have.
    """
    if store.rule is not None:
        return store.rule.classes, store.rule.palette, None
    classes = tuple(sorted({item.label for item in index.items if item.label is not None}))
    trained = {item.label for item in index.items if item.split in (None, "train")}
    faults = []
    if len(classes) < 2:
        remedy = "give each class a folder of its own (or a label of its own in the CSV)"
        faults.append(Fault("there is one class only", listed(classes) or "none", "at least 2", remedy))
    for split in ("val", "test"):
        strange = sorted({str(item.label) for item in index.items if item.split == split} - trained)
        if strange:
            remedy = "rename or remove them, or add training images"
            faults.append(
                Fault(f"{split} has classes that train does not have", listed(strange), listed(classes), remedy)
            )
    if faults:
        raise DataError(faults)
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[index.items[i].label or ""] for i in store.positions], np.int64)
    return classes, tuple(default_palette(len(classes) + 1)[1:]), labels


def _samples(index: Index, store: Store, labels: Ids | None) -> Samples:
    items = [index.items[i] for i in store.positions]
    if labels is not None:
        strata = labels
    else:
        pixels = store.arrays["class_pixels"]
        foreground = pixels[:, 1:].sum(1) / np.maximum(pixels.sum(1), 1)
        strata = picture_strata(foreground, store.arrays["originals"].astype(np.int64).prod(1))
    given, groups = [item.split for item in items], [item.group for item in items]
    return Samples(given, groups, store.arrays["pixel_hash"], strata, each=labels is not None)
