"""One cell in one process: made, refused, interrupted, gone on with; and a worker that is left alone."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from provenet.core.errors import Fault, StallError, StorageError
from provenet.core.files import write_json
from provenet.engine.loop import Interrupted
from provenet.engine.precision import keep_freed_memory
from provenet.run.folder import RunFolder
from provenet.study import worker
from provenet.study.cells import StudyFolder, read_cell
from provenet.study.worker import carry_out


class Watch:
    """Counts updates and wishes to stop after some of them."""

    def __init__(self, most: int = 10**9) -> None:
        self.updates, self.most = 0, most

    def step(self, info) -> None:
        self.updates += 1

    def validated(self, row) -> None:
        pass

    def event(self, row) -> None:
        pass

    def stopping(self):
        return nullcontext(lambda: self.updates >= self.most)


def interrupt(task, after: int) -> RunFolder:
    """Stop a cell after some updates and return its attempt."""
    watch = Watch(after)
    with pytest.raises(Interrupted):
        carry_out(task, (watch,), watch.stopping)
    assert watch.updates == after
    return RunFolder(StudyFolder(task.study).attempt(task))


def test_a_cell_is_made_and_then_left_as_it_is(tmp_path, make_tasks):
    [task] = make_tasks(tmp_path, 1)
    study, watch = StudyFolder(tmp_path), Watch()
    assert carry_out(task, (watch,)).state == "done"
    assert watch.updates == 40
    run = study.cell(task.key)
    assert not list(run.rglob("owner.json")) and not list(run.rglob(".*"))
    assert [path.name for path in study.attempts.iterdir()] == [".store"]
    assert carry_out(task, (watch,)).state == "done"
    assert watch.updates == 40
    cell, cost = read_cell(study, "baseline", 1, task.key)
    assert (cell.state, cell.budget_steps, cell.budget_epochs, cell.curve[-1][:2]) == ("done", 40, 5.0, (5.0, 40))
    assert 0 <= cell.test <= 1 and len(cost.seconds) == len(cell.curve)


def test_a_cell_computes_with_its_threads(tmp_path, make_tasks, monkeypatch):
    def train(request, listeners):
        raise StallError(Fault(f"{torch.get_num_threads()} threads"))

    monkeypatch.setattr(worker, "train", train)
    assert "3 threads" in carry_out(replace(make_tasks(tmp_path, 1)[0], threads=3)).reason


def resident_mib() -> float:
    words = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(words.split()[1]) / 1024


def test_a_cell_does_not_inherit_the_memory_of_the_one_before(tmp_path, make_tasks, monkeypatch):
    found = []

    def train(request, listeners):
        found.append(resident_mib())
        raise StallError(Fault("enough"))

    monkeypatch.setattr(worker, "train", train)
    [task] = make_tasks(tmp_path, 1)
    keep_freed_memory()
    carry_out(task)
    blocks = [torch.ones(250_000) for _ in range(300)]  # 286 MiB
    last = torch.ones(1000)
    del blocks
    assert resident_mib() > found[0] + 200, "freed memory was not kept, and this test tests nothing"
    carry_out(task)
    assert found[1] < found[0] + 100 and len(last)


def test_an_interrupted_cell_goes_on_where_it_was(tmp_path, make_tasks, told, unbroken):
    [task] = make_tasks(tmp_path, 1)
    attempt = interrupt(task, 13)
    assert (attempt.checkpoints / "step-0000013").is_dir()
    watch = Watch()
    assert carry_out(task, (watch,)).state == "done"
    assert watch.updates == 27
    assert told(StudyFolder(tmp_path).cell(task.key)) == unbroken(1)


def test_an_attempt_that_cannot_be_gone_on_with_begins_again(tmp_path, make_tasks, told, unbroken):
    [task] = make_tasks(tmp_path, 1)
    attempt = interrupt(task, 13)
    for manifest in attempt.checkpoints.glob("step-*/MANIFEST.json"):
        manifest.write_text("{}")
    watch = Watch()
    assert carry_out(task, (watch,)).state == "done"
    assert watch.updates == 40
    assert told(StudyFolder(tmp_path).cell(task.key)) == unbroken(1)


def test_an_attempt_at_another_recipe_is_thrown_away(tmp_path, make_tasks, told, unbroken):
    [task] = make_tasks(tmp_path, 1)
    interrupt(replace(task, recipe=task.recipe | {"batch_size": 4}), 3)
    assert carry_out(task).state == "done"
    assert told(StudyFolder(tmp_path).cell(task.key)) == unbroken(1)


def test_an_attempt_that_a_live_process_holds_is_waited_for(tmp_path, make_tasks):
    [task] = make_tasks(tmp_path, 1, steps=2)
    holder = subprocess.Popen(["sleep", "1"])
    started = Path(f"/proc/{holder.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    owner = StudyFolder(tmp_path).attempt(task) / "owner.json"
    write_json(owner, {"host": socket.gethostname(), "pid": holder.pid, "started": started})
    gone = threading.Thread(target=holder.wait)
    gone.start()
    assert carry_out(task).state == "done"
    assert holder.returncode == 0, "the cell was begun while another process held it"
    gone.join()


def test_a_wait_for_another_process_can_be_interrupted_and_has_an_end(tmp_path, make_tasks, monkeypatch):
    [task] = make_tasks(tmp_path, 1, steps=2)
    with RunFolder(StudyFolder(tmp_path).attempt(task)).owned():
        with pytest.raises(Interrupted, match="before the first update"):
            carry_out(task, (), Watch(0).stopping)
        monkeypatch.setattr(worker, "PATIENCE_S", 0.0)
        outcome = carry_out(task)
    assert (outcome.state, outcome.exit_code, outcome.final) == ("failed", 3, False)
    assert "is in use" in outcome.reason


def test_a_cell_that_diverges_is_a_final_failure(tmp_path, make_tasks):
    [task] = make_tasks(tmp_path, 1)
    optimizer = task.recipe["optimizer"] | {"lr": 1e30}
    outcome = carry_out(replace(task, recipe=task.recipe | {"optimizer": optimizer}))
    assert (outcome.state, outcome.exit_code, outcome.final, outcome.diverged) == ("failed", 4, True, True)
    assert "diverged" in outcome.reason
    study = StudyFolder(tmp_path)
    study.note_failure(task, outcome)
    cell, _ = read_cell(study, "hot", 1, task.key)
    assert (cell.state, cell.diverged, cell.curve, cell.budget_steps) == ("failed", True, (), 40)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"data": "nothing/here"}, 8),
        ({"recipe": {"task": "classification", "nothing": 1}}, 2),
        ({"fingerprint": "of other data"}, 8),
    ],
)
def test_what_is_refused_is_final_and_leaves_no_cell(tmp_path, make_tasks, change, code):
    [task] = make_tasks(tmp_path, 1, steps=2)
    outcome = carry_out(replace(task, **change))
    assert (outcome.state, outcome.exit_code, outcome.final, outcome.diverged) == ("failed", code, True, False)
    assert not StudyFolder(tmp_path).done(task.key)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageError(Fault("the disk is full")), 5),
        (OSError(28, "No space left on device"), 5),
        (StallError(Fault("a child is gone")), 6),
        (MemoryError(), 7),
        (torch.OutOfMemoryError("tried to allocate 2 GiB\nand more words"), 7),
    ],
)
def test_what_the_machine_refuses_may_be_tried_again(tmp_path, make_tasks, monkeypatch, error, code):
    def fail(*_):
        raise error

    [task] = make_tasks(tmp_path, 1)
    monkeypatch.setattr(worker, "train", fail)
    outcome = carry_out(task)
    assert (outcome.state, outcome.exit_code, outcome.final) == ("failed", code, False)
    assert outcome.reason and "and more words" not in outcome.reason


def test_what_another_attempt_has_made_is_done(tmp_path, make_tasks, monkeypatch):
    [task] = make_tasks(tmp_path, 1)

    def overtaken(*_):
        write_json(StudyFolder(tmp_path).cell(task.key) / "result.json", {})
        raise StorageError(Fault("the attempt has gone"))

    monkeypatch.setattr(worker, "train", overtaken)
    assert carry_out(task).state == "done"


def test_a_bug_is_not_an_outcome(tmp_path, make_tasks, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "train", fail)
    with pytest.raises(ZeroDivisionError):
        carry_out(make_tasks(tmp_path, 1)[0])


def test_the_line_knows_when_to_stop():
    ends = os.pipe()
    line = worker._Line(ends[0], io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"))
    line.begin("k")
    assert not line()
    line.heard(signal.SIGTERM, None)
    assert line(), "it was told to"
    line.asked = False
    os.close(ends[1])
    assert line(), "nobody is there any more"
    line.key = None
    with pytest.raises(SystemExit) as stop:
        line.heard(signal.SIGTERM, None)
    assert stop.value.code == 143
    os.close(ends[0])
    line.answers.close()


def test_nobody_need_listen():
    ends = os.pipe()
    os.close(ends[0])
    with io.FileIO(ends[1], "w") as answers:
        worker._Line(0, answers).say("progress", key="k", share=0.5)


@pytest.mark.slow
def test_a_worker_that_is_left_alone_or_told_to_saves_a_checkpoint_and_ends(tmp_path, make_tasks):
    tasks = make_tasks(tmp_path, 1, 2, steps=100_000)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pair = [subprocess.Popen([sys.executable, "-m", "provenet.study.worker"], **pipes) for _ in tasks]
    for process, task in zip(pair, tasks, strict=True):
        process.stdin.write(task.to_line().encode())
        process.stdin.flush()
    for process, task in zip(pair, tasks, strict=True):
        said = json.loads(process.stdout.readline())
        assert (said["kind"], said["key"]) == ("progress", task.key)
        assert 0 < said["share"] < 1
    alone, told = pair
    alone.stdin.close()
    told.send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=60) for process in pair]
    assert codes == [0, 128 + signal.SIGTERM]
    for process, task in zip(pair, tasks, strict=True):
        rest = [json.loads(line) for line in process.stdout.read().splitlines()]
        assert all(line["kind"] == "progress" for line in rest)
        assert process.stderr.read() == b""
        attempt = RunFolder(StudyFolder(tmp_path).attempt(task))
        assert max(attempt.checkpoints.glob("step-*")).name > "step-0000000"
        assert not attempt.owner.exists()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
