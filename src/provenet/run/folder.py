"""The run folder: its files, its owner, its logs. What training writes here is all that reports and studies read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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
        self.recipe = path / "recipe.yaml"
        self.request = path / "request.json"
        self.choices = path / "choices.json"
        self.data = path / "data.json"
        self.provenance = path / "provenance.json"
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

    def check_free(self) -> None:
        """Refuse a folder that holds something else than a run.

        Raises:
            RecipeError: the folder has files and none of them is a run's.
        """
        if self.path.is_file():
            raise RecipeError(Fault(f"--out {self.path} is a file", remedy="name a folder that is new or holds a run"))
        others = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
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
        """Hold the folder against a second process on this machine.

        Raises:
            ResumeError: a live process holds it; named by host and process id.
        """
        owner = self.path / "owner.json"
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": _process_start(os.getpid())}
        for _ in range(2):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                handle = os.open(owner, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                _refuse_if_alive(owner)
                owner.unlink(missing_ok=True)
            else:
                os.close(handle)
                break
        write_json(owner, mine)
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)


def _refuse_if_alive(owner: Path) -> None:
    """Raise when the process that wrote `owner` still runs; a stale or half-written file is no owner."""
    try:
        found = read_json(owner)
        host, pid, started = str(found["host"]), int(found["pid"]), found["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    here = host == socket.gethostname()
    if here and (pid == os.getpid() or _process_start(pid) is None or _process_start(pid) != started):
        return
    raise ResumeError(
        Fault(
            f"{owner.parent} is in use",
            f"process {pid} on {host}",
            "one process a run folder",
            f"wait for it, stop it, or (when it is gone) delete {owner}",
        )
    )


def _process_start(pid: int) -> str | None:
    """Return when a process began, in kernel ticks, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _alive_without_proc(pid)
    return text.rsplit(")", 1)[1].split()[19]


def _alive_without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
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
