"""Claim 13: thinned nets are nets, and damage is what removal does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from provenet.claims import dropout_views
from provenet.claims.dropout_views import damage, features_of, one_thinned, views
from provenet.claims.lab import Lab
from provenet.nets import Classifier, initialize_, resnet
from provenet.techniques.block import ResidualBlock
from provenet.techniques.dropout import Dropout, SpatialDropout
from provenet.techniques.init import He

MEMBERS = {"units": Dropout(p=0.5), "channels": SpatialDropout(p=0.5)}


def small(member: Dropout | SpatialDropout) -> Classifier:
    """Return a small net with dropout, in evaluation mode."""
    net = resnet(4, depth=8, width=4, block=ResidualBlock(zero_gamma=False), dropout=member)
    initialize_(net, He(), seed=1)
    return net.eval()


def some_images(num: int = 6) -> torch.Tensor:
    return torch.randn(num, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", MEMBERS)
@torch.no_grad()
def test_a_thinned_net_is_one_net_and_goes_away_again(kind: str) -> None:
    net, one = small(MEMBERS[kind]), some_images(1)
    same = one.expand(5, -1, -1, -1)
    before = net(same)
    with one_thinned(net, seed=3):
        thinned, again = net(same), net(same[:2])
    assert torch.allclose(thinned, thinned[:1].expand(5, -1), atol=1e-6)
    assert torch.allclose(again, thinned[:2], atol=1e-6)
    assert (thinned - before).abs().max() > 0.01
    assert torch.equal(net(same), before)
    assert not any(module.training for module in net.modules())


@torch.no_grad()
def test_units_are_dropped_in_front_of_the_head() -> None:
    net, images = small(MEMBERS["units"]), some_images()
    features = features_of(net, images)
    assert torch.allclose(net.head(features), net(images), atol=1e-6)
    with one_thinned(net, seed=5):
        seen = features_of(net, images)
    kept = seen[features.argmax(0), range(features.shape[1])] > 0
    assert 0 < kept.sum() < len(kept)
    assert torch.allclose(seen, 2 * features * kept)


@torch.no_grad()
def test_the_evaluated_head_is_the_geometric_mean_of_all_thinned_heads() -> None:
    """What the finding says holds by algebra, over all 2^8 masks of p = 0.5."""
    generator = torch.Generator().manual_seed(2)
    head, features = nn.Linear(8, 3).double(), torch.rand(5, 8, generator=generator, dtype=torch.float64)
    masks = torch.tensor([[number >> unit & 1 for unit in range(8)] for number in range(256)], dtype=torch.float64)
    log_probs = torch.stack([head(features * mask * 2).log_softmax(1) for mask in masks]).mean(0)
    assert torch.allclose(log_probs.softmax(1), head(features).softmax(1), atol=1e-12)


def test_the_average_of_many_is_never_worse_in_log_loss_than_its_members() -> None:
    found = views(small(MEMBERS["channels"]), some_images(), torch.tensor([0, 1, 2, 3, 0, 1]), num=8)
    assert found.average[1] < found.typical[1]
    assert all(0 <= view[0] <= 1 and np.isfinite(view[1]) for view in (found.evaluated, found.average, found.typical))


def test_damage_counts_right_answers_that_turn_wrong() -> None:
    generator = torch.Generator().manual_seed(4)
    features, targets = torch.rand(40, 6, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    head = nn.Linear(6, 3)
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    removed = [[0], [1, 4], [5, 2, 3]]
    shares = []
    for units in removed:
        right = lost = 0
        for row, target in zip(features.numpy(), targets.numpy(), strict=True):
            if np.argmax(weight @ row + bias) == target:
                right += 1
                row = row.copy()
                row[units] = 0
                lost += np.argmax(weight @ row + bias) != target
        shares.append(lost / right)
    assert damage(head, features, targets, removed) == pytest.approx(np.mean(shares))
    assert damage(head, features, targets, [[]]) == 0


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout_views, "SHARED", {"quick": "steps=12"})
    monkeypatch.setattr(dropout_views, "SEEDS", 1)
    monkeypatch.setattr(dropout_views, "IMAGES", {"quick": 100})
    monkeypatch.setattr(dropout_views, "THINNED", {"quick": 3})
    found = dropout_views.CLAIM.measure(lab)
    assert (len(found.checks), found.trainings) == (5, 6)
