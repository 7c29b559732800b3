"""Studies keep their word: without effect few are called, and intervals hold the truth as often as they say."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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


def most(share: float, num: int) -> float:
    """Return what a share is rarely above (three standard errors)."""
    return share + 3 * math.sqrt(share * (1 - share) / num)


@pytest.mark.parametrize("world", ["usual", "short budget, half never reach the target"])
def test_identical_arms_are_rarely_called(calibration, world: str) -> None:
    records = calibration.studies(STUDIES, [calibration.NULL], 5, calibration.WORLDS[world], 1)
    for found in calibration.calls(records).values():
        assert found["value"] <= most(0.05, STUDIES)


def test_intervals_hold_a_known_effect(calibration) -> None:
    effect, world = calibration.KINDS["slower and higher"], calibration.WORLDS["usual"]
    mine, others = (calibration.studies(STUDIES, [effect], 5, world, start) for start in (2, 3))
    found = calibration.coverage(mine, others)
    for measure in ("epochs to target", "test accuracy", "area under the validation curve"):
        assert 1 - most(0.05, STUDIES) <= found[measure]["held"]["value"]
    assert found["epochs to target"]["truth"] < -0.5 and found["test accuracy"]["truth"] == pytest.approx(
        0.02, abs=0.005
    )
    assert np.mean([found[m]["called"] for m in ("epochs to target", "test accuracy")]) > 0.1


@pytest.mark.slow
def test_six_identical_arms_are_rarely_called(calibration) -> None:
    records = calibration.studies(STUDIES, [calibration.NULL] * 6, 5, calibration.WORLDS["usual"], 1)
    for found in calibration.calls(records).values():
        assert found["value"] <= most(0.05, STUDIES)
