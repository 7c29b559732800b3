"""Curves against PyTorch's, when rates drop, and the comparison on digits."""

from __future__ import annotations

import pytest

from provenet.claims import schedules
from provenet.claims.lab import Lab
from provenet.techniques.schedule import Cosine, Step


@pytest.mark.parametrize("total_steps", [7, 64, 1001])
def test_curves_are_those_of_pytorch(total_steps: int) -> None:
    assert schedules.largest_deviation(total_steps) < schedules.ROUNDING


def test_another_curve_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schedules.MEMBERS, "step", Step(drops=(0.5, 0.76)))
    assert schedules.largest_deviation(100) > 0.08
    monkeypatch.setitem(schedules.MEMBERS, "step", Step())
    monkeypatch.setitem(schedules.MEMBERS, "cosine", Cosine(floor=0.001))
    assert schedules.largest_deviation(100) == pytest.approx(0.001, rel=1e-6)


def test_plateau_waits_for_patience_and_one_more() -> None:
    scores = [0.1, 0.2, 0.2, 0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1]
    by_hand = [1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert schedules.PLATEAU.patience == 2
    assert schedules.plateau_factors(scores) == pytest.approx(by_hand)
    assert schedules.published_plateau(scores) == pytest.approx(by_hand)


def test_plateau_stops_at_its_floor_as_pytorch_does() -> None:
    falling = [1.0 - step / 100 for step in range(40)]
    assert schedules.plateau_deviation([falling]) < schedules.ROUNDING
    assert schedules.plateau_factors(falling)[-1] == schedules.PLATEAU.min_factor


def test_the_rate_of_the_last_update_is_where_the_curve_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "IMAGES", {"quick": 100})
    monkeypatch.setattr(schedules, "WORDS", {"quick": "steps=20 batch_size=8"})
    for name in ("plateau", "cosine"):
        arm = schedules.train(lab, name)[0]
        assert schedules.last_deviation(name, arm) < schedules.ROUNDING
        assert len(schedules.factors_of(name, arm)) == 20
        arm.state.optimizer.param_groups[0]["lr"] += 0.01
        assert schedules.last_deviation(name, arm) == pytest.approx(0.1)


@pytest.mark.slow
def test_the_claim_is_measured_on_digits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "IMAGES", {"quick": 150})
    monkeypatch.setattr(schedules, "WORDS", {"quick": "steps=40 batch_size=32"})
    finding = schedules.measure(lab)
    assert [check.outcome for check in finding.checks[:3]] == [True, True, True]
    assert finding.trainings == 10
    assert len(finding.effects) == 8
    drops = {row[0]: row[1] for row in finding.tables[0].rows}
    assert drops["constant"] == "never"
    assert drops["step"] == "update 21, 31"
