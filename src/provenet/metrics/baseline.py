"""What needs no net: the majority class, and Otsu's threshold. A net that does not beat them has learnt nothing."""

# H W pixels, C channels

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from provenet.core.batch import VOID
from provenet.metrics.classification import ClassificationTally
from provenet.metrics.scores import Scores
from provenet.metrics.segmentation import SegmentationTally, confusion_of

Image = NDArray[np.uint8] | NDArray[np.uint16]
Mask = NDArray[np.uint8]

RULES = ("bright", "dark", "minority", "majority")
"""Which side of the threshold is foreground; minority is the side with fewer pixels in this picture."""


def majority_baseline(train_targets: NDArray[np.int64], targets: NDArray[np.int64], classes: tuple[str, ...]) -> Scores:
    """Return the scores of answering with the class frequencies of the training split, whatever the picture.

    The prediction is the commonest training class. The probabilities are (count + 1) / (N + K), so that a class
    missing from the training split still has a log loss.

    Args:
        train_targets: classes of the training split, int64.
        targets: classes of the split to score, int64.
        classes: class names, K of them.

    Example:
        >>> scores = majority_baseline(np.array([0, 0, 1]), np.array([0, 1, 1, 1]), ("cat", "dog"))
        >>> scores.metrics["accuracy"].value, scores.extra["baseline"]
        (0.25, "always answering 'cat'")
    """
    counts = np.bincount(train_targets[_known(train_targets, classes)], minlength=len(classes))
    logits = torch.from_numpy(np.log((counts + 1) / (counts.sum() + len(classes))))
    tally = ClassificationTally(classes)
    tally.update(
        logits.expand(len(targets), -1), torch.from_numpy(np.array(targets, np.int64)), np.arange(len(targets))
    )
    return _named(tally.scores(), f"always answering '{classes[int(counts.argmax())]}'")


def majority_pixel(train_masks: Iterable[Mask], num_classes: int) -> int:
    """Return the commonest class of the pixels of the training masks.

    Args:
        train_masks: masks of the training split, H x W, `VOID` left out.
        num_classes: number of classes.

    Example:
        >>> majority_pixel([np.array([[0, 1, 1, 255, 255, 255]], np.uint8)], 2)
        1
    """
    counts = np.zeros(256, np.int64)
    for mask in train_masks:
        counts += np.bincount(mask.ravel(), minlength=256)
    return int(counts[:num_classes].argmax())


def pixel_majority_baseline(
    train_masks: Iterable[Mask], samples: Iterable[tuple[Mask, int]], classes: tuple[str, ...]
) -> Scores:
    """Return the scores of calling every pixel by the commonest class of the training masks.

    Args:
        train_masks: masks of the training split, H x W.
        samples: (mask, sample id) of the split to score.
        classes: class names.
    """
    majority = majority_pixel(train_masks, len(classes))
    tally = SegmentationTally(classes)
    for mask, sample_id in samples:
        tally.update(np.full_like(mask, majority), mask, sample_id)
    return _named(tally.scores(), f"always answering '{classes[majority]}'")


def otsu_baseline(
    train: Iterable[tuple[Image, Mask]], samples: Iterable[tuple[Image, Mask, int]], classes: tuple[str, ...]
) -> Scores:
    """Return the scores of Otsu's threshold, with the side of the foreground learnt from the training split.

    Args:
        train: (image, mask) of the training split, image and mask of one size.
        samples: (image, mask, sample id) of the split to score, image and mask of one size.
        classes: names of the background and the foreground.
    """
    rule = best_rule(train)
    tally = SegmentationTally(classes)
    for image, mask, sample_id in samples:
        tally.update(otsu_mask(image, rule), mask, sample_id)
    return _named(tally.scores(), f"Otsu's threshold, {rule} side")


def otsu_threshold(gray: NDArray[np.uint8]) -> int:
    """Return the grey level t that parts the pixels <= t from those above with the largest variance between the two.

    With n and s the number and the sum of the pixels <= t, N and S those of all: the variance between is, up to a
    factor, (N s - n S)^2 / (n (N - n)). The lowest of equal levels is taken.

    Args:
        gray: H x W, uint8.

    Returns:
        The level, in 0..255; 0 for a picture of one level.

    Source: Otsu (1979). A threshold selection method from gray-level histograms.

    Example:
        >>> otsu_threshold(np.array([[10, 12, 200, 210]], np.uint8))
        12
    """
    counts = np.bincount(gray.ravel(), minlength=256)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    spread = (below[-1] * sums - below * sums[-1]).astype(np.float64) ** 2
    parted = (below * (below[-1] - below)).astype(np.float64)
    return int(np.divide(spread, parted, out=np.zeros(256), where=parted > 0).argmax())


def gray_levels(image: Image) -> NDArray[np.uint8]:
    """Return a picture as 256 grey levels: luma of colour, and 16 bits stretched from their least to their largest.

    Args:
        image: H x W x C, C 1 or 3, uint8 or uint16.

    Returns:
        H x W, uint8.
    """
    gray = image[:, :, 0] if image.shape[2] == 1 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if gray.dtype == np.uint8:
        return np.asarray(gray, np.uint8)
    low = int(gray.min())
    return ((gray.astype(np.int64) - low) * 255 // max(int(gray.max()) - low, 1)).astype(np.uint8)


def otsu_mask(image: Image, rule: str) -> Mask:
    """Return the foreground (1) of a picture by Otsu's threshold and one of `RULES`, H x W."""
    gray = gray_levels(image)
    bright = gray > otsu_threshold(gray)
    return np.asarray(bright if _takes_bright(rule, bright) else ~bright, np.uint8)


def best_rule(train: Iterable[tuple[Image, Mask]]) -> str:
    """Return the one of `RULES` with the largest pooled Dice of the foreground on a split.

    Args:
        train: (image, mask) pairs; 1 is the foreground in a mask, `VOID` is left out.
    """
    pooled = {rule: np.zeros(2) for rule in RULES}
    for image, mask in train:
        bright = otsu_mask(image, "bright")
        for rule in RULES:
            prediction = bright if _takes_bright(rule, bright) else 1 - bright
            (_, extra), (missed, agreed) = confusion_of(prediction, mask, 2)
            pooled[rule] += (2 * agreed, 2 * agreed + missed + extra)
    return max(RULES, key=lambda rule: pooled[rule][0] / max(pooled[rule][1], 1))


def _takes_bright(rule: str, bright: NDArray[np.bool_] | Mask) -> bool:
    """Return whether a rule takes the bright side as foreground; halves count as the minority."""
    assert rule in RULES, rule
    if rule in ("bright", "dark"):
        return rule == "bright"
    return (np.count_nonzero(bright) * 2 <= bright.size) == (rule == "minority")


def _known(targets: NDArray[np.int64], classes: tuple[str, ...]) -> NDArray[np.bool_]:
    return (targets != VOID) | (len(classes) > VOID)


def _named(scores: Scores, name: str) -> Scores:
    return replace(scores, extra={**scores.extra, "baseline": name})
