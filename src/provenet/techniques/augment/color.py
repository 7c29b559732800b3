"""Augmentations that map colours: brightness, contrast, colour. Affine on 0..255, so they compose into one map."""

# N batch, C channels

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from provenet.core.rng import Keys
from provenet.core.spec import Source
from provenet.techniques.augment.base import Augmentation, Floats

LUMA = np.array([0.2989, 0.587, 0.114])
"""Weights of red, green and blue in grey: ITU-R BT.601, with the digits that torchvision uses."""
MID_GREY = 127.5


def gains(factors: Floats) -> Floats:
    """Return maps that multiply each channel.

    Args:
        factors: shape (N, C).

    Returns:
        (N, C, C + 1).

    Example:
        >>> gains(np.array([[2.0]]))
        array([[[2., 0.]]])
    """
    num, channels = factors.shape
    maps = np.zeros((num, channels, channels + 1))
    maps[:, np.arange(channels), np.arange(channels)] = factors
    return maps


def stretch(factors: Floats, channels: int) -> Floats:
    """Return maps that multiply the distance from mid grey (127.5).

    Args:
        factors: shape (N,).
        channels: number of channels C.

    Returns:
        (N, C, C + 1).

    Example:
        >>> stretch(np.array([2.0]), 1)
        array([[[   2. , -127.5]]])
    """
    maps = gains(np.repeat(factors[:, None], channels, axis=1))
    maps[:, :, channels] = (1 - factors[:, None]) * MID_GREY
    return maps


def saturation(factors: Floats) -> Floats:
    """Return maps that multiply the distance of a colour from the grey of its luma.

    Args:
        factors: shape (N,); 0 gives grey, 1 changes nothing.

    Returns:
        (N, 3, 4).
    """
    maps = gains(np.repeat(factors[:, None], 3, axis=1))
    maps[:, :, :3] += (1 - factors)[:, None, None] * LUMA
    return maps


def then(first: Floats, second: Floats) -> Floats:
    """Return the maps that do `first` and then `second`, both (N, C, C + 1)."""
    channels = first.shape[1]
    composed = second[:, :, :channels] @ first
    composed[:, :, channels] += second[:, :, channels]
    return composed


class Brightness(Augmentation):
    """Make the picture brighter or darker.

    Definition  v <- f v, f ~ U(1 - max_frac, 1 + max_frac), the same for all channels of a picture.
    Default and why  max_frac = 0.25: the range nnU-Net uses (0.75 to 1.25), about half an aperture stop.
    Cost  none: part of the one colour map. Values beyond 255 are kept, not cut off.
    Fails when  brightness is the label (stain density, exposure faults); useless after per-image standardisation.
    """

    name: Literal["brightness"] = "brightness"
    source: ClassVar[Source] = Source(
        "Howard",
        2013,
        "Some improvements on deep convolutional neural network based image classification",
        "https://arxiv.org/abs/1312.5402",
        "section 2.2",
    )
    max_frac: float = Field(default=0.25, ge=0, le=1)
    """Largest relative change, in [0, 1]; typical 0.1 to 0.4."""

    def colors(self, keys: Keys, channels: int) -> Floats:
        factors = keys.between(self.purpose("factor"), 1 - self.max_frac, 1 + self.max_frac)
        return gains(np.repeat(factors, channels, axis=1))


class Contrast(Augmentation):
    """Stretch or flatten the picture's range about mid grey.

    Definition  v <- 127.5 + f (v - 127.5), f ~ U(1 - max_frac, 1 + max_frac). About a fixed grey, not the picture's own
        mean, so that the map does not depend on the pixels and composes with the others.
    Default and why  max_frac = 0.25, as for brightness.
    Cost  none: part of the one colour map.
    Fails when  pictures are very dark or very bright as a whole: the stretch then also shifts their mean.
    """

    name: Literal["contrast"] = "contrast"
    source: ClassVar[Source] = Source(
        "Howard",
        2013,
        "Some improvements on deep convolutional neural network based image classification",
        "https://arxiv.org/abs/1312.5402",
        "section 2.2",
    )
    max_frac: float = Field(default=0.25, ge=0, le=1)
    """Largest relative change, in [0, 1]; typical 0.1 to 0.4."""

    def colors(self, keys: Keys, channels: int) -> Floats:
        factors = keys.between(self.purpose("factor"), 1 - self.max_frac, 1 + self.max_frac)[:, 0]
        return stretch(factors, channels)


class Color(Augmentation):
    """Change how colourful the picture is and tint it.

    Definition  saturation: v <- grey + s (v - grey), s ~ U(1 - saturation_frac, 1 + saturation_frac), grey the luma of
        the pixel; tint: each channel times its own gain ~ U(1 - tint_frac, 1 + tint_frac). No turn of the hue: it is
        not affine. Pictures of one channel stay as they are.
    Default and why  saturation 0.4 as in common colour jitter; tint 0.05, the size of a white-balance error.
    Cost  none: part of the one colour map.
    Fails when  colour is the label (ripeness, stains).
    """

    name: Literal["color"] = "color"
    source: ClassVar[Source] = Source(
        "Howard",
        2013,
        "Some improvements on deep convolutional neural network based image classification",
        "https://arxiv.org/abs/1312.5402",
        "section 2.2",
    )
    saturation_frac: float = Field(default=0.4, ge=0, le=1)
    """Largest relative change of saturation, in [0, 1]; typical 0.2 to 0.4."""
    tint_frac: float = Field(default=0.05, ge=0, le=1)
    """Largest relative change of one channel, in [0, 1]; typical 0 to 0.1."""

    def colors(self, keys: Keys, channels: int) -> Floats | None:
        if channels != 3:
            return None
        factors = keys.between(self.purpose("saturation"), 1 - self.saturation_frac, 1 + self.saturation_frac)[:, 0]
        tints = keys.between(self.purpose("tint"), 1 - self.tint_frac, 1 + self.tint_frac, 3)
        return then(saturation(factors), gains(tints))
