"""A run that was stopped anywhere ends as the one that was not; numbers that go wrong stay out of the weights."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from provenet.core.errors import DivergedError, StorageError
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.job import Job, Validation
from provenet.engine.loop import Interrupted
from provenet.engine.observe import StepInfo
from provenet.engine.state import TrainState
from provenet.techniques.loss import CrossEntropy
from provenet.techniques.schedule import Constant, Cosine, Linear, Polynomial

LAST = 12  # patience ends the run of 15 updates here: the best validation is the one after update 3


class Killed(BaseException):
    """The process is gone."""


@dataclass
class FaultyLoss:
    """Cross-entropy that is not finite at some calls; `bad` gets the number of the call, from 1."""

    bad: Callable[[int], bool]
    value: float = math.nan
    calls: int = 0

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        self.calls += 1
        loss = CrossEntropy().compute(logits, targets, class_weights)
        return loss * self.value if self.bad(self.calls) else loss


@dataclass
class Watching:
    """An observer that keeps what it sees, and draws random numbers of its own."""

    steps: list[StepInfo] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def step(self, info: StepInfo) -> None:
        torch.rand(3)
        np.random.rand()
        self.steps.append(info)

    def validated(self, row: dict[str, Any]) -> None:
        torch.rand(1)
        self.validations.append(row)

    def event(self, row: dict[str, Any]) -> None:
        self.events.append(row)


@pytest.fixture
def unbroken(tmp_path: Path, sitting: Any, make_job: Any) -> Any:
    return sitting(tmp_path / "unbroken", make_job()).run()


def test_patience_ends_the_run(unbroken: Any, rows: Any) -> None:
    assert unbroken.outcome.stopped == "patience" and unbroken.outcome.steps == LAST
    found = rows(unbroken.folder, "epochs")
    assert [(row["step"], row["best"]) for row in found] == [(3, True), (6, False), (9, False), (12, False)]
    assert [row["step"] for row in rows(unbroken.folder, "steps")] == list(range(1, LAST + 1))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_resume_at_every_step_is_exact(optimizer: str, tmp_path: Path, sitting: Any, make_job: Any) -> None:
    whole = sitting(tmp_path / "whole", make_job(), optimizer).run().traces()
    for k in range(1, LAST) if optimizer == "sgd" else (1, 7):
        folder = tmp_path / f"{optimizer}-{k}"
        first = sitting(folder, make_job(), optimizer, lambda state, k=k: state.counters.step == k).run()
        assert isinstance(first.error, Interrupted) and first.error.exit_code == 130
        assert first.checkpoints.steps()[-1] == k
        assert sitting(folder, make_job(), optimizer).run().traces() == whole, k


def test_kill_at_every_step_is_exact(tmp_path: Path, sitting: Any, make_job: Any, unbroken: Any) -> None:
    def kill_at(k: int) -> Callable[[TrainState], bool]:
        def ask(state: TrainState) -> bool:
            if state.counters.step == k:
                raise Killed
            return False

        return ask

    for k in range(1, LAST + 1):
        job = make_job(save_every_s=0.0 if k % 2 else 1e9)  # a checkpoint after every update, or the first only
        with pytest.raises(Killed):
            sitting(tmp_path / str(k), job, interrupted=kill_at(k)).run()
        later = sitting(tmp_path / str(k), job)
        assert later.checkpoints.steps()[-1] == (k - 1 if k % 2 else 0)
        assert later.run().traces() == unbroken.traces(), k


FORGOTTEN: dict[str, Callable[[TrainState], object]] = {
    "optimizer": lambda state: state.optimizer.state.clear(),
    "averaged": lambda state: state.averaged.load_state_dict(state.net.state_dict()),
    "buffers": lambda state: state.net.get_submodule("norm1").reset_running_stats(),
    "schedule": lambda state: state.counters.__dict__.update(schedule=None),
    "loss_sum": lambda state: state.counters.__dict__.update(loss_sum=0.0, loss_count=0),
    "best": lambda state: state.counters.__dict__.update(best=None),
    "waited": lambda state: state.counters.__dict__.update(waited=0),
    "images": lambda state: state.counters.__dict__.update(images=0),
    "position": lambda state: state.counters.__dict__.update(step=state.counters.step - 3),
    "logs": lambda state: state.counters.__dict__.update(log_bytes={}),
}


@pytest.mark.parametrize("item", FORGOTTEN)
def test_forgetting_anything_would_be_noticed(
    item: str, tmp_path: Path, sitting: Any, make_job: Any, unbroken: Any
) -> None:
    sitting(tmp_path / "run", make_job(), interrupted=lambda state: state.counters.step == 7).run()
    resumed = sitting(tmp_path / "run", make_job(), after_load=FORGOTTEN[item]).run()
    assert resumed.traces() != unbroken.traces()


def test_a_finished_run_stays_as_it_is(unbroken: Any, sitting: Any, make_job: Any) -> None:
    before = unbroken.traces()
    again = sitting(unbroken.folder, make_job()).run()
    assert again.outcome == unbroken.outcome and again.traces() == before


def test_watching_and_cadence_leave_the_weights_alone(tmp_path: Path, sitting: Any, make_job: Any) -> None:
    job = make_job(schedule=Constant(), patience=None, total_steps=10)
    others = [
        ("often", replace(job, steps_per_validation=1), ()),
        ("seldom", replace(job, steps_per_validation=7, save_every_s=0.0), (Watching(),)),
    ]
    plain = sitting(tmp_path / "plain", job).run().state.tensors()
    for name, other, observers in others:
        found = sitting(tmp_path / name, other, observers=observers).run().state.tensors()
        for ours, theirs in zip(found, plain, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.mark.parametrize("schedule", [Cosine(floor=0.1), Linear(floor=0.1), Polynomial(floor=0.1, warmup_frac=0.3)])
def test_the_last_rate_is_the_floor(schedule: Any, tmp_path: Path, sitting: Any, make_job: Any, rows: Any) -> None:
    run = sitting(tmp_path, make_job(schedule=schedule, patience=None, total_steps=9)).run()
    rates = [row["lr"] for row in rows(run.folder, "steps")]
    assert len(rates) == 9 and rates[-1] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_skipped(
    value: float, tmp_path: Path, sitting: Any, make_job: Any, rows: Any
) -> None:
    job = make_job(loss=FaultyLoss(lambda call: call in (4, 5), value))
    run = sitting(tmp_path, job).run()
    counters = run.state.counters
    assert run.error is None and counters.skipped == 2 and counters.bad_steps == 0 and run.state.rollbacks == 0
    assert run.state.is_finite()
    assert [row["loss"] is None for row in rows(tmp_path, "steps")] == [step in (4, 5) for step in range(1, LAST + 1)]
    assert [row["kind"] for row in rows(tmp_path, "events")] == ["skipped", "skipped"]
    assert [row["train_loss"] is None for row in rows(tmp_path, "epochs")] == [False] * 4  # one good update in 4..6


def test_three_in_a_row_go_back_with_half_the_rate(tmp_path: Path, sitting: Any, make_job: Any, rows: Any) -> None:
    sitting(tmp_path, make_job(schedule=Constant()), interrupted=lambda state: state.counters.step == 4).run()
    job = make_job(schedule=Constant(), loss=FaultyLoss(lambda call: call in (3, 4, 5)))  # updates 7, 8, 9
    run = sitting(tmp_path, job).run()
    assert run.error is None and run.state.rollbacks == 1 and run.state.lr_scale == 0.5
    found = rows(tmp_path, "steps")
    assert [row["step"] for row in found] == list(range(1, LAST + 1)), "each update stands in the log once"
    assert [row["lr"] for row in found] == [0.1] * 4 + [0.05] * 8
    assert [row["kind"] for row in rows(tmp_path, "events")] == ["skipped"] * 3 + ["rollback"]
    again = sitting(tmp_path, job)
    again.checkpoints.load(again.state)
    assert again.state.lr_scale == 0.5, "the lower rate outlives the process"


def test_three_roll_backs_are_the_end(tmp_path: Path, sitting: Any, make_job: Any, digest: Any) -> None:
    first = sitting(tmp_path, make_job(), interrupted=lambda state: state.counters.step == 5).run()
    run = sitting(tmp_path, make_job(loss=FaultyLoss(lambda call: True)), observers=(seen := Watching(),)).run()
    assert isinstance(run.error, DivergedError) and run.error.exit_code == 4
    assert "optimizer.lr" in str(run.error) and "3 roll-backs" in str(run.error)
    assert [row["kind"] for row in seen.events].count("rollback") == 3
    loaded = sitting(tmp_path, make_job())
    loaded.checkpoints.load(loaded.state)
    assert loaded.state.lr_scale == 0.125 and loaded.checkpoints.steps()[-1] == 5
    loaded.state.lr_scale, loaded.state.rollbacks = 1.0, 0
    assert digest(loaded.state) == digest(first.state), "what was good is still there"


def test_weights_that_overflow_are_never_saved(tmp_path: Path, sitting: Any, make_job: Any, rows: Any) -> None:
    """A finite gradient at an absurd rate: the loss was fine, the weights after it are not."""
    job = make_job(lr=3e38, clip=None, save_every_s=0.0, loss=FaultyLoss(lambda call: True, 1e6))
    run = sitting(tmp_path, job).run()
    assert isinstance(run.error, DivergedError)
    assert "overflow" in [row["kind"] for row in rows(tmp_path, "events")]
    loaded = sitting(tmp_path, job)
    loaded.checkpoints.load(loaded.state)
    assert loaded.state.is_finite()


def test_between_skipped_updates_nothing_is_saved(tmp_path: Path, sitting: Any, make_job: Any) -> None:
    job = make_job(loss=FaultyLoss(lambda call: call >= 4), save_every_s=0.0)
    run = sitting(tmp_path, job, interrupted=lambda state: state.counters.bad_steps == 2).run()
    assert isinstance(run.error, Interrupted) and run.checkpoints.steps()[-1] == 3


class FullDisk:
    """Refuses to write once `full` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        real = os.fsync

        def fsync(handle: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_does_not_stop_the_training(
    tmp_path: Path, sitting: Any, make_job: Any, unbroken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)

    def fill(state: TrainState) -> bool:
        disk.full = 2 <= state.counters.step < 8
        return False

    run = sitting(tmp_path / "run", make_job(save_every_s=0.0), interrupted=fill, observers=(seen := Watching(),)).run()
    told = [row for row in seen.events if row["kind"] == "storage"]
    assert run.error is None and told and "errno 28" in told[0]["text"] and str(tmp_path) in told[0]["text"]
    assert run.traces() == unbroken.traces(), "no row and no best weights are lost"


def test_a_disk_that_stays_full_is_told_at_the_end(
    tmp_path: Path, sitting: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)

    def fill(state: TrainState) -> bool:
        disk.full = state.counters.step >= 7
        return False

    run = sitting(tmp_path, make_job(save_every_s=0.0), interrupted=fill).run()
    assert isinstance(run.error, StorageError) and run.error.exit_code == 5
    disk.full = False
    left = sitting(tmp_path, make_job())
    left.checkpoints.clean()
    assert left.checkpoints.load(left.state) == [] and left.state.counters.step == 6
    assert {path.name for path in left.checkpoints.folder.iterdir()} == {"step-0000005", "step-0000006", "best"}


def test_stopping_on_a_full_disk_does_not_claim_a_checkpoint(
    tmp_path: Path, sitting: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Checkpoints, state: TrainState) -> None:
        if state.counters.step:
            raise StorageError([])

    monkeypatch.setattr(Checkpoints, "save", refuse)
    run = sitting(tmp_path, make_job(), interrupted=lambda state: state.counters.step == 2).run()
    assert isinstance(run.error, StorageError)


@pytest.mark.parametrize("total, every", [(12, 5), (10, 5), (3, 7), (1, 1)])
def test_validations_after_counts_what_is_validation_says(total: int, every: int) -> None:
    job: Any = SimpleNamespace(total_steps=total, steps_per_validation=every)
    for step in range(total + 1):
        expected = sum(Job.is_validation(job, later) for later in range(step + 1, total + 1))
        assert Job.validations_after(job, step) == expected


def test_without_a_score_the_newest_weights_are_the_best(tmp_path: Path, sitting: Any, make_job: Any) -> None:
    job = make_job(validate=lambda net: Validation(None, {}, {}), patience=None, total_steps=7)
    run = sitting(tmp_path, job).run()
    assert run.state.counters.best_step == 7 and run.state.counters.waited == 0
