"""The driver's side of local workers, with light ones that do what their task says; `test_kill` has real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from provenet.core.errors import StallError
from provenet.study import execute_local
from provenet.study.cells import Outcome, StudyFolder, Task

WORKER = """
import json, os, signal, sys, time
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_IGN)

def say(kind, **content):
    print(json.dumps({"kind": kind, **content}), flush=True)

for line in sys.stdin:
    task = json.loads(line)
    study, key = Path(task["study"]), task["key"]
    tries = study / f"{key}.tries"
    with tries.open("a") as file:
        file.write(f"{os.getpid()} {task['attempt']} {os.environ['OMP_NUM_THREADS']}\\n")
    deed = task["recipe"]["deeds"][min(len(tries.read_text().splitlines()), len(task["recipe"]["deeds"])) - 1]
    say("progress", key=key, share=0.5)
    if deed == "sleep":
        sys.stdin.read()  # until the driver lets go
        (study / f"{key}.saved").touch()
        break
    if deed == "finish":
        sys.stdin.read()
    if deed == "bug":
        sys.exit("Traceback\\nZeroDivisionError: division by zero")
    if deed.isdigit():
        os.kill(os.getpid(), int(deed))
    if deed in ("storage", "data"):
        final = deed == "data"
        say("outcome", key=key, state="failed", reason=f"{deed} says no.", exit_code=8 if final else 5, final=final)
    else:
        say("outcome", key=key, state="done")
"""


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that need a few milliseconds to start."""
    monkeypatch.setattr(execute_local, "_COMMAND", (sys.executable, "-S", "-c", WORKER))


@pytest.fixture(autouse=True)
def nobody_left(monkeypatch: pytest.MonkeyPatch):
    """Every worker that a test started has ended and was waited for: neither a zombie nor an orphan is left."""
    started, popen = [], subprocess.Popen

    def noted(*words, **named):
        started.append(popen(*words, **named))
        return started[-1]

    monkeypatch.setattr(execute_local.subprocess, "Popen", noted)
    yield
    assert all(process.returncode is not None for process in started)


def task(study: Path, key: str, *deeds: str, threads: int = 1) -> Task:
    return Task(key, "baseline", 0, "digits", {"deeds": deeds}, study, threads, key)


def tries(study: Path, key: str) -> list[list[str]]:
    """Return process, attempt and threads of every try of a cell."""
    return [line.split() for line in (study / f"{key}.tries").read_text().splitlines()]


def execute(tasks: list[Task], workers: int, **others) -> list[Outcome]:
    outcomes: list[Outcome] = []
    execute_local.execute(tasks, workers, outcomes.append, **others)
    return outcomes


def test_all_tasks_are_made_by_a_few_reused_workers(tmp_path):
    shares = []
    keys = [f"k{number}" for number in range(12)]
    outcomes = execute([task(tmp_path, key, "make") for key in keys], 3, progress=lambda *words: shares.append(words))
    assert sorted(outcomes, key=lambda o: keys.index(o.key)) == [Outcome(key, "done") for key in keys]
    workers = Counter(tries(tmp_path, key)[0][0] for key in keys)
    assert len(workers) <= 3
    assert sorted(shares) == [(key, 0.5) for key in sorted(keys)]


def test_one_worker_keeps_the_order(tmp_path):
    keys = ["c", "a", "b"]
    assert [outcome.key for outcome in execute([task(tmp_path, key, "make") for key in keys], 1)] == keys


def test_no_tasks_are_no_work(tmp_path):
    assert execute([], 2) == []


def test_a_worker_has_the_threads_of_its_cells(tmp_path):
    execute([task(tmp_path, "k", "make", threads=3)], 1)
    assert tries(tmp_path, "k")[0][2] == "3"


@pytest.mark.parametrize("deed", ["9", "11", "bug", "storage"])
def test_what_the_machine_does_is_tried_again_in_the_same_attempt(tmp_path, deed):
    assert execute([task(tmp_path, "k", deed, deed, "make")], 1) == [Outcome("k", "done")]
    made = tries(tmp_path, "k")
    assert len({process for process, *_ in made}) == 3, "a fresh process each time"
    assert [attempt for _, attempt, _ in made] == ["k"] * 3
    assert StudyFolder(tmp_path).outcome_of("k") is None


