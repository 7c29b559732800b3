"""Where a learning rate goes: the factors of a schedule over the steps to come, without touching it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from provenet.doctor.attempt import Attempt

HORIZON = 2000
"""Steps of a schedule that are played: epochs of most trainings, and updates of short ones."""
LOW = 0.5
"""Share of its peak below which a rate counts as decayed."""

FADED = 1e-3
"""Share of its peak below which a rate has come to nothing."""


@dataclass(frozen=True, eq=False)
class Course:
    """What a schedule does to the rate.

    Args:
        kind: class of the schedule, or name of the function.
        factors: rate of every step over the highest of all, (steps,); empty where it cannot be played.
        bound: whether it changes the rates of the optimizer that was given; a function of the step always does.
        complete: whether nothing later than the steps that were played can change the rate.
    """

    kind: str
    factors: tuple[float, ...]
    bound: bool
    complete: bool

    @property
    def constant(self) -> bool:
        """Whether the rate never changes."""
        return bool(self.factors) and min(self.factors) > 1 - 1e-6

    @property
    def decays(self) -> bool:
        """Whether the rate falls clearly after its peak."""
        peak = self.factors.index(max(self.factors)) if self.factors else 0
        return min(self.factors[peak:], default=1.0) < LOW

    @property
    def fades(self) -> tuple[int, float] | None:
        """The step at which the rate is below `FADED` of its peak, and how many steps at the peak all before are worth.

        None where it never is, or goes to 0 itself: that is an end which somebody planned.
        """
        peak = self.factors.index(max(self.factors)) if self.factors else 0
        step = next((step for step in range(peak, len(self.factors)) if self.factors[step] < FADED), None)
        return None if step is None or self.factors[step] == 0 else (step, sum(self.factors[:step]))

    @property
    def first(self) -> float:
        """Rate of the first step over the highest; 1 where unknown."""
        return self.factors[0] if self.factors else 1.0


def course(schedule: Any, optimizer: torch.optim.Optimizer | None) -> Course | None:
    """Return where a schedule goes.

    Args:
        schedule: a scheduler of torch, or step -> factor.
        optimizer: that the caller trains with.

    Returns:
        None where the schedule is no such thing, or follows the loss and so cannot be played.
    """
    if isinstance(schedule, LRScheduler) and not isinstance(schedule, ReduceLROnPlateau):
        bound = optimizer is None or _optimizer_of(schedule) is optimizer
        return _made(type(schedule).__name__, lambda: _of_scheduler(schedule), bound, _last_change(schedule) < HORIZON)
    if isinstance(schedule, ReduceLROnPlateau):
        bound = optimizer is None or schedule.optimizer is optimizer
        return Course(type(schedule).__name__, (), bound, False)
    if callable(schedule):
        return _made(getattr(schedule, "__name__", type(schedule).__name__), lambda: _of_function(schedule), True, True)
    return None


def highest_rate(group: dict[str, Any]) -> float:
    """Return the highest rate that a parameter group is known to get: schedulers write it into the group."""
    return max(float(group.get(name) or 0.0) for name in ("lr", "initial_lr", "max_lr"))


def _made(kind: str, play: Callable[[], list[float]], bound: bool, complete: bool) -> Course:
    rates: list[float] = []
    with Attempt("schedule"):
        rates = play()
    peak = max(rates, default=0.0)
    return Course(kind, tuple(rate / peak for rate in rates) if peak > 0 else (), bound, complete)


def _of_scheduler(schedule: LRScheduler) -> list[float]:
    """Return the rates of a copy that is bound to an optimizer of its own."""
    real = _optimizer_of(schedule)
    dummy = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    dummy.param_groups = [{"params": [torch.zeros(1)]} | _settings(group) for group in real.param_groups]
    # The memo puts the dummy in place of the caller's optimizer wherever the schedule holds it, inner ones too.
    played = copy.deepcopy(schedule, {id(real): dummy})
    rates = []
    for _ in range(HORIZON):
        rates.append(max(float(group["lr"]) for group in dummy.param_groups))
        played.step()
    return rates


def _of_function(schedule: Callable[[int], Any]) -> list[float]:
    return [float(schedule(step)) for step in range(HORIZON)]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}


def _optimizer_of(schedule: Any) -> torch.optim.Optimizer:
    """Return the optimizer whose rates a scheduler changes; chains and sequences of them hold several schedulers."""
    found = getattr(schedule, "optimizer", None)
    return found if isinstance(found, torch.optim.Optimizer) else _optimizer_of(next(iter(_parts(schedule))))


def _parts(schedule: Any) -> list[Any]:
    return list(getattr(schedule, "_schedulers", ()))


def _last_change(schedule: Any) -> int:
    """Return the largest step that a scheduler's settings speak of."""
    return max(chain(_whole_numbers(schedule), *map(_whole_numbers, _parts(schedule))), default=0)


def _whole_numbers(schedule: Any) -> Iterator[int]:
    for value in vars(schedule).values():
        yield from (one for one in _flat(value) if type(one) is int)


def _flat(value: Any) -> Iterator[Any]:
    """Yield a number, or the numbers of a plain container: milestones are kept in lists and counters."""
    if isinstance(value, list | tuple | set | dict):
        yield from value
    else:
        yield value
