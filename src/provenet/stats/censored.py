"""Times until something is reached, where some never reach it: they are counted as censored, not left out."""

# P runs

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scipy.special import ndtri

from provenet.stats.intervals import Figure, wilson_interval
from provenet.stats.paired import mean_interval


@dataclass(frozen=True)
class Step:
    """A step of a curve of the share that has reached the target.

    Args:
        time: when the share changes, in the unit of the times given.
        share: share that has reached the target by then, in [0, 1].
        low: lower end of its interval.
        high: upper end.
    """

    time: float
    share: float
    low: float
    high: float


def first_crossing(xs: Sequence[float], ys: Sequence[float], target: float) -> float | None:
    """Return where the line through the points first reaches the target from below.

    Args:
        xs: places of the points, ascending.
        ys: their heights, as many.
        target: the height asked for.

    Returns:
        The first x at which the line through the points is at `target` or above; the first x where it begins
        there; None where it never does.

    Raises:
        ValueError: there are not as many heights as places.

    Example:
        >>> first_crossing([1, 2, 4], [0.2, 0.5, 0.9], 0.7)
        3.0
        >>> first_crossing([1, 2, 4], [0.2, 0.5, 0.9], 0.95) is None
        True
    """
    points = list(zip(xs, ys, strict=True))
    if points and points[0][1] >= target:
        return float(points[0][0])
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 < target <= y1:
            return float(x0 + (x1 - x0) * (target - y0) / (y1 - y0))
    return None


def restricted_mean(times: Sequence[float | None], horizon: float, level: float = 0.95) -> Figure:
    """Return the mean of min(time, horizon), with Student's t interval.

    With one horizon for all this is the area above the curve of the share that has reached the target. It is a lower
    bound of the mean time, and the mean time itself where every run reaches the target.

    Args:
        times: when each run reached the target, (P,), >= 0; None where it did not within the horizon.
        horizon: how long every run was watched, > 0, in the unit of the times.
        level: coverage, in (0, 1).

    Returns:
        The mean; without an interval for a single run, not defined without any.

    Source: Royston and Parmar (2013). Restricted mean survival time.

    Example:
        >>> restricted_mean([4.0, 6.0, None], horizon=20.0).value
        10.0
    """
    return mean_interval([horizon if time is None else min(time, horizon) for time in times], level)


def kaplan_meier(times: Sequence[float], observed: Sequence[bool], level: float = 0.95) -> tuple[Step, ...]:
    """Return the share of runs that has reached the target, by time.

    S(t) is the product of 1 - d_u / n_u over the times u <= t at which d_u runs reached the target, of n_u still
    watched just before. The share is 1 - S. Its interval is symmetric in log(-log S), with Greenwood's variance g^2,
    the sum of d_u / (n_u * (n_u - d_u)): S^exp(+-z * g / log S). Once nobody is left g is infinite: the share is 1 and
    its low end stays (where all reached the target at the very first time it is Wilson's).

    Args:
        times: when each run reached the target or was last seen, (P,), finite.
        observed: whether it was reached, (P,); a run last seen at a time counts as still watched at it.
        level: coverage at each time, in (0, 1).

    Returns:
        A step at each time at which a run reached the target, ascending; before the first the share is 0.

    Raises:
        ValueError: the two differ in length.

    Source: Kaplan and Meier (1958). Nonparametric estimation from incomplete observations; the interval: Kalbfleisch
        and Prentice (1980). The statistical analysis of failure time data.

    Example:
        >>> for step in kaplan_meier([3.0, 5.0, 5.0, 8.0], [True, True, False, False]):
        ...     print(step.time, step.share, round(step.low, 3), round(step.high, 3))
        3.0 0.25 0.039 0.872
        5.0 0.5 0.155 0.942
    """
    pairs = list(zip(times, observed, strict=True))
    z = float(ndtri((1 + level) / 2))
    reached = Counter(float(time) for time, seen in pairs if seen)
    steps: list[Step] = []
    below, variance = 1.0, 0.0
    for time in sorted(reached):
        num, watched = reached[time], sum(last >= time for last, _ in pairs)
        if num == watched:
            low = steps[-1].low if steps else wilson_interval(num, num, level)[0]
            steps.append(Step(time, 1.0, low, 1.0))
            break
        below *= 1 - num / watched
        variance += num / (watched * (watched - num))
        spread = z * math.sqrt(variance) / -math.log(below)
        steps.append(Step(time, 1 - below, 1 - below ** math.exp(-spread), 1 - below ** math.exp(spread)))
    return tuple(steps)
