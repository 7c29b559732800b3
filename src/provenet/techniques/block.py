"""Slot `block`: the unit that deep nets repeat. All blocks are built from makers (`Layers`), never from techniques."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from pydantic import Field
from torch import Tensor, nn

from provenet.core.layers import Layers
from provenet.core.spec import Source, Technique

_RESNET = "Deep Residual Learning for Image Recognition"
_RESNET_URL = "https://arxiv.org/abs/1512.03385"


def convolutions(widths: list[int], kernel_sizes: list[int], strides: list[int], layers: Layers) -> nn.Sequential:
    """Return convolutions, each normalised, with an activation between them and dropout at the end.

    Args:
        widths: channels in front of the first convolution and behind each, one more than there are convolutions.
        kernel_sizes: one for each convolution, odd.
        strides: one for each convolution.
        layers: makers of the layers.

    Returns:
        a sequence named conv1, norm1, activation1, conv2, norm2, ..., dropout.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (kernel_size, stride) in enumerate(zip(kernel_sizes, strides, strict=True), start=1):
        if i > 1:
            parts[f"activation{i - 1}"] = layers.activation()
        parts[f"conv{i}"] = layers.conv(widths[i - 1], widths[i], kernel_size, stride)
        parts[f"norm{i}"] = layers.norm(widths[i])
    parts["dropout"] = layers.dropout()
    return nn.Sequential(parts)


def shortcut(in_channels: int, out_channels: int, stride: int, layers: Layers) -> nn.Module:
    """Return the identity, or a normalised 1x1 convolution where the shape changes."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    conv = layers.conv(in_channels, out_channels, 1, stride)
    return nn.Sequential(OrderedDict(conv=conv, norm=layers.norm(out_channels)))


class Unit(nn.Module):
    """activation(branch(x)), or activation(branch(x) + shortcut(x)).

    Args:
        branch: what `convolutions` returns.
        activation: the layer behind the sum.
        shortcut: the way round the branch; None for none.
        zero_gamma: whether `zero_gamma_` does its work.
        out_channels: channels of the output.
    """

    def __init__(
        self,
        branch: nn.Sequential,
        activation: nn.Module,
        shortcut: nn.Module | None,
        zero_gamma: bool,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = activation
        self.zero_gamma = zero_gamma
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        features = self.branch(images)
        if self.shortcut is not None:
            features = features + self.shortcut(images)
        return self.activation(features)

    def zero_gamma_(self) -> None:
        """Zero the branch's last gamma where the block asks for it; call after initialisation.

        A norm without gamma (none) has its convolution zeroed instead, which makes the branch zero as well.
        """
        if not self.zero_gamma:
            return
        _, conv, norm, _ = list(self.branch)[-4:]
        last = norm if isinstance(getattr(norm, "weight", None), nn.Parameter) else conv
        for parameter in last.parameters(recurse=False):
            nn.init.zeros_(parameter)


class PreactUnit(nn.Module):
    """branch(activation(norm(x))) + x: nothing stands on the way of the sum.

    Where the shape changes, the shortcut is a 1x1 convolution of activation(norm(x)).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, layers: Layers) -> None:
        super().__init__()
        self.norm1 = layers.norm(in_channels)
        self.activation1 = layers.activation()
        self.conv1 = layers.conv(in_channels, out_channels, 3, stride)
        self.norm2 = layers.norm(out_channels)
        self.activation2 = layers.activation()
        self.conv2 = layers.conv(out_channels, out_channels, 3)
        self.dropout = layers.dropout()
        same = in_channels == out_channels and stride == 1
        self.projection = None if same else layers.conv(in_channels, out_channels, 1, stride)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        ready = self.activation1(self.norm1(images))
        branch = self.conv2(self.activation2(self.norm2(self.conv1(ready))))
        shortcut = images if self.projection is None else self.projection(ready)
        return self.dropout(branch) + shortcut


class PlainBlock(Technique):
    """Two convolutions in a row, without a shortcut.

    Definition  act(norm(conv3x3(act(norm(conv3x3(x)))))), the stride in the first convolution: the residual block less
        its shortcut, and nothing else.
    Default and why  Nothing to choose. For nets of up to about 20 layers and for the levels of a U-Net.
    Cost  Two convolutions.
    Fails when  Many are stacked: beyond some 20 layers the training error rises with depth (degradation).
    """

    source: ClassVar[Source] = Source("He, Zhang, Ren and Sun", 2015, _RESNET, _RESNET_URL, "section 3.3")
    has_shortcut: ClassVar[bool] = False
    ends_open: ClassVar[bool] = False
    name: Literal["plain"] = "plain"

    def build(self, in_channels: int, out_channels: int, stride: int, layers: Layers) -> Unit:
        """Return a block; N in_channels H W to N out_channels H/stride W/stride (rounded up)."""
        branch = convolutions([in_channels, out_channels, out_channels], [3, 3], [stride, 1], layers)
        return Unit(branch, layers.activation(), None, False, out_channels)


