"""By which mean and standard deviation pixels were normalised, read off the numbers themselves."""

# N samples, C channels

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Story = Literal["right", "unscaled pixels", "scaled twice", "normalized twice"]

_SETS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR-10, second form": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR-100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "a half": ((0.5,), (0.5,)),
    "MNIST": ((0.1307,), (0.3081,)),
    "Fashion-MNIST": ((0.2860,), (0.3530,)),
}
"""Means and standard deviations that are copied from one program to the next, of pixels in [0, 1]; from the
documentation of torchvision and CLIP and from the training scripts of the data sets."""
LATTICE = 0.02
"""How far from a whole number a pixel may be, in 255ths; float32 leaves a thousandth."""
ON_LATTICE = 0.99
ENDS = 0.02
"""How far pixels may stay from 0 and 1 to be taken for the whole range where they lie on no lattice."""
MOST = 200_000


@dataclass(frozen=True)
class Scaling:
    """How pixels came to be what they are.

    Args:
        name: of the means and standard deviations that were used.
        story: what was done with them: "right", or which mistake.
        exact: whether pixels are whole 255ths before; else only their range tells.
    """

    name: str
    story: Story
    exact: bool


def read_scaling(values: Tensor) -> Scaling | None:
    """Return how pictures were normalised, if with a known set.

    Each set is undone as it would be, were this its story; the right one leaves pixels of 0..255 or [0, 1].

    Args:
        values: (N, C, ...), pictures.

    Returns:
        None where no story fits.
    """
    channels = values.shape[1]
    flat = values.transpose(0, 1).reshape(channels, -1)
    flat = flat[:, :: max(1, flat.shape[1] // MOST)]
    told: list[Scaling] = []
    for name, (mean, std) in _SETS.items():
        if len(mean) not in (1, channels):
            continue
        center, spread = torch.tensor(mean)[:, None], torch.tensor(std)[:, None]
        once = flat * spread + center
        stories: dict[Story, Tensor] = {
            "right": once,
            "unscaled pixels": once / 255,
            "scaled twice": once * 255,
            "normalized twice": once * spread + center,
        }
        for story, pixels in stories.items():
            if (exact := _pixels(pixels, story)) is not None:
                told.append(Scaling(name, story, exact))
    among = [one for one in told if one.exact] or told
    return next((one for one in among if one.story == "right"), among[0]) if among else None


def _pixels(values: Tensor, story: Story) -> bool | None:
    """Return whether numbers are pixels of [0, 1], and exact ones; None where they are none."""
    low, high = float(values.min()), float(values.max())
    slack = 0.5 / 255
    if low < -slack or high > 1 + slack or high - low < 8 / 255:
        return None
    steps = values * 255
    if float(((steps - steps.round()).abs() < LATTICE).float().mean()) >= ON_LATTICE:
        return True
    if story == "right":
        return False
    ends = values.amin(1).max() < ENDS and values.amax(1).min() > 1 - ENDS
    return False if bool(ends) else None