@pytest.mark.parametrize(
    ("deed", "reason", "code"),
    [
        ("9", "killed by signal 9 (SIGKILL), three times", 6),
        ("11", "killed by signal 11 (SIGSEGV), three times", 6),
        ("bug", "its process ended with exit status 1: ZeroDivisionError: division by zero, three times", 6),
        ("storage", "storage says no, three times", 5),
    ],
)
def test_after_three_tries_it_has_failed_and_others_have_not(tmp_path, deed, reason, code):
    outcomes = execute([task(tmp_path, "bad", deed), task(tmp_path, "good", "make")], 1)
    assert outcomes == [Outcome("bad", "failed", reason, code), Outcome("good", "done")]
    assert len(tries(tmp_path, "bad")) == 3
    assert StudyFolder(tmp_path).outcome_of("bad") == outcomes[0]


def test_what_the_training_refuses_is_not_tried_again(tmp_path):
    [outcome, _] = execute([task(tmp_path, "k", "data"), task(tmp_path, "other", "make")], 1)
    assert outcome == Outcome("k", "failed", "data says no.", 8, True)
    assert len(tries(tmp_path, "k")) == 1
    assert tries(tmp_path, "k")[0][0] == tries(tmp_path, "other")[0][0], "its worker goes on"
    assert StudyFolder(tmp_path).outcome_of("k") == outcome


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_interrupted_workers_save_and_end(tmp_path, number):
    begun = []

    def interrupt(key, share):
        begun.append(key)
        if len(begun) == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    tasks = [task(tmp_path, "a", "sleep"), task(tmp_path, "b", "finish"), task(tmp_path, "c", "make")]
    outcomes = []
    with pytest.raises(KeyboardInterrupt):
        execute_local.execute(tasks, 2, outcomes.append, interrupt)
    assert (tmp_path / "a.saved").exists()
    assert outcomes == [Outcome("b", "done")], "what was finished meanwhile is told"
    assert not (tmp_path / "c.tries").exists(), "nothing new is begun"
    assert StudyFolder(tmp_path).outcome_of("a") is None
    assert signal.getsignal(number) is before


def test_when_the_driver_fails_workers_save_and_end(tmp_path):
    def fail(outcome):
        raise ZeroDivisionError

    tasks = [task(tmp_path, "a", "sleep"), task(tmp_path, "b", "make")]
    with pytest.raises(ZeroDivisionError):
        execute_local.execute(tasks, 2, fail)
    assert (tmp_path / "a.saved").exists()


def test_workers_that_cannot_be_started_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(execute_local, "_COMMAND", ("/no/such/program",))
    with pytest.raises(StallError, match="a worker did not start"):
        execute([task(tmp_path, "k", "make")], 1)


def test_it_works_in_a_thread_too(tmp_path):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.extend(execute([task(tmp_path, "k", "make")], 1)))
    thread.start()
    thread.join()
    assert outcomes == [Outcome("k", "done")]


def test_cells_run_side_by_side(tmp_path):
    seen, meeting = [], threading.Event()

    def progress(key, share):
        seen.append(key)
        if len(seen) == 3:
            meeting.set()
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        execute([task(tmp_path, key, "sleep") for key in "abcd"], 3, progress=progress)
    assert meeting.is_set() and time.monotonic() - began < 30
    assert sorted(seen) == ["a", "b", "c"]


def test_lines_may_come_in_pieces(tmp_path, monkeypatch):
    text = json.dumps({"kind": "outcome", "key": "k", "state": "done"})
    code = f"import sys, time\ninput()\nfor c in {text!r} + chr(10): print(c, end='', flush=True)\nsys.stdin.read()"
    monkeypatch.setattr(execute_local, "_COMMAND", (sys.executable, "-S", "-c", code))
    assert execute([task(tmp_path, "k")], 1) == [Outcome("k", "done")]
