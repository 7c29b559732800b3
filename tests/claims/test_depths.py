"""Degradation and its cure: the pieces against their definitions, the claims on digits."""

from __future__ import annotations

import pytest
import torch

from provenet.claims import degradation, depths, residual
from provenet.claims.lab import Lab
from provenet.nets.parts import BodyParts
from provenet.techniques.block import ResidualBlock


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depths, images and updates for a test."""
    monkeypatch.setattr(depths, "IMAGES", {"quick": 100})
    monkeypatch.setattr(depths, "WORDS", {"quick": "steps=6 batch_size=32"})
    for module in (degradation, residual):
        monkeypatch.setattr(module, "DEPTHS", {"quick": (8, 14)})
    monkeypatch.setattr(residual, "GRADIENT_DEPTHS", (8, 14, 20))


def test_a_silenced_block_is_the_identity_where_its_activation_allows() -> None:
    behind, signed, preact = residual.identity_rows()
    assert behind[1:] == (0.0, 0.0)
    assert signed[1] > 1
    assert signed[2] == 0.0
    assert preact[1] == 0.0
    assert preact[2] > 1


def test_a_block_that_is_not_silenced_changes_its_input() -> None:
    block = ResidualBlock(zero_gamma=False).build(4, 4, 1, BodyParts().layers())
    images = torch.rand(2, 4, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        assert float((residual.silenced(block)(images) - images).abs().max()) > 0.1


def test_the_gradient_is_that_of_the_first_convolution(lab: Lab) -> None:
    bench, seed = lab.classification, 0
    session = bench.session("steps=1 net.depth=8 block=plain", seed, residual.BATCH)
    images, targets = bench.images(session, session.dataset.splits["train"])
    net = session.net.double().train()
    weight = dict(net.named_parameters())["encoder.stem.0.weight"]
    loss = torch.nn.functional.cross_entropy(net(images.double()), targets)
    norm = torch.autograd.grad(loss, weight)[0].square().sum().sqrt()
    assert residual.first_gradient(lab, residual.PLAIN, 8, seed) == pytest.approx(float(norm.log10()), abs=1e-9)


def test_with_zero_gamma_the_gradient_does_not_see_depth(lab: Lab) -> None:
    shallow, deep = (residual.first_gradient(lab, residual.ZERO, depth, 0) for depth in (8, 20))
    assert shallow == pytest.approx(deep, abs=1e-9)


def test_changes_are_from_the_shallowest_to_the_deepest_net() -> None:
    found = {
        residual.PLAIN: {8: [0.0, 1.0], 20: [3.0, 4.0], 56: [6.0, 6.0]},
        residual.BARE: {8: [0.0, 0.0], 20: [0.0, 0.0], 56: [-4.0, -9.0]},
        residual.PUBLISHED: {8: [1.0, 1.0], 20: [1.5, 1.5], 56: [0.0, 3.0]},
    }
    assert residual.changes(found, residual.PLAIN) == [6.0, 5.0]
    assert residual.spared(found).value == pytest.approx(((4 - 1) + (5 - 2)) / 2)


def test_nets_of_one_seed_share_the_weights_that_both_have(lab: Lab) -> None:
    bench = lab.classification
    words = [f"steps=1 {depths.PUBLISHED} net.depth={depth} {depths.BLOCKS['quick']['plain']}" for depth in (8, 20)]
    shallow, deep = (bench.session(each, 0, 50).net.state_dict() for each in words)
    shared = [name for name in shallow if name in deep and deep[name].shape == shallow[name].shape]
    assert len(shared) == len(shallow)
    assert all(torch.equal(shallow[name], deep[name]) for name in shared)


def test_blocks_differ_in_the_shortcut_alone(lab: Lab) -> None:
    bench = lab.classification
    plain, with_shortcut = (
        bench.session(f"steps=1 {depths.PUBLISHED} net.depth=8 {depths.BLOCKS['full'][kind]}", 0, 50).net.state_dict()
        for kind in ("plain", "residual")
    )
    assert {name for name in with_shortcut if name not in plain} == {
        name for name in with_shortcut if ".shortcut." in name
    }
    assert all(torch.equal(value, with_shortcut[name]) for name, value in plain.items())


@pytest.mark.slow
def test_degradation_is_measured_on_digits(lab: Lab, small: None) -> None:
    finding = degradation.measure(lab)
    assert finding.trainings == 4
    assert [row[0] for row in finding.tables[0].rows] == ["plain 8", "plain 14"]
    assert all(check.n == 2 for check in finding.checks)


@pytest.mark.slow
def test_its_cure_is_measured_on_digits(lab: Lab, small: None) -> None:
    finding = residual.measure(lab)
    assert finding.trainings == 6
    assert [check.outcome for check in finding.checks[2:4]] == [True, True]
    assert [row[0] for row in finding.tables[0].rows] == ["residual 8", "residual 14", "plain 14"]
