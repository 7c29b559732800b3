"""The folder of a study: a cell is committed once and whole, failures are kept, run folders are read."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from provenet.core.errors import DataError, DivergedError, Fault, ResumeError, StallError, StorageError
from provenet.core.files import Log, write_json, write_text
from provenet.records.study import Cell, CellCost
from provenet.study import cells
from provenet.study.cells import Outcome, StudyFolder, Task, cell_key, read_cell

RECIPE = {"batch_size": 8, "epochs": 2.5, "steps": None, "seed": 3, "optimizer": {"name": "sgd", "lr": 0.1}}


def task_of(study: Path, attempt: str = "a" * 24) -> Task:
    return Task("a" * 24, "baseline", 3, "digits", RECIPE, study, 1, attempt)


def finish(study: Path, attempt: str = "a" * 24, **result) -> Task:
    """Return a task whose attempt holds a result."""
    task = task_of(study, attempt)
    write_json(StudyFolder(study).attempt(task) / "result.json", result)
    return task


def test_every_part_of_a_key_counts():
    parts = {"recipe": RECIPE, "data_fingerprint": "d", "code": "c", "threads": 1}
    changes = {
        "recipe": RECIPE | {"optimizer": {"name": "sgd", "lr": 0.2}},
        "data_fingerprint": "e",
        "code": "e",
        "threads": 2,
    }
    keys = [cell_key(**parts), cell_key(**parts | {"recipe": RECIPE | {"seed": 4}})]
    keys += [cell_key(**parts | {name: value}) for name, value in changes.items()]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 24 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_finished_attempt_becomes_the_cell(tmp_path):
    folder, task = StudyFolder(tmp_path), finish(tmp_path, x=1)
    attempt = folder.attempt(task)
    write_text(attempt / "views" / ".tmp-views.json-1-2", "half")
    write_text(attempt / "owner.json", "{}")
    folder.note_failure(task, Outcome(task.key, "failed", "killed"))
    assert not folder.done(task.key)
    folder.commit(task)
    assert folder.done(task.key)
    assert folder.outcome_of(task.key) == Outcome(task.key, "done")
    assert sorted(path.name for path in folder.cell(task.key).rglob("*")) == ["result.json", "views"]
    assert not attempt.exists()
    assert not folder.failure(task.key).exists()


def test_a_second_attempt_is_thrown_away(tmp_path):
    folder, first, second = StudyFolder(tmp_path), finish(tmp_path, x=1), finish(tmp_path, "a" * 24 + "-2", x=2)
    folder.commit(first)
    folder.commit(second)
    folder.commit(first)
    assert '"x": 1' in (folder.cell("a" * 24) / "result.json").read_text()
    assert list(folder.attempts.iterdir()) == []


def test_of_many_who_commit_at_once_one_does(tmp_path):
    folder = StudyFolder(tmp_path)
    for number in range(8):
        tasks = [finish(tmp_path, f"{'a' * 24}-{i}", winner=i) for i in range(6)]
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(folder.commit, tasks))
        assert [path.name for path in folder.cells.iterdir()] == ["a" * 24]
        assert len(list(folder.cell("a" * 24).iterdir())) == 1
        assert list(folder.attempts.iterdir()) == []
        folder.cell("a" * 24).rename(tmp_path / f"before-{number}")


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@pytest.mark.parametrize("call", range(1, 8))
def test_a_commit_that_is_cut_off_leaves_attempt_or_cell_whole(tmp_path, monkeypatch, call):
    folder, task = StudyFolder(tmp_path), finish(tmp_path, x=1)
    write_text(folder.attempt(task) / "owner.json", "{}")
    folder.note_failure(task, Outcome(task.key, "failed", "killed"))
    calls = 0

    def counted(function):
        def wrapped(*words, **named):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return function(*words, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("rename", "mkdir", "unlink"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        patch.setattr(cells, "sync_folder", counted(cells.sync_folder))
        if call < 7:
            with pytest.raises(Killed):
                folder.commit(task)
        else:
            folder.commit(task)
            assert calls == 6, "more calls than this test cuts off"
    assert folder.done(task.key) != (folder.attempt(task) / "result.json").exists()
    if not folder.done(task.key):
        folder.commit(task)
    assert folder.outcome_of(task.key).state == "done"
    assert '"x": 1' in (folder.cell(task.key) / "result.json").read_text()


def test_what_cannot_be_committed_is_said(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    folder.attempts.mkdir()
    with pytest.raises(StorageError, match="commit the cell"):
        folder.commit(task)


def test_a_failure_is_kept_and_counted(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    assert folder.outcome_of(task.key) is None
    failed = Outcome(task.key, "failed", "diverged", 4, True, True)
    folder.note_failure(task, failed)
    folder.note_failure(task, failed)
    assert folder.outcome_of(task.key) == failed
    assert '"attempts": 2' in folder.failure(task.key).read_text()
    folder.failure(task.key).write_text("{")
    assert folder.outcome_of(task.key) is None


def test_outcomes_know_what_repeating_would_change():
    fault = Fault("no")
    ended = [Outcome.of("k", kind(fault)) for kind in (DivergedError, DataError, StorageError, StallError, ResumeError)]
    assert [outcome.final for outcome in ended] == [True, True, False, False, False]
    assert [outcome.diverged for outcome in ended] == [True, False, False, False, False]
    assert [outcome.exit_code for outcome in ended] == [4, 8, 5, 6, 3]
    assert [outcome.settled for outcome in ended] == [True, True, False, False, False]
    assert Outcome("k", "done").settled


def test_cleaning_removes_attempts_of_cells_that_are_done(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.commit(finish(tmp_path, x=1))
    finish(tmp_path, "a" * 24 + "-2")
    finish(tmp_path, "b" * 24)
    (folder.attempts / ".store").mkdir()
    folder.clean()
    assert sorted(path.name for path in folder.attempts.iterdir()) == [".store", "b" * 24]


def test_a_study_has_one_owner(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    with folder.owned(), pytest.raises(ResumeError, match="is in use"), folder.owned():
        pass
    with folder.owned():
        pass


def write_run(run: Path, result: dict | None) -> None:
    """Write a run folder as `run` does: 20 images in batches of 8, validated twice, once with nothing to score."""
    write_text(run / "recipe.yaml", "task: classification\nbatch_size: 8\nepochs: 2.5\nsteps: null\n")
    write_json(run / "data.json", {"num_images": {"train": 20, "val": 4, "test": 4}})
    write_json(run / "provenance.json", {"seen": {"order": "01", "init/stem.weight": "02"}})
    log = Log(run / "epochs.jsonl")
    for step, score in ((3, 0.5), (6, None), (8, 0.75)):
        log.append({"epoch": step / 3, "step": step, "val": {"accuracy": score, "ece": 0.1}, "seconds": step / 2})
    log.close()
    if result is not None:
        write_json(run / "result.json", result)


RESULT = {
    "task": "classification",
    "primary": "accuracy",
    "splits": {"test": {"metrics": {"accuracy": {"value": 0.7}, "ece": {"value": 0.2}}}},
    "gap": {"metric": "accuracy", "value": 0.05},
    "training": {
        "steps": 8,
        "epochs": 2.667,
        "seconds": 4.0,
        "images_per_s": 14.5,
        "parameters": 99,
        "flops": 1234,
        "peak_memory_mib": 300.5,
    },
}


def test_a_done_cell_is_read(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    write_run(folder.attempt(task), RESULT)
    folder.commit(task)
    cell, cost = read_cell(folder, "no-norm", 5, task.key)
    assert cell == Cell(
        arm="no-norm",
        seed=5,
        key=task.key,
        state="done",
        curve=((1.0, 3, 0.5), (8 / 3, 8, 0.75)),
        budget_epochs=8 / 3,
        budget_steps=8,
        test=0.7,
        gap=0.05,
        parameters=99,
        flops=1234,
        seen={"order": "01", "init/stem.weight": "02"},
    )
    assert cost.ended is not None and cost.began is None  # nobody asked for this run
    timeless = cost.model_copy(update={"ended": None})
    assert timeless == CellCost(
        seconds=(1.5, 4.0), seconds_per_epoch=4.0 / 2.667, images_per_s=14.5, peak_memory_mib=300.5
    )


def test_a_cell_without_test_images_has_no_test_score(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    write_run(folder.attempt(task), RESULT | {"splits": {"val": {"metrics": {}}}, "gap": None})
    folder.commit(task)
    cell, _ = read_cell(folder, "baseline", 5, task.key)
    assert (cell.test, cell.gap) == (None, None)


def test_a_missing_cell_and_failed_ones_are_cells_too(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    assert read_cell(folder, "a", 1, task.key) == (Cell(arm="a", seed=1, key=task.key, state="missing"), CellCost())
    write_run(folder.attempt(task), None)
    folder.note_failure(task, Outcome(task.key, "failed", "killed", 6))
    found = Cell(arm="a", seed=1, key=task.key, state="failed", reason="killed")
    assert read_cell(folder, "a", 1, task.key) == (found, CellCost())


def test_a_cell_that_diverged_tells_its_budget_and_what_it_saw(tmp_path):
    folder, task = StudyFolder(tmp_path), task_of(tmp_path)
    own = replace(task, attempt=task.key + "-2")
    write_run(folder.attempt(own), None)
    folder.note_failure(task, Outcome(task.key, "failed", "diverged", 4, True, True, own.attempt))
    cell, _ = read_cell(folder, "a", 1, task.key)
    assert (cell.state, cell.diverged, cell.curve, cell.test) == ("failed", True, (), None)
    assert (cell.budget_steps, cell.seen["order"]) == (8, "01")
    assert cell.budget_epochs == pytest.approx(8 / 3)


def test_a_driver_and_a_reader_need_no_torch():
    code = "import sys, provenet.study.cells, provenet.study.execute_local; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
