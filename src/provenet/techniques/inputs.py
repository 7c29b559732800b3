"""Slot `inputs`: what is done to pixel values before the net sees them.

Values come on the scale 0..255, whatever the stored depth. All members but `per_image` are (value - mean) / std per
channel, one affine map that is composed with the colour augmentation; they differ in where mean and std come from.
"""

# N batch, C channels, H W pixels

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Gt, MinLen
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from provenet.core.errors import DataError, Fault
from provenet.core.spec import Source, Spec, Technique

_EFFICIENT_BACKPROP = Source(
    "LeCun, Bottou, Orr and Müller",
    1998,
    "Efficient BackProp",
    "https://doi.org/10.1007/3-540-49430-8_2",
    "section 4.3",
)
_BLOCK = 1 << 16  # pixels summed at once: whole numbers below 2^48, which float64 keeps exactly


class Stats(Spec):
    """What is taken from the values of each channel, and what they are then divided by; stored with the model."""

    mean: tuple[float, ...]
    """Subtracted from each channel, on the scale 0..255."""
    std: tuple[Annotated[float, Gt(0)], ...]
    """Divides each channel, on the scale 0..255, above 0."""


def measure(images: Iterable[NDArray[Any]], levels: int) -> Stats:
    """Return mean and standard deviation of each channel over all pixels of all images.

    Sums are kept as whole numbers, so that the result is exact and does not depend on the order. Every pixel counts the
    same, so that a large image weighs more than a small one. A constant channel gets the standard deviation 1.

    Args:
        images: H W C arrays (or stacks of them, N H W C), uint8 or uint16, of one number of channels.
        levels: the value of white: 255 or 65535.

    Returns:
        C means and standard deviations on the scale 0..255.

    Raises:
        DataError: there is no image, or an image has other channels or another type.

    Example:
        >>> measure([np.array([[[0], [255]]], dtype=np.uint8)], 255)
        Stats(mean=(127.5,), std=(127.5,))
    """
    count, channels = 0, 0
    totals: list[int] = []
    for image in images:
        channels = channels or image.shape[-1]
        _check(image, channels)
        totals = totals or [0] * 2 * channels
        pixels = image.reshape(-1, channels)
        count += len(pixels)
        for start in range(0, len(pixels), _BLOCK):
            sums = _sums(pixels[start : start + _BLOCK])
            totals = [total + new for total, new in zip(totals, sums, strict=True)]
    if count == 0:
        raise DataError(Fault("there is no training image to take mean and standard deviation from"))
    scale = 255 / levels
    sums, squares = totals[:channels], totals[channels:]
    stds = [math.sqrt(count * square - total**2) / count for total, square in zip(sums, squares, strict=True)]
    return Stats(mean=tuple(scale * (total / count) for total in sums), std=tuple(scale * std or 1.0 for std in stds))


def _sums(pixels: NDArray[Any]) -> list[int]:
    """Return the sums of C channels' values, then of their squares, as Python's whole numbers: they never overflow."""
    planes = np.ascontiguousarray(pixels.T, dtype=np.float64)
    return [int(value) for value in (*planes.sum(axis=1), *np.einsum("cp,cp->c", planes, planes))]


def _check(image: NDArray[Any], channels: int) -> None:
    """Refuse an image that whole-number sums would get wrong."""
    if image.dtype not in (np.uint8, np.uint16) or image.shape[-1] != channels:
        raise DataError(
            Fault(
                "an image does not have the form of the first one",
                f"{image.dtype} with {image.shape[-1]} channels",
                f"uint8 or uint16 with {channels} channels",
            )
        )


def num_channels(images: Iterable[NDArray[Any]]) -> int:
    """Return the channels of the first image.

    Raises:
        DataError: there is no image.
    """
    for image in islice(images, 1):
        return int(image.shape[-1])
    raise DataError(Fault("there is no training image to see the number of channels from"))


class InputNormalization(Technique):
    """Base of the members: `fit` says what is subtracted and divided by, `affine` and `apply` do it."""

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return mean and standard deviation per channel.

        Args:
            images: the training split, H W C arrays, uint8 or uint16; only as many are read as are needed.
            levels: the value of white: 255 or 65535.

        Raises:
            DataError: there is no image, or the images differ in channels.
        """
        raise NotImplementedError

    def affine(self, stats: Stats) -> tuple[Tensor, Tensor] | None:
        """Return scale and shift (C each, float32): normalised = value * scale + shift; None where there are none.

        Args:
            stats: what `fit` returned.

        Example:
            >>> Standardize().affine(Stats(mean=(100.0,), std=(50.0,)))
            (tensor([0.0200]), tensor([-2.]))
        """
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (stats.mean, stats.std))
        return (1 / std).float(), (-mean / std).float()

    def apply(self, images: Tensor, stats: Stats) -> Tensor:
        """Return normalised images.

        Args:
            images: N C H W, floating point, values on the scale 0..255.
            stats: what `fit` returned.

        Returns:
            N C H W, of the same type.
        """
        found = self.affine(stats)
        assert found is not None
        scale, shift = (values.to(images.device, images.dtype)[:, None, None] for values in found)
        return images * scale + shift


class Raw(InputNormalization):
    """The values as they are, 0 to 255.

    Definition  f(v) = v.
    Default and why  Nothing to choose. A teaching arm: it shows why inputs are normalised.
    Cost  None.
    Fails when  Nearly always without normalisation layers: activations are hundreds of times too large and all of one
        sign, so training needs tiny rates or breaks.
    """

    source: ClassVar[Source] = _EFFICIENT_BACKPROP
    name: Literal["raw"] = "raw"

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return mean 0 and standard deviation 1; see the base."""
        channels = num_channels(images)
        return Stats(mean=(0.0,) * channels, std=(1.0,) * channels)


