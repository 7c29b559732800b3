"""The techniques that a net is filled with, and the makers of layers that its blocks see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from torch import nn

from provenet.core.errors import Fault, RecipeError
from provenet.core.layers import Layers
from provenet.techniques.activation import Activation, ReLU
from provenet.techniques.block import Block, BottleneckBlock, PlainBlock
from provenet.techniques.dropout import Dropouts, NoDropout
from provenet.techniques.norm import BatchNorm, NoNorm, Norm
from provenet.techniques.skip import Concat, Skip
from provenet.techniques.upsample import Bilinear, Upsample


class LayerSlots(TypedDict, total=False):
    """The keywords by which every net takes its techniques; what is left out has the net's default."""

    norm: Norm
    activation: Activation
    dropout: Dropouts


class BodySlots(LayerSlots, total=False):
    """The keywords of a net that is made of blocks."""

    block: Block


class SegmenterSlots(BodySlots, total=False):
    """The keywords of a net with a decoder."""

    skip: Skip
    upsample: Upsample


@dataclass(frozen=True)
class LayerParts:
    """One technique for each slot that every net has."""

    norm: Norm = field(default_factory=BatchNorm)
    activation: Activation = field(default_factory=ReLU)
    dropout: Dropouts = field(default_factory=NoDropout)

    def layers(self, depth_frac: float = 1.0) -> Layers:
        """Return the makers of layers for a block.

        Args:
            depth_frac: where the block stands, in (0, 1]: its number, from 1, over the number of blocks.
        """
        return Layers(
            norm=self.norm.layer,
            activation=self.activation.layer,
            dropout=lambda: self.dropout.layer(depth_frac) if self.dropout.place == "body" else nn.Identity(),
            conv_bias=isinstance(self.norm, NoNorm),
        )

    def head_dropout(self) -> nn.Module:
        """Return the dropout on the deepest features; the identity where dropout acts in the body."""
        return self.dropout.layer() if self.dropout.place == "head" else nn.Identity()

    def norm_activation(self, num_channels: int) -> nn.Sequential:
        """Return a norm and an activation."""
        return nn.Sequential(self.norm.layer(num_channels), self.activation.layer())


@dataclass(frozen=True)
class BodyParts(LayerParts):
    """One technique for each slot of a net that is made of blocks."""

    block: Block = field(default_factory=PlainBlock)

    def block_to(self, in_channels: int, out_channels: int, depth_frac: float = 1.0) -> Any:
        """Return a block at stride 1 that gives `out_channels`, also where a block widens what it is asked for."""
        widening = self.block.expansion if isinstance(self.block, BottleneckBlock) else 1
        return self.block.build(in_channels, max(1, out_channels // widening), 1, self.layers(depth_frac))

    def last(self, num_channels: int) -> nn.Module:
        """Return what goes between the last block and whatever reads its features."""
        return self.norm_activation(num_channels) if self.block.ends_open else nn.Identity()


@dataclass(frozen=True)
class SegmenterParts(BodyParts):
    """One technique for each slot of a net with a decoder."""

    skip: Skip = field(default_factory=Concat)
    upsample: Upsample = field(default_factory=Bilinear)


def check_counts(**counts: int) -> None:
    """Refuse counts below 1, all at once.

    Raises:
        RecipeError: names every count that is too small.

    Example:
        >>> check_counts(width=0)
        Traceback (most recent call last):
        provenet.core.errors.RecipeError: width must be at least 1; got 0.
    """
    faults = [Fault(f"{name} must be at least 1", str(value)) for name, value in counts.items() if value < 1]
    if faults:
        raise RecipeError(faults)
