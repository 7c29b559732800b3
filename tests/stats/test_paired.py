"""Paired differences against SciPy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.intervals import Figure
from provenet.stats.paired import PairedTest, mean_interval, paired_difference, paired_test

values = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=12).filter(lambda found: np.std(found) > 1e-3)


@given(values, st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_is_that_of_the_t_test(found: list[float], level: float) -> None:
    figure = mean_interval(found, level)
    expected = stats.ttest_1samp(found, 0).confidence_interval(level)
    assert [figure.low, figure.high] == pytest.approx([expected.low, expected.high], rel=1e-6, abs=1e-9)
    assert figure.value == pytest.approx(np.mean(found))


def test_pairs_are_subtracted_before_anything_else() -> None:
    first, second = [0.91, 0.55, 0.73, 0.99], [0.88, 0.52, 0.71, 0.95]
    figure = paired_difference(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert [figure.low, figure.high] == pytest.approx([expected.low, expected.high])
    assert figure.low is not None and figure.low > 0


def test_few_values_have_no_interval() -> None:
    assert mean_interval([]) == Figure(None)
    assert mean_interval([3.0]) == Figure(3.0)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        figure = mean_interval(generator.normal(1.0, 2.0, 3).tolist())
        assert figure.low is not None and figure.high is not None
        held += figure.low <= 1.0 <= figure.high
    assert abs(held / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


@given(values)
def test_test_equals_scipys(found: list[float]) -> None:
    ours, theirs = paired_test(found), stats.ttest_1samp(found, 0)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-6, abs=1e-9)
    assert (ours.n, ours.mean, ours.sd) == pytest.approx((len(found), np.mean(found), np.std(found, ddof=1)))


def test_equal_differences_are_judged_by_the_sign_test() -> None:
    equal = [0.91 - 0.9, 0.81 - 0.8, 0.71 - 0.7, 0.01, -0.09 + 0.1]
    assert len(set(equal)) > 1, "they differ in the last bits, which is no spread"
    found = paired_test(equal)
    assert (found.sd, found.t) == (0.0, None)
    assert found.p == pytest.approx(stats.binomtest(5, 5).pvalue)
    assert found.mean == pytest.approx(0.01)
    assert paired_test([-value for value in equal]).p == found.p
    assert paired_test([0.0, 0.0, 0.0]) == PairedTest(3, 0.0, 0.0, None, 1.0)


def test_a_small_spread_is_still_a_spread() -> None:
    found = paired_test([1.0, 1.0001, 1.0])
    assert found.t is not None and found.t > 1000


def test_few_pairs_are_not_tested() -> None:
    assert paired_test([]) == PairedTest(0, None, None, None, None)
    assert paired_test([0.5]) == PairedTest(1, 0.5, None, None, None)


@pytest.mark.parametrize("pairs", [3, 5])
def test_arms_that_are_the_same_are_told_apart_as_rarely_as_said(pairs: int) -> None:
    draws = np.random.default_rng(pairs).normal(0.8, 0.01, (2, 4000, pairs))
    ps = [paired_test(row.tolist()).p for row in draws[0] - draws[1]]
    assert abs(np.mean([p is not None and p <= 0.05 for p in ps]) - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / 4000)
