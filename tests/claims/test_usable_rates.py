"""What counts as a usable rate, and what as a spread over scales."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from provenet.claims import usable_rates
from provenet.claims.lab import Lab
from provenet.claims.training import Look, Trained
from provenet.claims.usable_rates import Net, largest_rate, measure, usable


@pytest.fixture(autouse=True)
def grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rates."""
    monkeypatch.setattr(usable_rates, "RATES", (0.01, 0.1, 1.0))


def net_of(scores: list[list[float]]) -> Net:
    """Return a net that reached these validation accuracies, gains x rates."""
    runs = {}
    for gain, row in zip(usable_rates.GAINS, scores, strict=True):
        for rate, score in zip(usable_rates.RATES, row, strict=True):
            runs[gain, rate] = cast(
                Trained, type("Run", (), {"looks": [Look(1, 0.0, 0.0, 0.0), Look(2, 0.0, score, 0.0)]})()
            )
    return Net(runs)


def test_a_rate_is_usable_up_to_a_tenth_below_the_best_of_the_grid() -> None:
    scores = np.array([[0.1, 0.2, 0.8], [0.71, 0.73, 0.1], [0.1, 0.721, 0.1]])
    assert usable(scores).tolist() == [[False, False, True], [False, True, False], [False, True, False]]
    assert largest_rate(scores) == 0.1


def test_where_no_rate_is_usable_the_largest_lies_a_step_below_the_grid() -> None:
    assert largest_rate(np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])) == pytest.approx(0.001)


def test_the_spread_is_taken_at_the_rate_that_is_best_at_hes_own_scale() -> None:
    net = net_of([[0.9, 0.4, 0.1], [0.2, 0.5, 0.5], [0.0, 0.7, 0.9]])
    assert net.best_rate == 0.1
    assert net.spread == pytest.approx(0.3)
    assert net.best is net.runs[1.0, 0.1]


@pytest.mark.slow
def test_the_claim_is_measured_from_end_to_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable_rates, "STEPS", {"quick": 4, "full": 4})
    monkeypatch.setattr(usable_rates, "IMAGES", {"quick": 100, "full": 100})
    finding = measure(lab)
    assert finding.trainings == 2 * 3 * 3 * len(lab.seeds)
    assert all(
        0 <= value <= 1 for chart in finding.charts if chart.kind == "heat" for row in chart.values for value in row
    )
    assert len(finding.effects) == 2
