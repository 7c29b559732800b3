"""Censored times against SciPy, areas under curves and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from provenet.stats.censored import Step, first_crossing, kaplan_meier, restricted_mean
from provenet.stats.intervals import Figure, wilson_interval

heights = st.lists(st.integers(0, 20).map(lambda height: height / 20), min_size=1, max_size=8)


@given(heights, st.floats(0.01, 1))
def test_crossing_is_the_first_on_a_fine_line(ys: list[float], target: float) -> None:
    xs = np.cumsum(np.arange(1, len(ys) + 1)).astype(float)
    fine = np.union1d(np.linspace(xs[0], xs[-1], 4001), xs)
    there = np.flatnonzero(np.interp(fine, xs, ys) >= target)
    found = first_crossing(xs.tolist(), ys, target)
    assert (found is None) == (there.size == 0)
    if found is not None:
        assert found == pytest.approx(fine[there[0]], abs=1.01 * (xs[-1] - xs[0]) / 4000)
        assert np.interp(found, xs, ys) == pytest.approx(max(target, ys[0] if found == xs[0] else target))


def test_crossing_in_a_peak_of_no_points_and_of_unequal_lists() -> None:
    assert first_crossing([0, 1, 2], [0.2, 0.5, 0.4], 0.5) == 1.0  # a peak that only touches the target
    assert first_crossing([], [], 0.5) is None
    with pytest.raises(ValueError, match="zip"):
        first_crossing([1.0], [], 0.5)


def test_runs_that_never_reach_it_count_with_the_whole_budget() -> None:
    figure = restricted_mean([4.0, None, 6.0, 35.0], horizon=30.0)
    expected = stats.ttest_1samp([4, 30, 6, 30], 0).confidence_interval(0.95)
    assert [figure.value, figure.low, figure.high] == pytest.approx([17.5, expected.low, expected.high])
    assert restricted_mean([None], horizon=30.0) == Figure(30.0)


reached = st.lists(st.none() | st.integers(1, 19).map(float), min_size=1, max_size=12)


@given(reached)
def test_restricted_mean_is_the_area_above_the_curve(times: list[float | None]) -> None:
    steps = kaplan_meier([20.0 if time is None else time for time in times], [time is not None for time in times])
    places = [0.0, *(step.time for step in steps), 20.0]
    area = np.dot(np.diff(places), [1.0, *(1 - step.share for step in steps)])
    assert restricted_mean(times, horizon=20.0).value == pytest.approx(area)


watched = st.lists(st.tuples(st.integers(1, 9).map(float), st.booleans()), min_size=1, max_size=15)


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined")  # of SciPy, where all have reached it
@given(watched, st.sampled_from([0.8, 0.95]))
def test_curve_equals_scipys(rows: list[tuple[float, bool]], level: float) -> None:
    times, observed = (list(column) for column in zip(*rows, strict=True))
    steps = kaplan_meier(times, observed, level)
    assert [step.time for step in steps] == sorted({time for time, seen in rows if seen})
    events = [time for time, seen in rows if seen]
    theirs = stats.ecdf(stats.CensoredData(events, right=[time for time, seen in rows if not seen])).cdf
    assert [step.share for step in steps] == pytest.approx(theirs.evaluate([step.time for step in steps]))
    open_steps = [step for step in steps if step.share < 1]
    if open_steps:
        with np.errstate(all="ignore"):
            ends = theirs.confidence_interval(level, method="log-log")
        where = [step.time for step in open_steps]
        assert [step.low for step in open_steps] == pytest.approx(ends.low.evaluate(where))
        assert [step.high for step in open_steps] == pytest.approx(ends.high.evaluate(where))


def test_where_all_have_reached_it_the_curve_ends_at_one() -> None:
    first, last = kaplan_meier([2.0, 5.0], [True, True])
    assert last == Step(5.0, 1.0, first.low, 1.0)
    assert kaplan_meier([2.0] * 6, [True] * 6) == (Step(2.0, 1.0, wilson_interval(6, 6)[0], 1.0),)
    assert kaplan_meier([2.0, 3.0], [False, False]) == ()


def test_curve_covers_the_truth() -> None:
    generator, held = np.random.default_rng(4), []
    for _ in range(1500):
        times, ends = generator.exponential(1.0, 40), generator.uniform(0.3, 3.0, 40)
        steps = kaplan_meier(np.minimum(times, ends).tolist(), (times <= ends).tolist())
        step = [step for step in steps if step.time <= 0.7][-1]
        held.append(step.low <= 1 - np.exp(-0.7) <= step.high)
    assert 0.93 <= np.mean(held) <= 0.97
