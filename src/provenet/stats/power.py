"""How many pairs an effect needs, and how small an effect some pairs can show: the power of the paired t test."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtr, stdtrit

_ERRORS = np.linspace(-8, 8, 801)
"""Errors of the mean in standard errors; a sum over an even grid of a normal density is as good as the integral."""
_WEIGHTS = np.exp(-(_ERRORS**2) / 2) / np.exp(-(_ERRORS**2) / 2).sum()


def t_power(shift: float, n: int, level: float) -> float:
    """Return the chance that the two-sided paired t test calls an effect.

    P(|T| > c), T noncentral t with n - 1 degrees of freedom, c the bound that |t| passes by chance in a share `level`:
    the chance that the spread is small enough for the mean found, averaged over the error of the mean. Exact to 1e-5.

    Args:
        shift: the effect in standard errors of the mean difference, effect * sqrt(n) / sd.
        n: number of pairs, at least 2.
        level: level of the test, in (0, 1).

    Source: Johnson and Welch (1940). Applications of the non-central t-distribution.

    Example:
        >>> round(t_power(0.0, 5, 0.05), 6)
        0.05
    """
    bound = float(stdtrit(n - 1, 1 - level / 2))
    most = ((shift + _ERRORS) / bound) ** 2  # of the observed variance over the true one
    return float(_WEIGHTS @ chdtr(n - 1, (n - 1) * most))


def needed_pairs(effect: float, sd: float, level: float, power: float = 0.8, most: int = 1000) -> int | None:
    """Return the smallest number of pairs with which an effect would be called with the chance `power`.

    Without spread the sign test decides, as in `paired_test`: 2^(1 - n) <= level.

    Args:
        effect: true mean difference.
        sd: standard deviation of the differences, >= 0.
        level: two-sided level of the test, in (0, 1).
        power: chance of a call, in (level, 1).
        most: largest number that is sensible.

    Returns:
        The number of pairs, at least 2; None where `most` is not enough, and for no effect.

    Example:
        >>> needed_pairs(effect=0.02, sd=0.02, level=0.05)
        10
        >>> needed_pairs(effect=0.001, sd=0.1, level=0.05) is None
        True
    """
    if effect == 0:
        return None
    if sd == 0:
        num = max(2, 1 + math.ceil(-math.log2(level)))
    else:
        sizes = range(2, most + 1)
        num = 2 + bisect_left(sizes, power, key=lambda n: t_power(effect * math.sqrt(n) / sd, n, level))
    return num if num <= most else None


def detectable_effect(sd: float, n: int, level: float, power: float = 0.8) -> float | None:
    """Return the smallest effect, without its sign, that n pairs would have called with the chance `power`.

    Args:
        sd: standard deviation of the differences, >= 0.
        n: number of pairs.
        level: two-sided level of the test, in (0, 1).
        power: chance of a call, in (level, 1).

    Returns:
        The effect in the unit of `sd`; None below two pairs, and without spread (the sign test asks for no size).

    Example:
        >>> round(detectable_effect(sd=0.01, n=5, level=0.05), 4)
        0.0168
    """
    if n < 2 or sd == 0:
        return None
    far = 4.0
    while t_power(far, n, level) < power:
        far *= 2
    return float(brentq(lambda shift: t_power(shift, n, level) - power, 0.0, far)) * sd / math.sqrt(n)
