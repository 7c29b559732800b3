"""Blocks against torchvision's, their shapes, and the identity that zero gamma promises."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from provenet.core.layers import Layers
from provenet.techniques.block import BottleneckBlock, PlainBlock, PreactBlock, ResidualBlock

BATCH = partial(nn.BatchNorm2d)
NORMS = {"batch": nn.BatchNorm2d, "group": partial(nn.GroupNorm, 2), "none": lambda _: nn.Identity()}
BLOCKS = [PlainBlock(), ResidualBlock(), PreactBlock(), BottleneckBlock()]


def layers(norm: str = "batch", dropout: type[nn.Module] = nn.Identity) -> Layers:
    return Layers(NORMS[norm], nn.ReLU, dropout, conv_bias=norm == "none")  # type: ignore[arg-type]


def randomize_(module: nn.Module) -> None:
    """Give every parameter and running statistic its own random value."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))


class KeepFirst(nn.Module):
    """Drops the branch of every sample but the first."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * (torch.arange(len(values)) == 0).to(values)[:, None, None, None]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 8), (4, 6)])
def test_shapes_and_gradients(block: object, norm: str, stride: int, in_channels: int, out_channels: int) -> None:
    module = block.build(in_channels, out_channels, stride, layers(norm))  # type: ignore[attr-defined]
    images = torch.randn(2, in_channels, 7, 5, requires_grad=True)
    features = module(images)
    assert module.out_channels == out_channels * getattr(block, "expansion", 1)
    assert features.shape == (2, module.out_channels, -(-7 // stride), -(-5 // stride))
    features.square().sum().backward()
    for name, value in [("images", images), *module.named_parameters()]:
        assert value.grad is not None, name
        assert bool(value.grad.isfinite().all()), name


@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (8, 2), (4, 1)])
def test_residual_block_is_torchvisions(in_channels: int, stride: int) -> None:
    ours = ResidualBlock().build(in_channels, 8, stride, layers())
    around = None
    if stride > 1 or in_channels != 8:
        around = nn.Sequential(nn.Conv2d(in_channels, 8, 1, stride, bias=False), nn.BatchNorm2d(8))
    assert_same(ours, BasicBlock(in_channels, 8, stride, around))


@pytest.mark.parametrize(("in_channels", "stride"), [(32, 1), (32, 2), (6, 1)])
def test_bottleneck_is_torchvisions(in_channels: int, stride: int) -> None:
    ours = BottleneckBlock().build(in_channels, 8, stride, layers())
    around = None
    if stride > 1 or in_channels != 32:
        around = nn.Sequential(nn.Conv2d(in_channels, 32, 1, stride, bias=False), nn.BatchNorm2d(32))
    assert_same(ours, Bottleneck(in_channels, 8, stride, around))


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    """Their weights, copied over by order, make ours answer alike."""
    randomize_(theirs)
    values = list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    images = torch.randn(2, theirs.conv1.in_channels, 9, 6)  # type: ignore[union-attr]
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_plain_and_residual_differ_in_the_shortcut_only() -> None:
    plain, residual = PlainBlock().build(8, 8, 1, layers()), ResidualBlock().build(8, 8, 1, layers())
    assert [(name, v.shape) for name, v in plain.state_dict().items()] == [
        (name, v.shape) for name, v in residual.state_dict().items()
    ]
    randomize_(plain)
    residual.load_state_dict(plain.state_dict())
    images = torch.randn(2, 8, 5, 5)
    branch = residual.eval().branch(images)
    torch.testing.assert_close(plain.eval()(images), branch.relu())
    torch.testing.assert_close(residual(images), (branch + images).relu())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("block", [ResidualBlock(), BottleneckBlock()], ids=lambda block: block.name)
def test_zero_gamma_makes_the_block_the_identity_and_lets_it_learn(block: ResidualBlock, norm: str) -> None:
    module = block.build(16, 16 // getattr(block, "expansion", 1), 1, layers(norm))
    randomize_(module)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):  # as initialisation leaves them
            nn.init.zeros_(parameter)
    module.zero_gamma_()
    images = torch.randn(2, 16, 6, 6)
    torch.testing.assert_close(module(images), images.relu())
    module(images).square().sum().backward()
    last = [name for name, parameter in module.named_parameters() if not bool(parameter.any())]
    learning = [name for name in last if bool(module.get_parameter(name).grad.any())]
    assert any(name.endswith("weight") for name in learning)


@pytest.mark.parametrize("block", [PlainBlock(), ResidualBlock(zero_gamma=False)], ids=lambda block: block.name)
def test_without_zero_gamma_nothing_is_zeroed(block: PlainBlock | ResidualBlock) -> None:
    module = block.build(4, 4, 1, layers())
    randomize_(module)
    before = [value.clone() for value in module.state_dict().values()]
    module.zero_gamma_()
    assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


@pytest.mark.parametrize("stride", [1, 2])
def test_preact_block_is_its_definition(stride: int) -> None:
    module = PreactBlock().build(6, 6, stride, layers())
    randomize_(module)
    module.eval()
    images = torch.randn(2, 6, 7, 7)
    ready = module.norm1(images).relu()
    conv1 = nn.functional.conv2d(ready, module.conv1.weight, stride=stride, padding=1)
    branch = nn.functional.conv2d(module.norm2(conv1).relu(), module.conv2.weight, padding=1)
    shortcut = images
    if module.projection is not None:
        shortcut = nn.functional.conv2d(ready, module.projection.weight, stride=stride)
    torch.testing.assert_close(module(images), branch + shortcut)


@pytest.mark.parametrize("block", [ResidualBlock(), PreactBlock(), BottleneckBlock()], ids=lambda block: block.name)
def test_dropout_acts_on_the_branch_and_never_on_the_shortcut(block: ResidualBlock) -> None:
    module = block.build(16, 16 // getattr(block, "expansion", 1), 1, layers(dropout=KeepFirst))
    randomize_(module)
    module.eval()
    images = torch.rand(3, 16, 5, 5)
    features = module(images)
    torch.testing.assert_close(features[1:], images[1:])
    assert not torch.allclose(features[0], images[0])
