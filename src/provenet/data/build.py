"""Builds a store: every file decoded once, in children; whole on disk or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

from provenet.core.errors import Fault, StorageError
from provenet.core.files import storage_error, sync_folder
from provenet.core.log import Reporter
from provenet.data.child import Answer, Job, Settings
from provenet.data.decode import BadFile
from provenet.data.draft import Draft
from provenet.data.index import Index
from provenet.data.options import DataOptions
from provenet.data.pool import Pool
from provenet.data.store import Store, store_key

READ_ERRORS = (
    *(BadFile, OSError, EOFError, LookupError, ValueError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def open_store(index: Index, options: DataOptions, cache: Path, reporter: Reporter) -> Store:
    """Return the store of a data set, built when the cache has none.

    Raises:
        DataError: no file can be used, or the masks do not say which classes there are.
        StorageError: the store could not be written.
    """
    key = store_key(index, options)
    folder = cache / f"store-{key[:24]}"
    store = Store.open(folder, key)
    if store is None:
        store = build_store(index, options, folder, reporter)
        reporter.note(f"decoded {len(store):,} pictures into {folder}")
    else:
        reporter.note(f"decoded before: {len(store):,} pictures in {folder}")
    return store


def build_store(
    index: Index, options: DataOptions, folder: Path, reporter: Reporter, num_children: int | None = None
) -> Store:
    """Decode every file of an index into a new store.

    Args:
        index: what there is.
        options: the choices about data.
        folder: where the store will stand; nothing stands there until it is whole.
        reporter: hears of progress and of the mask rule.
        num_children: decoding processes, 0 for none; None: one a core up to four, none for a source that we made
            ourselves. The store does not depend on it.
    """
    if num_children is None:
        num_children = num_decoders(index)
    key = store_key(index, options)
    _sweep(folder.parent)
    work = folder.parent / f".tmp-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    settings = Settings(options.max_pixels, options.max_side)
    try:
        work.mkdir(parents=True)
        jobs = (read_job(index, item.file, item.mask) for item in index.items)
        with closing(Draft(work, index)) as draft, closing(Pool(settings, num_children).answers(jobs)) as answers:
            for position, found in enumerate(answers):
                draft.add(position, found)
                if position % 50 == 49 or position + 1 == len(index.items):
                    reporter.progress("pictures decoded", position + 1, len(index.items))
            draft.finish(options, key, reporter)
        _publish(work, folder, key)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, folder, "build the store") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    store = Store.open(folder, key)
    if store is None:
        raise StorageError(Fault(f"the store {folder} cannot be read back", "", "", "delete it and try again"))
    return store


def num_decoders(index: Index) -> int:
    """Return how many decoding processes a data set deserves: none where we made the files ourselves."""
    return 0 if index.source.name == "digits" else min(os.cpu_count() or 1, 4)


def read_job(index: Index, file: str, mask: str | None) -> Job | Answer:
    """Return the bytes of a picture and its mask; a file that cannot be read is answered with the reason."""
    try:
        return Job(file, index.source.read(file), mask, index.source.read(mask) if mask else b"")
    except BadFile as error:
        return Answer({"bad": error.reason})
    except READ_ERRORS as error:
        return Answer({"bad": f"cannot be read: {error or type(error).__name__}"})


def _sweep(cache: Path) -> None:
    """Remove what builds on this machine left that were killed."""
    for left in cache.glob(f".tmp-{socket.gethostname()}-*-*"):
        pid = left.name.split("-")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _publish(work: Path, folder: Path, key: str) -> None:
    """Make the finished store durable and give it its name; a store that another process finished first stays."""
    for path in work.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(work)
    if Store.open(folder, key) is None:
        shutil.rmtree(folder, ignore_errors=True)  # what stands there is damaged
    try:
        work.rename(folder)
    except OSError:
        if Store.open(folder, key) is None:
            raise
    sync_folder(folder.parent)
