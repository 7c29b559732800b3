"""Scales of activations, statistics and leaks, and the comparison on digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from provenet.claims import input_scale
from provenet.claims.lab import Lab


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, updates and layers for a test."""
    monkeypatch.setattr(input_scale, "IMAGES", {"quick": 120})
    monkeypatch.setattr(input_scale, "WORDS", {"quick": "steps=8 batch_size=32"})
    monkeypatch.setattr(input_scale, "DEEP", 8)


def test_the_scale_behind_each_relu_is_its_root_mean_square() -> None:
    first, second = nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)
    for layer in (first, second):
        nn.init.constant_(layer.weight, 2.0)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    images = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    assert input_scale.activation_scales(net, images) == pytest.approx([(4**2 / 2) ** 0.5, (8**2 / 2) ** 0.5])
    assert not net[1]._forward_hooks


def test_scales_are_compared_at_the_last_layer_and_at_every_layer() -> None:
    scales = {"raw": [[255.0, 510.0]], "scale01": [[1.0, 2.5]], "standardize": [[100.0, 5.1]]}
    assert input_scale.cascade(scales).value == pytest.approx(2)
    assert input_scale.homogeneity(scales).value == pytest.approx(1 - 510 / 2.5 / 255)


def test_raw_activations_are_255_times_those_of_unit_inputs(lab: Lab, small: None) -> None:
    scales = {name: [input_scale.scales_of(lab, name, 0)] for name in ("raw", "scale01")}
    assert len(scales["raw"][0]) == 1 + 7
    figure = input_scale.homogeneity(scales)
    assert figure.value is not None
    assert figure.value < input_scale.ROUNDING


def test_statistics_are_those_of_the_pixels_and_pictures(lab: Lab) -> None:
    dataset = lab.classification.dataset
    ids = dataset.splits["train"][:30]
    stack = np.stack([dataset.store.image(int(i)) for i in ids]).astype(np.float64)
    mean, std, error = input_scale.channel_statistics(dataset.store, ids)
    assert mean == pytest.approx(stack.mean(axis=(0, 1, 2)))
    assert std == pytest.approx(stack.std(axis=(0, 1, 2)))
    assert error == pytest.approx(stack.mean(axis=(1, 2)).std(axis=0, ddof=1) / 30**0.5)


def test_validation_and_test_get_the_statistics_of_training(
    lab: Lab, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert input_scale.reuse_deviation(lab) < input_scale.ROUNDING
    honest = input_scale.channel_statistics
    monkeypatch.setattr(input_scale, "channel_statistics", lambda store, ids: honest(store, ids[: len(ids) // 2]))
    assert input_scale.reuse_deviation(lab) > 1e-3


def test_leaked_statistics_are_those_of_all_splits(lab: Lab, small: None) -> None:
    session = lab.classification.session(input_scale.recipe(lab, "standardize"), 0, 120)
    everything = np.concatenate([session.dataset.splits[name] for name in ("train", "val", "test")])
    mean, std, _ = input_scale.channel_statistics(session.dataset.store, everything)
    leaked = input_scale.leaked_stats(session)
    assert leaked.mean == pytest.approx(mean)
    assert leaked.std == pytest.approx(std)
    own, _, error = input_scale.channel_statistics(session.dataset.store, session.dataset.splits["train"])
    assert input_scale.leak_in_errors(session) == pytest.approx(float(np.abs(mean - own).max() / error[0]))


def test_a_leak_is_measured_on_the_same_weights(lab: Lab, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = input_scale.train(lab, "standardize")[0]
    honest = arm.session.stats
    monkeypatch.setattr(input_scale, "leaked_stats", lambda session: honest)
    assert input_scale.leak_at_test(arm) == 0
    again = input_scale.retrained(arm)
    for name, value in again.net.state_dict().items():
        assert torch.equal(value, arm.net.state_dict()[name]), name


@pytest.mark.slow
def test_the_claim_is_measured_on_digits(lab: Lab, small: None) -> None:
    finding = input_scale.measure(lab)
    assert finding.checks[0].outcome is True
    assert finding.checks[5].outcome is True
    assert finding.trainings == 12
    assert len(finding.effects) == 4
