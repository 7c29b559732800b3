"""Boundary F1 against a slow reference that measures every distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from provenet.core.batch import VOID
from provenet.metrics.boundary import boundary_counts, boundary_f1, disc, edges, tolerance_px


def slow_boundary(labels: np.ndarray, k: int) -> list[tuple[int, int]]:
    """Pixels of class k with a 4-neighbour that is another class and not void."""
    height, width = labels.shape
    found = []
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            values = [labels[v, u] for v, u in around if 0 <= v < height and 0 <= u < width]
            if labels[y, x] == k and any(value not in (k, VOID) for value in values):
                found.append((y, x))
    return found


def slow_counts(prediction: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    prediction = np.where(target == VOID, VOID, prediction)
    tolerance = max(1.0, 0.0075 * math.hypot(*target.shape))
    counts = np.zeros((4, num_classes), int)
    for k in range(num_classes):
        predicted, true = slow_boundary(prediction, k), slow_boundary(target, k)
        for row, (one, other) in ((0, (predicted, true)), (2, (true, predicted))):
            near = [any(math.dist(a, b) <= tolerance for b in other) for a in one]
            counts[row : row + 2, k] = len(one), sum(near)
    return counts


shapes = st.shared(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), key="shape")


@given(
    hnp.arrays(np.uint8, shapes, elements=st.integers(0, 2)),
    hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 1, 2, VOID])),
)
def test_counts_equal_slow_ones(prediction: np.ndarray, target: np.ndarray) -> None:
    np.testing.assert_array_equal(boundary_counts(prediction, target, 3), slow_counts(prediction, target, 3))


def test_counts_equal_slow_ones_where_the_tolerance_is_wide() -> None:
    # 240 x 320 has a diagonal of 400, so the tolerance is 3 exactly: pixels at distance 3 match, at sqrt(10) not
    target, prediction = np.zeros((2, 240, 320), np.uint8)
    target[100:120, 100:140] = 1
    prediction[103:126, 98:139] = 1
    counts = boundary_counts(prediction, target, 2)
    np.testing.assert_array_equal(counts, slow_counts(prediction, target, 2))
    assert (counts[1] > 0).all() and (counts[1] < counts[0]).all()


def test_tolerance_is_a_share_of_the_diagonal_and_at_least_a_pixel() -> None:
    assert tolerance_px(300, 400) == pytest.approx(3.75)
    assert tolerance_px(10, 10) == 1.0


@given(st.floats(1, 12))
def test_disc_holds_what_is_near(radius: float) -> None:
    side = 2 * int(radius) + 1
    slow = [[math.hypot(x - side // 2, y - side // 2) <= radius for x in range(side)] for y in range(side)]
    np.testing.assert_array_equal(disc(radius), slow)


def test_the_frame_of_the_picture_and_void_make_no_edge() -> None:
    labels = np.array([[1, 1, VOID, 0], [1, 1, VOID, 0]], np.uint8)
    assert not edges(labels).any()


def test_shift_by_one_matches_and_by_more_does_not() -> None:
    target = np.zeros((30, 30), np.uint8)
    target[:, 10:] = 1
    for shift, expected in ((0, 1.0), (1, 1.0), (2, 0.0)):
        counts = boundary_counts(np.roll(target, shift, axis=1) & (np.arange(30) >= shift).astype(np.uint8), target, 2)
        np.testing.assert_array_equal(boundary_f1(counts.astype(float)), [expected, expected])


def test_f1_by_hand() -> None:
    # class 0: precision 3/4, recall 1/2; class 1 only in truth; class 2 in neither
    counts = np.array([[4, 0, 0], [3, 0, 0], [6, 5, 0], [3, 0, 0]], float)
    np.testing.assert_allclose(boundary_f1(counts), [0.6, 0, np.nan])
    np.testing.assert_allclose(boundary_f1(np.stack([counts, 2 * counts])), [[0.6, 0, np.nan]] * 2)
