"""Claim 16: the U-Net beats the naive FCN, and the difference sits at the boundaries."""

# H W pixels

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.claims.arms import words
from provenet.claims.claim import Claim, above
from provenet.claims.lab import Lab
from provenet.claims.segmenters import HEAD, Arms, Segmenter, effects, gain, row_of, train_arms
from provenet.claims.training import mean_curve
from provenet.core.batch import VOID
from provenet.metrics.boundary import edges
from provenet.records.claim import Finding, Gallery, Grid, Lines
from provenet.run.views import displayed, encode_png, fitted, overlaid
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval

STEPS = {"quick": 500, "full": 10_000}
SETTINGS = {"FCN": "net=fcn", "U-Net": "net=unet"}
MOST_PX = 24
"""Distances from a boundary are told apart up to this one."""
CROP_PX, SHOWN_PX = 96, 192
"""Side of the part of a picture that is shown, and of the picture of it."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Profile:
    """Where errors lie.

    Args:
        pixels: pixels by distance from the true boundary, (MOST_PX + 1,); the last also holds all farther ones.
        errors: how many of them are wrong.
    """

    pixels: NDArray[np.float64]
    errors: NDArray[np.float64]

    def rate(self, near_px: int) -> tuple[float, float]:
        """Return the shares of wrong pixels at most `near_px` from a boundary and farther off."""
        return self._rate(slice(None, near_px + 1)), self._rate(slice(near_px + 1, None))

    def _rate(self, part: slice) -> float:
        pixels = float(self.pixels[part].sum())
        return float(self.errors[part].sum()) / pixels if pixels else math.nan


def by_distance(mask: Pixels, truth: Pixels) -> Profile:
    """Return a mask's errors by distance from the true boundary, rounded up; void is left out.

    Args:
        mask: class indices, H x W.
        truth: class indices, H x W, `VOID` where unknown.
    """
    apart = cv2.distanceTransform((~edges(truth)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    known = truth != VOID
    bins = np.minimum(np.ceil(apart[known]), MOST_PX).astype(np.int64)
    wrong = (mask != truth)[known].astype(np.float64)
    return Profile(
        np.bincount(bins, minlength=MOST_PX + 1).astype(np.float64),
        np.bincount(bins, weights=wrong, minlength=MOST_PX + 1).astype(np.float64),
    )


def profile(net: Segmenter) -> Profile:
    """Return a net's errors on all test pictures by distance from the true boundary."""
    truth = net.trained.session.dataset.store.truth
    return together([by_distance(mask, truth(sample)) for sample, mask in net.masks.items()])


def together(profiles: Sequence[Profile]) -> Profile:
    """Return the sum of profiles."""
    return Profile(np.sum([one.pixels for one in profiles], axis=0), np.sum([one.errors for one in profiles], axis=0))


def share_near(worse: Profile, better: Profile, near_px: int) -> float:
    """Return which share of the errors that one net has less than the other lay near a boundary; NaN where it has more.

    Example:
        >>> share_near(Profile(np.ones(3), np.array([4.0, 2, 2])), Profile(np.ones(3), np.array([1.0, 2, 1])), 1)
        0.75
    """
    fewer = worse.errors - better.errors
    return float(fewer[: near_px + 1].sum() / fewer.sum()) if fewer.sum() > 0 else math.nan


def measure(lab: Lab) -> Finding:
    """Train both nets and compare their masks near boundaries and far from them."""
    arms, n = train_arms(lab, SETTINGS, STEPS[lab.scale]), len(lab.seeds)
    fcn, unet = arms.values()
    near_px = half_a_cell(fcn[0])
    profiles = {name: [profile(net) for net in arm] for name, arm in arms.items()}
    drops = [
        np.subtract(first.rate(near_px), second.rate(near_px)) for first, second in zip(*profiles.values(), strict=True)
    ]
    steeper = mean_interval([float(near - far) for near, far in drops])
    shares = [share_near(first, second, near_px) for first, second in zip(*profiles.values(), strict=True)]
    share = mean_interval(shares)
    iou, f1 = gain(unet, fcn, "iou"), gain(unet, fcn, "boundary_f1")
    band = f"within {near_px} px of a boundary"
    return Finding(
        checks=(
            above("IoU of the U-Net less the FCN's, test pictures", iou, 0, n),
            above("boundary F1 of the U-Net less the FCN's", f1, 0, n),
            above(f"fall of the error rate {band} less the fall farther off", steeper, 0, n),
            above(f"share of the errors saved that lay {band}", share, 0.5, n),
        ),
        said=_said(profiles, near_px, iou, share),
        charts=(_profiles(profiles), _curves(arms), _gallery(fcn[0], unet[0])),
        tables=(_table(arms, profiles, near_px),),
        effects=effects("net.unet against net.fcn", unet, fcn),
        trainings=sum(map(len, arms.values())),
    )


def half_a_cell(net: Segmenter) -> int:
    """Return half the side, in pixels, of what one score of the FCN covers: as far as it can misplace a boundary."""
    fcn: Any = net.trained.net
    return int(fcn.encoder.reductions[-1]) // 2


