"""Losses at the end of a training, and curves over its updates."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from provenet.claims.arms import late_loss, loss_curve, small_view
from provenet.claims.lab import Lab


def arm(losses: list[float]) -> Any:
    return SimpleNamespace(losses=losses)


def test_the_end_of_a_training_is_its_last_fifth() -> None:
    assert late_loss(arm([9.0] * 8 + [1.0, 3.0])) == 2.0
    assert late_loss(arm([9.0, 4.0])) == 4.0
    assert math.isnan(late_loss(arm([1.0] * 9 + [math.nan])))


def test_a_curve_is_the_mean_over_stretches_and_seeds() -> None:
    arms = [arm([4.0, 2.0, 1.0, 1.0]), arm([2.0, 2.0, 3.0, 1.0])]
    assert loss_curve(arms, points=2) == ((2.0, 2.5), (4.0, 1.5))
    assert loss_curve(arms, points=20) == ((1.0, 3.0), (2.0, 2.0), (3.0, 2.0), (4.0, 1.0))


def test_a_broken_training_ends_the_curve() -> None:
    arms = [arm([4.0, 2.0, math.nan]), arm([2.0, 2.0, 3.0, 1.0])]
    assert loss_curve(arms, points=3) == ((1.0, 3.0), (2.0, 2.0))


@pytest.mark.parametrize(("side", "seen"), [(4, 4), (100, 8)])
def test_a_view_is_never_larger_than_the_pictures(lab: Lab, side: int, seen: int) -> None:
    bench = lab.classification
    assert bench.recipe(f"steps=1 {small_view(bench, side)}").view.size == (seen, seen)
