"""A first look at a data set, from names and headers alone, for the choices made before anything is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenet.data.build import num_decoders, read_job
from provenet.data.child import Settings
from provenet.data.index import Index
from provenet.data.options import DataOptions
from provenet.data.pool import Pool

GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, eq=False)
class Survey:
    """What names and headers say.

    Args:
        task: "classification" or "segmentation".
        classes: class names (classification; empty with masks).
        counts: split ("" where none is given) -> class ("" with masks) -> files.
        num_train: training images to expect, after the splits and the limit that the options ask for.
        sizes: height and width of the sampled pictures, (n, 2).
        modes: colour mode -> sampled pictures.
        unreadable: sampled files without a readable header.
    """

    task: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    num_train: int
    sizes: NDArray[np.int64]
    modes: dict[str, int]
    unreadable: tuple[str, ...]

    @property
    def all_grey(self) -> bool:
        """Whether all sampled pictures are grey."""
        return bool(self.modes) and all(mode in GREY_MODES for mode in self.modes)

    @property
    def median_size(self) -> tuple[int, int]:
        """Median height and width, each on its own."""
        height, width = np.median(self.sizes, axis=0)
        return int(height), int(width)

    @property
    def max_size(self) -> tuple[int, int]:
        """Largest height and width, each on its own."""
        height, width = self.sizes.max(axis=0)
        return int(height), int(width)

    @property
    def min_size(self) -> tuple[int, int]:
        """Smallest height and width, each on its own."""
        height, width = self.sizes.min(axis=0)
        return int(height), int(width)

    @property
    def same_size(self) -> bool:
        """Whether all sampled pictures have one size."""
        return len(np.unique(self.sizes, axis=0)) == 1


def survey(index: Index, options: DataOptions | None = None, sample: int = 256) -> Survey:
    """Look at names and at the headers of some pictures, evenly spread over the index; nothing is decoded.

    Args:
        index: what there is.
        options: the choices about data; None: the defaults.
        sample: headers to read.
    """
    options = options or DataOptions()
    positions = np.unique(np.linspace(0, len(index.items) - 1, min(sample, len(index.items))).round().astype(int))
    names = [index.items[i].file for i in positions]
    settings = Settings(options.max_pixels, headers=True)
    jobs = (read_job(index, name, None) for name in names)
    answers = list(Pool(settings, min(num_decoders(index), 1)).answers(jobs))
    headers = [found.facts for found in answers if found.bad is None]
    labels = {item.label for item in index.items if item.label is not None}
    counts = _counts(index)
    return Survey(
        task=index.task,
        classes=tuple(sorted(labels)),
        counts=counts,
        num_train=_num_train({split: sum(part.values()) for split, part in counts.items()}, options),
        sizes=np.array([(header["height"], header["width"]) for header in headers], np.int64).reshape(-1, 2),
        modes=dict(Counter(header["mode"] for header in headers).most_common()),
        unreadable=tuple(name for name, found in zip(names, answers, strict=True) if found.bad is not None),
    )


def _counts(index: Index) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (split, label), n in sorted(Counter(_keys(index)).items()):
        counts.setdefault(split, {})[label] = n
    return counts


def _keys(index: Index) -> Iterator[tuple[str, str]]:
    return ((item.split or "", item.label or "") for item in index.items)


def _num_train(sizes: dict[str, int], options: DataOptions) -> int:
    """Return the training images that `make_splits` will leave, duplicates and rounding aside."""
    train = sizes.get("train", 0) + sizes.get("", 0)
    if "val" not in sizes and "test" not in sizes:
        train -= round(options.test_frac * train) + round(options.val_frac * train)
    elif "val" not in sizes:
        train -= round(options.val_frac * train)
    return min(train, options.limit or train)
