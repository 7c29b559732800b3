"""Intervals against SciPy, published examples and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.intervals import Figure, gap_interval, proportion, wilson_interval


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(trials: int, data: st.DataObject, level: float) -> None:
    successes = data.draw(st.integers(0, trials))
    theirs = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    low, high = wilson_interval(successes, trials, level)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize("trials", [50, 400])
def test_wilson_covers_the_truth(trials: int) -> None:
    shares = np.linspace(0.05, 0.95, 181)
    ends = np.array([wilson_interval(k, trials) for k in range(trials + 1)])
    held = (ends[:, :1] <= shares) & (shares <= ends[:, 1:])
    chances = stats.binom.pmf(np.arange(trials + 1)[:, None], trials, shares)
    assert 0.94 <= (held * chances).sum(axis=0).mean() <= 0.96


def test_no_trials_no_figure() -> None:
    assert proportion(0, 0) == Figure(None, None, None)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe (1998), Table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_gap_of_proportions_equals_newcombes(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    gap = gap_interval(proportion(*first), proportion(*second))
    assert gap.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (gap.low, gap.high) == pytest.approx((low, high), abs=5.1e-5)


def test_gap_the_other_way_round_is_mirrored() -> None:
    a, b = proportion(30, 40), proportion(11, 25)
    there, back = gap_interval(a, b), gap_interval(b, a)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_gap_covers_the_truth() -> None:
    draws = np.random.default_rng(3)
    train, val = draws.binomial(300, 0.9, 600), draws.binomial(150, 0.8, 600)
    gaps = [gap_interval(proportion(a, 300), proportion(b, 150)) for a, b in zip(train, val, strict=True)]
    assert 0.93 <= np.mean([gap.low <= 0.1 <= gap.high for gap in gaps]) <= 0.97


def test_gap_says_only_what_is_known() -> None:
    assert gap_interval(Figure(None), Figure(0.5, 0.4, 0.6)) == Figure(None)
    assert gap_interval(Figure(0.75, 0.7, 0.8), Figure(0.5)) == Figure(0.25)
