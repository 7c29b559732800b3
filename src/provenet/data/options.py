"""The choices about data: what is prepared once (`DataOptions`) and what the net sees of it (`View`)."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field

from provenet.core.spec import Spec

Fraction = Annotated[float, Ge(0), Lt(1)]


class DataOptions(Spec):
    """How a data set is read, checked and split."""

    limit: Annotated[int, Ge(2)] | None = None
    """Use at most this many training images (stratified, seeded); validation and test stay whole. None uses all."""
    val_frac: Fraction = 0.15
    """Share of the images for validation, in [0, 1), where the layout gives no validation split."""
    test_frac: Fraction = 0.15
    """Share of the images for the test, in [0, 1), where the layout gives no test split (and none at all otherwise)."""
    split_seed: Annotated[int, Ge(0)] = 0
    """Seed of the splits that provenet makes; apart from `seed`, so that other seeds see the same splits."""
    max_bad_frac: Annotated[float, Ge(0), Le(1)] = 0.01
    """Share of unreadable files, in [0, 1], above which the data are refused."""
    max_pixels: Annotated[int, Gt(0)] = 64_000_000
    """Pixels that one picture may have; a larger one is quarantined before it is decoded."""
    channels: Literal[1, 3] | None = None
    """Channels of the stored pictures; None: 1 when all pictures are grey, else 3."""
    leaks: Literal["drop", "refuse", "keep"] = "drop"
    """Exact duplicates across given splits: drop the copy from the earlier one (train, val, test), refuse, or keep."""
    classes: dict[str, str] = Field(default_factory=dict)
    """Segmentation: mask value (a number, or "r,g,b") to class name; empty: found from the masks."""
    void: tuple[str, ...] = ()
    """Segmentation: mask values (numbers, or "r,g,b") that loss and metrics leave out, besides the automatic 255."""
    max_side: Annotated[int, Ge(8)] | None = None
    """Longest side, in pixels, of a stored picture; larger ones are reduced (area averaging). None: chosen."""


class View(Spec):
    """What the net sees of a stored picture."""

    size: tuple[Annotated[int, Ge(4)], Annotated[int, Ge(4)]] = (64, 64)
    """Height and width of a training image, in pixels."""
    resize: Literal["squash", "letterbox", "crop", "window"] = "squash"
    """How a picture of another size comes to it: squash (both sides stretched), letterbox (whole picture, mirrored at
    its edges), crop (the shorter side fitted, the middle kept), window (segmentation: a window at stored scale)."""
    foreground_frac: Annotated[float, Ge(0), Le(1)] = 0.33
    """Window only: share of the windows placed on a pixel of a random class that the picture holds, in [0, 1]."""
