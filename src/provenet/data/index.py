"""What a data set holds, read off its layout: task, files, labels or masks, splits, groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provenet.core.errors import DataError
from provenet.data.layouts import find_layout, table_items
from provenet.data.source import FileSource, open_source
from provenet.data.tables import few
from provenet.data.tree import Item, Tree

__all__ = ["Index", "Item", "read_index"]


@dataclass(frozen=True, eq=False)
class Index:
    """What a data set holds.

    Args:
        source: where the files are read from.
        layout: how it is laid out, a phrase for the user.
        task: what can be learnt from it.
        items: the samples, ordered by file name.
        ignored: reason -> files that were left out for it.
        missing: (file, reason): samples that should be there and are not whole, such as an image without a mask.
    """

    source: FileSource
    layout: str
    task: Literal["classification", "segmentation"]
    items: tuple[Item, ...]
    ignored: dict[str, tuple[str, ...]]
    missing: tuple[tuple[str, str], ...]


def read_index(data: str | Path) -> Index:
    """Return what a data set holds.

    Args:
        data: what the user typed: a folder, .zip or .csv, `digits`, or `torchvision:NAME`.

    Raises:
        DataError: it is not there, of no known layout, or what its layout and tables say cannot be used; all faults
            at once.

    Example:
        >>> index = read_index("digits")
        >>> index.task, index.layout, len(index.items), index.items[0].label
        ('classification', 'a folder for each of 10 classes', 1797, '0')
    """
    source = open_source(data)
    if str(data).lower().endswith(".csv"):  # the folder of the table may hold anything: only what is named is looked at
        found = table_items(source, Path(data).name)
        skipped = {}
    else:
        found = find_layout(Tree.of_source(source))
        skipped = source.skipped()
    if found.faults:
        raise DataError(few(found.faults))
    ignored = {reason: tuple(names) for reason, names in (*skipped.items(), *found.ignored.items()) if names}
    items = tuple(sorted(found.items, key=lambda item: item.file))
    return Index(source, found.layout, found.task, items, ignored, tuple(sorted(found.missing)))
