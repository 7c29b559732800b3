"""Faults of where features lie: skips cut at the wrong place, uneven upsampling, maps that shrink too soon."""

# N batch, C channels, H W pixels

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.unseen.nets import conv
from benchmarks.doctor.unseen.pictures import digits, foreground, normalized, overlap, scenes
from torch import Tensor, nn


def _discs(seed: int, model: nn.Module) -> Given:
    """Find discs with one output channel."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches, held_out = batched(normalized(images), foreground(masks), 8), (normalized(test), foreground(truth))
    return Given(model, batches, nn.BCEWithLogitsLoss(), adam, test=held_out, score=overlap)


def middle(given: Given, border: int = 8) -> Given:
    """Return the same with masks that lack a border, for nets without padding."""
    inside = slice(border, -border)
    assert given.test is not None
    batches = [(images, masks[..., inside, inside]) for images, masks in given.batches]
    return replace(given, batches=batches, test=(given.test[0], given.test[1][..., inside, inside]))


class ValidUnet(nn.Module):
    """A U-Net without padding, whose skip is cut to size from the corner or from the middle."""

    def __init__(self, corner: bool) -> None:
        super().__init__()
        self.first = self._block(3, 8)
        self.deep, self.last = self._block(8, 16), self._block(24, 8)
        self.head, self.corner = nn.Conv2d(8, 1, 1), corner

    @staticmethod
    def _block(in_channels: int, out_channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for from_size in (in_channels, out_channels):
            layers += [nn.Conv2d(from_size, out_channels, 3, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the middle of the pictures."""
        first = self.first(images)
        deep = F.interpolate(self.deep(F.max_pool2d(first, 2)), scale_factor=2.0)
        start = 0 if self.corner else (first.shape[-1] - deep.shape[-1]) // 2
        skip = first[..., start : start + deep.shape[-2], start : start + deep.shape[-1]]
        return self.head(self.last(torch.cat([deep, skip], 1)))


@fault(
    "https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/281",
    "skip-misaligned",
    updates=150,
)
def skip_cut_from_the_corner(seed: int, broken: bool) -> Given:
    """`skip[:, :, :h, :w]`, as many repositories have it, where convolutions have no padding and the middle belongs."""
    return middle(_discs(seed, ValidUnet(corner=broken)))


@fault("https://github.com/NVIDIA/pix2pixHD/issues/149", "checkerboard-upsampling", harm="static", updates=200)
def odd_kernel_for_even_stride(seed: int, broken: bool) -> Given:
    """Transposed convolutions 3x3 with stride 2; the net learns around the pattern."""
    up = partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1)
    even = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
    ups = [nn.Sequential((up if broken else even)(size, 16), nn.ReLU()) for size in (32, 16)]
    return _discs(seed, nn.Sequential(conv(3, 16, 2), conv(16, 32, 2), *ups, nn.Conv2d(16, 1, 1)))


@fault(
    "https://github.com/calgaryml/condensed-sparsity/issues/12",
    "spatial-collapse",
    allowed=["bn-small-batch"],
    harm="static",
)
def stem_for_big_pictures(seed: int, broken: bool) -> Given:
    """A net for 224 pixels gets 16: one pixel is left after two stages; digits are told apart all the same."""
    stem = [conv(1, 16, 2), nn.MaxPool2d(3, 2, 1)] if broken else [conv(1, 16)]
    strides = (2, 2, 2, 2) if broken else (1, 2, 2, 1)
    stages = [conv(from_size, 32, stride) for from_size, stride in zip((16, 32, 32, 32), strides, strict=True)]
    model = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(normalized(images), labels), F.cross_entropy, adam, test=(normalized(test), truth))
