"""Schedules against closed forms and PyTorch's own schedulers."""

from __future__ import annotations

import json
import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim import lr_scheduler

from provenet.core.spec import members
from provenet.techniques.schedule import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Scheduled,
    Step,
)

TOTAL = 41
FLOORED = [
    Cosine(floor=0.03),
    Polynomial(floor=0.03),
    OneCycle(floor=0.03),
    Linear(floor=0.03),
    Exponential(final=0.03),
]


def rates(schedule: Scheduled, total: int = TOTAL) -> list[float]:
    return [schedule.factor(step, total) for step in range(total)]


def torch_rates(make, total: int = TOTAL) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for step in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        # a drop at progress f comes at step f * (total - 1): 20 and 30 of 0..40
        (Step(drops=(0.5, 0.75), gamma=0.3), lambda o: lr_scheduler.MultiStepLR(o, [20, 30], gamma=0.3)),
        (Exponential(final=0.01), lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / (TOTAL - 1)))),
        (Cosine(floor=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL - 1, eta_min=0.1)),
        (Polynomial(power=0.9), lambda o: lr_scheduler.PolynomialLR(o, TOTAL - 1, power=0.9)),
        (Linear(floor=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, TOTAL - 1)),
        (
            # PyTorch's peak is at step pct_start * total - 1, ours at peak_frac * (total - 1): both 10
            OneCycle(peak_frac=0.25, start=0.04, floor=4e-6),
            lambda o: lr_scheduler.OneCycleLR(
                o, 1.0, TOTAL, pct_start=11 / TOTAL, div_factor=25, final_div_factor=1e4, cycle_momentum=False
            ),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_step_equals_pytorch(schedule, make):
    assert rates(schedule) == pytest.approx(torch_rates(make), abs=1e-12)


def test_warmup_then_cosine_equals_pytorch_in_sequence():
    def make(optimizer):
        warm = lr_scheduler.LinearLR(optimizer, 0.2, 1.0, 8)
        rest = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - 1 - 8)
        return lr_scheduler.SequentialLR(optimizer, [warm, rest], [8])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that PyTorch itself warns about
        expected = torch_rates(make)
    found = rates(Cosine(warmup_frac=8 / TOTAL, warmup_start=0.2))
    assert found[:8] == pytest.approx(expected[:8]) and found[8] == 1.0
    closed = [(1 + math.cos(math.pi * (step - 8) / (TOTAL - 1 - 8))) / 2 for step in range(8, TOTAL)]
    assert found[8:] == pytest.approx(closed, abs=1e-12) and found[8:] == pytest.approx(expected[8:], abs=1e-9)


@pytest.mark.parametrize("schedule", FLOORED, ids=lambda schedule: schedule.name)
@given(total=st.integers(2, 5000), warmup=st.floats(0, 1))
def test_last_step_has_exactly_the_floor(schedule, total, warmup):
    schedule = schedule.model_copy(update={"warmup_frac": warmup})
    assert schedule.factor(total - 1, total) == 0.03


@pytest.mark.parametrize("member", members(Schedule))
@given(total=st.integers(1, 300), warmup=st.floats(0, 1), start=st.floats(0, 1))
def test_factors_stay_between_0_and_1_and_do_not_rise_after_the_peak(member, total, warmup, start):
    schedule = member(warmup_frac=warmup, warmup_start=start)
    found = rates(schedule, total)
    assert all(0 <= factor <= 1 for factor in found)
    peak = found.index(max(found))
    assert all(a >= b - 1e-12 for a, b in zip(found[peak:], found[peak + 1 :], strict=False))


def test_a_run_of_one_step_uses_the_full_rate():
    assert Cosine(warmup_frac=0.5).factor(0, 1) == 1.0


def test_warmup_rises_linearly_to_the_first_factor_of_any_member():
    found = rates(Exponential(final=0.5, warmup_frac=0.25, warmup_start=0.0), 21)
    assert found[:6] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


@given(
    metrics=st.lists(st.integers(0, 6).map(float) | st.just(math.nan), max_size=60),
    patience=st.integers(0, 4),
    least=st.sampled_from([0.0, 0.02]),
)
def test_plateau_equals_pytorch(metrics, patience, least):
    schedule = Plateau(patience=patience, gamma=0.5, min_factor=least)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0.0, threshold_mode="abs", min_lr=least, eps=0.0
    )
    state = schedule.initial_state()
    for metric in metrics:
        reference.step(metric)
        # what a checkpoint does to it
        state = json.loads(json.dumps(schedule.observe(state, metric), allow_nan=False))
        assert schedule.factor(3, 10, state) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_plateau_warms_up_from_its_own_factor():
    state = {"best": 0.5, "num_bad": 0, "factor": 0.1}
    assert Plateau(warmup_frac=0.5, warmup_start=0.0).factor(1, 4, state) == pytest.approx(0.05)


def test_stateless_members_remember_nothing():
    cosine = Cosine()
    assert cosine.initial_state() is None and cosine.observe(None, 1.0) is None


def test_bounds_are_kept():
    adapter = TypeAdapter(Schedule)
    for wrong in (
        {"name": "cosine", "floor": 1.5},
        {"name": "step", "drops": [0.0]},
        {"name": "one_cycle", "peak_frac": 1},
    ):
        with pytest.raises(ValueError):
            adapter.validate_python(wrong)
