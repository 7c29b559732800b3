"""Rates are chosen by the training loss; the loss of guessing is the entropy of the classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from provenet.claims import deep_relu
from provenet.claims.deep_relu import Arm, gradients, guessing_loss, measure, train
from provenet.claims.lab import Lab
from provenet.claims.training import Trained


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two updates of a shallow net on a hundred images."""
    monkeypatch.setattr(deep_relu, "DEPTH", {"quick": 8, "full": 8})
    monkeypatch.setattr(deep_relu, "SEEDS", 1)
    monkeypatch.setattr(deep_relu, "STEPS", {"quick": 2, "full": 2})
    monkeypatch.setattr(deep_relu, "IMAGES", {"quick": 100, "full": 100})


def test_the_rate_is_that_of_the_lowest_loss_and_a_broken_one_never_wins(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_relu, "RATES", (1e30, 1e-9, 0.01))
    arm = train(lab.classification, "he")
    assert math.isnan(arm.tried[1e30])
    finite = {rate: loss for rate, loss in arm.tried.items() if math.isfinite(loss)}
    assert arm.rate == min(finite, key=lambda rate: finite[rate])
    assert [run.session.recipe.seed for run in arm.runs] == list(lab.seeds)
    assert all(run.session.recipe.optimizer.lr == arm.rate for run in arm.runs)


def test_guessing_costs_the_entropy_of_the_classes(lab: Lab) -> None:
    run = Trained.__new__(Trained)
    run.session = lab.classification.session("steps=1", 0)
    labels = lab.classification.dataset.labels[lab.classification.dataset.splits["train"]]
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    assert guessing_loss(run) == pytest.approx(sum(share * math.log(1 / share) for share in shares))
    assert guessing_loss(run) < math.log(10)


def test_gradients_of_he_are_larger_than_those_of_xavier_in_deep_nets(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_relu, "DEPTH", {"quick": 20, "full": 20})
    he, xavier = (gradients(lab.classification, init) for init in ("he", "xavier"))
    assert [layer for layer, _ in he] == list(range(1, 20))
    # 18 of the 20 layers lie on either way of the product: about 2^-9, or 2.7 powers of ten.
    assert 1.5 < np.mean([a - b for (_, a), (_, b) in zip(he, xavier, strict=True)]) < 4


def test_the_claim_is_measured_from_end_to_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_relu, "RATES", (0.01, 0.03))
    finding = measure(lab)
    assert finding.trainings == 2 * (2 + len(lab.seeds) - 1)
    # Two updates are too few for either: the claim must not say that one trains.
    assert finding.checks[0].outcome is not True
    assert {effect.goal for effect in finding.effects} == {"convergence", "generalisation"}


def test_an_arms_losses_are_those_of_its_runs(lab: Lab) -> None:
    run = lab.classification.train("steps=1", 0, 60, looks=1)
    assert Arm({}, 0.1, [run, run]).losses == [run.losses[0]] * 2
