"""A .zip read in place: nothing is unpacked, and no name in it is trusted."""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from provenet.core.errors import DataError, Fault
from provenet.data.filenames import MAX_FILE_BYTES, Listing, clean_name, folders_of, refuse, unsafe, why_left_out

# A bomb unpacks to a thousand times its size; pictures that deserve the name do not reach a hundred.
_BOMB_BYTES = 64 << 20
_BOMB_RATIO = 100

_READ_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)


class ZipSource:
    """The files of a zip archive.

    Args:
        path: the archive.
        name: what the user typed.

    Raises:
        DataError: it is no zip archive, or holds names or sizes that are refused.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._archive: zipfile.ZipFile | None = None
        self._process = 0
        self._infos, self._listing = self._list()

    def __reduce__(self) -> tuple[type[ZipSource], tuple[Path, str]]:
        return ZipSource, (self.path, self.name)

    def names(self) -> list[str]:
        return self._listing.names

    def folders(self) -> list[str]:
        return self._listing.folders

    def skipped(self) -> dict[str, tuple[str, ...]]:
        return {reason: tuple(names) for reason, names in self._listing.skipped.items()}

    def read(self, name: str) -> bytes:
        info = self._info(name)
        try:
            return self._open().read(info)
        except _READ_ERRORS as error:
            raise OSError(f"damaged inside {self.name}: {error}") from error

    def stamp(self, name: str) -> str:
        info = self._info(name)
        return f"{info.file_size}-{info.CRC:08x}"

    def close(self) -> None:
        if self._archive is not None and self._process == os.getpid():
            self._archive.close()
        self._archive = None

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self._infos:
            raise FileNotFoundError(f"not in {self.name}: {name}")
        return self._infos[name]

    def _open(self) -> zipfile.ZipFile:
        """Return the archive opened by this process; a forked child would share its parent's place in the file."""
        if self._archive is None or self._process != os.getpid():
            try:
                self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
            except (*_READ_ERRORS, OSError) as error:
                fault = Fault(
                    f"{self.name} cannot be opened as a zip archive", str(error), "", "pack or download it again"
                )
                raise DataError(fault) from error
        return self._archive

    def _list(self) -> tuple[dict[str, zipfile.ZipInfo], Listing]:
        """Return the usable members by name, after refusing archives that hold what cannot be trusted."""
        members = self._open().infolist()
        faults = _faults(members, self.name)
        if faults:
            raise DataError(faults)
        infos: dict[str, zipfile.ZipInfo] = {}
        listing = Listing()
        for info in members:
            name = clean_name(info.filename)
            reason = next(filter(None, map(why_left_out, name.split("/"))), "")
            if reason:
                listing.skipped[reason].append(name)
                continue
            if info.is_dir():
                listing.folders.append(name)
            else:
                infos[name] = info
        listing.names, listing.folders = sorted(infos), folders_of(infos, listing.folders)
        return infos, listing


def _faults(members: list[zipfile.ZipInfo], where: str) -> list[Fault]:
    """Return what is wrong with an archive's members, one fault a kind."""
    files = [info for info in members if not info.is_dir()]
    counts = Counter(clean_name(info.filename) for info in files)
    again = "pack the folder again"
    return [
        *refuse(
            "file names that lead out of the archive", [i.filename for i in members if unsafe(i.filename)], again, where
        ),
        *refuse("several files of one name", [name for name, count in counts.items() if count > 1], again, where),
        *refuse("links", [i.filename for i in files if stat.S_ISLNK(i.external_attr >> 16)], "pack the files", where),
        *refuse("encrypted files", [i.filename for i in files if i.flag_bits & 1], "pack it without a password", where),
        *refuse("files of an absurd unpacked size", [i.filename for i in files if _bomb(i)], "leave them out", where),
    ]


def _bomb(info: zipfile.ZipInfo) -> bool:
    """Tell whether a member declares more bytes than any picture has."""
    blown = info.file_size > _BOMB_BYTES and info.file_size > _BOMB_RATIO * info.compress_size
    return info.file_size > MAX_FILE_BYTES or blown
