"""Label-preserving augmentation: members that move, colour, change or mix pictures, and how several become one."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Annotated

from pydantic import Field

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.techniques.augment.base import Augmentation, Floats
from provenet.techniques.augment.color import Brightness, Color, Contrast, then
from provenet.techniques.augment.geometry import Crop, Flip, Rotate, Scale, Shift, identity
from provenet.techniques.augment.mix import Cutmix, Mixup, mixed_targets, soft_targets
from provenet.techniques.augment.pixels import Blur, Cutout, Noise, gaussian_blur
from provenet.techniques.augment.trivial import Trivial


def compose_matrices(members: Iterable[Augmentation], keys: Keys, size: tuple[int, int]) -> Floats:
    """Return the one movement that does all members' movements, the first of the list first.

    Args:
        members: augmentations in the order of the recipe.
        keys: identity of the draws of N samples.
        size: height and width of the view in pixels.

    Returns:
        (N, 3, 3), output to input, in centred view coordinates; identities when nothing moves.

    Example:
        >>> import numpy as np
        >>> compose_matrices([Flip(p=1)], Keys(0, 0, np.array([7])), (8, 8))[0] @ [3, 2, 1]
        array([-3.,  2.,  1.])
    """
    moves = (member.matrices(keys, size) for member in members)
    return reduce(lambda before, after: before @ after, (m for m in moves if m is not None), identity(len(keys)))


def compose_colors(members: Iterable[Augmentation], keys: Keys, channels: int) -> Floats | None:
    """Return the one colour map that does all members' maps, the first of the list first.

    Args:
        members: augmentations in the order of the recipe.
        keys: identity of the draws of N samples.
        channels: number of channels C, 1 or 3.

    Returns:
        (N, C, C + 1) on values in 0..255, see `Augmentation.colors`; None when no colour changes.
    """
    maps = [found for member in members if (found := member.colors(keys, channels)) is not None]
    return reduce(then, maps) if maps else None


def apply_pixels(members: Iterable[Augmentation], batch: Batch, keys: Keys, num_classes: int) -> Batch:
    """Return the batch after all members' changes of pixels and targets, in order.

    Args:
        members: augmentations in the order of the recipe.
        batch: normalised floating-point images N C H W with their targets; not changed.
        keys: identity of the draws of the batch's samples.
        num_classes: number of classes K.
    """
    for member in members:
        batch = member.apply(batch, keys, num_classes)
    return batch


Augment = Annotated[
    Flip
    | Rotate
    | Crop
    | Shift
    | Scale
    | Brightness
    | Contrast
    | Color
    | Noise
    | Blur
    | Cutout
    | Mixup
    | Cutmix
    | Trivial,
    Field(discriminator="name"),
]

__all__ = [
    "Augment",
    "Augmentation",
    "Blur",
    "Brightness",
    "Color",
    "Contrast",
    "Crop",
    "Cutmix",
    "Cutout",
    "Flip",
    "Mixup",
    "Noise",
    "Rotate",
    "Scale",
    "Shift",
    "Trivial",
    "apply_pixels",
    "compose_colors",
    "compose_matrices",
    "gaussian_blur",
    "mixed_targets",
    "soft_targets",
]
