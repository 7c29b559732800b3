"""Baselines against OpenCV, scikit-learn, cases by hand and the floors known for real images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from sklearn.dummy import DummyClassifier

from provenet.core.batch import VOID
from provenet.metrics.baseline import (
    RULES,
    best_rule,
    gray_levels,
    majority_baseline,
    otsu_baseline,
    otsu_mask,
    otsu_threshold,
    pixel_majority_baseline,
)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_threshold_parts_noise_as_opencv_does(gray: np.ndarray) -> None:
    _, theirs = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    ours = gray > otsu_threshold(gray)
    if not np.array_equal(ours, theirs):  # a tie in exact arithmetic, which rounding breaks: both part equally well
        assert variance_between(gray, ours) == pytest.approx(variance_between(gray, theirs > 0), rel=1e-6)


def variance_between(gray: np.ndarray, bright: np.ndarray) -> float:
    share = bright.mean()
    if share in (0, 1):
        return 0.0
    return float(share * (1 - share) * (gray[bright].mean() - gray[~bright].mean()) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_threshold_equals_opencvs_on_two_humps(seed: int) -> None:
    draws = np.random.default_rng(seed)
    gray = np.where(draws.random((64, 80)) < 0.3, draws.normal(170, 25, (64, 80)), draws.normal(60, 20, (64, 80)))
    gray = gray.clip(0, 255).astype(np.uint8)
    theirs, _ = cv2.threshold(gray, 0, 1, cv2.THRESH_OTSU)
    assert otsu_threshold(gray) == int(theirs)


def test_one_level_has_no_bright_side_to_lose() -> None:
    flat = np.full((4, 4, 1), 9, np.uint8)
    assert otsu_threshold(flat[:, :, 0]) == 0
    assert otsu_mask(flat, "bright").tolist() == [[1] * 4] * 4


def test_gray_levels_of_color_and_of_16_bits() -> None:
    color = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    luma = color @ [0.299, 0.587, 0.114]
    assert np.abs(gray_levels(color) - luma).max() <= 1
    deep = np.array([[1000, 1500], [2000, 3000]], np.uint16)[:, :, None]
    assert gray_levels(deep).tolist() == [[0, 63], [127, 255]]
    wide = np.array([[0, 65535]], np.uint16)[:, :, None]
    assert gray_levels(np.repeat(wide, 3, axis=2)).tolist() == [[0, 255]]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_a_read_only_store_are_taken(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    expected = otsu_mask(image, "dark")
    image.flags.writeable = False
    np.testing.assert_array_equal(otsu_mask(image, "dark"), expected)


def spots(bright: bool, num: int = 3) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Small objects on a plain ground."""
    draws = np.random.default_rng(0)
    for _ in range(num):
        mask = np.zeros((20, 20), np.uint8)
        mask[4:10, 5:11] = 1
        level = np.where(mask == bright, 180, 60) + draws.integers(-10, 10, mask.shape)
        yield level.astype(np.uint8)[:, :, None], mask


def test_the_rule_is_the_one_that_fits_the_training_split() -> None:
    light, dark = list(spots(True)), list(spots(False))
    large = [(image, 1 - mask) for image, mask in [*light, *dark]]
    assert best_rule(light) in ("bright", "minority")
    assert best_rule(dark) in ("dark", "minority")
    assert best_rule([*light, *dark]) == "minority"
    assert best_rule(large) == "majority"
    for pairs in (light, dark, [*light, *dark], large):
        rule = best_rule(pairs)
        assert all(np.array_equal(otsu_mask(image, rule), mask) for image, mask in pairs)


def test_void_has_no_say_in_the_rule() -> None:
    image, mask = next(spots(True))
    wrong = image.copy()
    wrong[mask == 1], wrong[mask == 0] = 60, 180
    light = [(image, mask)]
    assert best_rule([*light, (wrong, np.full_like(mask, VOID))]) == best_rule(light)
    assert best_rule([*light, (wrong, mask)]) == "minority"


def test_rules_come_in_opposites() -> None:
    image, mask = next(spots(True))
    masks = {rule: otsu_mask(image, rule) for rule in RULES}
    np.testing.assert_array_equal(masks["bright"], 1 - masks["dark"])
    np.testing.assert_array_equal(masks["minority"], 1 - masks["majority"])
    np.testing.assert_array_equal(masks["minority"], mask)


