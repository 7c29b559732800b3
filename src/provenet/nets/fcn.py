"""The naive segmenter: an encoder, a 1 x 1 convolution, and one upsampling back to the image."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from provenet.nets.encoder import find_encoder, halving_encoder
from provenet.nets.net import Encoder, Net
from provenet.nets.pad import crop_like, pad_to_multiple
from provenet.nets.parts import BodyParts, BodySlots, check_counts


class FCN(Net):
    """Scores of the deepest features, stretched over the image; see `fcn`.

    Args:
        encoder: from images to features.
        num_classes: K.
        dropout: on the deepest features.
    """

    def __init__(self, encoder: Encoder, num_classes: int, dropout: nn.Module) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.dropout = dropout
        self.head = nn.Conv2d(encoder.channels[-1], num_classes, 1)

    def sections(self) -> list[tuple[str, nn.Module]]:
        return self.encoder.sections()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K H W of normalised images N C H W."""
        padded = pad_to_multiple(images, self.encoder.reductions[-1])
        scores = self.head(self.dropout(self.encoder(padded)[-1]))
        return crop_like(F.interpolate(scores, padded.shape[-2:], mode="bilinear"), images)


def fcn(
    num_classes: int,
    in_channels: int = 3,
    encoder: str | Encoder | None = None,
    depth: int = 4,
    width: int = 32,
    max_width: int = 512,
    **slots: Unpack[BodySlots],
) -> FCN:
    """Return a fully convolutional net without skips: what a U-Net is to be compared with.

    Args:
        num_classes: K.
        in_channels: C.
        encoder: "timm:NAME" (random weights), an encoder that is built already (`TimmEncoder` with pretrained
            weights, or a classifier's `encoder`), or None for the U-Net's own, of `depth`, `width` and `max_width`.
        depth: halvings of the own encoder.
        width: channels of its first level.
        max_width: most channels of any level.
        slots: block (plain), norm (batch), activation (ReLU), dropout (none; on the deepest features, or in the
            blocks).

    Returns:
        A net from images N C H W of any size to logits N K H W.

    Source:
        Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation (arXiv 1411.4038),
        section 4.2: the net called FCN-32s, with fixed bilinear upsampling.

    Example:
        >>> import torch
        >>> fcn(2, in_channels=1, width=4)(torch.zeros(1, 1, 33, 50)).shape
        torch.Size([1, 2, 33, 50])
    """
    check_counts(num_classes=num_classes, in_channels=in_channels, depth=depth, width=width, max_width=max_width)
    parts = BodyParts(**slots)
    if encoder is None:
        encoder = halving_encoder(in_channels, depth, width, max_width, parts)
    return FCN(find_encoder(encoder, in_channels), num_classes, parts.head_dropout())
