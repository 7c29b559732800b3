"""Segmenting pictures of any size: whole when they fit, else in overlapping tiles that are blended."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from provenet.core.batch import Batch
from provenet.engine.feed import Feed


@dataclass(frozen=True)
class Tiles:
    """How a big picture is cut.

    Args:
        side: side of a tile, pixels.
        overlap_frac: share of a tile that it has in common with its neighbour, in [0, 1).
        whole_below: pictures of at most this many pixels are segmented whole.
    """

    side: int = 512
    overlap_frac: float = 0.25
    whole_below: int = 2048 * 1024


def picture_batch(pictures: list[np.ndarray]) -> Batch:
    """Return stored pictures of one shape H W C as a batch without targets."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    ids = np.arange(len(pictures), dtype=np.int64)
    return Batch(images, torch.zeros(len(pictures), dtype=torch.int64), ids)


@torch.inference_mode()
def logits_of(net: nn.Module, images: Tensor, feed: Feed) -> Tensor:
    """Return float32 logits for normalised images."""
    with feed.precision.context():
        logits: Tensor = net(images)
    return logits.float()


def segment(net: nn.Module, pictures: list[np.ndarray], feed: Feed, tiles: Tiles | None = None) -> Tensor:
    """Return logits N K H W for stored pictures of one shape, at their own size.

    Args:
        net: a segmentation net in evaluation mode.
        pictures: arrays H W C as stored.
        feed: normalises them.
        tiles: how pictures above the limit are cut.
    """
    tiles = tiles or Tiles()
    images = feed.clean(picture_batch(pictures)).images
    if images.shape[-2] * images.shape[-1] <= tiles.whole_below:
        return logits_of(net, images, feed)
    return blend(lambda part: logits_of(net, part, feed), images, tiles)


def blend(forward: Callable[[Tensor], Tensor], images: Tensor, tiles: Tiles) -> Tensor:
    """Return logits N K H W put together from tiles, each weighted by a Gaussian that is largest at its centre.

    Source: Isensee et al. 2021, nnU-Net, Nature Methods 18, supplementary note on inference (sigma = side / 8).
    """
    height, width = images.shape[-2:]
    total: Tensor | None = None
    weight = torch.zeros(height, width, device=images.device)
    for rows, columns in windows(height, width, tiles):
        part = forward(images[..., rows, columns])
        bump = _bump(part.shape[-2], tiles.side, part.device)[:, None] * _bump(part.shape[-1], tiles.side, part.device)
        if total is None:
            total = torch.zeros(*part.shape[:2], height, width, device=part.device)
        total[..., rows, columns] += part * bump
        weight[rows, columns] += bump
    assert total is not None
    return total / weight


def windows(height: int, width: int, tiles: Tiles) -> Iterator[tuple[slice, slice]]:
    """Yield the windows that cover a picture, the last of a row ending at its edge.

    Example:
        >>> [(r.start, c.start) for r, c in windows(100, 60, Tiles(side=60, overlap_frac=0.25))]
        [(0, 0), (40, 0)]
    """
    for top in _starts(height, tiles):
        for left in _starts(width, tiles):
            yield slice(top, top + tiles.side), slice(left, left + tiles.side)


def _starts(length: int, tiles: Tiles) -> list[int]:
    last = max(length - tiles.side, 0)
    count = -(-last // max(int(tiles.side * (1 - tiles.overlap_frac)), 1)) + 1
    return sorted({round(last * i / max(count - 1, 1)) for i in range(count)})


def _bump(length: int, side: int, device: torch.device) -> Tensor:
    positions = torch.arange(length, device=device) - (length - 1) / 2
    return torch.exp(-0.5 * (positions / (side / 8)) ** 2).clamp(min=1e-3)


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return logits N K H W at another size, bilinear."""
    if tuple(logits.shape[-2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
