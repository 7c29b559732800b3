"""The bootstrap against slow resampling, SciPy, closed forms and its promise: the truth is inside as often as said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from provenet.stats import bootstrap
from provenet.stats.bootstrap import bootstrap_counts, bootstrap_sums, mean_bootstrap, percentile_interval
from provenet.stats.intervals import Figure


def counts_of(num: int, resamples: int, seed: int) -> np.ndarray:
    return np.concatenate(list(bootstrap_counts(num, resamples, seed)))


def test_each_resample_draws_as_many_as_there_are() -> None:
    counts = counts_of(7, 50, seed=3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert (counts >= 0).all()


def test_samples_are_drawn_equally_often_and_independently() -> None:
    counts = counts_of(10, 20_000, seed=0)
    # Multinomial(10, 1/10): mean 1, variance 0.9, covariance -0.1
    assert np.abs(counts.mean(axis=0) - 1).max() < 0.03
    covariance = np.cov(counts.T)
    assert np.abs(np.diag(covariance) - 0.9).max() < 0.05
    assert np.abs(covariance[~np.eye(10, dtype=bool)] + 0.1).max() < 0.03


def test_draws_do_not_depend_on_blocks_and_later_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counts_of(11, 9, seed=1)
    np.testing.assert_array_equal(counts_of(11, 4, seed=1), whole[:4])
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 25)
    blocks = list(bootstrap_counts(11, 9, seed=1))
    assert [len(block) for block in blocks] == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_seeds_give_other_draws() -> None:
    assert not np.array_equal(counts_of(20, 5, seed=0), counts_of(20, 5, seed=1))


def test_sums_equal_sums_of_repeated_rows() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (12, 3)).astype(float)
    slow = [np.repeat(rows, counts.astype(int), axis=0).sum(axis=0) for counts in counts_of(12, 6, seed=2)]
    np.testing.assert_array_equal(bootstrap_sums(rows, 6, seed=2), slow)
    np.testing.assert_array_equal(bootstrap_sums(sparse.csr_array(rows), 6, seed=2), slow)


def test_no_rows_give_zeros() -> None:
    np.testing.assert_array_equal(bootstrap_sums(np.zeros((0, 2)), 3, seed=0), np.zeros((3, 2)))


def test_interval_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).exponential(size=80)
    ours = percentile_interval(bootstrap_sums(values[:, None], 8000, seed=0)[:, 0] / 80)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    # the ends of both are themselves drawn: their spread at 8000 resamples is about 0.03 standard errors
    assert np.abs(np.array(ours) - np.array(theirs)).max() < 0.15 * values.std() / np.sqrt(80)


@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=20), elements=st.floats(-9, 9) | st.just(np.nan)
    ),
    st.floats(0.5, 0.99),
)
def test_percentiles_equal_numpys(values: np.ndarray, level: float) -> None:
    values[0] = 0.5
    low, high = percentile_interval(values, level)
    tails = [50 * (1 - level), 50 * (1 + level)]
    np.testing.assert_allclose([low, high], np.nanpercentile(values, tails, axis=0), rtol=0, atol=1e-12)


def test_percentiles_of_nothing_are_nothing() -> None:
    low, high = percentile_interval(np.full((4, 2), np.nan))
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.parametrize(("share", "num"), [(0.6, 300), (0.9, 400)])
def test_accuracy_interval_covers_the_truth(share: float, num: int) -> None:
    simulations = 1500
    hits = np.random.default_rng(7).random((num, simulations)) < share
    # one set of resamples serves all simulated studies, as columns: resamples and data are independent
    low, high = percentile_interval(bootstrap_sums(hits.astype(float), 500, seed=0) / num)
    assert 0.93 <= np.mean((low <= share) & (share <= high)) <= 0.97


def test_mean_interval_is_that_of_all_possible_resamples() -> None:
    values = [0.0, 1.0, 4.0, 5.0]
    means = [np.mean(drawn) for drawn in itertools.product(values, repeat=4)]  # each of the 256 equally likely
    figure = mean_bootstrap(values, level=0.8, resamples=40_000)
    assert figure.value == 2.5
    assert (figure.low, figure.high) == pytest.approx(np.quantile(means, [0.1, 0.9]))


def test_mean_of_few_values_has_no_interval() -> None:
    assert mean_bootstrap([]) == Figure(None)
    assert mean_bootstrap([0.7]) == Figure(0.7)


def test_interval_of_five_is_as_narrow_as_its_docstring_says() -> None:
    generator, held = np.random.default_rng(2), 0
    for _ in range(1200):
        figure = mean_bootstrap(generator.normal(0.5, 0.02, 5).tolist(), resamples=500)
        assert figure.low is not None and figure.high is not None
        held += figure.low <= 0.5 <= figure.high
    assert 0.79 < held / 1200 < 0.86
