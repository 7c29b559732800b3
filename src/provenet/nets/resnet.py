"""Residual networks and their plain twins, for photographs and for small images."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from torch import Tensor, nn

from provenet.core.errors import Fault, RecipeError
from provenet.nets.encoder import StagedEncoder
from provenet.nets.net import Net
from provenet.nets.parts import BodyParts, BodySlots, check_counts
from provenet.techniques.block import BottleneckBlock, PlainBlock, ResidualBlock

Stem = Literal["auto", "small", "large"]

_PHOTO = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks a stage of the nets for photographs (He et al. 2015, table 1)."""


class Classifier(Net):
    """An encoder, the mean of its deepest features over the image, and a linear layer.

    Args:
        encoder: from images to features.
        num_classes: K.
        dropout: between the mean and the linear layer.
    """

    def __init__(self, encoder: StagedEncoder, num_classes: int, dropout: nn.Module) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.dropout = dropout
        self.head = nn.Linear(encoder.channels[-1], num_classes)

    def sections(self) -> list[tuple[str, nn.Module]]:
        return self.encoder.sections()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K of normalised images N C H W."""
        features = self.encoder(images)[-1]
        logits: Tensor = self.head(self.dropout(features.mean((2, 3))))
        return logits


def resnet(
    num_classes: int,
    in_channels: int = 3,
    depth: int = 18,
    stem: Stem = "auto",
    width: int | None = None,
    **slots: Unpack[BodySlots],
) -> Classifier:
    """Return a residual network.

    Depths 18, 34 and 50 have four stages of 64 to 512 channels (times 4 at depth 50, which is made of bottlenecks);
    the other depths are 6 n + 2, with three stages of n blocks and 16 to 64 channels, for small images. Where a
    shortcut changes shape it is a 1 x 1 convolution (option B of the paper).

    Args:
        num_classes: K.
        in_channels: C.
        depth: layers with weights on the longest way; 18, 34, 50, or 6 n + 2 such as 20, 32, 44, 56, 110.
        stem: small (3 x 3, stride 1) or large (7 x 7, stride 2, then max-pooling); auto: large for 18, 34 and 50.
        width: channels of the first stage, doubled from stage to stage; None: 64, or 16 at depths 6 n + 2.
        slots: block (residual), norm (batch), activation (ReLU), dropout (none; on the pooled features, or in the
            blocks).

    Returns:
        A net from images N C H W of any size to logits N K.

    Raises:
        RecipeError: there is no such depth, or the block does not go with it.

    Source:
        He et al. 2015, Deep Residual Learning (arXiv 1512.03385), table 1 and section 4.2.

    Example:
        >>> import torch
        >>> resnet(10, depth=20)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    slots.setdefault("block", ResidualBlock())
    parts = _fitting(depth, BodyParts(**slots))
    counts = _PHOTO.get(depth) or ((depth - 2) // 6,) * 3
    width = width if width is not None else (64 if depth in _PHOTO else 16)
    check_counts(num_classes=num_classes, in_channels=in_channels, width=width)
    large = stem == "large" or (stem == "auto" and depth in _PHOTO)
    encoder = _body(in_channels, counts, width, large, parts)
    return Classifier(encoder, num_classes, parts.head_dropout())


def plain(
    num_classes: int,
    in_channels: int = 3,
    depth: int = 18,
    stem: Stem = "auto",
    width: int | None = None,
    **slots: Unpack[BodySlots],
) -> Classifier:
    """Return the plain twin of a residual network: the same convolutions without shortcuts; see `resnet`."""
    slots.setdefault("block", PlainBlock())
    return resnet(num_classes, in_channels, depth, stem, width, **slots)


def _fitting(depth: int, parts: BodyParts) -> BodyParts:
    """Return the parts with the block that a depth asks for; refuse depths that do not exist."""
    if depth not in _PHOTO and (depth < 8 or (depth - 2) % 6):
        known = [*_PHOTO, *range(8, 1209, 6)]
        nearest = min(known, key=lambda other: abs(other - depth))
        allowed = "18, 34, 50, or 6 n + 2 (20, 32, 44, 56, 110, ...)"
        raise RecipeError(Fault("there is no residual network of this depth", str(depth), allowed, f"try {nearest}"))
    if depth == 50 and isinstance(parts.block, ResidualBlock):
        return replace(parts, block=BottleneckBlock(zero_gamma=parts.block.zero_gamma))
    if depth == 50 and not isinstance(parts.block, BottleneckBlock):
        fault = Fault("depth 50 is made of bottlenecks", f"block {parts.block.name}", remedy="take depth 34 or 56")
        raise RecipeError(fault)
    return parts


def _body(in_channels: int, counts: tuple[int, ...], width: int, large: bool, parts: BodyParts) -> StagedEncoder:
    """Return stem and stages; the first block of every stage but the first halves the size."""
    conv = parts.layers().conv(in_channels, width, *((7, 2) if large else (3, 1)))
    # Pre-activation blocks bring their own norm and activation, except that pooling wants activated features.
    bare = parts.block.ends_open and not large
    stem = nn.Sequential(conv) if bare else nn.Sequential(conv, *parts.norm_activation(width))
    reduction = 4 if large else 1
    sizes = [(width, 2)] if large else []
    channels, done = width, 0
    stages: list[nn.Module] = []
    for stage, count in enumerate(counts):
        blocks = []
        for index in range(count):
            done += 1
            stride = 2 if stage and not index else 1
            block = parts.block.build(channels, width * 2**stage, stride, parts.layers(done / sum(counts)))
            channels = block.out_channels
            blocks.append(block)
        stages.append(nn.Sequential(*blocks))
        sizes.append((channels, reduction * 2**stage))
    return StagedEncoder(stem, stages, sizes, parts.last(channels), nn.MaxPool2d(3, 2, 1) if large else None)
