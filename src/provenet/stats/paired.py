"""Paired differences: two arms that share their seeds, compared seed by seed."""

# P pairs

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from provenet.stats.intervals import Figure


def mean_interval(values: Sequence[float], level: float = 0.95) -> Figure:
    """Return the mean of independent values with Student's t interval.

    mean +- t * s / sqrt(P), s the sample standard deviation, t the quantile of P - 1 degrees of freedom.

    Args:
        values: one value a seed, (P,), finite.
        level: coverage, in (0, 1).

    Returns:
        The mean; without an interval for a single value, not defined without any.

    Source: Student (1908). The probable error of a mean.

    Example:
        >>> figure = mean_interval([1.0, 2.0, 3.0])
        >>> figure.value, round(figure.low, 3), round(figure.high, 3)
        (2.0, -0.484, 4.484)
    """
    num = len(values)
    if num == 0:
        return Figure(None)
    mean = float(np.mean(values))
    if num == 1:
        return Figure(mean)
    half = float(stdtrit(num - 1, (1 + level) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(num)
    return Figure(mean, mean - half, mean + half)


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Figure:
    """Return the mean of first minus second, pair by pair, with Student's t interval.

    Args:
        first: one value a seed, (P,).
        second: the other arm's values for the same seeds, (P,).
        level: coverage, in (0, 1).

    Raises:
        ValueError: the two differ in length.

    Example:
        >>> paired_difference([3.0, 5.0], [1.0, 2.0]).value
        2.5
    """
    return mean_interval([a - b for a, b in zip(first, second, strict=True)], level)
