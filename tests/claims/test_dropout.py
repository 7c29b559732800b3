"""Claim 12: the instrument sees a layer that does not follow the definition."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from provenet.claims import dropout
from provenet.claims.dropout import FARTHEST, SHAPES, Dropping, evaluation_difference, gaps, law
from provenet.claims.lab import Lab
from provenet.techniques.dropout import Dropout


class Unscaled(nn.Dropout):
    """Drops as it should, and forgets to divide by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * (1 - self.p)


@pytest.mark.parametrize("member", SHAPES)
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_every_layer_follows_its_definition(member: Dropping, p: float) -> None:
    found = law(member, p)
    assert found.zeros == pytest.approx(p, abs=0.01)
    assert found.zeros_off < FARTHEST
    assert found.mean_off < FARTHEST
    assert found.survivors_off < 1e-12


def test_another_probability_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dropout, "layer", lambda self: nn.Dropout(self.p + 0.02))
    assert law(Dropout, 0.5).zeros_off > FARTHEST


def test_a_lost_expectation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dropout, "layer", lambda self: Unscaled(self.p))
    found = law(Dropout, 0.2)
    assert found.zeros_off < FARTHEST < found.mean_off
    assert found.survivors_off == pytest.approx(0.2)


@pytest.mark.parametrize("member", SHAPES)
def test_only_training_tells_a_net_with_dropout_from_one_without(member: Dropping) -> None:
    assert evaluation_difference(member) == 0
    assert evaluation_difference(member, training=True) > 0.01


def test_the_gap_is_training_less_validation() -> None:
    assert gaps({"train": [0.9, 1.0], "val": [0.4, 0.75], "test": [0.0, 0.0]}) == [0.5, 0.25]


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "SHARED", {"quick": "steps=12"})
    monkeypatch.setattr(dropout, "IMAGES", {"quick": 100})
    found = dropout.CLAIM.measure(lab)
    assert [check.outcome for check in found.checks[:3]] == [True, True, True]
    assert (len(found.checks), found.trainings) == (4, 6)
