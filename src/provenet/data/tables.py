"""Tables of files in CSV, and lists of the files of each split."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from provenet.core.errors import DataError, Fault, near
from provenet.data.filenames import clean_name, unsafe

COLUMNS = {
    "file": ("file", "path", "filename", "image"),
    "label": ("label", "class"),
    "mask": ("mask",),
    "split": ("split", "subset"),
    "group": ("group",),
}
"""What a column says -> the headings it may have, in any case."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a split may be called, in lower case -> its name here."""

ORDER = ("train", "val", "test")

_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; a column that is absent or empty is None.

    Args:
        where: table:line.
        file: name relative to the table's folder.
    """

    where: str
    file: str
    label: str | None = None
    mask: str | None = None
    split: str | None = None
    group: str | None = None


def headings(text: str) -> set[str]:
    """Return what the columns of a table say, as keys of `COLUMNS`.

    Example:
        >>> sorted(headings("Path,Class,note"))
        ['file', 'label']
    """
    return set(_columns(next(iter(_lines(text)), [])))


def split_folders(tops: Iterable[str]) -> dict[str, str]:
    """Return folder -> split for the folders that are called as splits are, train first.

    Example:
        >>> split_folders(["Valid", "cats", "train"])
        {'train': 'train', 'Valid': 'val'}
    """
    found = [(SPLITS[top.lower()], top) for top in tops if top.lower() in SPLITS]
    return {top: split for split, top in sorted(found, key=lambda pair: (ORDER.index(pair[0]), pair[1]))}


def given_split(split: str, splits: dict[str, str]) -> str | None:
    """Return a folder's split; None where train/ stands alone, which leaves all splits to be made."""
    return None if set(splits.values()) == {"train"} else split


def read_rows(text: str, where: str) -> tuple[list[Row], list[Fault]]:
    """Return the rows of a table and all that is wrong with them.

    Args:
        text: the table, with a line of headings.
        where: its name, for faults.

    Example:
        >>> rows, faults = read_rows("file,split\\na.png,valid\\nb.png,tets\\n", "split.csv")
        >>> rows[0].split, str(faults[0])
        ('val', "split.csv:3: unknown split; got tets. Allowed: train, val, test. To do: did you mean 'test'?")
    """
    lines = _lines(text, where)
    columns = _columns(next(lines, []))
    if "file" not in columns:
        return [], [Fault("no column names the files", text[:60].split("\n")[0], "/".join(COLUMNS["file"]), "", where)]
    rows, faults, seen = [], [], dict[str, str]()
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        said = {name: cells[i].strip() or None for name, i in columns.items() if i < len(cells)}
        row, fault = _row(said, f"{where}:{number}")
        if row.file in seen and fault is None:
            fault = Fault(
                "a file that is named twice", row.file, "", f"remove it here or in {seen[row.file]}", row.where
            )
        seen[row.file] = row.where
        rows.append(row)
        faults += [fault] if fault else []
    return rows, faults


def _row(said: dict[str, str | None], where: str) -> tuple[Row, Fault | None]:
    """Return a row in clean form, with the first thing that is wrong with it."""
    for name in ("file", "mask"):
        reason = unsafe(said.get(name) or "")
        if reason:
            return Row(where, said[name] or ""), Fault(f"a file name that {reason}", said[name] or "", "", "", where)
        if name in said:
            said[name] = clean_name(said[name] or "") or None
    if not said["file"]:
        return Row(where, ""), Fault("no file name", "", "", "fill the cell or remove the line", where)
    split = said.get("split")
    if split is not None:
        said["split"] = SPLITS.get(split.lower())
        if said["split"] is None:
            return Row(where, said["file"]), unknown_split(split, where)
    return Row(where, **said), None  # type: ignore[arg-type]


def unknown_split(split: str, where: str) -> Fault:
    """Return the fault of a split that is called as none is."""
    return Fault("unknown split", split, "train, val, test", near(split.lower(), ["train", "val", "test"]), where)


def _lines(text: str, where: str = "") -> Iterator[list[str]]:
    """Yield the cells of each line; the separator is the first of comma, semicolon and tab in the headings."""
    head = text.split("\n", 1)[0]
    separator = next((mark for mark in ",;\t" if mark in head), ",")
    try:
        yield from csv.reader(io.StringIO(text), delimiter=separator)
    except csv.Error as error:
        raise DataError(
            Fault("not a table of comma-separated values", str(error), "", "check its quotes", where)
        ) from error


def _columns(cells: list[str]) -> dict[str, int]:
    """Return what a column says -> its position."""
    place = {cell.strip().lower(): i for i, cell in reversed(list(enumerate(cells)))}
    return {name: place[known] for name, names in COLUMNS.items() for known in names[::-1] if known in place}


def read_list(text: str, split: str, where: str) -> list[Row]:
    """Return one row for each line of a list of file names.

    Example:
        >>> [row.file for row in read_list("a.png\\n\\n b \\n", "train", "splits/train.txt")]
        ['a.png', 'b']
    """
    lines = enumerate(text.splitlines(), start=1)
    return [Row(f"{where}:{i}", clean_name(line.strip()), split=split) for i, line in lines if line.strip()]


def text_of(read: Callable[[str], bytes], name: str) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        DataError: it is not UTF-8, or cannot be read.
    """
    try:
        return read(name).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(Fault("not UTF-8 text", f"byte {error.start}", "", "save it as UTF-8", name)) from error
    except OSError as error:
        raise DataError(Fault("cannot be read", error.strerror or str(error), "", "", name)) from error


def few(faults: list[Fault]) -> list[Fault]:
    """Return the first faults and the count of the rest, so that a table of 10^5 lines does not fill the screen."""
    rest = len(faults) - _MOST_FAULTS
    return [*faults[:_MOST_FAULTS], Fault(f"{rest} more of this kind")] if rest > 0 else faults
