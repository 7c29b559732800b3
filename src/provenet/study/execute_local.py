"""Cells on this machine: worker processes side by side, each reused; one that dies costs a try of its cell, not more.

A worker ends by itself, with a checkpoint, once its standard input closes: also when this process is killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

from provenet.core.errors import Fault, StallError
from provenet.study.cells import Outcome, StudyFolder, Task

MOST_TRIES = 3
_POLL_S = 0.5
_ROOT = str(Path(__file__).parents[2])
_COMMAND = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path.append({_ROOT!r}); from provenet.study.worker import serve; serve()",
)
"""How a worker is started: a bare interpreter, so that a script without a main guard is not run again."""

Heard = Callable[[Outcome], None]
Progress = Callable[[str, float], None]


def execute(tasks: Sequence[Task], workers: int, heard: Heard, progress: Progress | None = None) -> None:
    """Make cells in worker processes; returns when each task has its outcome.

    A worker that dies has its task tried again in the same attempt, and so has a cell that the machine refused
    (storage, memory), at most twice more. Whatever ends this function, no worker is left when it does.

    Args:
        tasks: the cells, in the order in which they are begun.
        workers: processes side by side, at least 1.
        heard: called with each outcome, in this thread; a failure is written down before.
        progress: called now and then with a key and the share of its updates that are made.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; cells in work have saved a checkpoint. A second one has its usual effect.
        StallError: a worker could not be started.
    """
    crew = _Crew(tasks, workers, heard, progress or _unheard)
    with _interrupts() as interrupted:
        try:
            while crew.left and not interrupted:
                crew.turn()
        finally:
            crew.dismiss()
            for study in {task.study for task in tasks}:
                StudyFolder(study).clean()
        if interrupted:
            raise KeyboardInterrupt


def _unheard(key: str, share: float) -> None:
    pass


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM instead of dying of it; the second one has its usual effect."""
    caught: list[int] = []

    def catch(number: int, _: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():  # signals are somebody else's there
        yield caught
        return
    # What was ignored stays ignored: Ctrl-C is not meant for a job in the background.
    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, catch) for number in heeded}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Worker:
    """A worker process and the task that it has in hand.

    Args:
        threads: threads that it computes with.

    Raises:
        StallError: it could not be started.
    """

    def __init__(self, threads: int) -> None:
        self.task: Task | None = None
        self._begun = b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `bury`)
        bounds = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        try:
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | bounds,
                process_group=0,  # Ctrl-C in the terminal is for us to hear
            )
        except OSError as error:
            self._errors.close()
            remedy = "free memory or raise the limit on processes, and give the same command again"
            raise StallError(Fault("a worker did not start", str(error), "", remedy)) from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._tasks, self.answers = self._process.stdin, self._process.stdout

    def give(self, task: Task) -> None:
        """Put a task into its hands; one that is dead already will be found so."""
        self.task = task
        with suppress(BrokenPipeError):
            self._tasks.write(task.to_line().encode())
            self._tasks.flush()

    def messages(self) -> list[dict[str, Any]] | None:
        """Wait for what it has to say and return it; None when it is dead."""
        said = os.read(self.answers.fileno(), 1 << 16)
        if not said:
            return None
        *lines, self._begun = (self._begun + said).split(b"\n")
        return [json.loads(line) for line in lines]

    def dismiss(self) -> None:
        """Tell it to end: with a checkpoint, when it has a task in hand."""
        with suppress(BrokenPipeError):
            self._tasks.close()

    def last_words(self) -> Iterator[dict[str, Any]]:
        """Yield what it says to the end of its life."""
        while (messages := self.messages()) is not None:
            yield from messages

    def bury(self) -> str:
        """Wait for its end and return how it came about."""
        self.dismiss()
        self.answers.close()
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        self._errors.close()
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended with exit status {code}" + (f": {last}" if last else "")


class _Crew:
    """The workers, and the tasks that wait for them."""

    def __init__(self, tasks: Sequence[Task], workers: int, heard: Heard, progress: Progress) -> None:
        assert workers >= 1, workers
        self._waiting, self._most = deque(tasks), workers
        self._heard, self._progress = heard, progress
        self._tries: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    @property
    def left(self) -> bool:
        """Whether a task waits or is in hand."""
        return bool(self._waiting or self._busy)

    def turn(self) -> None:
        """Give tasks to all who have none, then listen for a while."""
        while self._waiting and len(self._busy) < self._most:
            worker = self._idle.pop() if self._idle else self._hire(self._waiting[0].threads)
            self._busy.append(worker)
            worker.give(self._waiting.popleft())
        for event, _ in self._selector.select(_POLL_S):
            self._listen(event.data)

    def _hire(self, threads: int) -> _Worker:
        worker = _Worker(threads)
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _listen(self, worker: _Worker) -> None:
        """Take in what a worker says; its end is an answer too."""
        messages = worker.messages()
        if messages is None:
            how = self._bury(worker)
            if worker.task is not None:
                self._retry(worker.task, Outcome(worker.task.key, "failed", how, StallError.exit_code))
            return
        for message in messages:
            if message.pop("kind") == "outcome":
                self._answered(worker, Outcome(**message))
            else:
                self._progress(message["key"], message["share"])

    def _answered(self, worker: _Worker, outcome: Outcome) -> None:
        """Take an outcome; where the machine refused, a fresh process tries again."""
        task, worker.task = worker.task, None
        assert task is not None and task.key == outcome.key
        if outcome.settled:
            self._busy.remove(worker)
            self._idle.append(worker)
            self._settle(task, outcome)
        else:
            self._bury(worker)
            self._retry(task, outcome)

    def _retry(self, task: Task, outcome: Outcome) -> None:
        """Let a task be the next, unless it had all its tries."""
        self._tries[task.key] += 1
        if self._tries[task.key] < MOST_TRIES:
            self._waiting.appendleft(task)
        else:
            self._settle(task, replace(outcome, reason=f"{outcome.reason.rstrip('.')}, three times"))

    def _settle(self, task: Task, outcome: Outcome) -> None:
        """Tell an outcome that stays; why a cell failed is written down."""
        if outcome.state == "failed":
            StudyFolder(task.study).note_failure(task, outcome)
        self._heard(outcome)

    def _bury(self, worker: _Worker) -> str:
        self._selector.unregister(worker.answers)
        (self._busy if worker in self._busy else self._idle).remove(worker)
        return worker.bury()

    def dismiss(self) -> None:
        """End all workers; a cell that one of them still finishes is heard of."""
        crew = [*self._idle, *self._busy]
        for worker in crew:
            worker.dismiss()
        last = [(worker.task, message) for worker in crew for message in worker.last_words()]
        for worker in crew:
            worker.bury()
        self._selector.close()
        for task, message in last:
            if task is not None and message.pop("kind") == "outcome" and (outcome := Outcome(**message)).settled:
                self._settle(task, outcome)
