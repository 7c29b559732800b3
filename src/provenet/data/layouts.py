"""The layouts that a data set may have, tried from the most telling to the plainest."""

from __future__ import annotations

from collections.abc import Container

from provenet.core.errors import DataError, Fault, listed, near
from provenet.data.pairs import find_pairs
from provenet.data.source import FileSource
from provenet.data.splits import apply_lists, gaps
from provenet.data.tables import SPLITS, Row, given_split, headings, read_rows, split_folders, text_of
from provenet.data.tree import Found, Item, Tree, suffix

ALLOWED = (
    "a folder for each class; train/ (val/, test/) of class folders; images/ and masks/ of the same names, here or "
    "under train/ (val/, test/); a CSV with columns file,label or image,mask (split and group if you like)"
)

# Pictures that are not read; a class that holds only such must not vanish without a word.
_UNREAD = frozenset((".heic", ".heif", ".jxl", ".svg", ".psd", ".eps", ".pdf", ".ico", ".dng", ".nef", ".cr2", ".dcm"))


def find_layout(tree: Tree) -> Found:
    """Return what a data set holds by the first layout that fits, looking through folders that hold nothing else.

    Raises:
        DataError: no layout fits.
    """
    level = tree
    while True:
        for fits in (find_table, find_pairs, find_split_classes, find_classes):
            found = fits(level)
            if found is not None:
                _count_ignored(tree, level.prefix, found)
                return found
        folder = level.only_folder()
        if folder is None:
            raise DataError(_no_layout(tree, level))
        level = level.below(folder)


def _count_ignored(tree: Tree, prefix: str, found: Found) -> None:
    """Add the files that are no images and no tables of the layout, and images beside the layout's folder."""
    tables = set(found.tables)
    for name in tree.others:
        if name not in tables:
            found.ignored[f"{suffix(name)} is not an image that is read"].append(name)
    if prefix:
        found.ignored[f"outside {prefix}"] += [name for name in tree.images if not name.startswith(prefix)]


def _no_layout(tree: Tree, level: Tree) -> Fault:
    """Return the fault of data that have no known layout, with what was seen."""
    if not tree.images:
        kinds = sorted({suffix(name) for name in tree.others})
        got = f"{len(tree.others)} files of {listed(kinds)}" if kinds else "no files"
        return Fault("there is no image", got, ALLOWED, "put images into it", tree.source.name)
    folders = [f"{top}/ ({len(names)} images)" for top, names in level.tops.items() if top]
    loose = len(level.tops.get("", []))
    got = listed([f"{loose} images loose in {level.prefix or 'it'}"] * bool(loose) + sorted(folders), 6)
    remedy = "training needs at least two classes, each in a folder of its own, or a mask for each image"
    return Fault("of no layout that is known", got, ALLOWED, remedy, tree.source.name)


def find_classes(tree: Tree) -> Found | None:
    """Return what a folder of class folders holds; None where there are no two of them."""
    classes = sorted(top for top in tree.tops if top)
    if len(classes) < 2 or all(name.lower() in SPLITS for name in classes):
        return None
    found = Found(f"a folder for each of {len(classes)} classes", "classification")
    for label in classes:
        found.items += [Item(f"{tree.prefix}{label}/{name}", label) for name in tree.tops[label]]
    found.ignored["not in a class folder"] += tree.full(tree.tops.get("", []))
    found.faults += _empty_classes(tree)
    apply_lists(tree, found)
    found.faults += check_classes(found.items, tree.source.name)
    return found


def find_split_classes(tree: Tree) -> Found | None:
    """Return what train/, val/ and test/ of class folders hold; None where there is no such train/."""
    splits = split_folders(tree.tops)
    if not any(split == "train" and any("/" in name for name in tree.tops[top]) for top, split in splits.items()):
        return None
    found = Found(f"class folders under {', '.join(f'{top}/' for top in splits)}", "classification")
    for top, names in tree.tops.items():
        for name in names:
            label, inside, _ = name.partition("/")
            if top in splits and inside:
                found.items.append(Item(f"{tree.prefix}{top}/{name}", label, split=given_split(splits[top], splits)))
            else:
                found.ignored["not in a class folder of a split"] += tree.full([f"{top}/{name}" if top else name])
    for top, split in splits.items():
        found.faults += _empty_classes(tree.below(top)) if split == "train" else []
    found.faults += check_classes(found.items, tree.source.name)
    return found


