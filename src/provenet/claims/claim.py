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
    """Return the check that a figure lies above a bound; open while its interval holds the bound."""
    return _check(says, figure, f"> {bound:g}", n, (bound, math.inf))


def below(says: str, figure: Figure, bound: float, n: int) -> Check:
    """Return the check that a figure lies below a bound."""
    return _check(says, figure, f"< {bound:g}", n, (-math.inf, bound))


def within(says: str, figure: Figure, low: float, high: float, n: int) -> Check:
    """Return the check that a figure lies between two bounds; an interval must lie there as a whole."""
    return _check(says, figure, f"in [{low:g}, {high:g}]", n, (low, high))


def _check(says: str, figure: Figure, wanted: str, n: int, room: tuple[float, float]) -> Check:
    value, low, high = (finite(part) for part in (figure.value, figure.low, figure.high))
    return Check(says=says, value=value, low=low, high=high, wanted=wanted, n=n, outcome=_outcome(figure, room))


def _outcome(figure: Figure, room: tuple[float, float]) -> bool | None:
    """Return whether a figure lies in an open interval, None when its own interval reaches over an end of it.

    A figure without an interval is exact, and decides by its value; at a closed form's bound it holds.
    """
    if figure.value is None or math.isnan(figure.value):
        return None
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    if low >= room[0] and high <= room[1]:
        return True
    return False if high < room[0] or low > room[1] else None


def effect(
    technique: str, goal: Literal["convergence", "generalisation"], measure: str, figure: Figure, n: int
) -> Effect:
    """Return what a technique bought for one of the two goals."""
    value, low, high = (finite(part) for part in (figure.value, figure.low, figure.high))
    return Effect(technique=technique, goal=goal, measure=measure, value=value, low=low, high=high, n=n)


def finite(value: float | None) -> float | None:
    """Return the value, None where it is not finite: records hold finite numbers only."""
    return value if value is not None and math.isfinite(value) else None
