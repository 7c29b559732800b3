"""What the claims about rates, inputs and depth share: small views, training losses, figures in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from provenet.claims.lab import Bench
from provenet.claims.training import Trained
from provenet.stats.intervals import Figure

LATE_FRAC = 0.2
"""The end of a training over which its loss is averaged: one batch's loss says little."""


def small_view(bench: Bench, side: int) -> str:
    """Return the setting of a square view of at most `side` pixels, never more than the data have."""
    return "view.size=[{0},{0}]".format(min(side, bench.side))


def late_loss(trained: Trained) -> float:
    """Return the mean training loss of the last fifth of the updates; NaN when one of them was not finite."""
    return fmean(trained.losses[-max(1, round(LATE_FRAC * len(trained.losses))) :])


def loss_curve(arms: Sequence[Trained], points: int = 20) -> tuple[tuple[float, float], ...]:
    """Return the training loss over updates, averaged over seeds and over equal stretches of the training.

    Args:
        arms: one training a seed, of equal length; broken ones end the curve where they broke.
        points: stretches.
    """
    length = min(len(trained.losses) for trained in arms)
    ends = sorted({math.ceil(length * (point + 1) / points) for point in range(points)})
    curve = []
    for start, end in zip([0, *ends], ends, strict=False):
        value = fmean(loss for trained in arms for loss in trained.losses[start:end])
        if math.isfinite(value):
            curve.append((float(end), value))
    return tuple(curve)


def words(figure: Figure, digits: int = 3) -> str:
    """Return a figure with its interval, as text.

    Example:
        >>> words(Figure(0.25, 0.125, 0.375)), words(Figure(2.0), 1), words(Figure(None))
        ('0.250 [0.125, 0.375]', '2.0', 'not defined')
    """
    if figure.value is None or not math.isfinite(figure.value):
        return "not defined"
    text = f"{figure.value:z.{digits}f}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} [{figure.low:z.{digits}f}, {figure.high:z.{digits}f}]"
