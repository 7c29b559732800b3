"""Augmentations that move the picture, and its mask with it: flip, rotate, crop, shift, scale."""

# N batch, H W pixels of the view; matrices map output points to input points in centred view coordinates

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from provenet.core.rng import Keys
from provenet.core.spec import Source
from provenet.techniques.augment.base import Augmentation, Floats


def identity(num: int) -> Floats:
    """Return `num` identity matrices, shape (N, 3, 3).

    Example:
        >>> identity(2).shape
        (2, 3, 3)
    """
    return np.tile(np.eye(3), (num, 1, 1))


def rotation(degrees: Floats) -> Floats:
    """Return matrices that turn the picture counter-clockwise about the middle of the view.

    Args:
        degrees: angles, shape (N,).

    Returns:
        (N, 3, 3), output to input.

    Example:
        >>> rotation(np.array([90.0]))[0].round() @ [0, -5, 1]  # what is on top came from the right
        array([5., 0., 1.])
    """
    matrices = identity(len(degrees))
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrices[:, 0, 0] = matrices[:, 1, 1] = cosine
    matrices[:, 0, 1], matrices[:, 1, 0] = -sine, sine
    return matrices


def diagonal(x: Floats, y: Floats) -> Floats:
    """Return matrices that multiply coordinates by `x` and `y`, each of shape (N,)."""
    matrices = identity(len(x))
    matrices[:, 0, 0], matrices[:, 1, 1] = x, y
    return matrices


def whole_shifts(draws: Floats, most: float) -> Floats:
    """Return whole numbers from -floor(most) to floor(most), all equally likely.

    Args:
        draws: uniform draws in [0, 1), any shape.
        most: largest shift.
    """
    most = np.floor(most)
    return np.floor(draws * (2 * most + 1)) - most


class Flip(Augmentation):
    """Mirror the picture.

    Definition  with probability p, x becomes -x (horizontal) or y becomes -y (vertical), each decided by itself.
        `alternating` draws the side once, for the first epoch, and then shows the other side every other epoch, so two
        epochs show each picture both ways (with both axes, four epochs show all four views).
    Default and why  horizontal, p = 0.5: photographs have no left and right. `alternating` is off because it couples
        epochs; it was better in every case of its paper where flipping helped.
    Cost  none: part of the one warp, exact to the byte.
    Fails when  the side carries the label: digits, letters, arrows, left and right organs; vertical: most photographs.
    """

    name: Literal["flip"] = "flip"
    source: ClassVar[Source] = Source(
        "Jordan",
        2024,
        "94% on CIFAR-10 in 3.29 seconds on a single GPU",
        "https://arxiv.org/abs/2404.00498",
        "section 3.6",
    )
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability of a flip, in [0, 1]; typical 0.5."""
    axis: Literal["horizontal", "vertical", "both"] = "horizontal"
    """Direction of the flip: horizontal swaps left and right."""
    alternating: bool = False
    """Whether the side alternates from epoch to epoch in place of a new draw; p then counts in the first epoch."""

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        x, y = np.ones(len(keys)), np.ones(len(keys))
        if self.axis != "vertical":
            x = self._sides(keys, "horizontal", every=1)
        if self.axis != "horizontal":
            y = self._sides(keys, "vertical", every=2 if self.axis == "both" else 1)
        return diagonal(x, y)

    def _sides(self, keys: Keys, axis: str, every: int) -> Floats:
        """Return -1 where flipped and 1 elsewhere, shape (N,); alternating sides change after `every` epochs."""
        if not self.alternating:
            return np.where(keys.happens(self.purpose(axis), self.p), -1.0, 1.0)
        first = Keys(keys.seed, 0, keys.ids).happens(self.purpose(axis), self.p)
        return np.where(first ^ (keys.epoch // every % 2 == 1), -1.0, 1.0)


class Rotate(Augmentation):
    """Turn the picture about its middle.

    Definition  angle ~ U(-max_deg, max_deg), positive counter-clockwise.
    Default and why  15 degrees: about what a hand-held camera does; 180 where up has no meaning (microscopes, maps).
    Cost  none beyond the one warp; corners show the mirrored border.
    Fails when  the angle carries the label (6 and 9), or single pixels matter: the warp interpolates.
    """

    name: Literal["rotate"] = "rotate"
    source: ClassVar[Source] = Source(
        "Ciresan et al.",
        2010,
        "Deep big simple neural nets excel on handwritten digit recognition",
        "https://arxiv.org/abs/1003.0358",
    )
    max_deg: float = Field(default=15.0, ge=0, le=180)
    """Largest angle in degrees, in [0, 180]; typical 10 to 30, or 180 where up has no meaning."""

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        return rotation(keys.between(self.purpose("angle"), -self.max_deg, self.max_deg)[:, 0])


class Crop(Augmentation):
    """Show a random window of the picture, enlarged to the view.

    Definition  area ~ U(min_area_frac, 1) of the view; log aspect ~ U(-log max_aspect, log max_aspect), relative to the
        view's own; a side longer than the view is cut to it; the place is uniform inside the view.
    Default and why  min_area_frac = 0.35, which suits a few thousand pictures (0.08 is common from a million on);
        aspect 4/3 as in the paper.
    Cost  none beyond the one warp. The net sees objects larger than at evaluation; a larger evaluation view makes up.
    Fails when  the object is small or at the border, so that the window misses it; or its true size is the label.
    """

    name: Literal["crop"] = "crop"
    source: ClassVar[Source] = Source(
        "Szegedy et al.", 2014, "Going deeper with convolutions", "https://arxiv.org/abs/1409.4842", "section 6"
    )
    min_area_frac: float = Field(default=0.35, gt=0, le=1)
    """Smallest window as a share of the view's area, in (0, 1]; typical 0.08 to 0.5."""
    max_aspect: float = Field(default=4 / 3, ge=1, le=4)
    """Largest stretch of the window, in [1, 4]; 1 keeps the view's aspect."""

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        area = keys.between(self.purpose("area"), self.min_area_frac, 1.0)[:, 0]
        log_aspect = np.log(self.max_aspect) * keys.between(self.purpose("aspect"), -1.0, 1.0)[:, 0]
        return window(area, np.exp(log_aspect), keys.uniform(self.purpose("place"), 2), size)


