"""Slot `skip`: how a U-Net's decoder takes in the encoder's features of the same size."""

# N batch, C channels, H W pixels; deep: from below, already upsampled; skip: from the encoder's level

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from provenet.core.spec import Source, Technique


class DeepOnly(nn.Module):
    """Hands the deep features on.

    Args:
        deep_channels: channels of the deep features.
    """

    def __init__(self, deep_channels: int) -> None:
        super().__init__()
        self.out_channels = deep_channels

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return deep


class Concatenation(nn.Module):
    """Puts the skip features behind the deep ones.

    Args:
        deep_channels: channels of the deep features.
        skip_channels: channels of the skip features.
    """

    def __init__(self, deep_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.out_channels = deep_channels + skip_channels

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([deep, skip], dim=1)


class Addition(nn.Module):
    """Adds the skip features to the deep ones, by a 1x1 convolution where their channels differ.

    Args:
        deep_channels: channels of the deep features.
        skip_channels: channels of the skip features.
    """

    def __init__(self, deep_channels: int, skip_channels: int) -> None:
        super().__init__()
        same = deep_channels == skip_channels
        self.projection = nn.Identity() if same else nn.Conv2d(skip_channels, deep_channels, 1, bias=False)
        self.out_channels = deep_channels

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return deep + self.projection(skip)


class MatchedAddition(nn.Module):
    """Adds, then spends on one 3x3 convolution and a ReLU what the sum saves over a concatenation.

    Args:
        deep_channels: channels of the deep features.
        skip_channels: channels of the skip features.
    """

    def __init__(self, deep_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.out_channels = matched_channels(deep_channels, skip_channels)
        self.sum = Addition(deep_channels, skip_channels)
        self.conv = nn.Conv2d(deep_channels, self.out_channels, 3, padding=1, bias=False)
        self.activation = nn.ReLU()

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        return self.activation(self.conv(self.sum(deep, skip)))


def matched_channels(deep_channels: int, skip_channels: int) -> int:
    """Return the width of the extra 3x3 convolution that makes addition cost as many weights as concatenation.

    Definition: the decoder's block begins with a 3x3 convolution to skip_channels (the decoder mirrors the encoder).
    With d deep and s skip channels and width w: 9 w s + 9 d w + (d s if d != s) = 9 (d + s) s, solved for w.

    Example:
        >>> matched_channels(64, 64), matched_channels(128, 64)
        (64, 59)
    """
    projection = deep_channels * skip_channels if deep_channels != skip_channels else 0
    concat = 9 * (deep_channels + skip_channels) * skip_channels
    return max(1, round((concat - projection) / (9 * (deep_channels + skip_channels))))


class NoSkip(Technique):
    """The decoder sees nothing but what comes from below.

    Definition  forward(deep, skip) = deep.
    Default and why  Nothing to choose. The arm that shows what the connections buy.
    Cost  None; saves memory.
    Fails when  Borders matter: what pooling lost of position does not come back.
    """

    source: ClassVar[Source] = Source(
        "Noh, Hong and Han",
        2015,
        "Learning Deconvolution Network for Semantic Segmentation",
        "https://arxiv.org/abs/1505.04366",
    )
    name: Literal["none"] = "none"

    def build(self, deep_channels: int, skip_channels: int) -> nn.Module:
        """Return a module with forward(deep, skip) and out_channels = deep_channels."""
        return DeepOnly(deep_channels)


class Concat(Technique):
    """Both sets of features side by side; the next convolution weighs them.

    Definition  forward(deep, skip) = [deep, skip] along the channels.
    Default and why  The default of the slot, as in the source: deep and fine features keep their own weights.
    Cost  The next convolution reads twice the channels: half as many weights again in a decoder level.
    Fails when  Memory is short.
    """

    source: ClassVar[Source] = Source(
        "Ronneberger, Fischer and Brox",
        2015,
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "https://arxiv.org/abs/1505.04597",
        "section 2",
    )
    name: Literal["concat"] = "concat"

    def build(self, deep_channels: int, skip_channels: int) -> nn.Module:
        """Return a module with forward(deep, skip) and out_channels = deep_channels + skip_channels."""
        return Concatenation(deep_channels, skip_channels)


class Add(Technique):
    """The skip features are added to the deep ones.

    Definition  forward(deep, skip) = deep + P skip; P is the identity, or a 1x1 convolution where the channels differ.
    Default and why  Nothing to choose. Lighter and faster than concat.
    Cost  One addition a level.
    Fails when  Deep and skip features of one channel mean different things: the sum cannot tell them apart.
    """

    source: ClassVar[Source] = Source(
        "Chaurasia and Culurciello",
        2017,
        "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
        "https://arxiv.org/abs/1707.03718",
    )
    name: Literal["add"] = "add"

    def build(self, deep_channels: int, skip_channels: int) -> nn.Module:
        """Return a module with forward(deep, skip) and out_channels = deep_channels."""
        return Addition(deep_channels, skip_channels)


class MatchedAdd(Technique):
    """Addition with as many parameters as concatenation: the fair arm of the comparison.

    Definition  forward(deep, skip) = relu(conv3x3(deep + P skip)), the convolution as wide as the weights that the
        decoder's block saves over concat allow (`matched_channels`; the matching is ours).
    Default and why  Nothing to choose. It tells whether concat wins by its form or by its weights.
    Cost  That of concat, in weights and in multiplications.
    Fails when  The decoder is no mirror of the encoder, or its blocks are not plain: the counts then differ by more
        than 2 %.
    """

    source: ClassVar[Source] = Source(
        "Chaurasia and Culurciello",
        2017,
        "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
        "https://arxiv.org/abs/1707.03718",
    )
    name: Literal["matched_add"] = "matched_add"

    def build(self, deep_channels: int, skip_channels: int) -> nn.Module:
        """Return a module with forward(deep, skip) and `matched_channels` as out_channels."""
        return MatchedAddition(deep_channels, skip_channels)


Skip = Annotated[NoSkip | Concat | Add | MatchedAdd, Field(discriminator="name")]
"""The members of the slot."""
