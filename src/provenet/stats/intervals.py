"""A figure with its interval: Wilson's for a proportion, and the difference of two independent figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval.

    Args:
        value: the value; None where it is not defined ("n/a", never 0).
        low: lower end; None where no interval can be told.
        high: upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def wilson_interval(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion.

    The ends are the p with |successes / trials - p| = z * sqrt(p * (1 - p) / trials): inside [0, 1], and with
    width also when none or all of the trials succeed.

    Args:
        successes: number of successes, in [0, trials].
        trials: number of trials, above 0.
        level: coverage, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Source: Wilson (1927). Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(end, 3) for end in wilson_interval(10, 10)]
        [0.722, 1.0]
    """
    z = float(ndtri((1 + level) / 2))
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    return min(max((middle - half) / scale, 0.0), share), max(min((middle + half) / scale, 1.0), share)


def proportion(successes: float, trials: float, level: float = 0.95) -> Figure:
    """Return a proportion with Wilson's interval; not defined without trials.

    Example:
        >>> proportion(0, 0)
        Figure(value=None, low=None, high=None)
    """
    if trials <= 0:
        return Figure(None)
    return Figure(successes / trials, *wilson_interval(successes, trials, level))


def gap_interval(first: Figure, second: Figure) -> Figure:
    """Return first minus second, for figures of independent samples (clean train score minus validation score).

    With d the difference of the values: low = d - sqrt((value1 - low1)^2 + (high2 - value2)^2), and high likewise. The
    level is that of the two figures; of two Wilson intervals this makes Newcombe's interval (his method 10).

    Args:
        first: a figure whose interval holds its value.
        second: another one, of other samples.

    Returns:
        The difference; without an interval where one of the two has none.

    Source: Newcombe (1998). Interval estimation for the difference between independent proportions; for any two
        intervals Zou and Donner (2008). Construction of confidence limits about effect measures.

    Example:
        >>> gap = gap_interval(proportion(56, 70), proportion(48, 80))
        >>> [round(end, 4) for end in (gap.value, gap.low, gap.high)]
        [0.2, 0.0524, 0.3339]
    """
    if first.value is None or second.value is None:
        return Figure(None)
    gap = first.value - second.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Figure(gap)
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Figure(gap, gap - below, gap + above)
