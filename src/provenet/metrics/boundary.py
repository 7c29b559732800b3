"""How well the contours of a segmentation lie: the boundary F1 of each class."""

# H W pixels, K classes

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.core.batch import VOID
from provenet.metrics.scores import ratio

TOLERANCE_FRAC = 0.0075
"""Distance that still counts as a match, share of the image diagonal, as published."""


def tolerance_px(height: int, width: int) -> float:
    """Return how far apart two boundary pixels may lie and still match: 0.75 % of the diagonal, at least one pixel.

    Example:
        >>> tolerance_px(600, 800), tolerance_px(32, 32)
        (7.5, 1.0)
    """
    return max(1.0, TOLERANCE_FRAC * math.hypot(height, width))


def disc(radius_px: float) -> NDArray[np.uint8]:
    """Return the pixels at most `radius_px` from the middle one, as 0 and 1 in a square of odd side.

    Example:
        >>> disc(1.0).tolist()
        [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    offsets = np.arange(-int(radius_px), int(radius_px) + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius_px**2).astype(np.uint8)


def edges(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a pixel has one of its four neighbours in another class; void is no class and makes no edge.

    Example:
        >>> edges(np.array([[0, 0, 1, 255]], np.uint8)).tolist()
        [[False, True, True, False]]
    """
    known = labels != VOID
    found = np.zeros(labels.shape, bool)
    down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    found[1:] |= down
    found[:-1] |= down
    right = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    found[:, 1:] |= right
    found[:, :-1] |= right
    return found


def boundary_counts(prediction: NDArray[np.uint8], target: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Return, for each class, its boundary pixels in prediction and truth and how many of them match.

    The boundary of a class is its pixels with a 4-neighbour of another class; a pixel matches when the other
    boundary of the same class is at most `tolerance_px` away (Euclidean). Void pixels of the truth are left out.

    Args:
        prediction: class indices, H x W.
        target: class indices, H x W, `VOID` where unknown.
        num_classes: number of classes K.

    Returns:
        (4, K): predicted, predicted and matched, true, true and matched.

    Source: Csurka et al. (2013). What is a good evaluation measure for semantic segmentation?, section 3.
    """
    prediction = np.where(target == VOID, np.uint8(VOID), prediction)
    predicted_edges, true_edges = edges(prediction), edges(target)
    near = disc(tolerance_px(*target.shape))
    counts = np.zeros((4, num_classes), np.int64)
    for k in np.union1d(prediction[predicted_edges], target[true_edges]).tolist():
        predicted, true = predicted_edges & (prediction == k), true_edges & (target == k)
        counts[:, k] = (*_matched(predicted, true, near), *_matched(true, predicted, near))
    return counts


def _matched(boundary: NDArray[np.bool_], other: NDArray[np.bool_], near: NDArray[np.uint8]) -> tuple[int, int]:
    """Return how many pixels a boundary has, and how many of them lie near the other one."""
    # growing the other boundary by a disc is exact, and at common sizes several times faster than its distance map
    grown = cv2.dilate(other.view(np.uint8), near).view(np.bool_)
    return int(np.count_nonzero(boundary)), int(np.count_nonzero(boundary & grown))


def boundary_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harmonic mean of the matched share of predicted and of true boundary pixels.

    Args:
        counts: (..., 4, K) as from `boundary_counts`, summed over images.

    Returns:
        (..., K), in [0, 1]; 0 where only one of the two has a boundary, NaN where neither has.

    Example:
        >>> boundary_f1(np.array([[4.0, 0.0], [4.0, 0.0], [8.0, 0.0], [2.0, 0.0]])).tolist()
        [0.4, nan]
    """
    predicted, predicted_matched, true, true_matched = np.moveaxis(counts, -2, 0)
    precision = np.nan_to_num(ratio(predicted_matched, predicted))
    recall = np.nan_to_num(ratio(true_matched, true))
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, f1, np.nan)
