"""Smaller pictures and fewer samples for short trainings, where those that were given take too long."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.tree import fresh, main_tensor, map_tensors, num_samples, take, tensors

SIDE = 64
"""Pixels of a side that are left at least: as many as small pictures have that nets are made for."""
MULTIPLE = 32
"""Sides are multiples of the total stride of usual nets, so that skips still meet."""
FEW = 4
"""Samples of a batch that are left at least: batch norm needs a few."""


def smaller(double: Double, batches: Sequence[Pair], times: float) -> Sequence[Pair]:
    """Return batches on which a training step takes a fraction of the time, as far as the net accepts them.

    Both arms of a comparison train on the same batches, so what is smaller is the task and not the comparison.
    Pictures of classes are averaged down; of pictures with masks one part is taken, where the masks vary most.

    Args:
        double: the net, which has to take the smaller pictures with its loss.
        batches: as they were given.
        times: by how much a step should be cheaper; 1 and below: as they are.
    """
    picture = _picture(batches[0][0])
    if times <= 1 or picture is None:
        return batches
    height, width = picture
    found, least = batches, min(height, width)
    side = max(SIDE, int(least / times**0.5) // MULTIPLE * MULTIPLE)
    if side < least:
        shape = (_scaled(height, side / least), _scaled(width, side / least))
        reduced = [_reduced(batch, picture, shape) for batch in batches]
        if _runs(double, reduced[0]):
            found, times = reduced, times * shape[0] * shape[1] / (height * width)
    return (
        [take(batch, slice(max(FEW, int(double.case.batch_size / times)))) for batch in found] if times > 1 else found
    )


def num_values(inputs: object) -> float:
    """Return how many values of the inputs a sample has."""
    return sum(tensor.numel() for tensor in tensors(inputs)) / max(num_samples(inputs), 1)


def _scaled(side: int, factor: float) -> int:
    return max(MULTIPLE, round(side * factor / MULTIPLE) * MULTIPLE)


def _picture(inputs: object) -> tuple[int, int] | None:
    """Return height and width of the pictures; None where inputs are none, or are small."""
    main = main_tensor(inputs)
    if main is None or main.dim() != 4 or not main.is_floating_point():
        return None
    height, width = main.shape[-2:]
    return (height, width) if min(height, width) > SIDE else None


def _reduced(batch: Pair, picture: tuple[int, int], shape: tuple[int, int]) -> Pair:
    """Return a batch with pictures, and masks of their size, of another shape."""
    inputs, targets = batch
    masks = [tensor for tensor in tensors(targets) if tensor.dim() > 2 and tuple(tensor.shape[-2:]) == picture]
    top, left = _liveliest(masks[0], shape) if masks else (0, 0)

    def part(tensor: Tensor) -> Tensor:
        cut = tensor.dim() > 2 and tuple(tensor.shape[-2:]) == picture
        return tensor[..., top : top + shape[0], left : left + shape[1]] if cut else tensor

    def average(tensor: Tensor) -> Tensor:
        cut = tensor.dim() == 4 and tuple(tensor.shape[-2:]) == picture and tensor.is_floating_point()
        return F.adaptive_avg_pool2d(tensor, shape) if cut else tensor

    return map_tensors(part if masks else average, inputs), map_tensors(part, targets)


def _liveliest(masks: Tensor, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the corner of the window in which masks change most from pixel to pixel."""
    flat = masks.float().flatten(0, -3)
    edges = F.pad(flat.diff(dim=-1).abs(), (0, 1)) + F.pad(flat.diff(dim=-2).abs(), (0, 0, 0, 1))
    sums = F.avg_pool2d((edges > 0).float().mean(0)[None, None], shape, stride=MULTIPLE // 2)[0, 0]
    row, column = divmod(int(torch.nan_to_num(sums).argmax()), sums.shape[1])
    return row * (MULTIPLE // 2), column * (MULTIPLE // 2)


def _runs(double: Double, batch: Pair) -> bool:
    """Return whether net and loss take a batch."""
    with Attempt("forward") as attempt, torch.no_grad():
        inputs, targets = fresh(take(batch, slice(FEW)), double.case.device)
        loss_of(double.loss_fn, forward(double.model, inputs), targets)
    double.reset()
    return attempt.failure is None