class Scale01(InputNormalization):
    """The values divided by 255.

    Definition  f(v) = v / 255, in 0..1.
    Default and why  Nothing to choose. Needs no statistics.
    Cost  None.
    Fails when  Images use a small part of the range (dark microscopy): the inputs are then small and not centred.
    """

    source: ClassVar[Source] = _EFFICIENT_BACKPROP
    name: Literal["scale01"] = "scale01"

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return mean 0 and standard deviation 255; see the base."""
        channels = num_channels(images)
        return Stats(mean=(0.0,) * channels, std=(255.0,) * channels)


class Standardize(InputNormalization):
    """Mean 0 and standard deviation 1 per channel, with the statistics of the training split.

    Definition  f(v) = (v - mean) / std, both over all pixels of all training images; the same two numbers serve
        validation, test, prediction and export.
    Default and why  The default for nets from scratch: centred inputs of unit scale are what initialisation assumes.
    Cost  One pass over the stored training images, once.
    Fails when  Later images are taken under other light: their statistics are not adapted to.
    """

    source: ClassVar[Source] = _EFFICIENT_BACKPROP
    name: Literal["standardize"] = "standardize"

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return the measured statistics; see the base and `measure`."""
        return measure(images, levels)


class Pretrained(InputNormalization):
    """The statistics that a pretrained net was trained with.

    Definition  f(v) = (v / 255 - mean) / std with given mean and std.
    Default and why  ImageNet's, in use for most published weights; a net that states its own gets those.
    Cost  None.
    Fails when  The net was trained with others: its first layers then see colours shifted.
    """

    source: ClassVar[Source] = Source(
        "TorchVision maintainers and contributors",
        2016,
        "TorchVision: PyTorch's Computer Vision library",
        "https://docs.pytorch.org/vision/stable/models.html",
    )
    name: Literal["pretrained"] = "pretrained"
    mean: Annotated[tuple[float, ...], MinLen(1)] = (0.485, 0.456, 0.406)
    """Mean of each channel, on the scale 0..1."""
    std: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel, on the scale 0..1, above 0."""

    @model_validator(mode="after")
    def _same_length(self) -> Pretrained:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}; give as many of each")
        return self

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return the given statistics; grey images get the mean over the channels; see the base.

        Raises:
            DataError: the images have channels that the statistics are not given for.
        """
        channels = num_channels(images)
        if channels == len(self.mean):
            return Stats(mean=tuple(255 * m for m in self.mean), std=tuple(255 * s for s in self.std))
        if channels == 1:
            return Stats(
                mean=(255 * math.fsum(self.mean) / len(self.mean),), std=(255 * math.fsum(self.std) / len(self.std),)
            )
        raise DataError(
            Fault(
                "inputs=pretrained has statistics for another number of channels than the images have",
                f"{len(self.mean)} and {channels}",
                remedy=f"give inputs.mean and inputs.std with {channels} numbers each, or take inputs=standardize",
            )
        )


class PerImage(InputNormalization):
    """Every image by its own mean and standard deviation.

    Definition  f(v) = (v - mean) / std over all pixels and channels of the image itself, so that its colours keep their
        relation; std is at least one level of 16 bits.
    Default and why  Nothing to choose. For images whose brightness and contrast mean nothing (microscopy, scans of many
        devices).
    Cost  One pass over each batch; it cannot be composed with the colour augmentation, whose brightness and contrast it
        undoes.
    Fails when  Brightness carries the answer, or much of the image is empty: an empty image is blown up to noise.
    """

    source: ClassVar[Source] = Source(
        "Isensee, Jaeger, Kohl, Petersen and Maier-Hein",
        2021,
        "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
        "https://doi.org/10.1038/s41592-020-01008-z",
    )
    name: Literal["per_image"] = "per_image"

    def fit(self, images: Iterable[NDArray[Any]], levels: int) -> Stats:
        """Return mean 0 and standard deviation 1, which are not used; see the base."""
        channels = num_channels(images)
        return Stats(mean=(0.0,) * channels, std=(1.0,) * channels)

    def affine(self, stats: Stats) -> None:
        """Return None: the map differs from image to image."""

    def apply(self, images: Tensor, stats: Stats) -> Tensor:
        """Return normalised images; see the base."""
        values = images.float()
        std, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
        return ((values - mean) / std.clamp_min(255 / 65535)).to(images.dtype)


Inputs = Annotated[Raw | Scale01 | Standardize | Pretrained | PerImage, Field(discriminator="name")]
"""The members of the slot."""
