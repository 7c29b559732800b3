"""A recipe's net is the one that it names, filled from its slots."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from provenet import nets
from provenet.core.errors import RecipeError
from provenet.nets.net import Net
from provenet.recipe.load import load
from provenet.recipe.network import build_net
from provenet.recipe.words import parse_words
from provenet.techniques.norm import GroupNorm


def network(*words: str, num_classes: int = 4, in_channels: int = 3) -> Net:
    return build_net(load(parse_words(["steps=1", *words])), num_classes, in_channels)


def kinds(net: nn.Module) -> set[type]:
    return {base for module in net.modules() for base in type(module).__mro__}


def test_the_stem_follows_the_view_unless_it_is_said() -> None:
    def side(*words: str) -> int:
        first = next(module for module in network("net=resnet", *words).modules() if isinstance(module, nn.Conv2d))
        return first.kernel_size[0]

    assert side("view.size=[64,64]") == 3 and side("view.size=[65,64]") == 7
    assert side("view.size=[65,64]", "net.stem=small") == 3 and side("view.size=[32,32]", "net.stem=large") == 7


def test_a_named_net_is_the_same_as_one_made_by_hand() -> None:
    ours = network("net=resnet", "net.depth=20", "norm=group", "view.size=[32,32]")
    theirs = nets.resnet(4, 3, 20, "small", norm=GroupNorm())
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("words", "present", "absent"),
    [
        (("net=resnet", "norm=group", "activation=silu"), {nn.GroupNorm, nn.SiLU}, {nn.BatchNorm2d, nn.ReLU}),
        (("net=resnet", "dropout=dropout"), {nn.Dropout}, set()),
        (("net=plain", "norm=none"), {nn.Conv2d}, {nn.BatchNorm2d}),
        (("net=convnet",), {nn.GELU}, {nn.ReLU}),
        (("net=unet", "task=segmentation", "upsample=transposed"), {nn.ConvTranspose2d}, set()),
        (("net=unet", "task=segmentation", "norm=instance"), {nn.InstanceNorm2d}, {nn.BatchNorm2d}),
        (("net=fcn", "task=segmentation", "activation=gelu"), {nn.GELU}, {nn.ReLU}),
    ],
)
def test_slots_fill_the_net(words: tuple[str, ...], present: set[type], absent: set[type]) -> None:
    found = kinds(network(*words))
    assert present <= found and not absent & found


def test_fields_reach_the_net() -> None:
    assert nets.count_parameters(network("net=convnet", "net.widths=[8,8]")) < 10_000
    unet = ("net=unet", "task=segmentation", "net.levels=2")
    narrow, wide = (nets.count_parameters(network(*unet, f"net.width={width}")) for width in (4, 8))
    assert 3 < wide / narrow < 4.5, "parameters grow with the square of the width"


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(
    "words",
    [
        ("net=resnet", "net.depth=8"),
        ("net=convnet", "net.widths=[8,8]"),
        ("net=timm:resnet10t",),
        ("net=unet", "net.width=4", "net.levels=3", "task=segmentation"),
        ("net=unet", "net.encoder=timm:resnet10t", "task=segmentation"),
        ("net=fcn", "net.width=4", "task=segmentation"),
    ],
    ids="-".join,
)
def test_channels_and_classes(words: tuple[str, ...], in_channels: int) -> None:
    net = network(*words, num_classes=5, in_channels=in_channels).eval()
    with torch.no_grad():
        logits = net(torch.rand(2, in_channels, 21, 18))
    assert logits.shape == ((2, 5, 21, 18) if "task=segmentation" in words else (2, 5))


def test_a_network_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RecipeError, match="resnet18"):
        network("net=timm:resnet_18")
