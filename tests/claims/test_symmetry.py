"""Equal units are one unit, and the instruments see it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provenet.claims import symmetry
from provenet.claims.lab import Lab
from provenet.claims.symmetry import Arm, OneHidden, arms, distance, hidden, measure, rank, train


@given(st.integers(1, 5), st.integers(0, 100))
def test_a_product_of_thin_matrices_has_their_rank(thin: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    product = torch.from_numpy(draws.normal(size=(7, thin)) @ draws.normal(size=(thin, 9)))
    assert rank(product) == thin == np.linalg.matrix_rank(product.numpy())


@given(st.integers(0, 100))
def test_distance_is_that_of_the_two_units_furthest_apart(seed: int) -> None:
    units = np.random.default_rng(seed).normal(size=(5, 3))
    apart = max(float(np.linalg.norm(one - other)) for one in units for other in units)
    expected = apart / max(float(np.linalg.norm(unit)) for unit in units)
    assert distance(torch.from_numpy(units)) == pytest.approx(expected, rel=1e-12)


def test_equal_units_answer_as_the_one_unit_they_amount_to() -> None:
    nets = []
    for name in ("one value", "one unit"):
        arm = arms(inputs=12)[name]
        net = OneHidden(12, 3, arm)
        for parameter in net.parameters():
            arm.init.fill_(parameter, torch.Generator()) if parameter.ndim > 1 else torch.nn.init.zeros_(parameter)
        nets.append(net)
    images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    logits = [net(images) for net in nets]
    assert logits[0].abs().max() > 0
    assert torch.allclose(*logits, rtol=1e-9)


def test_training_tells_random_units_apart_and_not_equal_ones(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetry, "STEPS", {"quick": 5, "full": 5})
    monkeypatch.setattr(symmetry, "IMAGES", {"quick": 100, "full": 100})
    chosen = arms(64)
    equal, random = (train(lab.classification, chosen[name], 0) for name in ("one value", "he"))
    (equal_layer,), (random_layer,) = hidden([equal]), hidden([random])
    start = torch.full_like(equal_layer, 1 / 64)
    assert not torch.equal(equal_layer, start)
    assert rank(equal_layer) == 1
    assert rank(random_layer) == 64
    assert not np.isclose(distance(random_layer), 0)


def test_a_unit_that_differs_at_the_start_is_seen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank would not stay at 1 if the training did anything but the same to every unit."""

    class AlmostEqual(symmetry.Constant):
        def fill_(self, weight: torch.Tensor, generator: torch.Generator) -> None:
            super().fill_(weight, generator)
            with torch.no_grad():
                weight[0, 0] += 0.01

    monkeypatch.setattr(symmetry, "STEPS", {"quick": 5, "full": 5})
    monkeypatch.setattr(symmetry, "IMAGES", {"quick": 100, "full": 100})
    (layer,) = hidden([train(lab.classification, Arm(AlmostEqual(value=1 / 64)), 0)])
    assert rank(layer) > 1


@pytest.mark.slow
def test_the_claim_is_measured_from_end_to_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetry, "STEPS", {"quick": 20, "full": 20})
    finding = measure(lab)
    assert [check.outcome for check in finding.checks[:3]] == [True, True, True]
    assert finding.trainings == 9 * len(lab.seeds)
    assert {effect.goal for effect in finding.effects} == {"convergence", "generalisation"}
