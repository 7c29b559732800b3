"""Schedules, played ahead without being touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim import lr_scheduler

from provenet.doctor.case import read_case
from provenet.doctor.checks.loop import CHECKS
from provenet.doctor.consult import examine
from provenet.doctor.course import course, highest_rate


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=lr, momentum=0.9)


DECAYS = {
    "cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=50),
    "steps": lambda opt: lr_scheduler.StepLR(opt, step_size=30, gamma=0.1),
    "milestones": lambda opt: lr_scheduler.MultiStepLR(opt, [10, 1500], gamma=0.1),
    "one cycle": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=2500),
    "warm-up, then cosine": lambda opt: lr_scheduler.SequentialLR(
        opt, [lr_scheduler.LinearLR(opt, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(opt, 40)], [5]
    ),
    "chain": lambda opt: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(opt, 0.1, total_iters=5), lr_scheduler.ExponentialLR(opt, 0.99)]
    ),
    "function": lambda opt: lambda step: 1 / (1 + step),
}
STAYS = {
    "lambda": lambda opt: lr_scheduler.LambdaLR(opt, lambda step: 1.0),
    "gamma of one": lambda opt: lr_scheduler.StepLR(opt, step_size=10, gamma=1.0),
    "milestones none": lambda opt: lr_scheduler.MultiStepLR(opt, []),
    "function": lambda opt: lambda step: 0.5,
}


@pytest.mark.parametrize("name", DECAYS)
def test_a_schedule_that_decays_is_seen_to(name: str) -> None:
    opt = optimizer()
    found = course(DECAYS[name](opt), opt)
    assert found is not None
    assert found.bound
    assert found.decays


@pytest.mark.parametrize("name", STAYS)
def test_one_that_stays_is_seen_to(name: str) -> None:
    opt = optimizer()
    found = course(STAYS[name](opt), opt)
    assert found is not None
    assert found.constant
    assert found.complete


def test_rates_are_those_that_the_schedule_gives() -> None:
    opt, same = optimizer(), optimizer()
    found = course(lr_scheduler.CosineAnnealingLR(opt, T_max=100), opt)
    real = lr_scheduler.CosineAnnealingLR(same, T_max=100)
    assert found is not None
    for factor in found.factors[:150]:
        assert factor == pytest.approx(same.param_groups[0]["lr"] / 0.1, abs=1e-9)
        same.step()
        real.step()


def test_neither_schedule_nor_optimizer_is_touched() -> None:
    opt = optimizer()
    schedule = DECAYS["warm-up, then cosine"](opt)
    before = copy.deepcopy((opt.state_dict(), schedule.last_epoch, schedule.get_last_lr()))
    course(schedule, opt)
    assert (opt.state_dict(), schedule.last_epoch, schedule.get_last_lr()) == before


def test_late_milestones_and_plateaus_are_left_open() -> None:
    opt = optimizer()
    late = course(lr_scheduler.StepLR(opt, step_size=10_000), opt)
    assert late is not None
    assert late.constant
    assert not late.complete
    plateau = course(lr_scheduler.ReduceLROnPlateau(opt), opt)
    assert plateau is not None
    assert not plateau.factors
    assert course("cosine", opt) is None


def test_the_highest_rate_is_what_schedulers_wrote_down() -> None:
    opt = optimizer(0.2)
    lr_scheduler.OneCycleLR(opt, max_lr=1.5, total_steps=10)
    assert highest_rate(opt.param_groups[0]) == 1.5


def found_with(schedule, opt: torch.optim.Optimizer) -> list[tuple[str, str]]:
    batch = torch.randn(8, 4), torch.arange(8) % 3
    case = read_case(torch.nn.Linear(4, 3), [batch], torch.nn.CrossEntropyLoss(), opt, schedule=schedule)
    return [(one.id, one.severity) for one in examine(case, 10.0, CHECKS, ("static",)).findings]


def test_a_rate_that_never_falls_is_found() -> None:
    for make in STAYS.values():
        opt = optimizer()
        assert found_with(make(opt), opt) == [("lr-never-decayed", "warning")]


def test_a_schedule_of_another_optimizer_is_found() -> None:
    old = optimizer()
    schedule = DECAYS["cosine"](old)
    assert found_with(schedule, optimizer()) == [("lr-never-decayed", "warning")]
    assert found_with(lr_scheduler.ReduceLROnPlateau(old), optimizer()) == [("lr-never-decayed", "warning")]


def test_warm_up_alone_is_an_info_and_sound_schedules_are_none() -> None:
    opt = optimizer()
    warm = lr_scheduler.LinearLR(opt, 0.1, total_iters=5)
    assert found_with(warm, opt) == [("lr-never-decayed", "info")]
    for make in (*DECAYS.values(), lr_scheduler.ReduceLROnPlateau, lambda opt: None):
        opt = optimizer()
        assert found_with(make(opt), opt) == []
