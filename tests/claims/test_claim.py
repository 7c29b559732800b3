"""From figures to answers, from answers to verdicts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.claims.claim import above, below, effect, within
from provenet.records.claim import Check, Finding
from provenet.stats.intervals import Figure

ends = st.integers(-40, 40).map(lambda quarters: quarters / 4)


@given(ends, ends, ends)
def test_an_interval_answers_only_when_all_of_it_does(a: float, b: float, bound: float) -> None:
    low, high = sorted((a, b))
    figure = Figure((low + high) / 2, low, high)
    points = [low + (high - low) * share / 20 for share in range(21)] + [high]
    expected = {point > bound for point in points}
    assert above("", figure, bound, 3).outcome is (expected.pop() if len(expected) == 1 else None)
    expected = {point < bound for point in points}
    assert below("", figure, bound, 3).outcome is (expected.pop() if len(expected) == 1 else None)


@given(ends, ends)
def test_an_equivalence_needs_the_whole_interval(a: float, b: float) -> None:
    low, high = sorted((a, b))
    outcome = within("", Figure((low + high) / 2, low, high), -1, 1, 3).outcome
    if low >= -1 and high <= 1:
        assert outcome is True
    elif high < -1 or low > 1:
        assert outcome is False
    else:
        assert outcome is None


def test_exact_figures_decide_by_their_value() -> None:
    assert above("", Figure(0.1), 0, 1).outcome is True
    assert above("", Figure(0.0), 0, 1).outcome is False
    assert within("", Figure(1.0), 1, 1, 1).outcome is True


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_a_number_decides_nothing(value: float | None) -> None:
    check = above("", Figure(value), 0, 1)
    assert check.outcome is None
    assert check.value is None


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((True, True), "holds"),
        ((True, None), "cannot tell"),
        ((True, False), "does not hold here"),
        ((None, False), "does not hold here"),
        ((), "cannot tell"),
    ],
)
def test_a_verdict_follows_from_the_checks(outcomes: tuple[bool | None, ...], verdict: str) -> None:
    checks = tuple(Check(says="", value=1.0, wanted="", n=1, outcome=outcome) for outcome in outcomes)
    assert Finding(checks=checks, said="").verdict == verdict


def test_an_effect_without_a_figure_is_kept() -> None:
    found = effect("norm.batch", "convergence", "area", Figure(math.nan, math.nan, 1.0), 3)
    assert (found.value, found.low, found.high) == (None, None, 1.0)
