"""Pictures of discs, squares and crosses on coloured grounds, as a camera's bytes would have them, with masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.check import Check, Cost
from provenet.doctor.consult import examine
from provenet.records.finding import Diagnosis, Finding

IMAGENET = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@dataclass(frozen=True)
class Scenes:
    """Pixels in [0, 1], whole 255ths, (N, 3, H, W); the kind of shape, (N,); 0 or kind + 1 by pixel, (N, H, W)."""

    pixels: Tensor
    labels: Tensor
    masks: Tensor

    @property
    def images(self) -> Tensor:
        """Pictures with mean about 0 and standard deviation about 1."""
        return (self.pixels - 0.4) / 0.2


def scenes(num: int = 48, seed: int = 0, size: int = 32) -> Scenes:
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, count: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    kinds = torch.randint(0, 3, (num,), generator=generator)
    ys, xs = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pixels, masks = torch.empty(num, 3, size, size), torch.zeros(num, size, size, dtype=torch.long)
    for place, kind in enumerate(kinds.tolist()):
        radius = uniform(size * 0.12, size * 0.22)
        down, across = (ys - uniform(size * 0.25, size * 0.75)).abs(), (xs - uniform(size * 0.25, size * 0.75)).abs()
        shape = (
            down**2 + across**2 < radius**2,
            torch.maximum(down, across) < 0.9 * radius,
            (torch.minimum(down, across) < 0.35 * radius) & (torch.maximum(down, across) < 1.2 * radius),
        )[kind]
        pixels[place] = uniform(0.1, 0.4, 3)[:, None, None] + xs / size * 0.15
        pixels[place][:, shape] = uniform(0.5, 0.9, 3)[:, None]
        masks[place][shape] = kind + 1
    noisy = (pixels + 0.06 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)
    return Scenes((noisy * 255).round() / 255, kinds, masks)


def batches(inputs: Any, targets: Any, size: int = 16) -> list[tuple[Any, Any]]:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def classifier(num_classes: int = 3, norm: bool = False, channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    between = [nn.BatchNorm2d(12)] if norm else []
    return nn.Sequential(
        *(nn.Conv2d(channels, 12, 3, padding=1), *between, nn.ReLU(), nn.MaxPool2d(2)),
        *(
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, num_classes),
        ),
    )


def segmenter(num_classes: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, num_classes, 3, padding=1)),
    )


def foreground(masks: Tensor) -> Tensor:
    return (masks > 0).float().unsqueeze(1)


def dice(scores: Tensor, masks: Tensor) -> Tensor:
    probs = scores.sigmoid()
    return 1 - (2 * (probs * masks).sum() + 1) / (probs.sum() + masks.sum() + 1)


def resized(masks: Tensor, mode: str, size: int = 32) -> Tensor:
    """Return masks (N, H, W) from a grid of two thirds, as interpolation gives them."""
    coarse = F.interpolate(masks[:, None].float(), size * 2 // 3, mode="nearest")
    return F.interpolate(coarse, size, mode=mode)[:, 0]


def diagnose_with(
    check: Check, net: nn.Module, given: list[tuple[Any, Any]], loss: Callable[..., Tensor], **more: Any
) -> Diagnosis:
    """Carry out one check, the probe as well where `costs` says so; a check that breaks breaks the test."""
    costs: tuple[Cost, ...] = more.pop("costs", (check.cost,))
    optimizer = torch.optim.Adam(net.parameters(), lr=more.pop("lr", 1e-3))
    found = examine(read_case(net, given, loss, optimizer, **more), 300.0, [check], costs)
    assert not [why for why in found.left_out.values() if "itself failed" in why], found.left_out
    return found


def found_by(check: Check, net: nn.Module, given: list[tuple[Any, Any]], loss: Callable[..., Tensor], **more: Any):
    """Return the one finding of a check; None where it is silent."""
    findings: tuple[Finding, ...] = diagnose_with(check, net, given, loss, **more).findings
    assert len(findings) < 2
    return findings[0] if findings else None
