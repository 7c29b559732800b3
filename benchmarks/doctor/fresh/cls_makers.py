"""Drawn data for cases of classification and regression: arrows, colored discs, tables and labelled series."""

# N batch, C channels, H W pixels, K classes, T steps, F features

from __future__ import annotations

from typing import NamedTuple

import torch
from benchmarks.doctor.cases import Batch, Given, LossFn, batched
from benchmarks.doctor.nets import adam
from benchmarks.doctor.pictures import Pictures
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.optim import Optimizer

HUES = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.1]])


class Samples(NamedTuple):
    """Inputs and targets to learn from, and others to try it on."""

    inputs: Tensor
    targets: Tensor
    test: Batch


def _cut(inputs: Tensor, targets: Tensor, num: int) -> Samples:
    return Samples(inputs[:num], targets[:num], (inputs[num:], targets[num:]))


def given(
    model: nn.Module, data: Samples | Pictures, loss_fn: LossFn, optimizer: Optimizer | None = None, size: int = 32
) -> Given:
    """Return the arguments for any data: batches of `size`, Adam at 3e-3 unless said otherwise."""
    batches = batched(data.inputs, data.targets, size)
    return Given(model, batches, loss_fn, optimizer or adam(model, 3e-3), test=data.test)


def vision_transformer(num_classes: int, size: int = 16) -> VisionTransformer:
    """Return timm's vision transformer in small: patches of 4 pixels, three blocks of width 48."""
    shape = {"embed_dim": 48, "depth": 3, "num_heads": 3, "global_pool": "avg", "class_token": False}
    return VisionTransformer(size, 4, 1, num_classes, weight_init="jax", **shape)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return rows[None], columns[None]


def arrows(seed: int, num: int = 512, size: int = 20, num_test: int = 256) -> Pictures:
    """Return grey pictures N 1 H W of arrows that point left, right, up or down."""
    draw = torch.Generator().manual_seed(seed)
    total, (rows, columns) = num + num_test, _grid(size)
    places = size / 2 + 3 * (torch.rand(2, total, 1, 1, generator=draw) - 0.5)
    down, across = rows - places[0], columns - places[1]
    shaft = (down.abs() < 1) & (across.abs() < 6)
    head = (across > 0) & (across + 1.2 * down.abs() < 6.5)
    images = (shaft | head).float()
    labels = torch.randint(4, (total,), generator=draw)
    turned = torch.stack([images.flip(2), images, images.mT.flip(1), images.mT], 1)
    chosen = turned[torch.arange(total), labels] * (0.4 + 0.6 * torch.rand(total, 1, 1, generator=draw))
    noisy = (chosen + 0.15 * torch.randn(total, size, size, generator=draw))[:, None]
    return Pictures(noisy[:num], labels[:num], (noisy[num:], labels[num:]))


def _disc(total: int, size: int, draw: torch.Generator) -> Tensor:
    """Return masks N 1 H W of a disc somewhere."""
    (rows, columns), places = _grid(size), 5 + (size - 10) * torch.rand(2, total, 1, 1, generator=draw)
    radius = 3 + 2 * torch.rand(total, 1, 1, generator=draw)
    return ((rows - places[0]).square() + (columns - places[1]).square() < radius**2)[:, None]


def fruits(seed: int, num: int = 512, size: int = 20, num_test: int = 256) -> Pictures:
    """Return pictures N 3 H W of a disc on a grey ground, whose hue is its class; they are in [0, 1]."""
    draw, total = torch.Generator().manual_seed(seed), num + num_test
    labels = torch.randint(4, (total,), generator=draw)
    shade = 0.6 + 0.4 * torch.rand(total, 1, 1, 1, generator=draw)
    images = torch.where(_disc(total, size, draw), HUES[labels][:, :, None, None] * shade, torch.tensor(0.45))
    images = (images + 0.1 * torch.randn(images.shape, generator=draw)).clamp(0, 1)
    return Pictures(images[:num], labels[:num], (images[num:], labels[num:]))


def tags(seed: int, num: int = 512, size: int = 20, p: float = 0.4) -> Samples:
    """Return pictures N 3 H W with targets N 4 of 0 and 1: which of four colors is there, each with probability `p`."""
    draw, total = torch.Generator().manual_seed(seed), num + 256
    there = torch.rand(total, 4, generator=draw) < p
    images = torch.full((total, 3, size, size), 0.45)
    for kind in range(4):
        spot = _disc(total, size, draw) & there[:, kind, None, None, None]
        images = torch.where(spot, HUES[kind][:, None, None], images)
    images = (images + 0.08 * torch.randn(images.shape, generator=draw) - 0.45) / 0.25
    return _cut(images, there.float(), num)


def table(seed: int, num: int = 1024, features: int = 8) -> Samples:
    """Return rows N F of standard normal figures with four classes, which no linear model tells apart."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(num + 512, features, generator=draw)
    crossed, far = rows[:, 0] * rows[:, 1] > 0, rows[:, 2].square() + rows[:, 3].square() > 1.4
    return _cut(rows, crossed.long() + 2 * far.long(), num)


def slopes(seed: int, num: int = 1024, features: int = 6) -> Samples:
    """Return rows N F with a target N around 0, a smooth curved function of them."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(num + 512, features, generator=draw)
    values = (2 * rows[:, 0]).sin() + 0.6 * rows[:, 1] * rows[:, 2] + 0.5 * rows[:, 3]
    return _cut(rows, values + 0.1 * torch.randn(len(rows), generator=draw), num)


def series(seed: int, num: int = 256, steps: int = 48, kinds: int = 4) -> Samples:
    """Return signals N 1 T with a class for each step N T: how fast it swings there; class 0 is rest."""
    draw, total, parts = torch.Generator().manual_seed(seed), num + 128, 4
    labels = torch.randint(kinds, (total, parts), generator=draw).repeat_interleave(steps // parts, 1)
    pace = labels * 0.5
    wave = (pace.cumsum(1) + 6.3 * torch.rand(total, 1, generator=draw)).sin() * (labels > 0)
    return _cut((wave + 0.15 * torch.randn(wave.shape, generator=draw))[:, None], labels, num)


def sentences(seed: int, num: int = 640, steps: int = 12) -> Samples:
    """Return tokens N T, int64 in 0..59, with four classes: each has ten words that are said more often."""
    draw, total = torch.Generator().manual_seed(seed), num + 256
    labels = torch.randint(4, (total,), generator=draw)
    words = torch.randint(60, (total, steps), generator=draw)
    own = labels[:, None] * 10 + torch.randint(10, (total, steps), generator=draw)
    told = torch.rand(total, steps, generator=draw) < 0.35
    return _cut(torch.where(told, own, words), labels, num)
