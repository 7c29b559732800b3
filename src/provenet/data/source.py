"""Where files come from: a folder, a zip read in place, or a named data set; alike from here on."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from provenet.core.errors import DataError, Fault, near
from provenet.data.filenames import MAX_FILE_BYTES, Listing, why_left_out
from provenet.data.named import DigitsSource, TorchvisionSource
from provenet.data.zipped import ZipSource

ALLOWED = "a folder, a .zip, a .csv, 'digits', or torchvision:NAME"


class FileSource(Protocol):
    """Files by name, wherever they lie. Sources can be pickled, and used in a forked child."""

    name: str
    """What the user typed."""

    def names(self) -> list[str]:
        """Return all files, '/'-separated, sorted by code point, without hidden and side files."""

    def folders(self) -> list[str]:
        """Return all folders, also empty ones."""

    def skipped(self) -> dict[str, tuple[str, ...]]:
        """Return reason -> names that were left out for it."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; OSError where it cannot be read."""

    def stamp(self, name: str) -> str:
        """Return a text that changes when the file changes; OSError where there is none."""

    def close(self) -> None:
        """Give back what is open; reading opens it again."""


def open_source(data: str | Path) -> FileSource:
    """Return the source that a user's DATA names.

    Args:
        data: a folder, a .zip, a .csv (its folder is the source), `digits`, or `torchvision:NAME`.

    Raises:
        DataError: there is no such thing, or it cannot be opened.

    Example:
        >>> source = open_source("digits")
        >>> len(source.names()), source.names()[0], source.read(source.names()[0])[1:4]
        (1797, 'digits/0/0000.png', b'PNG')
    """
    typed, path = str(data), Path(data).expanduser()
    if isinstance(data, str) and data.startswith("torchvision:"):
        return TorchvisionSource(data)
    if data == "digits":
        if path.exists():
            raise DataError(
                Fault(
                    "digits names both the built-in data set and a file here", "", "", "write ./digits for the latter"
                )
            )
        return DigitsSource()
    if path.is_dir():
        return FolderSource(path, typed)
    if path.is_file() and path.suffix.lower() == ".csv":
        return FolderSource(path.parent, typed)
    if path.is_file() and path.suffix.lower() == ".zip":
        return ZipSource(path, typed)
    raise DataError(_absent(path, typed))


def _absent(path: Path, typed: str) -> Fault:
    """Return the fault of a DATA that is not there, or is of no known kind."""
    if path.exists():
        return Fault(
            "DATA is a file of no kind that is read", typed, ALLOWED, "pack several pictures into a folder or .zip"
        )
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    known = siblings + ([] if path.parent != Path() else ["digits"])
    where = "" if path.parent.is_dir() else f"; the folder {path.parent} does not exist either"
    return Fault(f"there is no such DATA{where}", typed, ALLOWED, near(path.name, known) or "check the path")


class FolderSource:
    """A folder on disk; links are followed.

    Args:
        root: the folder.
        name: what the user typed.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self._listing: Listing | None = None

    def names(self) -> list[str]:
        return self._listed().names

    def folders(self) -> list[str]:
        return self._listed().folders

    def skipped(self) -> dict[str, tuple[str, ...]]:
        return {reason: tuple(names) for reason, names in self._listed().skipped.items()}

    def read(self, name: str) -> bytes:
        path = self.root / name
        self._regular(path)
        return path.read_bytes()

    def stamp(self, name: str) -> str:
        info = self._regular(self.root / name)
        return f"{info.st_size}-{info.st_mtime_ns}"

    def close(self) -> None:
        pass

    @staticmethod
    def _regular(path: Path) -> os.stat_result:
        """Return what the system knows of a regular file of bearable size; a pipe would never end."""
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise OSError(f"not a regular file: {path}")
        if info.st_size > MAX_FILE_BYTES:
            raise OSError(f"{info.st_size:,} bytes; more than {MAX_FILE_BYTES:,} are refused: {path}")
        return info

    def _listed(self) -> Listing:
        if self._listing is None:
            listing = Listing()
            try:
                _walk(self.root, "", frozenset({_identity(self.root)}), listing)
            except OSError as error:
                raise DataError(Fault(f"{self.name} cannot be listed", error.strerror or str(error))) from error
            listing.names.sort()
            self._listing = listing
        return self._listing


def _identity(folder: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Return what tells a folder from all others, whatever it is called."""
    info = folder.stat()
    return info.st_dev, info.st_ino


def _walk(folder: Path | str, prefix: str, above: frozenset[tuple[int, int]], listing: Listing) -> None:
    """Add what lies in a folder; `above` holds the folders that lead here."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = prefix + entry.name
        reason = why_left_out(entry.name)
        if reason:
            listing.skipped[reason].append(name)
        elif entry.is_dir():
            listing.folders.append(name)
            _enter(entry, name, above, listing)
        elif entry.is_file():
            listing.names.append(name)
        else:
            dangling = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - no Path for 10^5 files
            listing.skipped["link to nothing" if dangling else "not a regular file"].append(name)


def _enter(entry: os.DirEntry[str], name: str, above: frozenset[tuple[int, int]], listing: Listing) -> None:
    """Walk into a folder unless it leads back to itself or is closed to us."""
    identity = _identity(entry)
    if identity in above:
        listing.skipped["link that leads back to a folder above it"].append(name)
        return
    try:
        _walk(entry.path, name + "/", above | {identity}, listing)
    except PermissionError:
        listing.skipped["folder that may not be opened"].append(name)
