"""Trainings on Ray with killed workers and commands: the bytes of a cell that nobody disturbed, each cell once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from provenet.study.cells import Outcome, StudyFolder, Task
from provenet.study.execute_ray import execute

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = (1, 2, 3)
LIMIT_S = 240.0
DRIVER = """
import sys
from provenet.study.cells import StudyFolder, Task
from provenet.study.execute_ray import execute

tasks = [Task.from_line(line) for line in sys.stdin]
left = [task for task in tasks if not StudyFolder(task.study).done(task.key)]
execute(left, "local", lambda outcome: print(outcome.key, outcome.state, flush=True), workers=2)
"""


def check(tasks: list[Task], told, unbroken) -> None:
    """Every cell is there once, as it would be undisturbed, and no attempt is left."""
    study = StudyFolder(tasks[0].study)
    assert sorted(path.name for path in study.cells.iterdir()) == sorted(task.key for task in tasks)
    assert [path.name for path in study.attempts.iterdir()] == [".store"]
    assert not study.failures.exists()
    for task in tasks:
        assert told(study.cell(task.key)) == unbroken(task.seed)


def kill_workers(study: Path, most: int, ended: threading.Event) -> list[str]:
    """Kill the workers of some cells while these train, each once; return the cells."""
    killed: list[str] = []
    while len(killed) < most and not ended.is_set():
        for steps in study.glob("attempts/*/steps.jsonl"):
            key = steps.parent.name.partition("-")[0]
            with suppress(OSError, ValueError):
                pid = json.loads((steps.parent / "owner.json").read_text())["pid"]
                if key not in killed and len(killed) < most:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(key)
        time.sleep(0.002)
    return killed


@pytest.fixture(autouse=True)
def as_urgent_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives its workers the lowest priority; on a busy machine they would stand still."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def test_killed_workers_change_no_byte(make_tasks, told, unbroken, tmp_path):
    pytest.importorskip("ray")
    heard: list[Outcome] = []
    shares: dict[str, float] = {}
    ended, killed = threading.Event(), []
    killer = threading.Thread(target=lambda: killed.extend(kill_workers(tmp_path, 2, ended)))
    tasks = make_tasks(tmp_path, *SEEDS)
    killer.start()
    try:
        execute(tasks, "local", heard.append, shares.__setitem__, 2)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 2
    assert sorted((outcome.key, outcome.state) for outcome in heard) == sorted((task.key, "done") for task in tasks)
    check(tasks, told, unbroken)
    assert shares
    assert all(0 < share <= 1 for share in shares.values())


class Commands:
    """Starts commands, and knows all that descend from them by a word in their environment."""

    def __init__(self, word: str) -> None:
        self.word, self.processes = word, list[subprocess.Popen]()

    def start(self, tasks: list[Task]) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PROVENET_TEST": self.word}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", DRIVER], env=environment, **pipes)
        process.stdin.write("".join(task.to_line() for task in tasks))
        process.stdin.flush()
        process.stdin.close()
        process.stdin = None  # for `communicate`
        self.processes.append(process)
        return process

    def alive(self) -> list[int]:
        """Return all processes that descend from a command; zombies have no environment."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"PROVENET_TEST={self.word}".encode() in environ.read_bytes():
                    found.append(int(environ.parent.name))
        return found


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    pytest.importorskip("ray")
    started = Commands(f"of-{tmp_path.name}-{time.time_ns()}")
    yield started
    for pid in started.alive():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in started.processes:
        process.communicate()


def wait_until(due, limit_s: float = LIMIT_S) -> bool:
    until = time.monotonic() + limit_s
    while not due() and time.monotonic() < until:
        time.sleep(0.002)
    return bool(due())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_nothing_running(make_tasks, tmp_path, commands, number):
    process = commands.start(make_tasks(tmp_path, *SEEDS, steps=100_000))
    assert wait_until(lambda: any(tmp_path.glob("attempts/*/steps.jsonl")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    assert len(commands.alive()) > 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    # Python ends by SIGINT after a KeyboardInterrupt that nobody caught.
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else -signal.SIGINT), errors
    assert wait_until(lambda: commands.alive() == []), commands.alive()
    assert not (tmp_path / "cells").exists()


def test_a_killed_command_goes_on(make_tasks, told, unbroken, tmp_path, commands):
    tasks = make_tasks(tmp_path, *SEEDS)
    study = StudyFolder(tmp_path)
    process = commands.start(tasks)
    assert wait_until(lambda: any(study.done(task.key) for task in tasks))
    process.kill()
    process.communicate(timeout=LIMIT_S)
    assert wait_until(lambda: commands.alive() == []), commands.alive()
    left = sorted(task.key for task in tasks if not study.done(task.key))
    assert left
    said, errors = commands.start(tasks).communicate(timeout=LIMIT_S)
    assert sorted(line.split()[0] for line in said.splitlines()) == left, errors
    check(tasks, told, unbroken)
    assert wait_until(lambda: commands.alive() == []), commands.alive()
