"""One random operation of random strength on each picture."""

# N batch, C channels, H W pixels

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from provenet.core.rng import Keys
from provenet.core.spec import Source
from provenet.techniques.augment.base import Augmentation, Floats
from provenet.techniques.augment.color import gains, saturation, stretch, then
from provenet.techniques.augment.geometry import rotation

STRONGEST = {
    "nothing": 0.0,
    "rotate": 30.0,
    "shear_x": 0.3,
    "shear_y": 0.3,
    "shift_x": 10 / 32,
    "shift_y": 10 / 32,
    "brightness": 0.9,
    "contrast": 0.9,
    "saturation": 0.9,
}
"""The operations with their largest strengths, RandAugment's: degrees, slope, share of the side, relative change."""


class Trivial(Augmentation):
    """Do one random operation of random strength to each picture.

    Definition  operation ~ uniform over nothing, rotate, shear x, shear y, shift x, shift y, brightness, contrast,
        saturation; strength ~ U(-1, 1) times the operation's largest. The paper's operations that are not affine
        (posterize, solarize, equalize, autocontrast, sharpness) are left out, so that the picture is resampled once.
        On pictures of one channel, saturation does nothing.
    Default and why  strength = 1: 30 degrees, shear 0.3, shift 10/32, colour 0.9, as RandAugment: nothing to tune.
    Cost  none: part of the one warp and the one colour map.
    Fails when  one of the operations changes the label; training is short, or the pictures are few and uniform.
    """

    name: Literal["trivial"] = "trivial"
    source: ClassVar[Source] = Source(
        "Müller and Hutter",
        2021,
        "TrivialAugment: tuning-free yet state-of-the-art data augmentation",
        "https://arxiv.org/abs/2103.10158",
    )
    strength: float = Field(default=1.0, ge=0, le=1)
    """Share of the largest strengths, in [0, 1]; typical 1."""

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        amounts = self._amounts(keys)
        # at most one of the amounts of a sample differs from 0, so adding entries is composing
        matrices = rotation(amounts["rotate"])
        matrices[:, 0, 1] += amounts["shear_x"]
        matrices[:, 1, 0] += amounts["shear_y"]
        matrices[:, 0, 2] += np.rint(amounts["shift_x"] * size[1])
        matrices[:, 1, 2] += np.rint(amounts["shift_y"] * size[0])
        return matrices

    def colors(self, keys: Keys, channels: int) -> Floats:
        amounts = self._amounts(keys)
        bright = gains(np.repeat(1 + amounts["brightness"][:, None], channels, axis=1))
        maps = then(bright, stretch(1 + amounts["contrast"], channels))
        return then(maps, saturation(1 + amounts["saturation"])) if channels == 3 else maps

    def _amounts(self, keys: Keys) -> dict[str, Floats]:
        """Return the signed amount of each operation, shape (N,), 0 where it was not drawn."""
        drawn = np.floor(keys.uniform(self.purpose("operation"))[:, 0] * len(STRONGEST))
        strength = self.strength * keys.between(self.purpose("strength"), -1.0, 1.0)[:, 0]
        return {
            name: np.where(drawn == number, most * strength, 0.0)
            for number, (name, most) in enumerate(STRONGEST.items())
        }
