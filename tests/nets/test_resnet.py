"""Residual and plain networks against the published ones."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from provenet import nets
from provenet.core.errors import RecipeError
from provenet.techniques.activation import SiLU
from provenet.techniques.block import BottleneckBlock, PreactBlock, ResidualBlock
from provenet.techniques.dropout import Dropout, SpatialDropout, StochasticDepth
from provenet.techniques.norm import GroupNorm, NoNorm


@pytest.mark.parametrize(
    ("depth", "millions"),
    [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)],
)
def test_parameters_are_those_of_table_6(depth, millions):
    assert nets.count_parameters(nets.resnet(10, depth=depth)) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_the_nets_for_photographs_have_torchvisions_parameters(depth):
    with torch.device("meta"):
        ours = nets.resnet(1000, depth=depth)
        theirs = getattr(torchvision.models, f"resnet{depth}")()
    shapes = [[tuple(p.shape) for p in net.parameters()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("training", [False, True])
def test_with_torchvisions_weights_the_logits_are_torchvisions(training):
    theirs = torchvision.models.resnet18(num_classes=7).train(training)
    ours = nets.resnet(7, depth=18, stem="large").train(training)
    for mine, tensor in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        if tensor.is_floating_point():
            tensor.copy_(tensor + 0.1 * torch.rand(tensor.shape))
        mine.copy_(tensor)
    images = torch.randn(2, 3, 65, 70)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def layers_deep(net):
    """Convolutions and linear layers on the longest way, shortcuts not counted."""
    weighted = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return len([name for name in weighted if "shortcut" not in name and "projection" not in name])


@pytest.mark.parametrize("depth", [8, 18, 20, 34, 50, 56])
def test_the_depth_counts_the_layers(depth):
    with torch.device("meta"):
        assert layers_deep(nets.resnet(10, depth=depth)) == depth
        if depth != 50:
            assert layers_deep(nets.plain(10, depth=depth)) == depth
            assert layers_deep(nets.resnet(10, depth=depth, block=PreactBlock())) == depth


def test_plain_is_residual_without_its_shortcuts():
    residual, plain = nets.resnet(10, depth=20), nets.plain(10, depth=20)
    assert [n for n in residual.state_dict() if "shortcut" not in n] == list(plain.state_dict())


@pytest.mark.parametrize(("stem", "reductions"), [("small", [1, 2, 4, 8]), ("large", [2, 4, 8, 16, 32])])
def test_feature_maps_have_the_channels_and_sizes_that_the_encoder_states(stem, reductions):
    encoder = nets.resnet(10, depth=18, stem=stem, width=4).encoder.eval()
    maps = encoder(torch.rand(1, 3, 64, 32))
    assert encoder.reductions == reductions
    expected = [(1, c, 64 // r, 32 // r) for c, r in zip(encoder.channels, reductions, strict=True)]
    assert [tuple(features.shape) for features in maps] == expected


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    block=st.sampled_from([ResidualBlock(), PreactBlock(), BottleneckBlock()]),
    stem=st.sampled_from(["small", "large"]),
)
def test_any_size_gives_logits(height, width, block, stem):
    net = nets.resnet(3, in_channels=1, depth=8, width=4, block=block, stem=stem).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, height, width)).shape == (1, 3)


@pytest.mark.parametrize("depth", [-1, 0, 2, 19, 21, 101])
def test_a_depth_that_does_not_exist_is_refused_with_the_nearest(depth):
    nearest = {-1: 8, 0: 8, 2: 8, 19: 18, 21: 20, 101: 98}[depth]
    with pytest.raises(RecipeError, match=f"18, 34, 50.*try {nearest}"):
        nets.resnet(10, depth=depth)


def test_depth_50_without_bottlenecks_is_refused():
    with pytest.raises(RecipeError, match="bottlenecks"):
        nets.plain(10, depth=50)


def test_counts_below_one_are_refused_together():
    with pytest.raises(RecipeError, match=r"(?s)num_classes.*width"):
        nets.resnet(0, depth=8, width=0)


def test_a_slot_that_the_net_has_no_place_for_is_refused():
    with pytest.raises(TypeError, match="skip"):
        nets.resnet(10, depth=8, skip=None)


def test_unit_dropout_acts_once_before_the_head():
    net = nets.resnet(10, depth=8, dropout=Dropout(p=0.5))
    assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == [0.5]
    assert isinstance(net.dropout, nn.Dropout)


def test_stochastic_depth_grows_evenly_with_the_blocks_and_spatial_dropout_does_not():
    net = nets.resnet(10, depth=20, dropout=StochasticDepth(p=0.9))
    rates = [block.branch.dropout.p for stage in net.encoder.stages for block in stage]
    assert rates == pytest.approx([0.1 * number for number in range(1, 10)])
    net = nets.resnet(10, depth=8, dropout=SpatialDropout(p=0.3))
    assert [block.branch.dropout.p for stage in net.encoder.stages for block in stage] == [0.3] * 3


def test_norm_and_activation_are_those_asked_for():
    net = nets.resnet(10, depth=8, norm=GroupNorm(num_groups=4), activation=SiLU())
    kinds = {type(module) for module in net.modules()}
    assert nn.GroupNorm in kinds and nn.SiLU in kinds
    assert nn.BatchNorm2d not in {base for kind in kinds for base in kind.__mro__} and nn.ReLU not in kinds
    with_bias = nets.resnet(10, depth=8, norm=NoNorm())
    assert all(module.bias is not None for module in with_bias.modules() if isinstance(module, nn.Conv2d))


def test_preactivation_ends_with_a_norm_and_an_activation():
    net = nets.resnet(10, depth=8, block=PreactBlock()).eval()
    features = net.encoder(torch.randn(2, 3, 16, 16))[-1]
    assert features.min() == 0
    assert len(net.encoder.stem) == 1