def window(area: Floats, aspect: Floats, place: Floats, size: tuple[int, int]) -> Floats:
    """Return matrices that show a window of the view.

    Args:
        area: share of the view's area, in (0, 1], shape (N,).
        aspect: width over height of the window, relative to the view's, shape (N,).
        place: where the window lies in its slack, in [0, 1], x and y, shape (N, 2).
        size: height and width of the view in pixels.

    Returns:
        (N, 3, 3), output to input.

    Example:
        >>> window(np.array([0.25]), np.ones(1), np.zeros((1, 2)), (8, 8))[0] @ [-4, -4, 1]  # the corner stays
        array([-4., -4.,  1.])
    """
    width = np.minimum(np.sqrt(area * aspect), 1.0)
    height = np.minimum(np.sqrt(area / aspect), 1.0)
    matrices = diagonal(width, height)
    matrices[:, 0, 2] = (place[:, 0] - 0.5) * (1 - width) * size[1]
    matrices[:, 1, 2] = (place[:, 1] - 0.5) * (1 - height) * size[0]
    return matrices


class Shift(Augmentation):
    """Move the picture by whole pixels.

    Definition  dx, dy uniform over the whole numbers from -m to m, m = max_px or floor(max_frac * side).
    Default and why  max_frac = 0.125: 4 of 32 pixels, the customary crop after padding. Whole pixels, because they
        need no interpolation and so do not blur.
    Cost  none beyond the one warp; the uncovered edge shows the mirrored border.
    Fails when  the place carries the label; or max_frac of a small side is less than one pixel, which moves nothing.
    """

    name: Literal["shift"] = "shift"
    source: ClassVar[Source] = Source(
        "He et al.",
        2015,
        "Deep residual learning for image recognition",
        "https://arxiv.org/abs/1512.03385",
        "section 4.2",
    )
    max_px: int | None = Field(default=None, ge=0)
    """Largest shift in pixels of the view; takes the place of max_frac."""
    max_frac: float | None = Field(default=0.125, ge=0, le=1)
    """Largest shift as a share of the side, in [0, 1]; typical 0.05 to 0.15."""

    @model_validator(mode="before")
    @classmethod
    def _pixels_replace_share(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("max_px") is not None and "max_frac" not in fields:
            return {**fields, "max_frac": None}
        return fields

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.max_px is None) == (self.max_frac is None):
            raise ValueError("give exactly one of max_px and max_frac")
        return self

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        draws = keys.uniform(self.purpose("step"), 2)
        matrices = identity(len(keys))
        matrices[:, 0, 2] = whole_shifts(draws[:, 0], self._most(size[1]))
        matrices[:, 1, 2] = whole_shifts(draws[:, 1], self._most(size[0]))
        return matrices

    def _most(self, side: int) -> float:
        """Return the largest shift along a side in pixels."""
        return self.max_frac * side if self.max_frac is not None else float(self.max_px or 0)


class Scale(Augmentation):
    """Enlarge or shrink the picture about its middle.

    Definition  log factor ~ U(log min_factor, log max_factor); a factor above 1 enlarges.
    Default and why  0.8 to 1.25: as often larger as smaller, on the log scale; segmentation often uses 0.7 to 1.4.
    Cost  none beyond the one warp; a shrunk picture is framed by its mirrored border.
    Fails when  size carries the label (cells of two kinds that differ by diameter).
    """

    name: Literal["scale"] = "scale"
    source: ClassVar[Source] = Source(
        "Simonyan and Zisserman",
        2014,
        "Very deep convolutional networks for large-scale image recognition",
        "https://arxiv.org/abs/1409.1556",
        "section 3.1",
    )
    min_factor: float = Field(default=0.8, gt=0, le=4)
    """Smallest factor, in (0, 4]; typical 0.7 to 1."""
    max_factor: float = Field(default=1.25, gt=0, le=4)
    """Largest factor, in (0, 4]; typical 1 to 1.4."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_factor > self.max_factor:
            raise ValueError("min_factor must not be greater than max_factor")
        return self

    def matrices(self, keys: Keys, size: tuple[int, int]) -> Floats:
        factor = np.exp(keys.between(self.purpose("factor"), np.log(self.min_factor), np.log(self.max_factor))[:, 0])
        return diagonal(1 / factor, 1 / factor)
