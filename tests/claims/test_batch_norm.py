"""The formula that the layer is held against is itself right, and a layer that does something else is found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from provenet.claims import batch_norm
from provenet.claims.batch_norm import Statistics, apart, measure, normalized, running, statistics, watch
from provenet.claims.lab import Lab

FEATURES = [np.random.default_rng(number).normal(number, 1 + number, size=(6, 3, 4, 5)) for number in range(4)]


def test_statistics_are_those_of_each_channel() -> None:
    for channel in range(3):
        values = FEATURES[2][:, channel].ravel()
        assert statistics(FEATURES[2]).mean[channel] == pytest.approx(values.mean())
        assert statistics(FEATURES[2]).var[channel] == pytest.approx(values.var())
        assert statistics(FEATURES[2], unbiased=True).var[channel] == pytest.approx(values.var(ddof=1))


def test_the_formula_equals_the_frameworks_function() -> None:
    draws = np.random.default_rng(0)
    mean, gamma, beta = draws.normal(size=(3, 3))
    var = draws.uniform(0.5, 2, 3)
    tensors = [torch.from_numpy(array) for array in (FEATURES[0], mean, var, gamma, beta)]
    expected = nn.functional.batch_norm(*tensors, training=False, eps=1e-3).numpy()
    assert normalized(FEATURES[0], Statistics(mean, var), gamma, beta, 1e-3) == pytest.approx(expected, abs=1e-12)


def test_running_statistics_follow_the_recursion() -> None:
    batches = [statistics(batch, unbiased=True) for batch in FEATURES]
    mean, var = np.zeros(3), np.ones(3)
    for batch in batches:
        mean, var = 0.7 * mean + 0.3 * batch.mean, 0.7 * var + 0.3 * batch.var
    found = running(batches, 0.3)
    assert found.mean == pytest.approx(mean)
    assert found.var == pytest.approx(var)


def test_answers_depend_on_neighbours_in_training_only() -> None:
    watched = watch(FEATURES)
    assert apart(watched, training=True) > 0.01
    assert apart(watched, training=False) < 1e-12


class Wrong(nn.BatchNorm2d):
    """Forgets to shift."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) - self.bias.detach()[:, None, None]


class Technique:
    """Makes layers of another kind, or with another momentum."""

    eps, momentum = 1e-5, 0.1

    def __init__(self, kind: Any, **settings: Any) -> None:
        self.layer = lambda channels: kind(channels, **settings)


@pytest.mark.parametrize(
    ("technique", "fails"),
    [
        (Technique(nn.BatchNorm2d), []),
        (Technique(Wrong), [0, 1, 3]),
        (Technique(nn.BatchNorm2d, momentum=0.2), [2, 3]),
        (Technique(nn.BatchNorm2d, eps=1e-2), [0, 1, 3]),
        (Technique(nn.BatchNorm2d, track_running_stats=True, momentum=None), [2, 3]),
    ],
)
def test_a_layer_that_does_something_else_is_found_out(
    technique: Technique, fails: list[int], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_norm, "TECHNIQUE", technique)
    monkeypatch.setattr(batch_norm, "BATCHES", {"quick": 4, "full": 4})
    finding = measure(lab)
    assert [number for number, check in enumerate(finding.checks) if not check.outcome] == fails
