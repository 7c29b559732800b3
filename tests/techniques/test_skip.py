"""Skips: what they give, and that matched addition costs what concatenation costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from provenet import nets
from provenet.core.layers import Layers
from provenet.techniques.block import PlainBlock
from provenet.techniques.skip import Add, Concat, MatchedAdd, NoSkip

LAYERS = Layers(nn.BatchNorm2d, nn.ReLU, nn.Identity)
DEEP, SKIP = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 5, 7)


def num_parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def decoder_level(skip: object, deep_channels: int, skip_channels: int) -> int:
    """Return the parameters of a skip and the plain block that reads it."""
    joined = skip.build(deep_channels, skip_channels)  # type: ignore[attr-defined]
    return num_parameters(joined, PlainBlock().build(joined.out_channels, skip_channels, 1, LAYERS))


@pytest.mark.parametrize("skip", [NoSkip(), Concat(), Add(), MatchedAdd()], ids=lambda skip: skip.name)
@pytest.mark.parametrize("skip_channels", [4, 6])
def test_shapes_and_gradients(skip: object, skip_channels: int) -> None:
    module = skip.build(6, skip_channels)  # type: ignore[attr-defined]
    deep = DEEP.clone().requires_grad_()
    joined = module(deep, torch.randn(2, skip_channels, 5, 7))
    assert joined.shape == (2, module.out_channels, 5, 7)
    joined.square().sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in (deep, *module.parameters()))


def test_none_hands_the_deep_features_on() -> None:
    assert NoSkip().build(6, 4)(DEEP, SKIP) is DEEP


def test_concat_keeps_both_in_order() -> None:
    joined = Concat().build(6, 4)(DEEP, SKIP)
    assert torch.equal(joined[:, :6], DEEP)
    assert torch.equal(joined[:, 6:], SKIP)


def test_add_is_a_sum_and_projects_only_where_channels_differ() -> None:
    same = Add().build(6, 6)
    assert num_parameters(same) == 0
    assert torch.equal(same(DEEP, DEEP), 2 * DEEP)
    other = Add().build(6, 4)
    weight = other.projection.weight[:, :, 0, 0]  # type: ignore[union-attr, index]
    torch.testing.assert_close(other(DEEP, SKIP), DEEP + torch.einsum("oc,nchw->nohw", weight, SKIP))


@pytest.mark.parametrize("channels", [1, 8, 64, 256])
def test_matched_add_costs_exactly_what_concat_costs_where_channels_agree(channels: int) -> None:
    assert decoder_level(MatchedAdd(), channels, channels) == decoder_level(Concat(), channels, channels)
    assert decoder_level(Add(), channels, channels) < 0.7 * decoder_level(Concat(), channels, channels) + 10


@given(st.integers(16, 300), st.integers(32, 300))
def test_matched_add_costs_what_concat_costs_within_two_percent(deep_channels: int, skip_channels: int) -> None:
    ratio = decoder_level(MatchedAdd(), deep_channels, skip_channels) / decoder_level(
        Concat(), deep_channels, skip_channels
    )
    assert 0.98 <= ratio <= 1.02


def test_matched_add_sees_nothing_but_the_sum() -> None:
    module = MatchedAdd().build(6, 6)
    other = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(module(DEEP + other, DEEP - other), module(DEEP, DEEP))


def test_matched_add_gives_a_unet_the_parameters_of_concat() -> None:
    concat, add, matched = (
        num_parameters(nets.unet(2, width=8, skip=skip)) for skip in (Concat(), Add(), MatchedAdd())
    )
    assert abs(matched / concat - 1) < 0.02
    assert add / concat < 0.95
