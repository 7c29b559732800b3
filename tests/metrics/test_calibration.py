"""Calibration against torchmetrics and cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from provenet.metrics.calibration import bin_of, ece, reliability


@pytest.mark.parametrize("num_bins", [5, 15])
def test_ece_equals_torchmetrics(num_bins: int) -> None:
    draws = torch.Generator().manual_seed(0)
    probs = torch.rand(400, 4, generator=draws, dtype=torch.float64).pow(3)
    probs /= probs.sum(1, keepdim=True)
    targets = torch.randint(0, 4, (400,), generator=draws)
    theirs = multiclass_calibration_error(probs, targets, 4, n_bins=num_bins, norm="l1")
    confidence, predicted = probs.max(1)
    ours = ece(confidence.numpy(), (predicted == targets).numpy(), num_bins)
    assert ours == pytest.approx(float(theirs), abs=1e-6)  # theirs bins in float32


def test_bins_are_closed_above() -> None:
    assert bin_of(np.array([0.0, 0.1, 0.2, 0.2000001, 0.99, 1.0]), 5).tolist() == [0, 0, 0, 1, 4, 4]


def test_perfect_and_worst() -> None:
    assert ece(np.ones(4), np.ones(4, bool)) == 0
    assert ece(np.ones(4), np.zeros(4, bool)) == 1


def test_reliability_rows_add_up_to_the_error() -> None:
    draws = np.random.default_rng(1)
    confidence = draws.uniform(0.2, 1, 300)
    correct = draws.random(300) < confidence**2
    rows = reliability(confidence, correct)
    assert sum(row["n"] for row in rows) == 300
    assert rows[0] == {"low": 0.0, "high": 1 / 15, "n": 0, "confidence": None, "accuracy": None}
    filled = [row for row in rows if row["n"]]
    assert all(row["low"] < row["confidence"] <= row["high"] for row in filled)
    by_rows = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in filled) / 300
    assert by_rows == pytest.approx(ece(confidence, correct))
