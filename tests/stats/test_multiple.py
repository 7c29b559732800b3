"""Holm's correction against the closed testing that it abbreviates, and its promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.multiple import holm, shared_level


def closed_testing(ps: list[float]) -> list[float]:
    """The largest Bonferroni p value of all sets of hypotheses that hold this one."""
    places = range(len(ps))
    sets = [chosen for size in range(1, len(ps) + 1) for chosen in itertools.combinations(places, size)]
    bonferroni = {chosen: min(1.0, len(chosen) * min(ps[place] for place in chosen)) for chosen in sets}
    return [max(p for chosen, p in bonferroni.items() if place in chosen) for place in places]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02]), max_size=6))
def test_holm_is_closed_testing(ps: list[float]) -> None:
    assert holm(list(ps)) == pytest.approx(closed_testing(ps))


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_what_was_not_tested_does_not_count(ps: list[float | None]) -> None:
    corrected = holm(ps)
    assert [p is None for p in corrected] == [p is None for p in ps]
    assert [p for p in corrected if p is not None] == holm([p for p in ps if p is not None])


def test_arms_that_share_a_baseline_are_called_as_rarely_as_said() -> None:
    draws = np.random.default_rng(0).standard_normal((3000, 7, 5))
    ps = stats.ttest_1samp(draws[:, 1:] - draws[:, :1], 0, axis=2).pvalue
    false = np.mean([min(p for p in holm(row.tolist()) if p is not None) <= 0.05 for row in ps])
    # less than 5 %, since the arms are not independent; without a correction it is four times as often
    assert 0.02 < false < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 3000)
    assert (ps.min(axis=1) <= 0.05).mean() > 0.15


def test_a_level_is_shared_evenly() -> None:
    assert shared_level(0.05, 4) == 0.0125
    assert shared_level(0.05, 0) == shared_level(0.05, 1) == 0.05
