"""Power of the paired t test against published sizes, integration and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from provenet.stats.paired import paired_test
from provenet.stats.power import detectable_effect, needed_pairs, t_power


def power_by_integration(shift: float, n: int, level: float) -> float:
    """The chance of a call given the standard deviation, over its distribution."""
    bound, freedom = stats.t.isf(level / 2, n - 1), n - 1

    def given_sd(sd: float) -> float:
        return stats.norm.sf(bound * sd - shift) + stats.norm.cdf(-bound * sd - shift)

    def weighted(sd: float) -> float:
        return given_sd(sd) * stats.chi.pdf(sd, freedom, scale=1 / math.sqrt(freedom))

    found, _ = integrate.quad(weighted, 0, 9, points=[0.05, 0.3, 1.0, 2.0], limit=200)
    return float(found)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("shift", [0.0, 1.3, -6.0, 40.0, 400.0])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_power_is_the_integral_over_standard_deviations(n: int, shift: float, level: float) -> None:
    assert t_power(shift, n, level) == pytest.approx(power_by_integration(shift, n, level), abs=1e-5)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sizes_are_those_of_tables(effect: float, pairs: int) -> None:
    # the well-known sizes for small, medium and large effects: 80 % power, two-sided 5 %, one sample
    assert needed_pairs(effect, 1.0, 0.05) == pairs
    assert needed_pairs(-100 * effect, 100.0, 0.05) == pairs


def test_power_is_how_often_the_test_calls() -> None:
    draws = np.random.default_rng(1).normal(1.5, 1.0, (3000, 6))
    ps = [paired_test(row.tolist()).p for row in draws]
    power = t_power(1.5 * math.sqrt(6), 6, 0.01)
    assert np.mean([p is not None and p <= 0.01 for p in ps]) == pytest.approx(power, abs=0.03)


@given(st.floats(0.1, 5), st.sampled_from([0.05, 0.01]), st.sampled_from([0.5, 0.8, 0.9]))
def test_needed_is_the_smallest_that_is_enough(effect: float, level: float, power: float) -> None:
    pairs = needed_pairs(effect, 1.0, level, power, most=3000)
    assert pairs is not None
    assert t_power(effect * math.sqrt(pairs), pairs, level) >= power
    assert pairs == 2 or t_power(effect * math.sqrt(pairs - 1), pairs - 1, level) < power


@given(st.integers(2, 40), st.sampled_from([0.05, 0.01, 0.001]), st.floats(0.001, 50))
def test_a_detectable_effect_is_called_with_that_power(n: int, level: float, sd: float) -> None:
    effect = detectable_effect(sd, n, level)
    assert effect is not None
    assert t_power(effect * math.sqrt(n) / sd, n, level) == pytest.approx(0.8, abs=1e-6)


def test_where_there_is_no_answer() -> None:
    assert needed_pairs(0.0, 1.0, 0.05) is None
    assert needed_pairs(0.1, 1.0, 0.05, most=500) is None
    assert needed_pairs(0.1, 1.0, 0.05, most=800) is not None
    assert detectable_effect(1.0, 1, 0.05) is None
    assert detectable_effect(0.0, 5, 0.05) is None


@pytest.mark.parametrize("level", [0.05, 0.01, 0.0625])
def test_without_spread_the_sign_test_says_how_many(level: float) -> None:
    pairs = needed_pairs(0.01, 0.0, level)
    assert pairs is not None
    found, before = (paired_test([0.01] * num).p for num in (pairs, pairs - 1))
    assert found is not None and before is not None and found <= level < before
    assert needed_pairs(0.01, 0.0, level, most=3) is None
