"""Files that are whole or absent: atomic writes, hashes, canonical JSON, append-only logs with a checksum a line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provenet.core.errors import Fault, StorageError

FLUSH_BYTES = 1 << 16
"""Rows of a log that wait in memory, in bytes."""


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: the same value gives the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(data: bytes | str) -> str:
    """Return the hex SHA-256 of bytes, or of a text in UTF-8."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storage_error(error: OSError, path: Path, doing: str) -> StorageError:
    """Return the error to raise when the operating system refused to store something."""
    full = error.errno in (28, 122)
    remedy = "free some space and give the same command again: the run goes on" if full else "see the reason given"
    return StorageError(Fault(f"could not {doing} {path}", f"{error.strerror} (errno {error.errno})", "", remedy))


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; durable on return.

    Raises:
        StorageError: the disk is full or refuses; the old file stays as it was.
    """
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(error, path, "write") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON whole; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=1, sort_keys=False, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def log_line(row: dict[str, Any]) -> bytes:
    """Return one line of a log: JSON with its CRC-32 as last field, newline at the end."""
    text = json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    crc = zlib.crc32(text.encode())
    return f'{text[:-1]}{"," if row else ""}"crc":"{crc:08x}"}}\n'.encode()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log up to the first line that is damaged or cut; a missing file has no rows."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            row = _checked(line)
            if row is None:
                return
            yield row


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return a log line's row without its checksum, or None when they do not agree."""
    try:
        row = json.loads(line)
        crc = row.pop("crc")
    except (ValueError, KeyError, AttributeError):
        return None
    return row if log_line(row) == line and isinstance(crc, str) else None


class Log:
    """An append-only log of rows, cut back to a known length when a run resumes.

    Args:
        path: the file; made when absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._pending = bytearray()

    def cut(self, length: int) -> None:
        """Cut the file to `length` bytes: rows behind a checkpoint will be written again."""
        self._pending.clear()
        self._file.truncate(min(length, self.path.stat().st_size))

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it reaches the disk at the next `sync`.

        A disk that is full in between is no reason to stop: the rows wait in memory, and `sync` tells.
        """
        self._pending += log_line(row)
        if len(self._pending) >= FLUSH_BYTES:
            with contextlib.suppress(OSError):
                self._flush()

    def _flush(self) -> None:
        while self._pending:
            del self._pending[: self._file.write(self._pending)]

    def sync(self) -> int:
        """Make all rows durable and return the length of the file in bytes.

        Raises:
            StorageError: the disk refused; the rows are kept for the next time.
        """
        try:
            self._flush()
            os.fsync(self._file.fileno())
            return self.path.stat().st_size
        except OSError as error:
            raise storage_error(error, self.path, "append to") from error

    def close(self) -> None:
        """Write what waits, as far as the disk takes it, and close the file."""
        with contextlib.suppress(OSError):
            self._flush()
        self._file.close()
