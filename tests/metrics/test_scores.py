"""Figures: what is not defined is None, and an interval holds its value."""

from __future__ import annotations

import json

import numpy as np

from provenet.metrics.scores import Resampling, Scores, figures, mean_defined, ratio, widened
from provenet.stats.bootstrap import bootstrap_counts
from provenet.stats.intervals import Figure, wilson_interval


def mean_and_more(sums: np.ndarray) -> dict[str, np.ndarray]:
    total, num = sums[:, 0], sums[:, 1]
    return {"mean": total / num, "never": np.full(len(sums), np.nan), "endless": np.full(len(sums), np.inf)}


def test_figures_equal_slow_resampling() -> None:
    values = np.random.default_rng(0).normal(size=30)
    found = figures(np.stack([values, np.ones(30)], 1), mean_and_more, Resampling(0.9, 200, seed=4))["mean"][0]
    counts = np.concatenate(list(bootstrap_counts(30, 200, seed=4))).astype(int)
    slow = [np.repeat(values, row).mean() for row in counts]
    np.testing.assert_allclose([found.low, found.high], np.percentile(slow, [5, 95]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.value, values.mean(), rtol=0, atol=1e-12)


def test_what_is_not_finite_is_none_and_what_never_varies_has_no_interval() -> None:
    rows = np.stack([np.full(5, 2.0), np.ones(5)], 1)
    found = figures(rows, mean_and_more, Resampling(resamples=50))
    assert found == {"mean": [Figure(2.0)], "never": [Figure(None)], "endless": [Figure(None)]}


def test_interval_holds_its_value_when_the_statistic_is_biased() -> None:
    def spread(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {"spread": np.abs(sums[:, 0])}

    found = figures(np.array([[1.0], [-1.0], [1.0], [-1.0]] * 10), spread, Resampling(0.5, 400))["spread"][0]
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None and found.high > 0


def test_wilson_stands_in_only_where_the_bootstrap_is_silent() -> None:
    assert widened(Figure(1.0), 8, 0.9) == Figure(1.0, *wilson_interval(8, 8, 0.9))
    assert widened(Figure(0.5, 0.4, 0.6), 8, 0.9) == Figure(0.5, 0.4, 0.6)
    assert widened(Figure(None), 0, 0.9) == Figure(None)


def test_ratio_and_mean_leave_out_what_has_no_cases() -> None:
    shares = ratio(np.array([[1.0, 0.0, 3.0]]), np.array([[2.0, 0.0, 4.0]]))
    np.testing.assert_array_equal(shares, [[0.5, np.nan, 0.75]])
    np.testing.assert_array_equal(mean_defined(shares), [0.625])
    np.testing.assert_array_equal(mean_defined(np.full((1, 2), np.nan)), [np.nan])


def test_scores_become_plain_json() -> None:
    row = {"name": "cat", "support": 1, "recall": Figure(None)}
    scores = Scores("classification", "accuracy", 1, {"accuracy": Figure(1.0, 0.2, 1.0)}, [row], [[1]], {"a": 1})
    read = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert read["metrics"]["accuracy"] == {"value": 1.0, "low": 0.2, "high": 1.0}
    assert read["per_class"][0]["recall"] == {"value": None, "low": None, "high": None}
    assert (read["confusion"], read["extra"], read["n"], read["primary"]) == ([[1]], {"a": 1}, 1, "accuracy")
