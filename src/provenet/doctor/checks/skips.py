"""What is joined with what: branches of a merge that look at different places of the picture."""

# N batch, C channels, H W pixels

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.gaze import PLACES, Branch
from provenet.records.finding import Finding

OFFSET = 1.5
"""Offset between two branches in places of the map where they meet. Half a place is what strides and interpolation
leave; the limit is three quarters of the coarser map's place."""
BLUR = 0.1
"""The same as a share of the wider branch's reach: so far can weights as drawn move the middle of a wide view."""
AGREEING = 5
"""Places, of six, that must see the offset in the same direction."""
TURNED = 1.2
"""How fast the offset grows with the place: 0 where both look straight, up to a half for wide views, which borders
pull inwards, 2 for a mirror image or swapped axes."""
WIDE = 0.33
"""Reach as a share of the picture: a view of all of it has 0.41."""


@dataclass(frozen=True)
class _Apart:
    """How far two branches of a merge look apart: rows and columns in places of their map, and how much one turns."""

    rows: float
    columns: float
    stride: float
    turned: float
    limit: float

    @property
    def bad(self) -> bool:
        """Whether an offset is larger than what sound nets have, or one branch is turned."""
        return self.amount > self.limit or self.turned > TURNED

    @property
    def amount(self) -> float:
        """The larger offset, 0 where places do not agree on one."""
        return max(abs(self.rows), abs(self.columns))


def _apart(one: Branch, other: Branch) -> _Apart | None:
    """Return how two branches are offset; None where that cannot be told.

    A branch with a wide view is pulled to the middle of the picture, from opposite sides in opposite directions; only
    what nearly all places see alike is an offset. What grows with the place, twice as fast as it, is a mirror image.
    """
    if one.shape[2:] != other.shape[2:] or _wide(one) or _wide(other):
        return None
    known = torch.isfinite(one.places + other.places).all(1)
    if int(known.sum()) < AGREEING:
        return None
    here = _positions(one)[known]
    sharp = min(one, other, key=lambda branch: branch.reach)
    # Convolutions without padding leave fewer places than pictures have strides: how far the view moves tells it.
    moves = _slopes(here, sharp.places[known]) + torch.eye(2)
    stride = one.stride * float(moves.diagonal().abs().mean().clamp(0.1, 1.0))
    offsets = (one.places - other.places)[known]
    turned = float(torch.linalg.matrix_norm(_slopes(here, offsets), 2)) * one.stride / stride
    rows, columns = (_agreed(offsets[:, axis] / stride) for axis in range(2))
    limit = max(OFFSET, BLUR * max(one.reach, other.reach) / stride)
    return _Apart(rows, columns, stride, turned, limit)


def _positions(branch: Branch) -> Tensor:
    """Return where the places lie in the picture, in input pixels, (P, 2)."""
    rows, columns = branch.shape[2:]
    return torch.tensor([(int(y * rows) + 0.5, int(x * columns) + 0.5) for y, x in PLACES]) * branch.stride


def _slopes(here: Tensor, values: Tensor) -> Tensor:
    """Return how values change with the place: the 2 x 2 matrix of a least-squares fit."""
    return torch.linalg.lstsq(here - here.mean(0), values - values.mean(0)).solution


def _agreed(offsets: Tensor) -> float:
    """Return the mean offset along one axis; 0 where places differ in its direction or widely in its size."""
    mean = float(offsets.mean())
    agreeing = int((offsets.sign() == math.copysign(1.0, mean)).sum())
    return mean if agreeing >= AGREEING and float(offsets.std()) < abs(mean) / 2 else 0.0


def _skip_misaligned(examination: Examination) -> Iterator[Finding]:
    pairs = (
        (_apart(one, other), merge, one, other)
        for merge in examination.gaze.merges
        for one, other in itertools.combinations(merge.branches, 2)
    )
    bad = [(apart, merge, one, other) for apart, merge, one, other in pairs if apart is not None and apart.bad]
    if not bad:
        return
    apart, merge, one, other = max(bad, key=lambda pair: (pair[0].turned > TURNED, pair[0].amount))
    turned = apart.turned > TURNED
    far = apart.amount * apart.stride
    yield Finding(
        id="skip-misaligned",
        severity="warning",
        layer=merge.layer,
        evidence={
            "offset_places": round(apart.amount, 2),
            "offset_rows_px": round(apart.rows * apart.stride, 1),
            "offset_columns_px": round(apart.columns * apart.stride, 1),
            "turned": round(apart.turned, 2),
            "limit_places": round(apart.limit, 2),
            "turned_limit": TURNED,
        },
        message=f"In {merge.layer or 'forward'} features of {one.layer or one.function} and of "
        f"{other.layer or other.function} are joined that look at other places of the picture: "
        + ("one is mirrored or turned." if turned else f"they are {far:.1f} pixels apart."),
        fix="crop the larger map around its middle (or pad the smaller one on both sides) before torch.cat",
    )


def _wide(branch: Branch) -> bool:
    """Return whether a branch looks at so much that its middle says nothing."""
    return branch.reach > WIDE * branch.shape[-1] * branch.stride


CHECKS: tuple[Check, ...] = (
    Check(
        id="skip-misaligned",
        look=_skip_misaligned,
        cost="passes",
        shows="Borders of predicted regions are blurred or shifted, more than without the skip.",
        signal="The middle of what each branch of a merge depends on, traced back to the picture from six places: two "
        f"branches look more than {OFFSET:g} places (and a tenth of the wider one's reach) apart, in one direction "
        f"from at least {AGREEING}; or their offset grows more than {TURNED:g} times as fast as the place moves "
        "(mirrored, or with rows and columns swapped).",
        fix="Crop around the middle, pad on both sides, and interpolate to the same size.",
        before="skip = skip[:, :, :x.shape[2], :x.shape[3]]",
        after="skip = center_crop(skip, x.shape[2:])",
        silent="Half a place, as strides and interpolation leave it; padding of a row or column; branches that look at "
        "most of the picture (attention, global context).",
        source="Ronneberger, Fischer and Brox (2015), U-Net, figure 1: crops around the middle; method ours",
        thresholds={"OFFSET": OFFSET, "BLUR": BLUR, "AGREEING": AGREEING, "TURNED": TURNED, "WIDE": WIDE},
    ),
)
