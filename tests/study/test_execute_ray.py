"""Ray as the engine: on a cluster that really runs, every cell once, whoever is killed, and nothing left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.core.errors import MissingExtraError, RecipeError, StallError
from provenet.engine.observe import StepInfo
from provenet.study import execute_ray
from provenet.study.cells import Outcome, StudyFolder, Task
from provenet.study.execute_ray import Board, Work, execute, gpu_share


def task_in(study: Path, number: int = 0, **changes: object) -> Task:
    """Return a task for a stand-in of the training."""
    key = f"{number:024x}"
    row = {"arm": "baseline", "seed": number, "data": "digits", "recipe": {"seed": number}, "threads": 1}
    return Task(**{"key": key, "attempt": key, "study": study, **row, **changes})


def some_tasks(study: Path, count: int = 4) -> list[Task]:
    return [task_in(study, number) for number in range(count)]


# Stand-ins for the training. Ray sends them to its workers whole, as these cannot import the tests.


def noted(task: Task) -> int:
    """Note that a try began, and return how many did."""
    notes = task.study / "tries" / task.key
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("a") as file:
        file.write(task.attempt + "\n")
    return len(notes.read_text().splitlines())


def made(task: Task) -> Outcome:
    """Make a cell that says which attempt it was."""
    noted(task)
    folder = StudyFolder(task.study)
    folder.attempt(task).mkdir(parents=True)
    (folder.attempt(task) / "result.json").write_text(json.dumps({"attempt": task.attempt, "pid": os.getpid()}))
    folder.commit(task)
    return Outcome(task.key, "done")


def killed_at_first(task: Task) -> Outcome:
    """Be killed in the middle of the first try at every second cell."""
    tries = noted(task)
    (StudyFolder(task.study).attempt(task)).mkdir(parents=True)
    if task.seed % 2 and tries == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    StudyFolder(task.study).attempt(task).rmdir()
    return made(task)


def killed_always(task: Task) -> Outcome:
    noted(task)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def killed_after_the_commit(task: Task) -> Outcome:
    made(task)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def with_a_bug(task: Task) -> Outcome:
    noted(task)
    raise ZeroDivisionError("no such luck")


def refused(task: Task) -> Outcome:
    noted(task)
    return Outcome(task.key, "failed", "the recipe is no good", 2, final=True)


def full_at_first(task: Task) -> Outcome:
    """Be refused by the machine at the first try."""
    tries = noted(task)
    return Outcome(task.key, "failed", "the disk is full", 5) if tries == 1 else made(task)


def told(task: Task, observers: tuple) -> Outcome:
    """Tell observers of half the way, and give them time to be asked."""
    for observer in observers:
        observer.step(StepInfo(5, 10, 1.0, 0.1, 0.1, 1.0, 1.0))
    time.sleep(1.5)
    return made(task)


def slow(task: Task) -> Outcome:
    time.sleep(0.3)
    return made(task)


def met(task: Task) -> Outcome:
    """Wait a while for another cell to be at work too, and note whether one was."""
    here = task.study / "here"
    here.mkdir(exist_ok=True)
    (here / task.key).touch()
    until = time.monotonic() + (60 if task.arm == "wait" else 1)
    while not (company := len(list(here.iterdir())) > 1) and time.monotonic() < until:
        time.sleep(0.01)
    (task.study / f"met-{task.seed}").write_text(json.dumps(company))
    time.sleep(0.2)  # for the other one to see it
    (here / task.key).unlink()
    return made(task)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    """A cluster of two CPUs on this machine, to which `execute` finds itself connected."""
    ray = pytest.importorskip("ray")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else its workers stand still on a busy machine
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=execute_ray.STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    signal.signal(signal.SIGTERM, before)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield ray
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


def executed(tasks: list[Task], work: Work, **wishes: object) -> dict[str, Outcome]:
    """Return the outcomes of all tasks by key; one that is heard of twice is a fault."""
    heard: list[Outcome] = []
    execute(tasks, "local", heard.append, work=work, **wishes)
    assert sorted(outcome.key for outcome in heard) == sorted(task.key for task in tasks)
    return {outcome.key: outcome for outcome in heard}


def tries(task: Task) -> list[str]:
    """Return the names of the attempts at a cell."""
    return (task.study / "tries" / task.key).read_text().splitlines()


def committed(task: Task) -> dict:
    return json.loads((StudyFolder(task.study).cell(task.key) / "result.json").read_text())


@pytest.mark.ray
def test_each_cell_is_made_once_though_workers_are_killed(cluster, tmp_path):
    tasks = some_tasks(tmp_path, 3)
    outcomes = executed(tasks, killed_at_first)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == sorted(outcomes)
    assert list((tmp_path / "attempts").iterdir()) == []
    for task in tasks:
        names = tries(task)  # a try that was not killed notes itself twice
        assert len(set(names)) == 1 + task.seed % 2
        assert committed(task)["attempt"] == names[-1]
        assert all(name.startswith(f"{task.key}-") for name in names)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cell_that_kills_its_worker_three_times_has_failed(cluster, tmp_path):
    task = task_in(tmp_path)
    (outcome,) = executed([task], killed_always).values()
    assert outcome.state == "failed"
    assert not outcome.final
    assert outcome.exit_code == StallError.exit_code
    assert outcome.reason == "its worker process was killed or crashed, three times"
    assert len(set(tries(task))) == len(tries(task)) == 3
    assert outcome.attempt == tries(task)[-1]
    assert StudyFolder(tmp_path).outcome_of(task.key).reason == outcome.reason


@pytest.mark.ray
@pytest.mark.slow
def test_a_cell_that_was_committed_before_the_kill_is_not_made_again(cluster, tmp_path):
    task = task_in(tmp_path)
    assert executed([task], killed_after_the_commit) == {task.key: Outcome(task.key, "done")}
    assert len(tries(task)) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_failures_of_the_training_are_outcomes(cluster, tmp_path):
    final, bug, full = (task_in(tmp_path, number) for number in range(3))
    assert executed([final], refused)[final.key] == refused(final)
    assert StudyFolder(tmp_path).outcome_of(final.key).final
    assert len(tries(final)) == 2  # and the one just now
    reason = executed([bug], with_a_bug)[bug.key].reason
    assert reason == "ZeroDivisionError: no such luck, three times"
    assert executed([full], full_at_first)[full.key].state == "done"
    assert not StudyFolder(tmp_path).failure(full.key).exists()
    assert len(set(tries(full))) == 2


@pytest.mark.ray
@pytest.mark.slow
def test_progress_is_told_while_cells_are_made(cluster, tmp_path):
    shares: list[tuple[str, float]] = []
    task = task_in(tmp_path)
    executed([task], told, progress=lambda key, share: shares.append((key, share)))
    assert shares == [(task.key, 0.5)]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_cells_than_workers_at_the_same_time(cluster, tmp_path, workers):
    executed(
        [task_in(tmp_path, number, arm="wait" if workers == 2 else "alone") for number in range(2)],
        met,
        workers=workers,
    )
    assert {json.loads(path.read_text()) for path in tmp_path.glob("met-*")} == {workers == 2}


@pytest.mark.ray
def test_what_would_wait_for_ever_is_refused(cluster, tmp_path):
    with pytest.raises(RecipeError, match=r"65 threads.*at most 2 CPUs"):
        executed([task_in(tmp_path, threads=65)], made)
    with pytest.raises(RecipeError, match="device=cuda:1"):
        executed([task_in(tmp_path, recipe={"device": "cuda:1"})], made)


@pytest.mark.ray
def test_a_machine_without_the_data_ends_the_study(cluster, tmp_path):
    with pytest.raises(RecipeError, match=r"machine .* does not see the data; got no .*photos"):
        executed([task_in(tmp_path / "study", data=str(tmp_path / "photos"))], made)
    assert not (tmp_path / "study" / "cells").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_an_error_of_the_listener_ends_what_runs(cluster, tmp_path):
    def refuse(outcome: Outcome) -> None:
        raise ValueError("heard enough")

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="heard enough"):
        execute(some_tasks(tmp_path, 8), "local", refuse, work=slow)
    began = len(list(tmp_path.glob("tries/*")))
    time.sleep(1)
    assert len(list(tmp_path.glob("tries/*"))) == began < 8
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert cluster.is_initialized()


# Without a cluster.


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'provenet\[ray\]'"):
        execute([task_in(tmp_path)], "local", print)
    execute([], "local", print)


@pytest.mark.ray
def test_a_client_address_is_refused(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RecipeError, match="Ray client"):
        execute([task_in(tmp_path)], "ray://10.0.0.1:10001", print)


@given(st.integers(1, 16), st.integers(1, 64))
def test_all_workers_find_a_share_of_a_gpu(num_gpus, workers):
    share = gpu_share(num_gpus, workers)
    assert 0 < share <= 1
    assert int(1 / share) * num_gpus >= workers


def test_the_board_forgets_what_was_taken():
    board = Board()
    board.tell("a", 0.1)
    board.tell("a", 0.2)
    assert board.take() == {"a": 0.2}
    assert board.take() == {}
