"""Which file names are used, in which form, and how a source lists them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from provenet.core.errors import Fault, listed

MAX_FILE_BYTES = 1 << 30
"""Bytes that one file may have; a picture of 64 Mpixel in 16-bit colour has 0.4 GB uncompressed."""

_SIDE_FILES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass
class Listing:
    """What a source holds.

    Args:
        names: files, '/'-separated, sorted by code point.
        folders: folders that hold files or nothing, in the same form.
        skipped: reason -> what was left out for it.
    """

    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def clean_name(name: str) -> str:
    r"""Return a name with '/' between its parts and without empty and '.' parts.

    Example:
        >>> clean_name(".\\cats//1.png")
        'cats/1.png'
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def unsafe(name: str) -> str:
    """Return why a name from an archive or a table may not be used; empty when it may.

    Example:
        >>> unsafe("../secret.png"), unsafe("cats/1.png")
        ('leads out of its folder', '')
    """
    if "\0" in name:
        return "holds a NUL character"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        return "is absolute; names are relative to their folder"
    if ".." in name.replace("\\", "/").split("/"):
        return "leads out of its folder"
    return ""


def why_left_out(part: str) -> str:
    """Return why a file or folder of this name is left out; empty when it is not.

    Example:
        >>> why_left_out("._photo.jpg"), why_left_out("photo.jpg")
        ('hidden or side file', '')
    """
    if part.startswith(".") or part in _SIDE_FILES:
        return "hidden or side file"
    return "" if part.isprintable() or _encodes(part) else "name is not UTF-8"


def _encodes(part: str) -> bool:
    """Tell whether a name is text; the bytes of a file system need not be."""
    try:
        part.encode()
    except UnicodeEncodeError:
        return False
    return True


def folders_of(names: Iterable[str], folders: Iterable[str] = ()) -> list[str]:
    """Return all folders that names imply, and those given, sorted.

    Example:
        >>> folders_of(["a/b/1.png", "2.png"], ["c"])
        ['a', 'a/b', 'c']
    """
    found = {name.rpartition("/")[0] for name in names} | set(folders)
    above = {part for folder in found for part in accumulate(folder.split("/"), "{}/{}".format)}
    return sorted(above - {""})


def refuse(what: str, names: list[str], remedy: str, where: str) -> list[Fault]:
    """Return one fault about several names, or none when there are no names."""
    return [Fault(what, listed(names, 5), "", remedy, where)] if names else []
