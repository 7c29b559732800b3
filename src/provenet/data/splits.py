"""Splits that lists beside the images give: `split.csv`, or `splits/{train,val,test}.txt`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from provenet.core.errors import Fault
from provenet.data.tables import SPLITS, Row, read_list, read_rows, text_of, unknown_split
from provenet.data.tree import Found, Item, Tree, stem


def apply_lists(tree: Tree, found: Found) -> None:
    """Give each item the split and group that the lists beside it name; without lists nothing changes.

    Args:
        tree: where the lists and images lie.
        found: what the layout found; its items, layout, missing, ignored and faults are changed.
    """
    lists = sorted(name for name in tree.others if name.startswith("splits/") and name.endswith(".txt"))
    if "split.csv" in tree.others:
        rows, faults = read_rows(text_of(tree.read, "split.csv"), "split.csv")
        named = "split.csv"
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


def _keys(tree: Tree, item: Item) -> set[str]:
    """Return the names under which a list may know an image: with or without its folder, with or without suffix."""
    name = item.file.removeprefix(tree.prefix)
    inner = name.partition("/")[2] or name
    return {name, stem(name), inner, stem(inner)}


def _assign(tree: Tree, found: Found, rows: list[Row], named: str) -> None:
    """Put each row's split and group into the item that it names."""
    known: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(found.items):
        for key in _keys(tree, item):
            known[key].append(i)
    given: dict[int, Row] = {}
    whole = {stem(file.removeprefix(tree.prefix)) for file, _ in found.missing}
    for row in rows:
        places = known.get(row.file, [])
        if len(places) > 1:
            files = ", ".join(found.items[i].file for i in places[:3])
            found.faults.append(Fault("one name for several images", row.file, "", f"write which: {files}", row.where))
        elif not places:
            if not any(name == stem(row.file) or name.endswith("/" + stem(row.file)) for name in whole):
                found.missing.append((row.file, f"named in {row.where}, but there is no such image"))
        elif places[0] in given:
            first = given[places[0]].where
            found.faults.append(Fault("an image that is named twice", row.file, "", f"see {first}", row.where))
        else:
            given[places[0]] = row
    kept = []
    for i, item in enumerate(found.items):
        if i in given:
            kept.append(replace(item, split=given[i].split, group=given[i].group))
        else:
            found.ignored[f"not named in {named}"].append(item.file)
    found.items = kept
