"""The one form of all scores: figures with intervals, one record a split."""

# N samples, R resamples, D sums, K classes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.stats.bootstrap import bootstrap_sums, percentile_interval
from provenet.stats.intervals import Figure, wilson_interval

Statistics = dict[str, NDArray[np.float64]]
"""Statistics by name, each (R,), or (R, K) for one a class; NaN where not defined."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Args:
        level: coverage, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
    """

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Scores:
    """What a net reached on a split.

    Args:
        task: "classification" or "segmentation".
        primary: the name of the metric that decides.
        n: number of samples (images).
        metrics: figure by name.
        per_class: one row a class: "name", "support" (samples, or pixels, of the class in truth) and figures.
        confusion: counts, rows the truth, columns the prediction.
        extra: what only one task has, ready for JSON.
    """

    task: str
    primary: str
    n: int
    metrics: dict[str, Figure]
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists; a figure becomes {"value", "low", "high"}.

        Example:
            >>> Scores("classification", "accuracy", 2, {"accuracy": Figure(0.5)}, [], []).to_json()["metrics"]
            {'accuracy': {'value': 0.5, 'low': None, 'high': None}}
        """
        return asdict(self)


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return part / whole, NaN where whole is 0: what has no cases has no score.

    Example:
        >>> ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0])).tolist()
        [0.25, nan]
    """
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean along the last axis of the values that are not NaN; NaN where there is none.

    Example:
        >>> mean_defined(np.array([[1.0, np.nan, 2.0]])).tolist()
        [1.5]
    """
    return ratio(np.nansum(values, axis=-1), np.count_nonzero(~np.isnan(values), axis=-1).astype(np.float64))


def point(rows: Any, statistics: Callable[[NDArray[np.float64]], Statistics]) -> Statistics:
    """Return the statistics of all rows together, each () or (K,)."""
    sums = np.asarray(rows.sum(axis=0), dtype=np.float64).reshape(1, -1)
    return {name: values[0] for name, values in statistics(sums).items()}


def figures(
    rows: Any, statistics: Callable[[NDArray[np.float64]], Statistics], resampling: Resampling
) -> dict[str, list[Figure]]:
    """Return every statistic with its percentile bootstrap interval.

    An interval always holds its value (a biased statistic, such as the calibration error, may leave the percentiles).
    Where all resamples agree the bootstrap knows nothing, and there is no interval.

    Args:
        rows: what each sample adds to each sum, (N, D), an array or a SciPy sparse array.
        statistics: sums (R, D) to statistics.
        resampling: level, number and seed of the resamples.

    Returns:
        Figures by name: one, or one a class.
    """
    values = point(rows, statistics)
    draws = statistics(bootstrap_sums(rows, resampling.resamples, resampling.seed))
    found = {}
    for name, value in values.items():
        low, high = percentile_interval(draws[name], resampling.level)
        columns = (np.atleast_1d(part).tolist() for part in (value, low, high))
        found[name] = [_figure(*ends) for ends in zip(*columns, strict=True)]
    return found


def _figure(value: float, low: float, high: float) -> Figure:
    """Return a figure, without what is not finite."""
    if not np.isfinite(value):
        return Figure(None)
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return Figure(value)
    return Figure(value, min(low, value), max(high, value))


def widened(figure: Figure, trials: float, level: float) -> Figure:
    """Return a proportion with Wilson's interval where the bootstrap had none (a share of 0 or 1).

    Example:
        >>> widened(Figure(1.0), 10, 0.95).low > 0.7
        True
    """
    if figure.value is None or figure.low is not None:
        return figure
    return Figure(figure.value, *wilson_interval(figure.value * trials, trials, level))
