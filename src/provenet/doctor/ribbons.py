"""What interpolation leaves in masks: fractions along borders, or ribbons of classes between."""

# N masks, H W pixels, P planes

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

EVEN = 1e-3
"""Distance from 0 and 1 up to which a value is whole: rounding of float16 and of 255ths."""
WIDE_PX = 4
"""Half the width of the ramp that enlarging eightfold leaves along a border."""
STRAIGHT = 0.02
"""Bend of a line that counts as none, relative to where lines do bend: borders of the picture are cut off flat."""
MOST_TIMES = 16
BETWEEN = 0.15
"""Share of a class's pixels that lie in ribbons, from which the class counts as one that ribbons are made of."""


@dataclass(frozen=True)
class Fractions:
    """Values between 0 and 1.

    Args:
        count: how many there are.
        share: of all pixels.
        at_borders: share of them that lies near a border of what is above a half.
        blurred: share of the border's pixels that have such a value beside them.
        whole: pixels of 1 over values between.
        levels: how many different ones there are.
    """

    count: int
    share: float
    at_borders: float
    blurred: float
    whole: float
    levels: int


def read_fractions(masks: Tensor) -> Fractions | None:
    """Return where values between lie.

    Args:
        masks: (N, P, H, W) floats, scaled by their largest value.

    Returns:
        None where values are negative, or none is between.
    """
    planes = masks.float().flatten(0, 1).unsqueeze(1)
    top = float(planes.max())
    if top <= 0 or float(planes.min()) < 0:
        return None
    planes = planes / top
    between = (planes > EVEN) & (planes < 1 - EVEN)
    count = int(between.sum())
    if count == 0:
        return None
    inside = (planes > 0.5).float()
    border = _grown(inside, 1) != -_grown(-inside, 1)
    near = _grown(border.float(), WIDE_PX) > 0
    beside = _grown(between.float(), 1) > 0
    return Fractions(
        count=count,
        share=count / planes.numel(),
        at_borders=float((between & near).sum()) / count,
        blurred=float((border & beside).sum()) / max(int(border.sum()), 1),
        whole=float((planes >= 1 - EVEN).sum()) / count,
        levels=len(torch.unique((planes[between] / EVEN).round())),
    )


def enlarged(masks: Tensor) -> int:
    """Return how many times masks were enlarged by linear interpolation, 3 to `MOST_TIMES`; 0 where they were not.

    What lies between two samples of the small mask lies on a straight line, along rows and along columns: second
    differences are zero but at every s-th place, the same ones in all masks.

    Args:
        masks: (N, P, H, W) floats.
    """
    planes = masks.float().flatten(0, 1)
    found = [
        {times for times in range(3, MOST_TIMES + 1) if _straight(turned, times)} for turned in (planes, planes.mT)
    ]
    return min(found[0] & found[1], default=0)


def _straight(planes: Tensor, times: int) -> bool:
    """Return whether values bend at every so many-th column only, or two neighbours of as many, and rise everywhere."""
    steps, bends = (planes.diff(n=n, dim=-1).abs().mean((0, 1)) for n in (1, 2))
    if len(bends) < 2 * times or float(bends.max()) == 0:
        return False
    slopes, turns = (torch.stack([one[phase::times].mean() for phase in range(times)]) for one in (steps, bends))
    rises = bool((slopes > slopes.max() / 4).all())
    return rises and int((turns > STRAIGHT * turns.max()).sum()) <= (1 if times % 2 else 2)


@dataclass(frozen=True)
class Ribbons:
    """Thin ribbons of a class between two others.

    Args:
        passages: changes between classes that lie apart, through one or two pixels of a class between.
        share: of all changes between classes that lie apart.
        below: changes through one or two pixels of a class below both, ground aside: as thin things look, but no
            interpolation does.
        classes: those that a good part of lies in ribbons.
        thick: by such a class, the share of its pixels that lies in areas five pixels wide.
    """

    passages: int
    share: float
    below: int
    classes: tuple[int, ...]
    thick: dict[int, float]


def read_ribbons(masks: Tensor, ignored: int | None) -> Ribbons:
    """Return how changes between classes look.

    Args:
        masks: (N, H, W) whole numbers.
        ignored: the value that is no class.
    """
    thin = torch.zeros_like(masks, dtype=torch.bool)
    passages = below = jumps = 0
    known = masks.flatten() if ignored is None else masks[masks != ignored]
    ground = int(known.mode().values) if len(known) else 0
    for turned, into in ((masks, thin), (masks.mT, thin.mT)):
        for width in (1, 2):
            between, other = _mark(turned, into, width, (ignored, ground))
            passages, below = passages + between, below + other
        left, right = turned[..., :-1], turned[..., 1:]
        jumps += int((((left - right).abs() > 1) & (left != ignored) & (right != ignored)).sum())
    classes = [int(label) for label in torch.unique(masks[thin])]
    sizes = {label: int((masks == label).sum()) for label in classes}
    chosen = tuple(label for label in classes if int((thin & (masks == label)).sum()) >= BETWEEN * sizes[label])
    thick = {label: _area(masks == label) / sizes[label] for label in chosen}
    return Ribbons(passages, passages / max(passages + jumps, 1), below, chosen, thick)


def _mark(masks: Tensor, thin: Tensor, width: int, apart: tuple[int | None, int]) -> tuple[int, int]:
    """Mark runs of one class of this width, along the last axis, that lie between a lower and a higher class.

    Args:
        masks: (N, H, W).
        thin: of the same shape; True is written where the runs are.
        width: pixels of a run.
        apart: the value that is no class, and the class of the ground.

    Returns:
        How many there are, and how many runs of anything but ground lie below the two classes beside them.
    """
    ignored, ground = apart
    size = masks.shape[-1] - width
    before, after = masks[..., : size - 1], masks[..., width + 1 :]
    run = masks[..., 1:size]
    alone = (before != run) & (after != run) & (before != after)
    for part in (before, run, after):
        alone &= part != ignored
    if width == 2:
        alone &= masks[..., 2 : size + 1] == run
    ribbon = alone & ((before - run) * (after - run) < 0)
    for offset in range(1, width + 1):
        thin[..., offset : offset + size - 1] |= ribbon
    return int(ribbon.sum()), int((alone & (run < before) & (run < after) & (run != ground)).sum())


def _area(inside: Tensor) -> float:
    """Return how many pixels lie in a square of five that is wholly inside."""
    planes = inside.float().unsqueeze(1)
    return float(_grown(-_grown(-planes, 2), 2).sum())


def _grown(planes: Tensor, reach: int) -> Tensor:
    """Return the largest value within reach."""
    return F.max_pool2d(planes, 2 * reach + 1, 1, reach)
