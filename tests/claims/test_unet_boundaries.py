"""Errors by distance from a boundary, against a search over all pairs of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from provenet.claims.unet_boundaries import MOST_PX, Profile, by_distance, crowded, share_near
from provenet.core.batch import VOID

labels = st.sampled_from([0, 1, 1, 0, VOID])
masks = arrays.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1]))
truths = arrays.arrays(np.uint8, (7, 9), elements=labels)


def boundary(truth: np.ndarray) -> list[tuple[int, int]]:
    """Return the pixels with a 4-neighbour in another class, void apart."""
    height, width = truth.shape
    found = []
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            others = [truth[v, u] for v, u in around if 0 <= v < height and 0 <= u < width]
            if truth[y, x] != VOID and any(other not in (truth[y, x], VOID) for other in others):
                found.append((y, x))
    return found


@given(masks, truths)
def test_errors_are_counted_by_the_nearest_boundary_pixel(mask: np.ndarray, truth: np.ndarray) -> None:
    pixels, errors = np.zeros(MOST_PX + 1), np.zeros(MOST_PX + 1)
    edge = boundary(truth)
    for (y, x), label in np.ndenumerate(truth):
        if label != VOID:
            apart = min((math.dist((y, x), other) for other in edge), default=math.inf)
            place = MOST_PX if apart > MOST_PX else math.ceil(apart - 1e-5)
            pixels[place] += 1
            errors[place] += mask[y, x] != label
    found = by_distance(mask, truth)
    assert found.pixels.tolist() == pixels.tolist()
    assert found.errors.tolist() == errors.tolist()


def test_rates_near_and_far() -> None:
    profile = Profile(np.array([10.0, 10.0, 20.0, 40.0]), np.array([5.0, 3.0, 2.0, 1.0]))
    assert profile.rate(1) == (8 / 20, 3 / 60)


def test_the_share_of_a_gain_that_is_none_is_not_defined() -> None:
    better, worse = Profile(np.ones(2), np.zeros(2)), Profile(np.ones(2), np.array([3.0, 1.0]))
    assert share_near(worse, better, 0) == 0.75
    assert math.isnan(share_near(better, worse, 0))


@pytest.mark.parametrize("side", [3, 5, 50])
def test_the_window_with_the_most_boundary(side: int) -> None:
    truth = (np.random.default_rng(0).random((12, 15)) > 0.9).astype(np.uint8)
    edge = np.zeros(truth.shape, bool)
    for y, x in boundary(truth):
        edge[y, x] = True
    height, width = min(side, 12), min(side, 15)
    most = max(
        edge[top : top + height, left : left + width].sum()
        for top in range(12 - height + 1)
        for left in range(15 - width + 1)
    )
    window = edge[crowded(truth, side)]
    assert window.shape == (height, width)
    assert window.sum() == most
