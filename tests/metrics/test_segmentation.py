"""A segmentation's scores against scikit-learn, torchmetrics and cases by hand, however the images are dealt out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_jaccard_index

from provenet.core.batch import VOID
from provenet.metrics import SegmentationTally
from provenet.metrics.boundary import boundary_counts, boundary_f1
from provenet.metrics.segmentation import confusion_of
from provenet.stats.bootstrap import bootstrap_counts

Pair = tuple[np.ndarray, np.ndarray]


def images(num: int, num_classes: int, seed: int = 0) -> list[Pair]:
    """(prediction, target) of several sizes: blocks of classes, some pixels wrong, some of the truth void."""
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        blocks = draws.integers(0, num_classes, draws.integers(2, 6, 2))
        target = np.kron(blocks, np.ones((4, 4), int))
        wrong = draws.random(target.shape) < draws.uniform(0, 0.5)
        prediction = np.where(wrong, draws.integers(0, num_classes, target.shape), target)
        target = np.where(draws.random(target.shape) < 0.1, VOID, target)
        found.append((prediction.astype(np.uint8), target.astype(np.uint8)))
    return found


def tally_of(pairs: list[Pair], num_classes: int, boundaries: bool = True) -> SegmentationTally:
    tally = SegmentationTally(tuple(f"class {k}" for k in range(num_classes)), boundaries)
    for i, (prediction, target) in enumerate(pairs):
        tally.update(prediction, target, i)
    return tally


def pooled(pairs: list[Pair]) -> Pair:
    """All pixels with a known truth, side by side."""
    prediction = np.concatenate([p.ravel() for p, _ in pairs])
    target = np.concatenate([t.ravel() for _, t in pairs])
    return prediction[target != VOID], target[target != VOID]


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_pooled_scores_equal_scikit_learns(num_classes: int) -> None:
    pairs = images(12, num_classes)
    scores = tally_of(pairs, num_classes).scores(resamples=20)
    prediction, target = pooled(pairs)
    iou, dice = sk.jaccard_score(target, prediction, average=None), sk.f1_score(target, prediction, average=None)
    assert scores.confusion == sk.confusion_matrix(target, prediction).tolist()
    np.testing.assert_allclose([row["iou"].value for row in scores.per_class], iou)
    np.testing.assert_allclose([row["dice"].value for row in scores.per_class], dice)
    assert [row["support"] for row in scores.per_class] == np.bincount(target).tolist()
    found = {name: figure.value for name, figure in scores.metrics.items()}
    assert found["miou"] == pytest.approx(iou.mean())
    assert found["mean_dice"] == pytest.approx(dice.mean())
    assert found["pixel_accuracy"] == pytest.approx(np.mean(prediction == target))
    boundary = boundary_f1(sum(boundary_counts(p, t, num_classes) for p, t in pairs).astype(float))
    np.testing.assert_allclose([row["boundary_f1"].value for row in scores.per_class], boundary)
    assert found["boundary_f1"] == pytest.approx(boundary.mean())
    assert (scores.n, scores.task) == (12, "segmentation")


def test_miou_equals_torchmetrics() -> None:
    pairs = images(6, 4, seed=3)
    prediction, target = (torch.from_numpy(part.astype(np.int64)) for part in pooled(pairs))
    assert tally_of(pairs, 4).quick()["miou"] == pytest.approx(float(multiclass_jaccard_index(prediction, target, 4)))


def test_two_classes_have_a_foreground_and_more_have_none() -> None:
    pairs = images(8, 2)
    two = tally_of(pairs, 2).scores(resamples=5)
    prediction, target = pooled(pairs)
    assert (two.primary, two.extra["foreground"]) == ("dice", "class 1")
    assert two.metrics["dice"].value == pytest.approx(sk.f1_score(target, prediction))
    assert two.metrics["iou"].value == pytest.approx(sk.jaccard_score(target, prediction))
    three = tally_of(images(8, 3), 3).scores(resamples=5)
    assert (three.primary, "dice" in three.metrics, "foreground" in three.extra) == ("miou", False, False)


def test_pooled_and_image_dice_differ_as_they_should() -> None:
    small = np.array([[0, 1]], np.uint8)
    large = np.ones((10, 10), np.uint8)
    empty = np.zeros((3, 3), np.uint8)
    # Dice: 0 of 1 + 1 pixels, 1 of 100 + 100; an image without foreground in truth and prediction has none
    tally = tally_of([(small, 1 - small), (large, large), (empty, empty)], 2)
    quick = tally.quick()
    assert quick["dice"] == pytest.approx(200 / 202)
    assert quick["mean_image_dice"] == pytest.approx(0.5)
    by_image = tally.image_dice()
    assert (by_image[0], by_image[1], math.isnan(by_image[2])) == (0.0, 1.0, True)


def test_image_dice_of_many_classes_is_the_mean_over_those_present() -> None:
    prediction, target = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8)
    assert tally_of([(prediction, target)], 5).image_dice()[0] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_absent_class_is_not_defined_and_stays_out_of_the_means() -> None:
    pairs = images(5, 3)
    ours, more = tally_of(pairs, 3).scores(resamples=10), tally_of(pairs, 4).scores(resamples=10)
    assert ours.metrics == more.metrics
    absent = more.per_class[3]
    assert [absent[name].value for name in ("iou", "dice", "boundary_f1")] == [None, None, None]
    assert absent["support"] == 0


def test_class_only_predicted_scores_zero() -> None:
    scores = tally_of([(np.array([[0, 2]], np.uint8), np.array([[0, 1]], np.uint8))], 4).scores(resamples=5)
    assert [row["iou"].value for row in scores.per_class] == [1.0, 0.0, 0.0, None]
    assert scores.metrics["miou"].value == pytest.approx(1 / 3)


@given(st.permutations(range(9)), st.integers(0, 9))
def test_any_deal_over_tallies_gives_the_same_scores(order: list[int], cut: int) -> None:
    pairs = images(9, 3)
    one, other = (SegmentationTally(("class 0", "class 1", "class 2")) for _ in range(2))
    for position, i in enumerate(order):
        (one if position < cut else other).update(*pairs[i], i)
    one.merge(other)
    assert one.scores(resamples=10) == tally_of(pairs, 3).scores(resamples=10)


def test_intervals_are_of_the_pooled_statistic_over_images() -> None:
    pairs = images(10, 3)
    scores = tally_of(pairs, 3).scores(level=0.9, resamples=100, seed=2)
    slow: dict[str, list[float]] = {"miou": [], "boundary_f1": [], "mean_image_dice": []}
    image_dice = list(tally_of(pairs, 3).image_dice().values())
    for counts in np.concatenate(list(bootstrap_counts(10, 100, 2))).astype(int):
        drawn = [i for i in range(10) for _ in range(counts[i])]
        target_prediction = pooled([pairs[i] for i in drawn])[::-1]
        slow["miou"].append(sk.jaccard_score(*target_prediction, average="macro"))
        boundary = sum(boundary_counts(*pairs[i], 3) for i in drawn).astype(float)
        slow["boundary_f1"].append(boundary_f1(boundary).mean())
        slow["mean_image_dice"].append(float(np.mean([image_dice[i] for i in drawn])))
    for name, values in slow.items():
        found = scores.metrics[name]
        np.testing.assert_allclose([found.low, found.high], np.percentile(values, [5, 95]), atol=1e-12)


def test_one_image_has_no_interval() -> None:
    scores = tally_of(images(1, 3), 3).scores(resamples=20)
    assert scores.metrics["miou"].value is not None
    assert {(figure.low, figure.high) for figure in scores.metrics.values()} == {(None, None)}


def test_without_boundaries_the_rest_is_the_same() -> None:
    pairs = images(5, 3)
    whole, quick = tally_of(pairs, 3).quick(), tally_of(pairs, 3, boundaries=False).quick()
    assert quick == {name: value for name, value in whole.items() if name != "boundary_f1"}
    assert "boundary_f1" not in tally_of(pairs, 3, boundaries=False).scores(resamples=5).per_class[0]


def test_quick_equals_scores() -> None:
    tally = tally_of(images(6, 2), 2)
    assert tally.quick() == {name: figure.value for name, figure in tally.scores(resamples=5).metrics.items()}


@pytest.mark.parametrize("pairs", [[], [(np.zeros((3, 4), np.uint8), np.full((3, 4), VOID, np.uint8))]])
def test_nothing_known_is_nothing_scored(pairs: list[Pair]) -> None:
    scores = tally_of(pairs, 2).scores(resamples=5)
    assert {figure.value for figure in scores.metrics.values()} == {None}
    json.dumps(scores.to_json(), allow_nan=False)


def test_confusion_of_the_most_classes() -> None:
    values = np.arange(255, dtype=np.uint8)[None]
    np.testing.assert_array_equal(confusion_of(values, values, 255), np.eye(255))
    np.testing.assert_array_equal(confusion_of(values, np.full_like(values, VOID), 255), np.zeros((255, 255)))


@pytest.mark.parametrize(("prediction", "target"), [(3, 0), (0, 3), (VOID, 0), (0, 254)])
def test_values_that_are_no_class_are_noticed(prediction: int, target: int) -> None:
    with pytest.raises(AssertionError, match="no class"):
        confusion_of(np.array([[prediction]], np.uint8), np.array([[target]], np.uint8), 3)


def test_an_image_counts_once() -> None:
    pairs = images(2, 3)
    tally = tally_of(pairs, 3)
    with pytest.raises(AssertionError, match="twice"):
        tally.update(*pairs[0], 1)
    with pytest.raises(AssertionError, match="twice"):
        tally.merge(tally_of(pairs[:1], 3))
