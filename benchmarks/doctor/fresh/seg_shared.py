"""Pictures, losses, scores and ways to put them together that the cases of dense prediction share."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from benchmarks.doctor.cases import Batch, Given, LossFn, batched
from benchmarks.doctor.nets import ResNet, adam, segment
from benchmarks.doctor.pictures import Pictures, digits, shapes
from benchmarks.doctor.scores import fit, iou_above, outputs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

FAR = 8.0
"""Metres from the camera to the ground of `distances`."""


def overlap(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return Dice's coefficient of each sample and channel, as a mean."""
    both = (probabilities * targets).sum((2, 3))
    return ((2 * both + 1) / (probabilities.sum((2, 3)) + targets.sum((2, 3)) + 1)).mean()


def soft_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - Dice's coefficient of the sigmoid."""
    return 1 - overlap(logits.sigmoid(), targets)


def dice_and_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of both losses."""
    return soft_dice(logits, targets) + F.binary_cross_entropy_with_logits(logits, targets)


def multiclass(
    model: nn.Module, pictures: Pictures, loss_fn: LossFn | None = None, optimizer: Optimizer | None = None, **more: Any
) -> Given:
    """Return the arguments for a segmenter of several classes: batches of 16."""
    more = {"batches": batched(pictures.inputs, pictures.targets, 16), **more}
    return segment(model, pictures, loss_fn, optimizer, **more)


def binary(
    model: nn.Module, pictures: Pictures, loss_fn: LossFn | None = None, optimizer: Optimizer | None = None, **more: Any
) -> Given:
    """Return the arguments for a segmenter with one output: float masks N 1 H W, BCE with logits, batches of 16."""
    masks = (pictures.targets > 0).float()[:, None]
    test = pictures.test[0], (pictures.test[1] > 0).long()
    batches = batched(pictures.inputs, masks, 16)
    more = {"batches": batches, "score": iou_above(0.0), "test": test, **more}
    return segment(model, pictures, loss_fn or nn.BCEWithLogitsLoss(), optimizer, **more)


def regress(
    model: nn.Module, pictures: Pictures, loss_fn: LossFn | None = None, optimizer: Optimizer | None = None, **more: Any
) -> Given:
    """Return the arguments for a value a pixel: L1, Adam at 3e-3, batches of 16, targets as they are."""
    batches = batched(pictures.inputs, pictures.targets, 16)
    more = {"batches": batches, "score": fit, **more}
    return segment(model, pictures, loss_fn or nn.L1Loss(), optimizer or adam(model, 3e-3), **more)


def spots(seed: int, num: int = 128, num_test: int = 48, size: int = 32) -> Pictures:
    """Return grey pictures with dark blobs and, in half of them, one bright spot, whose 5 pixels are the mask."""
    rng, total = np.random.default_rng(seed), num + num_test
    rows, columns = np.mgrid[:size, :size]
    images, masks = 0.15 * rng.standard_normal((total, size, size)), np.zeros((total, size, size), np.int64)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for _ in range(3):
            row, column = rng.integers(4, size - 4, 2)
            image -= 0.7 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 12)
        if number % 2 == 0:
            row, column = rng.integers(3, size - 3, 2)
            near = (rows - row) ** 2 + (columns - column) ** 2
            image += 0.9 * np.exp(-near / 2.5)
            mask[near <= 1] = 1
    return _cut(images[:, None], masks, num)


def distances(seed: int, num: int = 128, num_test: int = 48, size: int = 32) -> Pictures:
    """Return pictures of balls that are darker the farther they are, with the distance of each pixel in metres."""
    rng, total = np.random.default_rng(seed), num + num_test
    rows, columns = np.mgrid[:size, :size]
    depth = np.full((total, size, size), FAR)
    for one in depth:
        for far in sorted(rng.uniform(1, FAR - 1, 4), reverse=True):
            (row, column), radius = rng.integers(2, size - 2, 2), 3 + 12 / (1 + far)
            one[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = far
    images = np.exp(-depth / 4) + 0.04 * rng.standard_normal(depth.shape)
    return _cut(images[:, None], depth.astype(np.float32), num)


def points(seed: int, num: int = 128, num_test: int = 48, size: int = 32, sigma: float = 1.5) -> Pictures:
    """Return pictures with a cross and a ring in noise, with a bump of height 1 for the middle of each: N 2 H W."""
    rng, total = np.random.default_rng(seed), num + num_test
    rows, columns = np.mgrid[:size, :size]
    images, maps = 0.25 * rng.standard_normal((total, size, size)), np.zeros((total, 2, size, size), np.float32)
    for image, pair in zip(images, maps, strict=True):
        for kind in range(2):
            row, column = rng.integers(4, size - 4, 2)
            down, across = np.abs(rows - row), np.abs(columns - column)
            cross = (np.minimum(down, across) == 0) & (np.maximum(down, across) <= 3)
            ring = np.abs(np.hypot(down, across) - 3) < 0.7
            image[ring if kind else cross] += 1
            pair[kind] = np.exp(-(down**2 + across**2) / (2 * sigma**2))
    return _cut(images[:, None], maps, num)


def contrasts(seed: int, num: int = 160) -> Pictures:
    """Return discs brighter and squares darker than a ground of any grey, as classes 1 and 2."""
    drawn, total = shapes(seed, num, 32, 48, (5, 9)), num + 48
    masks = torch.cat([drawn.targets, drawn.test[1]])
    masks = torch.where(masks > 2, 0, masks)
    draw = torch.Generator().manual_seed(seed)
    steps = torch.tensor([0.0, 0.6, -0.6])[masks][:, None]
    grey = 3 * torch.rand(total, 1, 1, 1, generator=draw) - 1.5
    images = grey + steps + 0.05 * torch.randn(steps.shape, generator=draw)
    return Pictures(images[:num], masks[:num], (images[num:], masks[num:]))


def _cut(images: Any, targets: Any, num: int) -> Pictures:
    inputs, wanted = torch.from_numpy(images).float(), torch.from_numpy(targets)
    return Pictures(inputs[:num], wanted[:num], (inputs[num:], wanted[num:])).normalized()


def found_points(model: nn.Module, test: Batch) -> float:
    """Return the share of points whose highest pixel is at most 2 pixels away."""
    maps, side = outputs(model, test[0]), test[1].shape[-1]
    ours, theirs = (one.flatten(2).argmax(2) for one in (maps, test[1]))
    down, across = (ours // side - theirs // side).abs(), (ours % side - theirs % side).abs()
    return float((torch.maximum(down, across) <= 2).float().mean())


def digits_from(first: int, seed: int, num: int = 256) -> Pictures:
    """Return the five digits from `first` on, as classes 0 to 4."""
    drawn = digits(seed, num=900, num_test=800).normalized()

    def chosen(inputs: Tensor, targets: Tensor, most: int) -> tuple[Tensor, Tensor]:
        those = ((targets >= first) & (targets < first + 5)).nonzero()[:most, 0]
        return inputs[those], targets[those] - first

    return Pictures(*chosen(drawn.inputs, drawn.targets, num), chosen(*drawn.test, 400))


@lru_cache
def _trained() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, pictures = ResNet(1, 5, width=12), digits_from(0, 0, 320)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(8):
            for inputs, targets in batched(pictures.inputs, pictures.targets):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def pretrained() -> ResNet:
    """Return a residual net that has learnt the digits 0 to 4."""
    model = ResNet(1, 5, width=12)
    model.load_state_dict(_trained())
    return model
