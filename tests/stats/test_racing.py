"""Races against brute simulation: the level is kept, and a race is given up where it is hopeless."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.racing import Bounds, attained, bounds, decide, running_t


def called(draws: np.ndarray, rule: Bounds) -> np.ndarray:
    """Whether any look calls, and no race given up."""
    return (np.abs(running_t(draws)[:, np.array(rule.looks) - 1]) >= rule.bounds).any(axis=1)


def result(differences: list[float], rule: Bounds) -> tuple[str, int]:
    """How a race ends, and after how many pairs."""
    for num in rule.looks:
        decision = decide(differences[:num], rule)
        if decision != "open":
            return decision, num
    raise AssertionError("a race must end")


@pytest.mark.parametrize(("first", "most", "level"), [(3, 10, 0.05), (2, 5, 0.01), (3, 14, 0.05 / 6)])
def test_a_race_without_effect_is_called_as_rarely_as_said(first: int, most: int, level: float) -> None:
    rule, races = bounds(first, most, level), 100_000
    draws = np.random.default_rng(9).normal(0, 3, (races, most))
    assert called(draws, rule).mean() == pytest.approx(level, abs=4 * math.sqrt(level / races))


def test_looking_every_time_at_five_percent_would_not_do() -> None:
    paths = np.random.default_rng(0).standard_normal((4000, 10))
    assert 0.14 < attained(0.05, paths, 3) < 0.18
    naive = Bounds(tuple(range(3, 11)), 0.05, tuple(stats.t.isf(0.025, np.arange(2, 10))))
    draws = np.random.default_rng(5).standard_normal((40_000, 10))
    assert attained(0.05, paths, 3) == pytest.approx(called(draws, naive).mean(), abs=0.006)


@pytest.mark.parametrize("level", [0.05, 0.05 / 60])
def test_nominal_level_lies_between_no_and_full_correction(level: float) -> None:
    rule = bounds(3, 10, level)
    assert level / 8 < rule.nominal < level
    np.testing.assert_allclose(2 * stats.t.sf(rule.bounds, np.array(rule.looks) - 1), rule.nominal)


def test_one_look_is_the_t_test() -> None:
    rule = bounds(5, 5, 0.05)
    assert rule.bounds == pytest.approx((stats.t.isf(0.025, 4),))
    assert rule.inner == rule.bounds


def test_running_t_is_the_t_of_the_first_pairs() -> None:
    draws = np.random.default_rng(0).normal(0.3, 1, (5, 9))
    expected = [stats.ttest_1samp(draws[:, :n], 0, axis=1).statistic for n in range(2, 10)]
    np.testing.assert_allclose(running_t(draws)[:, 1:], np.array(expected).T)


@pytest.mark.parametrize(("first", "most", "level"), [(1, 5, 0.05), (6, 5, 0.05), (3, 5, 0.0), (3, 5, 1.0)])
def test_impossible_races_are_refused(first: int, most: int, level: float) -> None:
    with pytest.raises(ValueError, match="no race"):
        bounds(first, most, level)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_a_race_is_given_up_where_a_call_has_a_chance_of_one_in_ten(n: int) -> None:
    rule = bounds(3, 10, 0.05 / 6)
    # pairs with the t of the inner bound, and what may follow: variance and mean drawn from their posterior
    noise = np.random.default_rng(1).standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    pairs = noise + rule.inner[n - 3] / math.sqrt(n)
    races = 20_000
    sds = np.sqrt(stats.invgamma.rvs((n - 1) / 2, scale=(n - 1) / 2, size=races, random_state=2))
    means = stats.norm.rvs(pairs.mean(), sds / math.sqrt(n), random_state=3)
    rest = stats.norm.rvs(means[:, None], sds[:, None], size=(races, 10 - n), random_state=4)
    whole = np.concatenate([np.tile(pairs, (races, 1)), rest], axis=1)
    later = Bounds(rule.looks[n - 2 :], rule.nominal, rule.bounds[n - 2 :])
    assert called(whole, later).mean() == pytest.approx(0.1, abs=0.015)


def test_races_are_given_up_and_called_at_their_bounds() -> None:
    rule, noise = bounds(3, 10, 0.05), np.array([-1.0, 0.0, 1.0, 0.0])
    noise = noise / noise.std(ddof=1)
    for t, decision in [
        (1.001 * rule.bounds[1], "effect"),
        (0.999 * rule.bounds[1], "open"),
        (1.001 * rule.inner[1], "open"),
        (0.999 * rule.inner[1], "no effect"),
    ]:
        assert decide((noise + t / 2).tolist(), rule) == decision


@given(st.lists(st.integers(-20, 20).map(float), min_size=3, max_size=8), st.sampled_from([-1.0, 1e-3, -40.0]))
def test_neither_unit_nor_sign_matters(differences: list[float], scale: float) -> None:
    rule = bounds(3, 8, 0.05)
    scaled = [scale * value for value in differences]
    assert decide(scaled, rule) == decide(differences, rule)
    assert len(differences) < 8 or decide(differences, rule) != "open"


def test_races_without_spread() -> None:
    rule = bounds(3, 8, 0.05)
    assert decide([0.0, 0.0, 0.0], rule) == "no effect"
    assert decide([0.01] * 3, rule) == "open"
    assert decide([0.01] * 8, rule) == "effect"  # the sign test: 2^-7 is below the nominal level
    assert result([0.01] * 4, bounds(3, 4, 0.05)) == ("no effect", 4)


def test_before_the_first_and_after_the_last_look() -> None:
    rule = bounds(3, 5, 0.05)
    assert decide([], rule) == decide([5.0, 5.1], rule) == "open"
    with pytest.raises(ValueError, match="at most 5"):
        decide([1.0] * 6, rule)


def test_clear_effects_and_none_are_told_apart_early() -> None:
    rule, generator = bounds(3, 10, 0.05), np.random.default_rng(8)
    null = [result(row.tolist(), rule) for row in generator.normal(0, 1, (2000, 10))]
    clear = [result(row.tolist(), rule) for row in generator.normal(3, 1, (500, 10))]
    assert np.mean([said == "effect" for said, _ in null]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert np.mean([said == "effect" for said, _ in clear]) > 0.99
    assert np.mean([num for _, num in null]) < 6
    assert np.mean([num for _, num in clear]) < 5
