"""Normalisation layers against slow NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from provenet.core.errors import ShapeError
from provenet.techniques.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm, largest_divisor

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(3.0, 2.0, size=(3, 6, 4, 5))
GAMMA, BETA = RNG.normal(size=6), RNG.normal(size=6)


def with_affine(layer: nn.Module) -> nn.Module:
    layer.double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(GAMMA))  # type: ignore[operator]
        layer.bias.copy_(torch.from_numpy(BETA))  # type: ignore[operator]
    return layer


def slow(images: np.ndarray, groups: list[tuple[slice | int, slice | list[int]]], eps: float) -> np.ndarray:
    """Normalise each region of (samples, channels) by its own mean and biased variance, then scale and shift."""
    result = np.empty_like(images)
    for region in groups:
        values = images[region]
        mean = values.sum() / values.size
        var = ((values - mean) ** 2).sum() / values.size
        result[region] = (values - mean) / np.sqrt(var + eps)
    return result * GAMMA[:, None, None] + BETA[:, None, None]


def per_image(channels_a_group: int) -> list[tuple[slice | int, slice | list[int]]]:
    return [(n, slice(c, c + channels_a_group)) for n in range(3) for c in range(0, 6, channels_a_group)]


def test_batch_norm_in_training_is_the_formula() -> None:
    layer = with_affine(BatchNorm(eps=1e-3).layer(6))
    expected = slow(IMAGES, [(slice(None), slice(c, c + 1)) for c in range(6)], 1e-3)
    np.testing.assert_allclose(layer(torch.from_numpy(IMAGES)).detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, 0.4, 1.0])
def test_batch_norm_in_evaluation_uses_the_running_statistics(momentum: float) -> None:
    layer = with_affine(BatchNorm(momentum=momentum).layer(6))
    mean, var = np.zeros(6), np.ones(6)
    for batch in (IMAGES, 2 * IMAGES + 1, IMAGES[::-1] - 4):
        layer(torch.from_numpy(batch.copy()))
        mean = (1 - momentum) * mean + momentum * batch.mean(axis=(0, 2, 3))
        var = (1 - momentum) * var + momentum * batch.var(axis=(0, 2, 3), ddof=1)
    expected = (IMAGES - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
    expected = expected * GAMMA[:, None, None] + BETA[:, None, None]
    found = layer.eval()(torch.from_numpy(IMAGES)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("technique", "channels_a_group"),
    [(GroupNorm(num_groups=2, eps=1e-4), 3), (GroupNorm(num_groups=5, eps=1e-4), 2), (LayerNorm(eps=1e-4), 6)]
    + [(InstanceNorm(eps=1e-4), 1), (GroupNorm(num_groups=6, eps=1e-4), 1)],
)
def test_norms_of_single_images_are_the_formula(
    technique: GroupNorm | LayerNorm | InstanceNorm, channels_a_group: int, training: bool
) -> None:
    layer = with_affine(technique.layer(6)).train(training)
    expected = slow(IMAGES, per_image(channels_a_group), 1e-4)
    np.testing.assert_allclose(layer(torch.from_numpy(IMAGES)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_none_changes_nothing() -> None:
    images = torch.from_numpy(IMAGES)
    assert NoNorm().layer(6)(images) is images


@given(st.integers(1, 300), st.integers(1, 64))
def test_largest_divisor(number: int, most: int) -> None:
    found = largest_divisor(number, most)
    assert number % found == 0
    assert found <= most
    assert all(number % larger for larger in range(found + 1, min(most, number) + 1))


def test_batch_norm_refuses_one_value_a_channel_in_training_only() -> None:
    layer = BatchNorm().layer(6)
    with pytest.raises(ShapeError, match="single value a channel"):
        layer(torch.zeros(1, 6, 1, 1))
    assert layer(torch.zeros(2, 6, 1, 1)).shape == (2, 6, 1, 1)
    assert layer.eval()(torch.zeros(1, 6, 1, 1)).shape == (1, 6, 1, 1)


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_refuses_images_of_one_pixel(training: bool) -> None:
    with pytest.raises(ShapeError, match="single value a channel"):
        InstanceNorm().layer(6).train(training)(torch.zeros(4, 6, 1, 1))
