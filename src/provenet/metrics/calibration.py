"""Whether probabilities mean what they say: reliability and the expected calibration error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
"""Bins of equal width, as published."""


def bin_of(confidence: NDArray[np.float64], num_bins: int = NUM_BINS) -> NDArray[np.int64]:
    """Return the bin of each confidence: bin m of M holds (m / M, (m + 1) / M], and bin 0 also 0 and NaN.

    Example:
        >>> bin_of(np.array([0.0, 0.25, 0.26, 1.0]), 4).tolist()
        [0, 0, 1, 3]
    """
    place = np.nan_to_num(np.ceil(confidence * num_bins)) - 1
    return np.clip(place, 0, num_bins - 1).astype(np.int64)


def ece(confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error.

    ECE = sum over bins of (n_bin / n) * |accuracy_bin - mean confidence_bin|, bins of equal width over [0, 1].

    Args:
        confidence: probability of the predicted class, in [0, 1], (N,), N at least 1.
        correct: whether the prediction is right, (N,).
        num_bins: number of bins.

    Returns:
        The error, in [0, 1]; 0 is perfect.

    Source: Guo et al. (2017). On calibration of modern neural networks, section 2.

    Example:
        >>> round(ece(np.array([0.9, 0.9]), np.array([True, False])), 3)
        0.4
    """
    excess = np.bincount(bin_of(confidence, num_bins), confidence - correct, minlength=num_bins)
    return float(np.abs(excess).sum() / len(confidence))


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> list[dict[str, Any]]:
    """Return the rows of a reliability diagram; an empty bin has no confidence and no accuracy.

    Args:
        confidence: probability of the predicted class, in [0, 1], (N,).
        correct: whether the prediction is right, (N,).
        num_bins: number of bins of equal width.

    Returns:
        One row a bin: "low", "high" (its ends), "n", "confidence" and "accuracy" (means, or None).

    Example:
        >>> reliability(np.array([0.9, 0.7]), np.array([True, False]), num_bins=2)[1]
        {'low': 0.5, 'high': 1.0, 'n': 2, 'confidence': 0.8, 'accuracy': 0.5}
    """
    bins = bin_of(confidence, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    confidences = np.bincount(bins, confidence, minlength=num_bins)
    hits = np.bincount(bins, correct, minlength=num_bins)
    return [
        {
            "low": m / num_bins,
            "high": (m + 1) / num_bins,
            "n": n,
            "confidence": float(confidences[m] / n) if n and np.isfinite(confidences[m]) else None,
            "accuracy": float(hits[m] / n) if n else None,
        }
        for m, n in enumerate(counts.tolist())
    ]