class ResidualBlock(Technique):
    """Two convolutions that learn what to add to their input.

    Definition  act(F(x) + s(x)), F(x) = norm(conv3x3(act(norm(conv3x3(x))))); s is the identity, or a normalised 1x1
        convolution where the shape changes.
    Default and why  zero_gamma on: the last gamma begins at zero, so the block begins as the identity and depth costs
        nothing at first (Goyal et al. 2017, arXiv 1706.02677, section 5.1). timm and fastai do so, torchvision does
        not.
    Cost  One addition a block; the 1x1 convolutions add about a hundredth to the parameters.
    Fails when  Nothing in particular; in shallow nets it gains little.
    """

    source: ClassVar[Source] = Source("He, Zhang, Ren and Sun", 2015, _RESNET, _RESNET_URL, "section 3.2")
    has_shortcut: ClassVar[bool] = True
    ends_open: ClassVar[bool] = False
    name: Literal["residual"] = "residual"
    zero_gamma: bool = True
    """Whether the last gamma of the branch begins at zero, so that the block begins as the identity."""

    def build(self, in_channels: int, out_channels: int, stride: int, layers: Layers) -> Unit:
        """Return a block; N in_channels H W to N out_channels H/stride W/stride (rounded up)."""
        branch = convolutions([in_channels, out_channels, out_channels], [3, 3], [stride, 1], layers)
        around = shortcut(in_channels, out_channels, stride, layers)
        return Unit(branch, layers.activation(), around, self.zero_gamma, out_channels)


class PreactBlock(Technique):
    """A residual block with norm and activation in front of the convolutions.

    Definition  F(a) + x, a = act(norm(x)), F(a) = conv3x3(act(norm(conv3x3(a)))); the shortcut is the untouched x, or a
        1x1 convolution of a where the shape changes. The net ends with one more norm and activation.
    Default and why  Nothing to choose. For very deep nets (100 layers and more): the sum runs through unchanged. No
        zero-gamma: with a ReLU behind it, a zero gamma in front of a convolution would get no gradient.
    Cost  As the residual block.
    Fails when  The net forgets the last norm and activation (`ends_open`); below 100 layers it gains little.
    """

    source: ClassVar[Source] = Source(
        "He, Zhang, Ren and Sun",
        2016,
        "Identity Mappings in Deep Residual Networks",
        "https://arxiv.org/abs/1603.05027",
        "section 4",
    )
    has_shortcut: ClassVar[bool] = True
    ends_open: ClassVar[bool] = True
    name: Literal["preact"] = "preact"

    def build(self, in_channels: int, out_channels: int, stride: int, layers: Layers) -> PreactUnit:
        """Return a block; N in_channels H W to N out_channels H/stride W/stride (rounded up)."""
        return PreactUnit(in_channels, out_channels, stride, layers)


class BottleneckBlock(Technique):
    """A residual block that works in few channels and hands on many.

    Definition  act(F(x) + s(x)), F = 1x1 to w channels, 3x3 in w channels (with the stride), 1x1 to expansion w, each
        normalised; w is the out_channels that are asked for, and the block gives expansion w channels.
    Default and why  expansion = 4, as in the source; the stride in the 3x3 convolution, as torchvision has it, loses no
        pixel; zero_gamma as in the residual block.
    Cost  About that of a residual block of width w, with four times the channels between blocks.
    Fails when  The net is narrow: w is then too few channels to look at neighbours with.
    """

    source: ClassVar[Source] = Source("He, Zhang, Ren and Sun", 2015, _RESNET, _RESNET_URL, "section 4.1")
    has_shortcut: ClassVar[bool] = True
    ends_open: ClassVar[bool] = False
    name: Literal["bottleneck"] = "bottleneck"
    expansion: Annotated[int, Ge(1)] = 4
    """Channels of the output over those of the 3x3 convolution, at least 1."""
    zero_gamma: bool = True
    """Whether the last gamma of the branch begins at zero, so that the block begins as the identity."""

    def build(self, in_channels: int, out_channels: int, stride: int, layers: Layers) -> Unit:
        """Return a block; N in_channels H W to N (expansion out_channels) H/stride W/stride (rounded up)."""
        wide = self.expansion * out_channels
        branch = convolutions([in_channels, out_channels, out_channels, wide], [1, 3, 1], [1, stride, 1], layers)
        around = shortcut(in_channels, wide, stride, layers)
        return Unit(branch, layers.activation(), around, self.zero_gamma, wide)


Block = Annotated[PlainBlock | ResidualBlock | PreactBlock | BottleneckBlock, Field(discriminator="name")]
"""The members of the slot."""