def _said(profiles: dict[str, list[Profile]], near_px: int, iou: Figure, share: Figure) -> str:
    """Return what came out, in words."""
    (fcn_near, fcn_far), (unet_near, unet_far) = (
        np.mean([one.rate(near_px) for one in arm], axis=0) for arm in profiles.values()
    )
    first = profiles["FCN"][0]
    band = first.pixels[: near_px + 1].sum() / first.pixels.sum()
    saved = f"of the errors saved a share of {words(share)} lay in"
    if share.value is None or math.isnan(share.value):
        saved = "not every seed saved errors, so that there is no share of them in"
    return (
        f"The U-Net's IoU differs from the FCN's by {words(iou)}. Of the pixels at most {near_px} px from a boundary "
        f"the FCN gets {fcn_near:.1%} wrong and the U-Net {unet_near:.1%}, of the others {fcn_far:.1%} and "
        f"{unet_far:.1%}; {saved} that band, which holds {band:.0%} of the pixels. Encoder, pictures and updates are "
        "the same, but the decoder gives the U-Net more weights and more arithmetic an update, so this does not tell "
        "skips from weights: the claim on skips does."
    )


def _table(arms: Arms, profiles: dict[str, list[Profile]], near_px: int) -> Grid:
    rows = []
    for name, arm in arms.items():
        rates = zip(*(one.rate(near_px) for one in profiles[name]), strict=True)
        rows.append((name, *row_of(arm), *(words(mean_interval(values)) for values in rates)))
    head = ("net", *HEAD, f"wrong within {near_px} px", "wrong farther off")
    return Grid(title="Cost and test scores, mean over seeds", head=head, rows=tuple(rows))


def _profiles(profiles: dict[str, list[Profile]]) -> Lines:
    """Return the error rate by distance, the pictures of all seeds together."""
    lines = {}
    for name, arm in profiles.items():
        whole = together(arm)
        lines[name] = tuple(
            (float(px), float(whole.errors[px] / whole.pixels[px])) for px in range(MOST_PX) if whole.pixels[px] > 0
        )
    return Lines(
        title="Errors by distance from the true boundary",
        x="distance from the boundary, pixels",
        y="share of pixels that are wrong",
        lines=lines,
        note="Test pictures; distance 0 are the pixels that touch the boundary.",
    )


def _curves(arms: Arms) -> Lines:
    lines = {name: mean_curve([net.trained for net in arm]) for name, arm in arms.items()}
    return Lines(title="Validation on the way", x="update", y="Dice (mean IoU of several classes)", lines=lines)


def _gallery(fcn: Segmenter, unet: Segmenter) -> Gallery:
    """Return the pictures at the quartiles of the gain, with both nets' masks, of the first seed."""
    dataset = fcn.trained.session.dataset
    truth = dataset.store.truth

    def errors(net: Segmenter, sample: int) -> float:
        return float(np.mean((net.masks[sample] != truth(sample)) & (truth(sample) != VOID)))

    ranked = sorted(fcn.masks, key=lambda sample: (errors(fcn, sample) - errors(unet, sample), sample))
    pictures: list[tuple[str, str]] = []
    for quarter in (3, 2, 1):
        sample = ranked[quarter * (len(ranked) - 1) // 4]
        rows, columns = crowded(truth(sample))
        image = displayed(_at_full_size(dataset.store.image(sample), truth(sample)))[rows, columns]
        pictures.append((f"{dataset.store.files[sample].rpartition('/')[2][:12]}", _png(image)))
        for name, mask in (("truth", truth(sample)), ("FCN", fcn.masks[sample]), ("U-Net", unet.masks[sample])):
            shown = overlaid(image, np.ascontiguousarray(mask[rows, columns]), dataset.palette)
            wrong = (mask != truth(sample))[rows, columns] & (truth(sample)[rows, columns] != VOID)
            pictures.append((name if name == "truth" else f"{name}: {wrong.mean():.1%} wrong", _png(shown)))
    note = "Test pictures at three quarters, half and one quarter of the gain; the part with the most boundary."
    return Gallery(title="Image, truth, FCN and U-Net", pictures=tuple(pictures), note=note)


def _at_full_size(picture: NDArray[Any], truth: Pixels) -> NDArray[Any]:
    """Return a stored picture at the size of its file."""
    if picture.shape[:2] == truth.shape:
        return picture
    resized = cv2.resize(picture, truth.shape[::-1])
    return np.asarray(resized).reshape(*truth.shape, picture.shape[2])


def crowded(truth: Pixels, side: int = CROP_PX) -> tuple[slice, slice]:
    """Return the window of a mask that holds the most boundary, rows and columns."""
    height, width = (min(side, length) for length in truth.shape)
    sums = np.pad(edges(truth).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    held = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(held.argmax()), held.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _png(picture: Pixels) -> str:
    return base64.b64encode(encode_png(fitted(picture, SHOWN_PX))).decode()


CLAIM = Claim(
    statement=(
        "A U-Net segments better than a naive fully convolutional net with the same encoder, and what it gains lies at "
        "the boundaries, whose place the encoder loses when it pools."
    ),
    experiment=(
        "Both nets have the same encoder with the same initial weights and group norm, see the same pictures in the "
        "same order and get the same number of updates; the FCN enlarges the scores of the deepest features, the U-Net "
        "has a decoder with skips. Errors on test pictures are counted by distance from the true boundary. Near is at "
        "most half the pixels that one score of the FCN covers. Paired over seeds."
    ),
    task="segmentation",
    measure=measure,
)
