"""Where in a picture the borders of a mask lie: on its edges, or on those of a turned, mirrored or moved picture."""

# N pictures, C channels, H W pixels, T transforms

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

LONGEST_PX = 96
"""Pictures are reduced to this side: borders stay borders, and one comparison takes milliseconds."""
MOST_PICTURES = 48
NEAR_PX = 2
"""Shifts up to here count as no shift: edges of pictures are a pixel or two wide."""
TURNS_DEG = (-30, -20, -10, 10, 20, 30)


@dataclass(frozen=True, eq=False)
class Alternative:
    """How masks fit when they are moved in some way.

    Args:
        moved: the best fit of all ways, (N,).
        how: which way that was, (N,).
        chance: the best fit of another picture's mask, moved in the same ways: what searching finds by chance, (N,).
    """

    moved: Tensor
    how: tuple[str, ...]
    chance: Tensor


@dataclass(frozen=True, eq=False)
class Alignment:
    """How well borders of masks lie on edges of pictures: correlations, one row a picture.

    Args:
        here: mask on its own picture, as given, (N,).
        turned: mirrored, transposed or turned by quarters, in its place.
        anywhere: turned by any angle and moved by any shift; a wider search, that finds more by chance.
        others: mask j as given on picture i, (N, N).
        rows: which of the pictures were looked at: those whose mask has a border, (N,).
    """

    here: Tensor
    turned: Alternative
    anywhere: Alternative
    others: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.here)


def align(pictures: Tensor, masks: Tensor) -> Alignment | None:
    """Compare masks with their pictures.

    The edges of a picture are the lengths of its gradient; the borders of a mask are pixels whose neighbour is of
    another class. Both are centred and scaled, so that their product is a correlation; the Fourier transform gives it
    for all shifts at once.

    Args:
        pictures: (N, C, H, W).
        masks: class of every pixel, (N, H, W); below 0 where there is none.

    Returns:
        None where fewer than two masks have a border.
    """
    borders, edges = _reduced(_borders(masks)), _reduced(_edges(pictures))
    rows = torch.nonzero(borders.flatten(1).std(1) > 0).flatten()[:MOST_PICTURES]
    if len(rows) < 2:
        return None
    edges, turned = _scaled(edges[rows]), _turned(borders[rows])
    names, stack = list(turned), torch.stack([_scaled(part) for part in turned.values()], 1)
    near, far = _fits(edges, stack)
    near_chance, far_chance = _fits(edges, stack.roll(1, 0))
    exact = slice(1, len(names) - len(TURNS_DEG))
    return Alignment(
        here=near[:, 0],
        turned=_best(near[:, exact], names[exact], near_chance[:, : exact.stop]),
        anywhere=_best(far, ["moved aside", *names[1:]], far_chance),
        others=torch.einsum("ihw,jhw->ij", edges, stack[:, 0]),
        rows=rows,
    )


def _best(fits: Tensor, names: list[str], chance: Tensor) -> Alternative:
    moved, place = fits.max(1)
    return Alternative(moved, tuple(names[one] for one in place.tolist()), chance.amax(1))


def regions(masks: Tensor, ignored: int | None = None) -> Tensor:
    """Return the class of every pixel, (N, H, W); of several planes the highest, 0 where none is above a half.

    Args:
        masks: (N, P, H, W), class indices or one plane a class.
        ignored: the index that is no class; -1 in what is returned.
    """
    if masks.shape[1] == 1:
        plane = masks[:, 0]
        if plane.is_floating_point():
            return (plane > 0.5 * plane.max()).long()
        return plane.long() if ignored is None else plane.long().masked_fill(plane == ignored, -1)
    top, place = masks.float().max(1)
    return torch.where(top > 0.5 * top.max(), place + 1, 0)


def _edges(pictures: Tensor) -> Tensor:
    """Return the length of the smoothed pictures' gradient, mean over channels; the strongest fiftieth is cut off."""
    pictures = _smoothed(_smoothed(pictures))
    across = F.pad((pictures[..., :, 1:] - pictures[..., :, :-1]).abs(), (0, 1))
    down = F.pad((pictures[..., 1:, :] - pictures[..., :-1, :]).abs(), (0, 0, 0, 1))
    length = (across.square() + down.square()).sqrt().mean(1)
    top = torch.quantile(length.flatten(1), 0.98, dim=1).clamp(min=1e-12)
    return torch.minimum(length, top[:, None, None])


def _borders(masks: Tensor) -> Tensor:
    """Return 1 at pixels on either side of a border between two classes."""
    found = torch.zeros(masks.shape)
    for maps, borders in ((masks, found), (masks.mT, found.mT)):
        one, other = maps[..., :-1], maps[..., 1:]
        border = ((one != other) & (one >= 0) & (other >= 0)).float()
        borders[..., :-1] += border
        borders[..., 1:] += border
    return found.clamp(max=1)


def _smoothed(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)


def _reduced(maps: Tensor) -> Tensor:
    longest = max(maps.shape[-2:])
    if longest <= LONGEST_PX:
        return maps
    factor = math.ceil(longest / LONGEST_PX)
    return F.avg_pool2d(maps.unsqueeze(1), factor, ceil_mode=True).squeeze(1)


def _scaled(maps: Tensor) -> Tensor:
    """Return maps with mean 0 and length 1."""
    centred = maps - maps.mean((-2, -1), keepdim=True)
    return centred / centred.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)


def _turned(borders: Tensor) -> dict[str, Tensor]:
    """Return border maps as given, first, and under every transform that keeps their shape."""
    found = {
        "as given": borders,
        "mirrored left to right": borders.flip(-1),
        "mirrored top to bottom": borders.flip(-2),
        "turned by 180 degrees": borders.flip(-1, -2),
    }
    if borders.shape[-1] == borders.shape[-2]:
        found["transposed"] = borders.mT
        found["turned by 90 degrees"] = borders.rot90(1, (-2, -1))
        found["turned by -90 degrees"] = borders.rot90(-1, (-2, -1))
        found["transposed the other way"] = borders.flip(-1).mT.flip(-1)
    return found | {f"turned by {angle} degrees": _rotated(borders, angle) for angle in TURNS_DEG}


def _rotated(maps: Tensor, angle_deg: float) -> Tensor:
    angle, (height, width) = math.radians(angle_deg), maps.shape[-2:]
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]])
    grid = F.affine_grid(matrix.expand(len(maps), 2, 3), [len(maps), 1, height, width], align_corners=False)
    return F.grid_sample(maps.unsqueeze(1), grid, align_corners=False).squeeze(1)


def _fits(edges: Tensor, borders: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every transform the correlation in place, and the best elsewhere, (N, T) each.

    Args:
        edges: (N, H, W).
        borders: (N, T, H, W), as given first.
    """
    product = torch.fft.rfft2(edges).unsqueeze(1) * torch.fft.rfft2(borders).conj()
    shifts = torch.fft.irfft2(product, s=edges.shape[-2:])
    rim = torch.arange(-NEAR_PX, NEAR_PX + 1)
    near = torch.zeros(edges.shape[-2:], dtype=torch.bool)
    near[rim[:, None], rim] = True
    inside = shifts[..., near].amax(-1)
    shifts[:, 0, near] = -1.0
    return inside, shifts.flatten(2).amax(-1)
