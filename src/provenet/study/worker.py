"""A worker: makes one cell of a study after another; a driver speaks to it in lines of JSON.

The driver writes one task a line to standard input and waits for its outcome before it writes the next. The worker
writes `{"kind": "progress", "key": ..., "share": ...}` now and then and `{"kind": "outcome", ...}` at the end. Told to
stop (SIGTERM), or left alone (its standard input is closed: the driver is gone), it saves a checkpoint and ends.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from io import RawIOBase
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from provenet.core.errors import DataError, Fault, OutOfMemoryError, ProvenetError, ResumeError
from provenet.core.files import storage_error
from provenet.core.log import Silent
from provenet.engine.loop import Interrupted
from provenet.engine.observe import Observer, StepInfo
from provenet.recipe.tree import Overrides
from provenet.run.folder import RunFolder
from provenet.run.request import Request, same_request
from provenet.run.train import Listeners, Wish, train, unstoppable
from provenet.study.cells import Outcome, StudyFolder, Task

PATIENCE_S = 300.0
"""How long an attempt is waited for that another process still holds: a worker whose driver died is about to end."""
PROGRESS_S = 0.5
"""Seconds between two words of progress, at least."""

Stopping = Callable[[], AbstractContextManager[Wish]]


def carry_out(task: Task, observers: tuple[Observer, ...] = (), stopping: Stopping = unstoppable) -> Outcome:
    """Make a cell in this process: train in the task's attempt, or go on with it, and commit.

    Args:
        task: the cell.
        observers: see every update.
        stopping: see `run.train.Listeners`.

    Returns:
        The outcome; what the user or the machine is to mend is an outcome too.

    Raises:
        Interrupted: `stopping` said so; the attempt goes on from a checkpoint the next time.
    """
    study = StudyFolder(task.study)
    torch.set_num_threads(task.threads)
    _forget()
    error = _attempted(study, task, Listeners(Silent(), observers, stopping))
    if error is None or study.done(task.key):  # somebody else may have made it
        return Outcome(task.key, "done")
    return replace(Outcome.of(task.key, error), attempt=task.attempt)


def _forget() -> None:
    """Give freed memory back: training has glibc keep it, and it would count as the next cell's."""
    gc.collect()
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def _attempted(study: StudyFolder, task: Task, listeners: Listeners) -> ProvenetError | None:
    """Make a cell; return what is to be mended, as the command line would name it."""
    try:
        _train(study, task, listeners)
        if not study.done(task.key):
            _refuse_other_data(RunFolder(study.attempt(task)), task)
            study.commit(task)
    except Interrupted:
        raise
    except ProvenetError as error:
        return error
    except OSError as error:
        return storage_error(error, Path(error.filename or study.attempt(task)), "read or write")
    except (MemoryError, torch.OutOfMemoryError) as error:
        remedy = "fewer --workers, a smaller batch_size or view.size"
        return OutOfMemoryError(Fault("no memory left", str(error).partition("\n")[0], "", remedy))
    return None


def _train(study: StudyFolder, task: Task, listeners: Listeners) -> None:
    """Train to the end of the attempt, or until another process has made the cell.

    A process that still holds the attempt is waited for; where nothing of an attempt can be gone on with, it begins
    again.

    Raises:
        ResumeError: another process holds the attempt for longer than `PATIENCE_S`.
    """
    folder, until, refused = RunFolder(study.attempt(task)), time.monotonic() + PATIENCE_S, 0
    while not study.done(task.key):
        try:
            # Only at the second refusal: at the first, the holder may just have left, with a checkpoint.
            train(_request(folder, task, restart=refused == 2), listeners)
            return
        except ResumeError:
            refused = 0 if folder.owner.exists() else refused + 1
            if refused > 2 or time.monotonic() > until:
                raise
        with listeners.stopping() as wish:
            if wish():
                raise Interrupted(Fault("interrupted before the first update"))
        time.sleep(0.1)


def _request(folder: RunFolder, task: Task, restart: bool) -> Request:
    """Return what is asked of the training; what an attempt holds of another request is thrown away."""
    overrides = Overrides(task.recipe)
    other = folder.request.exists() and not same_request(folder.path, task.data, overrides)
    return Request(task.data, overrides, folder.path, restart=restart or other)


def _refuse_other_data(folder: RunFolder, task: Task) -> None:
    """Refuse a cell of other data than the study was designed for.

    Raises:
        DataError: the data have changed since.
    """
    saw = folder.read(folder.provenance)["data_fingerprint"]
    if task.fingerprint and saw != task.fingerprint:
        folder.clear()
        remedy = "bring back the files that the study began with, or begin a study of another name"
        raise DataError(Fault(f"the data at {task.data} have changed since the study began", remedy=remedy))


@dataclass
class _Line:
    """The worker's end of the line to its driver.

    Args:
        tasks: file descriptor that tasks come from.
        answers: where lines go, unbuffered.
    """

    tasks: int
    answers: RawIOBase
    asked: bool = False
    key: str | None = None
    _said_at: float = 0.0

    def heard(self, number: int, _: FrameType | None) -> None:
        """Take a signal as the wish to stop; without a task there is nothing to save."""
        self.asked = True
        if self.key is None:
            raise SystemExit(128 + number)

    def __call__(self) -> bool:
        """Whether to stop: it was said, or nobody is there any more.

        While a task is in hand the driver writes nothing: what can be read is the end of the line.
        """
        return self.asked or bool(select.select([self.tasks], [], [], 0)[0])

    def say(self, kind: str, **content: Any) -> None:
        """Write a line; nobody need be there to read it."""
        text = json.dumps({"kind": kind, **content}).encode() + b"\n"
        with suppress(BrokenPipeError):
            while text:
                text = text[self.answers.write(text) or 0 :]

    def begin(self, key: str) -> None:
        """Take a task in hand."""
        self.key, self._said_at = key, -PROGRESS_S

    def step(self, info: StepInfo) -> None:
        """Tell how far the cell has come, not too often."""
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_S:
            self._said_at = now
            self.say("progress", key=self.key, share=info.step / info.total_steps)

    def validated(self, row: dict[str, Any]) -> None:
        pass

    def event(self, row: dict[str, Any]) -> None:
        pass


@contextmanager
def _line() -> Iterator[_Line]:
    """Take standard input and output for the line; what else prints goes to the errors."""
    tasks, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    with open(answers, "wb", buffering=0) as file:
        yield _Line(tasks, file)


def serve() -> None:
    """Carry out the tasks of a driver until it closes the line or asks for an end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to hear
    with _line() as line, open(line.tasks, encoding="utf-8") as tasks:
        signal.signal(signal.SIGTERM, line.heard)
        for text in tasks:
            task = Task.from_line(text)
            line.begin(task.key)
            try:
                outcome = carry_out(task, (line,), lambda: nullcontext(line))
            except Interrupted:
                break
            line.say("outcome", **asdict(outcome))
            if line.asked:
                break
            line.key = None
    if line.asked:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    serve()
