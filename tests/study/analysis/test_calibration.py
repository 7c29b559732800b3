"""Studies keep their word: without effect few are called, and intervals hold the truth as often as they say."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

from provenet.stats.intervals import Figure

PATH = Path(__file__).parents[3] / "benchmarks" / "calibration.py"
STUDIES = 300


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_bootstrap(monkeypatch) -> None:
    """Bootstrap intervals take half of the time and decide nothing."""
    monkeypatch.setattr("provenet.study.effects.mean_bootstrap", lambda values: Figure(None))


def errors(share: float, num: int) -> float:
    """Return what a share is rarely away from its expectation (three standard errors)."""
    return 3 * math.sqrt(share * (1 - share) / num)


def test_identical_arms_are_rarely_called(calibration) -> None:
    records = calibration.studies(STUDIES, [calibration.NULL], 5, calibration.WORLDS["usual"], 1)
    for found in calibration.calls(records).values():
        assert 0 < found["value"] <= 0.05 + errors(0.05, STUDIES)


def test_intervals_hold_a_known_effect(calibration) -> None:
    """The test score of an arm is 0.02 higher by construction."""
    effect = calibration.KINDS["slower and higher"]
    records = calibration.studies(STUDIES, [effect], 5, calibration.WORLDS["usual"], 2)
    rows = [next(e for e in record.effects if e.measure == "test accuracy") for record in records]
    held = sum(row.low <= effect.higher <= row.high for row in rows) / STUDIES
    assert held == pytest.approx(0.95, abs=errors(0.95, STUDIES))


@pytest.mark.slow
@pytest.mark.parametrize("arms", [1, 6])
def test_identical_arms_are_rarely_called_in_odd_worlds(calibration, arms: int) -> None:
    for name, world in calibration.WORLDS.items():
        records = calibration.studies(STUDIES, [calibration.NULL] * arms, 5, world, 1)
        for found in calibration.calls(records).values():
            assert found["value"] <= 0.05 + errors(0.05, STUDIES), name


@pytest.mark.slow
def test_races_of_identical_arms_are_rarely_called(calibration) -> None:
    for found in calibration.raced(STUDIES, 6, 8, calibration.WORLDS["usual"]).values():
        assert found["value"] <= 0.05 + errors(0.05, STUDIES)


@pytest.mark.slow
def test_intervals_hold_known_times(calibration) -> None:
    effect, world = calibration.KINDS["slower"], calibration.WORLDS["usual"]
    mine, others = (calibration.studies(STUDIES, [effect], 5, world, start) for start in (2, 3))
    found = calibration.coverage(mine, others)
    assert found["epochs to target"]["truth"] < -2
    for measure in ("epochs to target", "area under the validation curve"):
        assert found[measure]["held"]["value"] == pytest.approx(0.95, abs=errors(0.95, STUDIES))
