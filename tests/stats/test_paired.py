"""Paired differences against SciPy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference

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
