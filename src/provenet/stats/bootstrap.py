"""The percentile bootstrap for statistics of sums.

Nearly every score of a split is a function of sums over its samples (hits, pixels, boundary pixels). Resampling the
samples then means one product: how often each sample was drawn times what it adds to each sum.
"""

# N samples, R resamples, D sums

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.stats.intervals import Figure

_COUNTS_AT_ONCE = 1 << 22
"""Counts held in memory at a time (32 MiB)."""


def bootstrap_counts(num: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each sample was drawn in each resample, in blocks of rows.

    A resample draws `num` of the `num` samples with replacement. The draws depend on `num` and `seed` alone, so that
    two nets scored on one split share them.

    Args:
        num: number of samples N, at least 1.
        resamples: number of resamples R.
        seed: seed of the draws.

    Returns:
        Blocks (rows, N), R rows together; each row sums to N. Float, because a matrix product of floats is fast.

    Example:
        >>> [block.sum(axis=1).tolist() for block in bootstrap_counts(4, 3, seed=0)]
        [[4.0, 4.0, 4.0]]
    """
    generator = np.random.default_rng((seed, num))
    most = max(1, _COUNTS_AT_ONCE // num)
    for start in range(0, resamples, most):
        size = min(most, resamples - start)
        drawn = generator.integers(0, num, (size, num)) + np.arange(size)[:, None] * num
        yield np.bincount(drawn.ravel(), minlength=size * num).reshape(size, num).astype(np.float64)


def bootstrap_sums(rows: Any, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the column sums of every resample of the rows.

    Args:
        rows: what each sample adds to each sum, (N, D), an array or a SciPy sparse array.
        resamples: number of resamples R.
        seed: seed of the draws.

    Returns:
        Sums, (R, D); zeros when there is no row.

    Example:
        >>> bootstrap_sums(np.ones((5, 2)), 3, seed=0).tolist()
        [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]
    """
    num, columns = rows.shape
    if num == 0:
        return np.zeros((resamples, columns))
    return np.concatenate([counts @ rows for counts in bootstrap_counts(num, resamples, seed)])


def percentile_interval(
    values: NDArray[np.float64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle `level` of the values along the first axis, linear between order statistics.

    Args:
        values: one value a resample, (R,) or (R, M); NaN where a resample leaves the statistic
            undefined (it is left out).
        level: share of the values inside, in (0, 1).

    Returns:
        Lower and upper ends, shape () or (M,); NaN where no resample has a value.

    Source: Efron (1979). Bootstrap methods: another look at the jackknife.

    Example:
        >>> low, high = percentile_interval(np.arange(101.0), 0.5)
        >>> float(low), float(high)
        (25.0, 75.0)
    """
    ordered = np.sort(values, axis=0)  # NaN comes last
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=0) - 1, 0)
    return _order_statistic(ordered, last * (1 - level) / 2), _order_statistic(ordered, last * (1 + level) / 2)


def mean_bootstrap(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Figure:
    """Return the mean of independent values with its percentile interval.

    It needs no normal distribution, but with few values it is too narrow: it knows no spread beyond the values, and
    allows for no error of that spread. Of 95 % intervals about the mean of 5 normal values only 84 % hold the truth
    (of 20 values 92 %, Student's always 95 %). Beside Student's interval it shows whether one seed carries the figure.

    Args:
        values: one value a seed, (N,), finite.
        level: nominal coverage, in (0, 1).
        resamples: number of resamples R.
        seed: seed of the draws.

    Returns:
        The mean; without an interval for a single value, not defined without any.

    Source: Efron (1979). Bootstrap methods: another look at the jackknife.

    Example:
        >>> figure = mean_bootstrap([1.0, 2.0, 3.0])
        >>> figure.value, round(figure.low, 2), round(figure.high, 2)
        (2.0, 1.0, 3.0)
    """
    num = len(values)
    if num == 0:
        return Figure(None)
    mean = float(np.mean(values))
    if num == 1:
        return Figure(mean)
    means = bootstrap_sums(np.asarray(values, dtype=np.float64)[:, None], resamples, seed)[:, 0] / num
    low, high = percentile_interval(means, level)
    return Figure(mean, float(low), float(high))


def _order_statistic(ordered: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value at a position between order statistics, along the first axis."""
    below = np.floor(position).astype(np.intp)
    above = np.ceil(position).astype(np.intp)
    low = np.take_along_axis(ordered, below[None], axis=0)[0]
    high = np.take_along_axis(ordered, above[None], axis=0)[0]
    share = position - below
    return np.where(share > 0, low * (1 - share) + high * share, low)
