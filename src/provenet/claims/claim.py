"""What a claim is, and how its figures become answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from provenet.records.claim import Check, Effect, Finding
from provenet.stats.intervals import Figure

if TYPE_CHECKING:
    from provenet.claims.lab import Lab

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True)
class Claim:
    """A claim of the lecture and how it is measured.

    Args:
        statement: what is claimed, in our words.
        experiment: what is done to measure it, with what is held equal.
        task: the data that it is measured on; None for one that needs no data, or says itself which.
        measure: does it.
        reads_others: whether it is made of what other claims found.
    """

    statement: str
    experiment: str
    task: Task | None
    measure: Callable[[Lab], Finding]
    reads_others: bool = False


def above(says: str, figure: Figure, bound: float, n: int) -> Check:
    """Return the check that a figure lies above a bound; open while its interval holds the bound.

    Example:
        >>> above("grows", Figure(2.0, 1.0, 3.0), 0, 3).outcome, above("grows", Figure(2.0, -1.0, 5.0), 0, 3).outcome
        (True, None)
    """
    return _check(says, figure, f"> {bound:g}", n, lambda value: value > bound)


def below(says: str, figure: Figure, bound: float, n: int) -> Check:
    """Return the check that a figure lies below a bound; open while its interval holds the bound."""
    return _check(says, figure, f"< {bound:g}", n, lambda value: value < bound)


def within(says: str, figure: Figure, low: float, high: float, n: int) -> Check:
    """Return the check that a figure lies between two bounds, the bounds themselves allowed.

    An interval must lie there as a whole; one that has no part there fails.
    """
    check = _check(says, figure, f"in [{low:g}, {high:g}]", n, lambda value: low <= value <= high)
    if check.low is not None and check.high is not None and check.low < low and check.high > high:
        return check.model_copy(update={"outcome": None})
    return check


def _check(says: str, figure: Figure, wanted: str, n: int, passes: Callable[[float], bool]) -> Check:
    """Return a check; where the ends of an interval answer differently it is open.

    A figure without an interval decides by its value: it is exact, or its checker says that it is.
    """
    value, low, high = (finite(part) for part in (figure.value, figure.low, figure.high))
    ends = (value, value) if low is None or high is None else (low, high)
    answers = {passes(end) for end in ends if end is not None}
    outcome = answers.pop() if len(answers) == 1 else None
    return Check(says=says, value=value, low=low, high=high, wanted=wanted, n=n, outcome=outcome)


def effect(
    technique: str, goal: Literal["convergence", "generalisation"], measure: str, figure: Figure, n: int
) -> Effect:
    """Return what a technique bought for one of the two goals."""
    value, low, high = (finite(part) for part in (figure.value, figure.low, figure.high))
    return Effect(technique=technique, goal=goal, measure=measure, value=value, low=low, high=high, n=n)


def finite(value: float | None) -> float | None:
    """Return the value, None where it is not finite: records hold finite numbers only."""
    return value if value is not None and math.isfinite(value) else None
