"""What an augmentation may do: move the picture, map its colours, or change its pixels."""

# N batch, C channels, H W pixels of the view

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.core.spec import Technique

Floats = NDArray[np.float64]


class Augmentation(Technique):
    """Base of all augmentations: three verbs, each of which does nothing unless the member overrides it."""

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats | None:
        """Return how the picture is moved, as maps from output to input points.

        Args:
            keys: identity of the draws of N samples.
            size: height and width of the view in pixels.

        Returns:
            (N, 3, 3) matrices on columns (x, y, 1) in centred view coordinates: the origin is the middle of the view,
            a unit is an output pixel, y points down. None when nothing moves.
        """
        return None

    def colors(self, keys: Keys, channels: int) -> Floats | None:
        """Return how colours change, as affine maps on values in 0..255.

        Args:
            keys: identity of the draws of N samples.
            channels: number of channels C, 1 or 3.

        Returns:
            (N, C, C + 1) maps: new = map[:, :, :C] @ old + map[:, :, C]; nothing is cut off at 0 or 255.
            None when no colour changes.
        """
        return None

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        """Return the batch with changed pixels or mixed targets.

        Args:
            batch: normalised floating-point images N C H W with their targets; not changed.
            keys: identity of the draws of the batch's samples.
            num_classes: number of classes K, for members that mix targets.
        """
        return batch

    def purpose(self, draw: str) -> str:
        """Return the name of one of this member's draws: no other member shares it, so dropping one spares the rest."""
        return f"augment.{self.name}.{draw}"
