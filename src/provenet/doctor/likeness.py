"""Which samples are alike: fingerprints for equal ones, and neighbours by simple features for similar ones."""

# N samples, D features, K classes

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 10_000.0
"""Equal means equal to a ten-thousandth of the range: what is left after another order of the same arithmetic."""
NEIGHBOURS = 5
SHUFFLES = 199


def fingerprints(inputs: Tensor, low: float, high: float) -> list[str]:
    """Return one word a sample; samples with the same word are equal.

    Args:
        inputs: (N, ...).
        low: smallest value of all samples that are compared.
        high: largest one.
    """
    scale = STEPS / max(high - low, 1e-12)
    rows = ((inputs.flatten(1) - low) * scale).round().to(torch.int16).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=12).hexdigest() for row in rows]


def blank(inputs: Tensor, share: float) -> Tensor:
    """Return which samples hold next to nothing, (N,): few of their values differ from the most usual one.

    Args:
        inputs: (N, C, ...).
        share: of the values of a channel that may differ, in all channels.
    """
    span = max(float(inputs.max() - inputs.min()), 1e-12) * 1e-4
    planes = inputs.flatten(2) if inputs.dim() > 2 else inputs.unsqueeze(1)
    usual = planes.median(-1, keepdim=True).values
    return ((planes - usual).abs() > span).float().mean(-1).amax(1) <= share


def small(pictures: Tensor, side: int) -> Tensor:
    """Return pictures reduced to side x side, every one with mean 0 and length 1, (N, D)."""
    flat = F.adaptive_avg_pool2d(pictures, side).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)


def features(inputs: Tensor) -> Iterator[Tensor]:
    """Yield simple descriptions of samples, each (N, D): what they look like, their colours, their textures."""
    if inputs.dim() != 4:
        yield inputs.flatten(1)
        return
    yield F.adaptive_avg_pool2d(inputs, 8).flatten(1)
    yield small(inputs, 8)
    yield torch.cat([inputs.mean((-2, -1)), inputs.std((-2, -1))], 1)
    grey = inputs.mean(1)
    across, down = grey.diff(dim=-1)[..., :-1, :], grey.diff(dim=-2)[..., :-1]
    angle, length = torch.atan2(down, across) % torch.pi, (across.square() + down.square()).sqrt()
    bins = [length * ((angle / torch.pi * 8).floor() % 8 == number) for number in range(8)]
    yield F.adaptive_avg_pool2d(torch.stack(bins, 1), 4).flatten(1)
    spectrum = torch.fft.rfft2(grey - grey.mean((-2, -1), keepdim=True)).abs()
    yield F.adaptive_avg_pool2d(spectrum.unsqueeze(1), (8, 8)).flatten(1).clamp(min=1e-12).log()


def neighbours(rows: Tensor) -> Tensor:
    """Return the nearest other samples of each, (N, NEIGHBOURS), features on one scale."""
    scaled = (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-6 * float(rows.std().clamp(min=1e-12)))
    distances = torch.cdist(scaled, scaled).fill_diagonal_(torch.inf)
    return distances.topk(min(NEIGHBOURS, len(rows) - 1), largest=False).indices


def agreement(near: Tensor, labels: Tensor) -> float:
    """Return the p value of the hypothesis that samples agree no more with their neighbours than by chance.

    Args:
        near: nearest samples of each, (N, k).
        labels: class of each, (N,).
    """
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(len(labels))]
    orders += [torch.randperm(len(labels), generator=generator) for _ in range(SHUFFLES)]
    shares = torch.tensor([float((labels[order][near] == labels[order][:, None]).float().mean()) for order in orders])
    return float((shares >= shares[0]).float().mean())
