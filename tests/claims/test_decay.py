"""The noisy quadratic against its algebra, and the comparison on digits."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from provenet.claims import decay
from provenet.claims.lab import Lab
from provenet.core.rng import numpy_generator


def test_the_expected_error_of_a_constant_rate_follows_the_geometric_series() -> None:
    rate, curvature, updates = 0.3, 0.7, 11
    shrink = (1 - rate * curvature) ** 2
    square = shrink**updates * decay.START**2 + rate**2 * decay.NOISE**2 * (1 - shrink**updates) / (1 - shrink)
    errors = decay.expected_errors(np.full(updates, rate), np.array([curvature]))
    assert len(errors) == updates + 1
    assert errors[0] == pytest.approx(curvature * decay.START**2 / 2)
    assert errors[-1] == pytest.approx(curvature * square / 2, rel=1e-12)


def test_a_constant_rate_comes_to_rest_where_the_closed_form_says() -> None:
    curvatures = np.array([0.1, 1.0])
    errors = decay.expected_errors(np.full(3000, 0.4), curvatures)
    assert errors[-1] == pytest.approx(decay.stationary_error(0.4, curvatures), rel=1e-9)


def test_simulated_runs_have_the_expected_error_under_changing_rates() -> None:
    rates = np.linspace(1.0, 0.0, 40)
    errors = decay.simulated_errors(rates, 4000, numpy_generator(1, "test"))
    spread = errors.std() / math.sqrt(len(errors))
    assert abs(errors.mean() - decay.expected_errors(rates)[-1]) < 4 * spread


def test_no_constant_rate_of_the_grid_ends_below_the_best_one() -> None:
    best = decay.expected_errors(decay.constant_rates(decay.best_constant()))[-1]
    ends = [decay.expected_errors(decay.constant_rates(rate))[-1] for rate in decay.GRID]
    assert best == min(ends)
    assert decay.GRID[0] < decay.best_constant() < decay.GRID[-1]


def test_decay_ends_lower_than_any_constant_rate_on_the_quadratic() -> None:
    gain = decay.decay_gain().value
    assert gain is not None
    assert gain > 1


def test_the_rival_is_the_constant_rate_that_ends_lowest() -> None:
    def arms(*losses: float) -> Any:
        return [SimpleNamespace(losses=[loss] * 5) for loss in losses]

    constants = {0.1: arms(1.0, 3.0), 0.2: arms(1.5, 1.5), 0.4: arms(0.1, math.nan)}
    assert decay.lowest(constants, decay.late_loss) == 0.2
    figure = decay.over_decay(constants, arms(1.0, 1.25), decay.late_loss)
    assert figure.value == pytest.approx(0.375)


@pytest.mark.slow
def test_the_claim_is_measured_on_digits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decay, "IMAGES", {"quick": 150})
    monkeypatch.setattr(decay, "SEEDS", 1)
    monkeypatch.setattr(decay, "WORDS", {"quick": "steps=12 batch_size=32 schedule.warmup_frac=0"})
    finding = decay.measure(lab)
    assert [check.outcome for check in finding.checks[:2]] == [True, True]
    assert finding.trainings == 8
    assert {effect.goal for effect in finding.effects} == {"convergence", "generalisation"}
    assert len(finding.tables[0].rows) == 4
