"""Paired differences: two arms that share their seeds, compared seed by seed."""

# P pairs

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from provenet.stats.intervals import Figure

_ROUNDING = 1e-9
"""Differences whose range is this share of the largest are taken as equal: 0.91 - 0.9 and 0.81 - 0.8 are."""


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


@dataclass(frozen=True)
class PairedTest:
    """The two-sided test of no mean difference.

    Args:
        n: number of pairs P.
        mean: mean difference; None without pairs.
        sd: sample standard deviation of the differences; None below two pairs.
        t: Student's statistic; None below two pairs, and where all differences are equal (no spread to divide by).
        p: two-sided p value, in [0, 1]; None below two pairs.
    """

    n: int
    mean: float | None
    sd: float | None
    t: float | None
    p: float | None


def paired_test(differences: Sequence[float]) -> PairedTest:
    """Test whether the mean of paired differences is zero, two-sided.

    t = mean / (sd / sqrt(P)), p from Student's t with P - 1 degrees of freedom. Differences that are all the same have
    no spread, and t would be infinite from two pairs on: they are judged by the sign test, p = 2^(1 - P), and p = 1
    where all are zero. They count as the same up to rounding of the subtraction (a part in 10^9).

    Args:
        differences: one a seed, (P,), finite.

    Source: Student (1908). The probable error of a mean.

    Example:
        >>> found = paired_test([1.0, 2.0, 3.0])
        >>> round(found.t, 3), round(found.p, 3)
        (3.464, 0.074)
        >>> paired_test([0.5, 0.5, 0.5]).p
        0.25
    """
    num = len(differences)
    if num == 0:
        return PairedTest(0, None, None, None, None)
    mean = float(np.mean(differences))
    if num == 1:
        return PairedTest(1, mean, None, None, None)
    if np.ptp(differences) <= _ROUNDING * np.max(np.abs(differences)):
        return PairedTest(num, mean, 0.0, None, 1.0 if mean == 0 else 2.0 ** (1 - num))
    sd = float(np.std(differences, ddof=1))
    t = mean * math.sqrt(num) / sd
    return PairedTest(num, mean, sd, t, 2 * float(stdtr(num - 1, -abs(t))))
