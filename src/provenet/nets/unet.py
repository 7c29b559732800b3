"""The U-Net: an encoder that halves, a decoder that doubles, and a skip at every size."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor, nn

from provenet.nets.encoder import find_encoder, halving_encoder
from provenet.nets.net import Encoder, Net
from provenet.nets.pad import crop_like, pad_to_multiple
from provenet.nets.parts import SegmenterParts, SegmenterSlots, check_counts

_NARROWEST = 16
"""Fewest channels of the levels above a timm encoder's finest feature map."""


class DecoderLevel(nn.Module):
    """Upsample the deeper features, join the encoder's features of that size, and convolve.

    Args:
        deep_channels: of the deeper features.
        skip_channels: of the encoder's features; the level gives as many.
        doublings: times 2 from the deeper size to this one; 0 where both have one size.
        skipped: whether the encoder has features of this size.
        parts: what the layers are made of.
    """

    def __init__(
        self, deep_channels: int, skip_channels: int, doublings: int, skipped: bool, parts: SegmenterParts
    ) -> None:
        super().__init__()
        ups = [
            parts.upsample.layer(deep_channels if not index else skip_channels, skip_channels)
            for index in range(doublings)
        ]
        self.up = nn.Sequential(*ups)
        channels = skip_channels if doublings else deep_channels
        skip: Any = parts.skip.build(channels, skip_channels) if skipped else None
        self.skip = skip
        self.block = parts.block_to(skip.out_channels if skipped else channels, skip_channels)
        self.out_channels: int = self.block.out_channels

    def forward(self, deep: Tensor, skip: Tensor | None) -> Tensor:
        features: Tensor = self.up(deep)
        if self.skip is not None:
            features = self.skip(features, skip)
        return self.block(features)


class UNet(Net):
    """Encoder, decoder and a 1 x 1 convolution; see `unet`.

    The encoder's last stage is the bottleneck; `decoder[0]` joins the features just above it.

    Args:
        encoder: from images to features.
        num_classes: K.
        parts: what the decoder is made of.
    """

    def __init__(self, encoder: Encoder, num_classes: int, parts: SegmenterParts) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.dropout = parts.head_dropout()
        self.decoder = nn.ModuleList(_decoder(encoder, parts))
        channels: int = self.decoder[-1].out_channels  # type: ignore[assignment]
        self.last = parts.last(channels)
        self.head = nn.Conv2d(channels, num_classes, 1)

    def sections(self) -> list[tuple[str, nn.Module]]:
        levels = [(f"decoder{index + 1}", level) for index, level in enumerate(self.decoder)]
        return [*self.encoder.sections(), *levels, ("decoder_last", self.last)]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K H W of normalised images N C H W."""
        *skips, deep = self.encoder(pad_to_multiple(images, self.encoder.reductions[-1]))
        deep = self.dropout(deep)
        for level in self.decoder:
            deep = level(deep, skips.pop() if skips else None)
        return crop_like(self.head(self.last(deep)), images)


def _decoder(encoder: Encoder, parts: SegmenterParts) -> list[DecoderLevel]:
    """Return a level for every feature map above the deepest, then one up to full size where that is still missing."""
    levels: list[DecoderLevel] = []
    *finer, (channels, reduction) = zip(encoder.channels, encoder.reductions, strict=True)
    for skip_channels, skip_reduction in reversed(finer):
        doublings = (reduction // skip_reduction).bit_length() - 1
        levels.append(DecoderLevel(channels, skip_channels, doublings, True, parts))
        channels, reduction = levels[-1].out_channels, skip_reduction
    if reduction > 1 or not levels:
        narrower = max(_NARROWEST, encoder.channels[0] // 2)
        levels.append(DecoderLevel(channels, narrower, reduction.bit_length() - 1, False, parts))
    return levels


def unet(
    num_classes: int,
    in_channels: int = 3,
    encoder: str | Encoder | None = None,
    depth: int = 4,
    width: int = 32,
    max_width: int = 512,
    **slots: Unpack[SegmenterSlots],
) -> UNet:
    """Return a U-Net.

    On the way down each level is one block (two convolutions) and max-pooling: the size halves, the channels double
    up to `max_width`. The way up mirrors it: upsampling, a skip from the encoder's level of the same size, a block. A
    1 x 1 convolution gives the logits. Images of any size are padded to a multiple of 2 ** depth (mirrored), the
    logits cropped back; unlike in the paper the convolutions pad, so that nothing is lost at the border.

    Args:
        num_classes: K.
        in_channels: C.
        encoder: "timm:NAME" (random weights), an encoder that is built already (`TimmEncoder` with pretrained
            weights, or a classifier's `encoder`), or None for the own, of `depth`, `width` and `max_width`. The
            decoder mirrors whatever sizes and channels it has.
        depth: halvings of the own encoder, which is the number of skips; the paper has 4.
        width: channels of its first level; the paper has 64.
        max_width: most channels of any level; the paper has 1024.
        slots: block (plain), norm (batch), activation (ReLU), dropout (none; on the bottleneck's features, as in the
            paper, or in the blocks), skip (concat), upsample (bilinear). With a given encoder they fill the decoder.

    Returns:
        A net from images N C H W of any size to logits N K H W.

    Source:
        Ronneberger, Fischer and Brox 2015, U-Net (arXiv 1505.04597), section 2 and figure 1.

    Example:
        >>> import torch
        >>> net = unet(2, in_channels=1, width=4)
        >>> net(torch.zeros(1, 1, 33, 50)).shape, net.encoder.channels
        (torch.Size([1, 2, 33, 50]), [4, 8, 16, 32, 64])
    """
    check_counts(num_classes=num_classes, in_channels=in_channels, depth=depth, width=width, max_width=max_width)
    parts = SegmenterParts(**slots)
    if encoder is None:
        encoder = halving_encoder(in_channels, depth, width, max_width, parts)
    return UNet(find_encoder(encoder, in_channels), num_classes, parts)
