"""A plan fits into its minutes, uses them, and a budget that is too short says what would do."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from provenet.core.errors import RecipeError
from provenet.run import budget
from provenet.run.budget import Pace, Plan, measure, plan

paces = st.builds(
    Pace,
    step_s=st.floats(1e-3, 5),
    sample_s=st.just(0.001),
    validation_s=st.floats(1e-3, 120),
    final_s=st.floats(1, 120),
)
per_epochs = st.integers(1, 2000)


def seconds(pace: Pace, found: Plan, steps_per_epoch: int) -> float:
    """Return what a plan takes: updates, a validation every so many of them and one after the last, the end."""
    between = max(1, round(found.val_every * steps_per_epoch))
    validations = found.steps // between + (found.steps % between > 0)
    return found.steps * pace.step_s + validations * pace.validation_s + pace.final_s


@given(paces, per_epochs, st.floats(20, 7200))
def test_a_plan_fits_and_uses_its_time(pace: Pace, steps_per_epoch: int, left_s: float) -> None:
    try:
        found = plan(pace, left_s, steps_per_epoch, left_s / 60)
    except RecipeError:
        assume(False)
    taken = seconds(pace, found, steps_per_epoch)
    assert taken <= left_s
    more = Plan(found.steps * 2 + 2, found.val_every, "")
    assert seconds(pace, more, steps_per_epoch) > 0.9 * left_s - 2 * pace.validation_s, "it could be twice as long"


@given(paces, per_epochs, st.floats(20, 7200), st.floats(0, 3600))
def test_more_time_never_gives_fewer_updates(pace: Pace, steps_per_epoch: int, left_s: float, more_s: float) -> None:
    try:
        short = plan(pace, left_s, steps_per_epoch, 1)
    except RecipeError:
        assume(False)
    long = plan(pace, left_s + more_s, steps_per_epoch, 1)
    assert long.steps >= short.steps and long.val_every == short.val_every


@given(paces, per_epochs)
def test_validations_take_their_share(pace: Pace, steps_per_epoch: int) -> None:
    found = plan(pace, 1e6, steps_per_epoch, 1e6 / 60)
    epoch_s = pace.step_s * steps_per_epoch
    assert found.val_every == 1 or pace.validation_s / (found.val_every * epoch_s) <= 0.12
    assert found.val_every == 1 or pace.validation_s / ((found.val_every - 1) * epoch_s) > 0.08, "no fewer than that"


@given(paces, per_epochs, st.floats(0.05, 20), st.floats(0, 600))
def test_what_is_too_short_says_what_is_enough(pace: Pace, per_epoch: int, minutes: float, spent_s: float) -> None:
    try:
        plan(pace, minutes * 60 - spent_s, per_epoch, minutes)
    except RecipeError as error:
        assert error.exit_code == 2 and f"minutes={minutes:g} is too short" in str(error)
        found = re.search(r"say minutes=(\d+)", str(error))
        assert found and int(found[1]) > minutes
        assert plan(pace, int(found[1]) * 60 - spent_s, per_epoch, int(found[1])).steps >= 20
    else:
        assume(False)


def test_measure_counts_all_that_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a second for each sample: validation, and the end with 1.2 times all its samples."""
    now = [0.0]
    sizes = {"train": 6000, "val": 700, "test": 300}
    splits = {name: np.arange(size) for name, size in sizes.items()}

    def score(net: nn.Module, ids: np.ndarray) -> None:
        now[0] += len(ids)

    session = SimpleNamespace(
        job=None,
        optimizer_for=None,
        dataset=SimpleNamespace(splits=splits, task="classification"),
        scorer=SimpleNamespace(score=score),
    )
    monkeypatch.setattr(budget, "step_seconds", lambda job, net, build: 0.25)
    monkeypatch.setattr("provenet.run.budget.time.perf_counter", lambda: now[0])
    pace = measure(session, torch.nn.Identity())  # type: ignore[arg-type]
    assert pace.step_s == 0.25 and pace.sample_s == 1
    assert pace.validation_s == 700 + 1000, "1000 training images are scored clean beside it"
    assert pace.final_s == pytest.approx(1.2 * (700 + 300 + 5000) + 12)


def test_validations_come_as_often_as_was_said() -> None:
    pace = Pace(1.0, 0.0, 10.0, 20.0)
    said = plan(pace, 620.0, 100, 11, val_every=0.1)
    assert said.val_every == 0.1 and said.steps < plan(pace, 620.0, 100, 11).steps
    assert said.steps * pace.step_s + said.steps / 10 * pace.validation_s <= 600