def _empty_classes(tree: Tree) -> list[Fault]:
    """Return a fault for each folder that may be a class and holds no image that can be read."""
    filled, remedy = {name.partition("/")[0] for name in tree.others}, "put images into it, or remove it"
    unread = {name.partition("/")[0] for name in tree.others if suffix(name) in _UNREAD}
    tops = [name for name in tree.folders if "/" not in name and name not in tree.tops]
    bad = [top for top in tops if top in unread or (top not in filled and not _has_folders(tree, top))]
    return [Fault("a class folder holds no image that is read", f"{tree.prefix}{top}/", "", remedy) for top in bad]


def _has_folders(tree: Tree, top: str) -> bool:
    return any(name.startswith(top + "/") for name in tree.folders)


def check_classes(items: list[Item], where: str) -> list[Fault]:
    """Return what makes a classifier impossible: one class only, no training images, classes unknown in training."""
    train = {item.label or "" for item in items if item.split in (None, "train")}
    if not items:
        return [Fault("no image has a label", "", "", "", where)]
    if not train:
        return [Fault("no image for training", "", "", "name some of them train", where)]
    faults = []
    if len(train) < 2:
        faults.append(Fault("one class only", listed(train), "two classes or more", "add another class", where))
    for split in ("val", "test"):
        for label in sorted({item.label or "" for item in items if item.split == split} - train):
            remedy = near(label, sorted(train)) or f"add training images of it, or leave it out of {split}"
            faults.append(Fault(f"a class of {split} is unknown in train", label, listed(sorted(train)), remedy, where))
    return faults


def find_table(tree: Tree) -> Found | None:
    """Return what the one table beside the images names; None where there is none of the right columns."""
    tables = [name for name in tree.others if name.lower().endswith(".csv") and "/" not in name and name != "split.csv"]
    if len(tables) != 1:
        return None
    columns = headings(text_of(tree.read, tables[0]))
    if "file" not in columns or not columns & {"label", "mask"}:
        return None
    found = table_items(tree.source, tree.prefix + tables[0], set(tree.full(tree.images)))
    used = {item.file for item in found.items} | {item.mask for item in found.items}
    rest = [name for name in tree.full(tree.images) if name not in used]
    found.ignored[f"not named in {tables[0]}"] += rest
    return found


def table_items(source: FileSource, name: str, known: Container[str] | None = None) -> Found:
    """Return what a table names; its paths are relative to the table.

    Args:
        source: where the table and the images lie.
        name: the table.
        known: the files that are there; None asks the source about each.
    """
    text = text_of(source.read, name)
    columns, (rows, faults) = headings(text), read_rows(text, name)
    said = sorted(columns & {"file", "label", "mask", "split", "group"})
    found = Found(f"table {name} with {', '.join(said)}", "segmentation" if "mask" in columns else "classification")
    found.tables.append(name)
    found.faults += faults + (_wrong_columns(columns, text, name) if "file" in columns else []) + gaps(rows)
    folder = name.rpartition("/")[0] + "/" if "/" in name else ""
    if not found.faults:
        for row in rows:
            _add_row(row, folder, found, source, known)
        found.faults += _table_faults(found, name)
    return found


def _wrong_columns(columns: set[str], text: str, name: str) -> list[Fault]:
    if len(columns & {"label", "mask"}) == 1:
        return []
    head = text.split("\n", 1)[0][:80]
    what = "columns for both label and mask" if "label" in columns else "no column of labels or masks"
    return [Fault(what, head, "file,label for classification; image,mask for segmentation", "", name)]


def _add_row(row: Row, folder: str, found: Found, source: FileSource, known: Container[str] | None) -> None:
    """Add a row's item, or say what it lacks."""
    file, mask = folder + row.file, folder + row.mask if row.mask else None
    wanted = row.label if found.task == "classification" else mask
    if not wanted:
        what = "label" if found.task == "classification" else "mask"
        found.faults.append(Fault(f"no {what}", row.file, "", "fill the cell or remove the line", row.where))
    elif not _is_there(file, source, known):
        found.missing.append((file, f"named in {row.where}, but there is no such file"))
    elif mask and not _is_there(mask, source, known):
        found.missing.append((file, f"its mask {mask}, named in {row.where}, is not there"))
    else:
        found.items.append(Item(file, row.label, mask, row.split, row.group))


def _is_there(name: str, source: FileSource, known: Container[str] | None) -> bool:
    if known is not None:
        return name in known
    try:
        source.stamp(name)
    except OSError:
        return False
    return True


def _table_faults(found: Found, where: str) -> list[Fault]:
    """Return what makes training on a table impossible."""
    if not found.items and found.missing:
        file, reason = found.missing[0]
        return [Fault("none of the files is there", f"{file}: {reason}", "paths relative to the table", "", where)]
    if found.task == "classification":
        return check_classes(found.items, where)
    if not any(item.split in (None, "train") for item in found.items):
        return [Fault("no image for training", "", "", "name some of them train", where)]
    return []
