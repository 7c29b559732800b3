"""Augmentations that change pixels of the normalised batch: noise, blur, cutout."""

# N batch, C channels, H W pixels

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.core.spec import Source
from provenet.techniques.augment.base import Augmentation, Floats


def column(values: NDArray[np.generic], like: Tensor) -> Tensor:
    """Return N values as a tensor N 1 1 1 with the dtype and device of `like`."""
    return torch.as_tensor(values).to(like).view(-1, 1, 1, 1)


def boxes(centers: Floats, heights: Floats, widths: Floats, size: tuple[int, int]) -> Tensor:
    """Return which pixels lie in each sample's box; the part beyond the picture is cut off.

    Args:
        centers: place of the middle in the picture, in [0, 1), x and y, shape (N, 2).
        heights: in pixels, rounded to whole ones, shape (N,).
        widths: in pixels, rounded to whole ones, shape (N,).
        size: height and width of the picture in pixels.

    Returns:
        bool, N 1 H W.

    Example:
        >>> boxes(np.array([[0.5, 0.5]]), np.array([2.0]), np.array([2.0]), (4, 4)).sum().item()
        4
    """
    inside = []
    for place, extent, side in ((centers[:, 1], heights, size[0]), (centers[:, 0], widths, size[1])):
        length = np.rint(extent)
        start = np.rint(place * side - length / 2)[:, None]
        pixels = np.arange(side)[None, :]
        inside.append(torch.from_numpy((pixels >= start) & (pixels < start + length[:, None])))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def gaussian_blur(images: Tensor, sigmas: Floats, radius: int) -> Tensor:
    """Return images blurred by a Gaussian, each by its own, with mirrored borders.

    As a sum of shifted pictures, so that what happens to a picture does not depend on its batch.

    Args:
        images: floating point, N C H W.
        sigmas: standard deviations in pixels, above 0, shape (N,).
        radius: half-width of the kernel in pixels, less than H and W.
    """
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    weights /= weights.sum(1, keepdims=True)
    for dim, pad in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = F.pad(images, pad, mode="reflect")
        blurred = torch.zeros_like(images)
        for k in range(2 * radius + 1):
            blurred.addcmul_(padded.narrow(dim, k, images.shape[dim]), column(weights[:, k], images))
        images = blurred
    return images


class Noise(Augmentation):
    """Add Gaussian noise to some pictures.

    Definition  v <- v + std * e, e ~ N(0, 1) for each value, in a picture with probability p.
    Default and why  std 0.1 in units of the normalised input, p = 0.1: weak and rare, as in nnU-Net's recipe.
    Cost  a draw for each value of the chosen pictures, on the CPU (the same numbers on every device).
    Fails when  fine texture is the signal and std is near its contrast.
    """

    name: Literal["noise"] = "noise"
    source: ClassVar[Source] = Source(
        "Bishop",
        1995,
        "Training with noise is equivalent to Tikhonov regularization",
        "https://doi.org/10.1162/neco.1995.7.1.108",
    )
    std: float = Field(default=0.1, ge=0)
    """Standard deviation in units of the normalised input, 0 or more; typical 0.02 to 0.2."""
    p: float = Field(default=0.1, ge=0, le=1)
    """Probability that a picture gets noise, in [0, 1]; typical 0.1 to 0.5."""

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        chosen = np.flatnonzero(keys.happens(self.purpose("chosen"), self.p))
        if not len(chosen):
            return batch
        generators = Keys(keys.seed, keys.epoch, keys.ids[chosen]).generators(self.purpose("values"))
        shape = batch.images.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        images = batch.images.clone()
        images[chosen] += self.std * noise.to(images)
        return batch.with_(images=images)


class Blur(Augmentation):
    """Blur some pictures.

    Definition  convolution with a Gaussian, sigma ~ U(0, max_sigma_px], in a picture with probability p.
    Default and why  up to 1 pixel, p = 0.2: nnU-Net's range (0.5 to 1) and frequency; more on large pictures.
    Cost  2 * (6 max_sigma_px + 1) additions for each value of the chosen pictures.
    Fails when  fine texture is the signal, or the pictures are small: one pixel is much in 32.
    """

    name: Literal["blur"] = "blur"
    source: ClassVar[Source] = Source(
        "Chen et al.",
        2020,
        "A simple framework for contrastive learning of visual representations",
        "https://arxiv.org/abs/2002.05709",
        "appendix A",
    )
    max_sigma_px: float = Field(default=1.0, gt=0, le=20)
    """Largest standard deviation in pixels, in (0, 20]; typical 0.5 to 2."""
    p: float = Field(default=0.2, ge=0, le=1)
    """Probability that a picture is blurred, in [0, 1]; typical 0.1 to 0.5."""

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        chosen = np.flatnonzero(keys.happens(self.purpose("chosen"), self.p))
        if not len(chosen):
            return batch
        # 1 - uniform is in (0, 1]: a Gaussian needs a sigma above 0
        sigmas = self.max_sigma_px * (1 - keys.uniform(self.purpose("sigma"))[chosen, 0])
        images = batch.images.clone()
        radius = min(ceil(3 * self.max_sigma_px), images.shape[2] - 1, images.shape[3] - 1)
        images[chosen] = gaussian_blur(images[chosen], sigmas, radius)
        return batch.with_(images=images)


class Cutout(Augmentation):
    """Cover a square of some pictures.

    Definition  a square of side size_frac * min(H, W), its middle uniform over the picture, is set to 0, which is the
        mean of standardised inputs. In segmentation the target keeps what is covered: the net learns to fill in.
    Default and why  size_frac = 0.375: 12 of 32 pixels, airbench96's choice; p = 1 as in the paper.
    Cost  one pass over the batch.
    Fails when  the object is smaller than the square, so that the label is no longer in the picture.
    """

    name: Literal["cutout"] = "cutout"
    source: ClassVar[Source] = Source(
        "DeVries and Taylor",
        2017,
        "Improved regularization of convolutional neural networks with cutout",
        "https://arxiv.org/abs/1708.04552",
    )
    size_frac: float = Field(default=0.375, gt=0, le=1)
    """Side of the square as a share of the shorter side, in (0, 1]; typical 0.25 to 0.5."""
    p: float = Field(default=1.0, ge=0, le=1)
    """Probability that a picture is covered, in [0, 1]; typical 0.5 to 1."""

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        height, width = batch.images.shape[2:]
        chosen = keys.happens(self.purpose("chosen"), self.p)
        sides = np.where(chosen, self.size_frac * min(height, width), 0.0)
        covered = boxes(keys.uniform(self.purpose("place"), 2), sides, sides, (height, width))
        # a product, because masked_fill would not keep channels_last and is slower
        return batch.with_(images=batch.images * ~covered.to(batch.images.device))
