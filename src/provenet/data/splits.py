"""Splits that lists beside the images give: `split.csv`, or `splits/{train,val,test}.txt`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from provenet.core.errors import Fault, listed
from provenet.data.tables import SPLITS, Row, headings, read_list, read_rows, text_of, unknown_split
from provenet.data.tree import Found, Item, Tree, stem


def apply_lists(tree: Tree, found: Found) -> None:
    """Give each item the split and group that the lists beside it name; without lists nothing changes.

    Args:
        tree: where the lists and images lie.
        found: what the layout found; its items, layout, missing, ignored and faults are changed.
    """
    lists = sorted(name for name in tree.others if name.startswith("splits/") and name.endswith(".txt"))
    if "split.csv" in tree.others:
        text, named = text_of(tree.read, "split.csv"), "split.csv"
        rows, faults = read_rows(text, named)
        if "split" not in headings(text):
            faults.append(Fault("no column of splits", text[:60].split("\n")[0], "file,split", "", named))
        if lists:
            faults.append(Fault("split.csv and splits/ both name the splits", "", "", "remove one of the two"))
        faults += gaps(rows)
    elif lists:
        rows, faults = _read_lists(tree, lists)
        named = "splits/*.txt"
    else:
        return
    found.layout += f", splits from {named}"
    found.faults += faults
    found.tables += tree.full(["split.csv", *lists])
    _assign(tree, found, rows, named)


def _read_lists(tree: Tree, lists: list[str]) -> tuple[list[Row], list[Fault]]:
    rows, faults = [], []
    for name in lists:
        word = name.removeprefix("splits/").removesuffix(".txt")
        split = SPLITS.get(word.lower())
        if split is None:
            faults.append(unknown_split(word, name))
        else:
            rows += read_list(text_of(tree.read, name), split, name)
    return rows, faults


def gaps(rows: list[Row]) -> list[Fault]:
    """Return a fault for each row without a split where other rows have one."""
    if all(row.split is None for row in rows):
        return []
    remedy = "name a split in every line, or in none"
    return [Fault("no split", row.file, "train, val, test", remedy, row.where) for row in rows if row.split is None]


def _keys(tree: Tree, file: str) -> set[str]:
    """Return the names under which a list may know an image: with or without its folder, with or without suffix."""
    name = file.removeprefix(tree.prefix)
    inner = name.partition("/")[2] or name
    return {name, stem(name), inner, stem(inner)}


def _assign(tree: Tree, found: Found, rows: list[Row], named: str) -> None:
    """Put each row's split and group into the item that it names, and leave out the items that no row names."""
    known: dict[str, list[Item]] = defaultdict(list)
    for item in found.items:
        for key in _keys(tree, item.file):
            known[key].append(item)
    told = {key for file, _ in found.missing for key in _keys(tree, file)}
    given: dict[str, Row] = {}
    for row in rows:
        items = known.get(row.file, [])
        if len(items) == 1 and items[0].file not in given:
            given[items[0].file] = row
        elif items:
            found.faults.append(_twice(row, items, given))
        elif row.file not in told:
            found.missing.append((row.file, f"named in {row.where}, but there is no such image"))
    found.ignored[f"not named in {named}"] += [item.file for item in found.items if item.file not in given]
    found.items = [
        replace(item, split=given[item.file].split, group=given[item.file].group)
        for item in found.items
        if item.file in given
    ]


def _twice(row: Row, items: list[Item], given: dict[str, Row]) -> Fault:
    """Return the fault of a row that fits several images, or one that has a row already."""
    if len(items) > 1:
        files = listed((item.file for item in items), 3)
        return Fault("one name for several images", row.file, "", f"write which: {files}", row.where)
    return Fault("an image that is named twice", row.file, "", f"see {given[items[0].file].where}", row.where)
