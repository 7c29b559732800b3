"""Any height and width: images padded up for the net, answers cropped back."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pad bottom and right until both sides are multiples of a number.

    The border is mirrored; along a side too short to be mirrored its last row or column is repeated.

    Args:
        images: N C H W, floating point.
        multiple: pixels, at least 1.

    Returns:
        N C H' W', the smallest H' >= H and W' >= W that `multiple` divides; `images` itself where they fit.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.arange(3.0).reshape(1, 1, 1, 3), 2)
        tensor([[[[0., 1., 2., 1.],
                  [0., 1., 2., 1.]]]])
    """
    height, width = images.shape[-2:]
    return pad_to_size(images, -(-height // multiple) * multiple, -(-width // multiple) * multiple)


def pad_to_size(images: Tensor, min_height: int, min_width: int) -> Tensor:
    """Pad bottom and right until the sides have at least the given lengths in pixels; see `pad_to_multiple`."""
    height, width = images.shape[-2:]
    images = _pad_side(images, bottom=max(0, min_height - height), right=0)
    return _pad_side(images, bottom=0, right=max(0, min_width - width))


def _pad_side(images: Tensor, bottom: int, right: int) -> Tensor:
    """Pad one side; the other number is 0."""
    if bottom == 0 and right == 0:
        return images
    height, width = images.shape[-2:]
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, bottom), mode=mode)


def crop_like(logits: Tensor, images: Tensor) -> Tensor:
    """Return the top left part of `logits` (N K H' W') that lies on `images` (N C H W), shape N K H W."""
    height, width = images.shape[-2:]
    return logits[..., :height, :width]