def test_otsu_scores() -> None:
    samples = [(image, mask, i) for i, (image, mask) in enumerate(spots(True))]
    scores = otsu_baseline(spots(True), samples, ("ground", "spot"))
    assert scores.metrics["dice"].value == 1.0
    assert scores.extra["baseline"] == "Otsu's threshold, bright side"


def test_majority_class_equals_scikit_learns() -> None:
    draws = np.random.default_rng(0)
    train, val = draws.choice(4, 90, p=[0.2, 0.5, 0.2, 0.1]), draws.choice(4, 50)
    scores = majority_baseline(train, val, tuple("abcd"))
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((90, 1)), train)
    assert scores.metrics["accuracy"].value == pytest.approx(dummy.score(np.zeros((50, 1)), val))
    assert scores.metrics["balanced_accuracy"].value == pytest.approx(0.25)
    shares = (np.bincount(train) + 1) / 94
    assert scores.metrics["log_loss"].value == pytest.approx(-np.log(shares[val]).mean())
    assert scores.extra["baseline"] == "always answering 'b'"


def test_class_missing_from_training_still_has_a_log_loss() -> None:
    scores = majority_baseline(np.array([0, 0, VOID]), np.array([1, 0]), ("a", "b"))
    assert scores.metrics["log_loss"].value == pytest.approx(-(np.log(3 / 4) + np.log(1 / 4)) / 2)


def test_majority_pixel_class() -> None:
    train = [np.array([[0, 1, 1, VOID, VOID, VOID, VOID]], np.uint8)]
    samples = [(np.array([[1, 1, 1, 0]], np.uint8), 0), (np.array([[0, 0, 1, VOID]], np.uint8), 1)]
    scores = pixel_majority_baseline(train, samples, ("a", "b", "c"))
    assert scores.metrics["pixel_accuracy"].value == pytest.approx(4 / 7)
    assert scores.extra["baseline"] == "always answering 'b'"


def segmentation_split(archive: Path, split: str, suffix: str) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(image, mask, id) of a split of one of the development sets; masks are 0 and 255."""
    name = archive.stem
    with zipfile.ZipFile(archive) as files:

        def decode(path: str, flag: int) -> np.ndarray:
            return cv2.imdecode(np.frombuffer(files.read(path), np.uint8), flag)

        for i, stem in enumerate(files.read(f"{name}/splits/{split}.txt").decode().split()):
            image = decode(f"{name}/images/{stem}{suffix}", cv2.IMREAD_COLOR)
            mask = decode(f"{name}/masks/{stem}.png", cv2.IMREAD_GRAYSCALE)
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (mask > 0).astype(np.uint8), i


@pytest.mark.data
def test_floor_of_the_nuclei(shared_data: Path) -> None:
    archive = shared_data / "nuclei.zip"
    train = ((image, mask) for image, mask, _ in segmentation_split(archive, "train", ".jpg"))
    scores = otsu_baseline(train, segmentation_split(archive, "test", ".jpg"), ("background", "nucleus"))
    found = [scores.metrics[name].value for name in ("mean_image_dice", "dice", "iou")]
    assert found == pytest.approx([0.869, 0.828, 0.706], abs=6e-4)
    assert scores.extra["baseline"] == "Otsu's threshold, minority side"


@pytest.mark.data
def test_floor_of_the_membranes(shared_data: Path) -> None:
    archive, classes = shared_data / "membranes.zip", ("membrane", "interior")
    train = [(image, mask) for image, mask, _ in segmentation_split(archive, "train", ".png")]
    test = list(segmentation_split(archive, "test", ".png"))
    scores = otsu_baseline(train, test, classes)
    found = [scores.metrics["pixel_accuracy"].value, *(row["iou"].value for row in scores.per_class)]
    assert found == pytest.approx([0.697, 0.359, 0.635], abs=6e-4)
    assert scores.extra["baseline"] == "Otsu's threshold, bright side"
    truths = ((mask, i) for _, mask, i in test)
    always = pixel_majority_baseline((mask for _, mask in train), truths, classes)
    assert always.metrics["pixel_accuracy"].value == pytest.approx(np.mean([mask for _, mask, _ in test]))
    assert always.extra["baseline"] == "always answering 'interior'"
