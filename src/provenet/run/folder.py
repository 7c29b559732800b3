"""The run folder: its files, its owner, its logs. What training writes here is all that reports and studies read."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from provenet.core.errors import Fault, RecipeError, ResumeError
from provenet.core.files import Log, read_json, write_json

LOGS = ("steps", "epochs", "events")


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: the folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = path / "owner.json"
        self.recipe = path / "recipe.yaml"
        self.request = path / "request.json"
        self.choices = path / "choices.json"
        self.data = path / "data.json"
        self.provenance = path / "provenance.json"
        self.doctor = path / "doctor.json"
        self.result = path / "result.json"
        self.report = path / "report.html"
        self.views = path / "views"
        self.checkpoints = path / "checkpoints"

    @property
    def started(self) -> bool:
        """Whether a training has been planned here: recipe and data are stored."""
        return self.provenance.exists()

    @property
    def finished(self) -> bool:
        """Whether the result stands."""
        return self.result.exists()

    def log(self, name: str) -> Path:
        """Return the path of a log: steps, epochs or events."""
        return self.path / f"{name}.jsonl"

    def read(self, path: Path) -> Any:
        """Return the content of one of the run's JSON files.

        Raises:
            ResumeError: it is missing or damaged.
        """
        try:
            return read_json(path)
        except (OSError, ValueError) as error:
            remedy = "bring the file back from a copy, or begin again with `provenet train DATA --restart`"
            raise ResumeError(Fault("the record of a run cannot be read", str(error), "", remedy, str(path))) from error

    def clear(self) -> None:
        """Remove what a run wrote here. Killed on the way, it leaves an unfinished run or none."""
        self.result.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.views):
            shutil.rmtree(folder, ignore_errors=True)
        records = (self.report, self.doctor, self.provenance, self.data, self.choices, self.recipe)
        for path in (*records, *map(self.log, LOGS), self.request):
            path.unlink(missing_ok=True)

    def check_free(self) -> None:
        """Refuse a folder that holds something else than a run.

        Raises:
            RecipeError: the folder has files and none of them is a run's.
        """
        if self.path.is_file():
            raise RecipeError(Fault(f"--out {self.path} is a file", remedy="name a folder that is new or holds a run"))
        entries = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        others = [name for name in entries if name != self.owner.name and not name.startswith(".tmp-")]
        if others and not self.request.exists():
            raise RecipeError(
                Fault(
                    f"--out {self.path} holds other things than a run",
                    ", ".join(sorted(others)[:5]),
                    "a new folder, or one that a run was begun in",
                    "give another --out",
                )
            )

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder against a second process on this machine; left empty, it is removed again.

        Raises:
            ResumeError: a live process holds it; named by host and process id.
            StorageError: the folder cannot be made or written.
        """
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": _process_start(os.getpid())}
        while not _claimed(self.owner, mine):
            _refuse_if_alive(self.owner)
            _take_away(self.owner)
        try:
            yield
        finally:
            self.owner.unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()


def _claimed(owner: Path, mine: dict[str, Any]) -> bool:
    """Return whether this process became the owner: there was none, and others see the new one whole or not at all."""
    draft = owner.with_name(f".tmp-{owner.name}-{os.getpid()}-{secrets.token_hex(4)}")
    write_json(draft, mine)
    try:
        os.link(draft, owner)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if owner.exists():
            return False
        draft.rename(owner)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _take_away(owner: Path) -> None:
    """Remove a stale owner. What was moved aside is looked at again: another process may have come in between.

    Raises:
        ResumeError: one has.
    """
    aside = owner.with_name(f".tmp-{owner.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        owner.rename(aside)
        try:
            _refuse_if_alive(aside)
        except ResumeError:
            aside.rename(owner)
            raise
        aside.unlink()


def _refuse_if_alive(owner: Path) -> None:
    """Raise when the process that an owner file names still runs; a file that names none is no owner."""
    try:
        found = read_json(owner)
        host, pid, started = str(found["host"]), int(found["pid"]), found["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if host == socket.gethostname() and (started is None or _process_start(pid) != started):
        return
    raise ResumeError(
        Fault(
            f"{owner.parent} is in use",
            f"process {pid} on {host}",
            "one process a run folder",
            f"wait for it, stop it, or (when it is gone) delete {owner.parent / 'owner.json'}",
        )
    )


def _process_start(pid: int) -> str | None:
    """Return when a process began, in kernel ticks, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive_without_proc(pid)
    state, *others = text.rsplit(")", 1)[1].split()
    return None if state in "ZX" else others[18]  # one that has ended and that nobody has waited for holds nothing


def _alive_without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return "alive"
    except OSError:
        return None
    return "alive"


class RunJournal:
    """The three logs of a run (see `engine.observe.Journal`)."""

    def __init__(self, folder: RunFolder) -> None:
        self._logs = {name: Log(folder.log(name)) for name in LOGS}

    def step(self, row: dict[str, Any]) -> None:
        self._logs["steps"].append(row)

    def validated(self, row: dict[str, Any]) -> None:
        self._logs["epochs"].append(row)

    def event(self, row: dict[str, Any]) -> None:
        self._logs["events"].append(row)

    def sync(self) -> dict[str, int]:
        return {name: log.sync() for name, log in self._logs.items()}

    def cut(self, lengths: dict[str, int]) -> None:
        """Cut steps and epochs; events stay, they tell what happened on the way."""
        for name in ("steps", "epochs"):
            self._logs[name].cut(lengths.get(name, 0))

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
