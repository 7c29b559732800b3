"""Children that decode side by side, answers in the order of the jobs, and a dead child costs only its file."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, cast

from provenet.core.errors import Fault, StallError
from provenet.data.child import Answer, Job, Settings, answer, read_answer, read_message, write_jobs

_ROOT = str(Path(__file__).parents[2])
COMMAND = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path.append({_ROOT!r}); from provenet.data.child import main; main()",
)
"""How a child is started: a bare interpreter, so that a script without a main guard is not run again."""

_CHUNK_FILES, _CHUNK_BYTES = 32, 1 << 18
"""A chunk is as small as keeps the children busy: its decoded pictures are in memory at once."""


class Child:
    """One decoding process.

    Args:
        settings: how it decodes.
        command: program and arguments before the settings.

    Raises:
        StallError: it does not start.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self.settings, self.command = settings, command
        self._process = subprocess.Popen(
            [*command, json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._jobs, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        if read_message(self._answers) is None:
            code = self.close()
            remedy = "free memory or raise the limit on processes, and give the same command again"
            raise StallError(Fault("a decoding process did not start", f"exit status {code}", "", remedy))

    def ask(self, jobs: list[Job]) -> list[Answer]:
        """Return the answers up to the first job that the child did not survive."""
        with suppress(BrokenPipeError):
            write_jobs(self._jobs, jobs)
        answers: list[Answer] = []
        for _ in jobs:
            found = read_answer(self._answers)
            if found is None:
                break
            answers.append(found)
        return answers

    def close(self) -> int:
        """End the child and return its exit status."""
        with suppress(BrokenPipeError):
            self._jobs.close()
        self._answers.close()
        return self._process.wait()

    def post_mortem(self) -> Answer:
        """Return the answer for the job that ended the child."""
        code = self.close()
        if code == -signal.SIGALRM:
            return Answer({"bad": f"decoding took longer than {self.settings.limit_s:g} s"})
        return Answer({"bad": "the decoder crashed" + (f" (signal {-code})" if code < 0 else "")})


class Pool:
    """Some children behind one ordered stream of answers.

    Args:
        settings: how they decode.
        num_children: how many; 0 decodes in this process.
        command: how a child is started.
    """

    def __init__(self, settings: Settings, num_children: int, command: Sequence[str] = COMMAND) -> None:
        self.settings, self.num_children, self.command = settings, num_children, command
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()

    def answers(self, jobs: Iterable[Job | Answer]) -> Generator[Answer, None, None]:
        """Yield one answer a job, in order; a job that is an answer already (it could not be read) passes through."""
        if self.num_children == 0:
            yield from (job if isinstance(job, Answer) else answer(job, self.settings) for job in jobs)
            return
        with ThreadPoolExecutor(self.num_children, "decode") as threads:
            try:
                for _ in range(self.num_children):
                    self._idle.put(Child(self.settings, self.command))
                yield from _in_order(threads, self._decode, _chunks(jobs), 2 * self.num_children)
            finally:
                threads.shutdown(cancel_futures=True)
                while not self._idle.empty():
                    self._idle.get().close()

    def _decode(self, chunk: list[Job | Answer]) -> list[Answer]:
        jobs = [job for job in chunk if isinstance(job, Job)]
        found = iter(self._ask(jobs))
        return [next(found) if isinstance(job, Job) else job for job in chunk]

    def _ask(self, jobs: list[Job]) -> list[Answer]:
        """Have all jobs answered by one child and its successors."""
        child = self._idle.get()
        try:
            answers = child.ask(jobs)
            while len(answers) < len(jobs):
                answers.append(child.post_mortem())
                child = Child(self.settings, self.command)
                answers += child.ask(jobs[len(answers) :])
            return answers
        finally:
            self._idle.put(child)


def _chunks(jobs: Iterable[Job | Answer]) -> Iterator[list[Job | Answer]]:
    """Yield jobs in chunks of bounded files and bytes."""
    chunk: list[Job | Answer] = []
    size = 0
    for job in jobs:
        chunk.append(job)
        size += len(job.image) + len(job.mask) if isinstance(job, Job) else 0
        if len(chunk) == _CHUNK_FILES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _in_order(
    threads: ThreadPoolExecutor,
    work: Callable[[list[Job | Answer]], list[Answer]],
    chunks: Iterator[list[Job | Answer]],
    most: int,
) -> Iterator[Answer]:
    """Yield the results of all chunks in order, with at most `most` chunks under way."""
    waiting: deque[Future[list[Answer]]] = deque()
    for chunk in chunks:
        waiting.append(threads.submit(work, chunk))
        if len(waiting) == most:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()
