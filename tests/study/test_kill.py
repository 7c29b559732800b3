"""Whatever is killed, every cell is made once, and its bytes are those of a cell that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from provenet.study import execute_local
from provenet.study.cells import StudyFolder, Task
from provenet.study.worker import carry_out

DRIVER = """
import sys
from provenet.study.cells import StudyFolder, Task
from provenet.study.execute_local import execute

tasks = [Task.from_line(line) for line in sys.stdin]
left = [task for task in tasks if not StudyFolder(task.study).done(task.key)]
with StudyFolder(tasks[0].study).owned():
    execute(left, int(sys.argv[1]), lambda outcome: print("heard", outcome.key, outcome.state, flush=True),
            lambda key, share: print("progress", key, share, flush=True))
"""
SEEDS = (1, 2, 3)


def start(tasks: list[Task], workers: int = 2) -> subprocess.Popen:
    """Start a driver of these cells that says what it hears."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(workers)], **pipes)
    process.stdin.write("".join(task.to_line() for task in tasks))
    process.stdin.close()
    return process


def end(process: subprocess.Popen) -> list[list[str]]:
    """Return what a driver had left to say."""
    said = [line.split() for line in process.stdout.read().splitlines()]
    process.stdout.close()
    process.wait()
    return said


def workers_of(study: Path) -> list[int]:
    """Return the processes that hold an attempt."""
    found = []
    for owner in study.glob("attempts/*/owner.json"):
        try:
            found.append(int(json.loads(owner.read_text())["pid"]))
        except (OSError, ValueError):  # it has just gone
            continue
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int], limit_s: float = 60) -> bool:
    """Wait for the end of processes that are not ours."""
    until = time.monotonic() + limit_s
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(alive, pids))


def check(tasks: list[Task], told, unbroken) -> None:
    """Every cell is there once, as it would be undisturbed, and nothing else is left."""
    study = StudyFolder(tasks[0].study)
    assert sorted(path.name for path in study.cells.iterdir()) == sorted(task.key for task in tasks)
    assert [path.name for path in study.attempts.iterdir()] == [".store"]
    assert not list(study.failures.glob("*"))
    for task in tasks:
        cell = study.cell(task.key)
        assert told(cell) == unbroken(task.seed)
        assert not list(cell.rglob(".*")) and not (cell / "owner.json").exists()


def test_a_killed_worker_and_a_killed_driver_cost_nothing_but_time(tmp_path, make_tasks, told, unbroken):
    folder, tasks = StudyFolder(tmp_path / "study"), make_tasks(tmp_path / "study", 1, 2)
    driver = start(tasks, workers=1)
    assert driver.stdout.readline().startswith("progress")
    [killed] = workers_of(folder.path)
    os.kill(killed, signal.SIGKILL)
    while (left := workers_of(folder.path)) in ([killed], []):
        assert driver.stdout.readline().startswith("progress")
    driver.kill()
    end(driver)
    assert gone(left)
    assert not workers_of(folder.path), "the orphan let go of its attempt"
    saved = {path.name for path in folder.attempts.glob("*/checkpoints/step-*")}
    assert max(saved, default="") > "step-0000000" or folder.done(tasks[0].key)
    assert not all(folder.done(task.key) for task in tasks)
    assert [carry_out(task).state for task in tasks] == ["done", "done"]
    check(tasks, told, unbroken)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(tmp_path, monkeypatch, make_tasks, told, unbroken):
    tasks, processes = make_tasks(tmp_path / "study", *SEEDS), []
    popen = subprocess.Popen

    def noted(*words, **named):
        processes.append(popen(*words, **named))
        return processes[-1]

    monkeypatch.setattr(execute_local.subprocess, "Popen", noted)
    killed = []

    def kill(key, share):
        if not killed:
            assert share < 1
            killed.extend(workers_of(tmp_path / "study")[:1])
            os.kill(killed[0], signal.SIGKILL)

    heard = []
    execute_local.execute(tasks, 2, heard.append, kill)
    assert Counter((outcome.key, outcome.state) for outcome in heard) == Counter((task.key, "done") for task in tasks)
    ends = {process.pid: process.returncode for process in processes}
    assert ends.pop(killed[0]) == -signal.SIGKILL
    assert set(ends.values()) == {0} and len(ends) == 2
    check(tasks, told, unbroken)


@pytest.mark.slow
def test_a_killed_driver_leaves_no_orphan_and_the_same_command_goes_on(tmp_path, make_tasks, told, unbroken):
    study = tmp_path / "study"
    tasks = make_tasks(study, *SEEDS)
    first = start(tasks)
    assert first.stdout.readline().startswith("progress")
    workers = workers_of(study)
    first.kill()
    end(first)
    assert workers and gone(workers)
    assert not all(StudyFolder(study).done(task.key) for task in tasks)
    said = end(start(tasks))
    assert all(words[2] == "done" for words in said if words[0] == "heard")
    check(tasks, told, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_ten_kills_at_any_moment_change_nothing(tmp_path, make_tasks, told, unbroken, seed):
    """Drivers, and before half of them a worker, at any moment; the next command does not wait for orphans."""
    study, draw, said = tmp_path / "study", random.Random(seed), []
    tasks = make_tasks(study, *range(1, 15))
    for number in range(10):
        driver = start(tasks)
        if number % 3:  # else while everything starts
            said.append(driver.stdout.readline().split())
        time.sleep(draw.uniform(0, 1.5))
        workers = workers_of(study)
        if number % 2 and workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
            time.sleep(draw.uniform(0, 1))
        driver.kill()
        said += end(driver)
    said += end(start(tasks))
    heard = Counter(words[1] for words in said if words and words[0] == "heard")
    assert max(heard.values()) == 1, "a cell was told twice"
    check(tasks, told, unbroken)
