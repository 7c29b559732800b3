"""Scores of a segmentation, pooled over the pixels of a split, with intervals over its images."""

# N images, H W pixels, K classes, R resamples

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.core.batch import VOID
from provenet.metrics.boundary import TOLERANCE_FRAC, boundary_counts, boundary_f1
from provenet.metrics.scores import Resampling, Scores, Statistics, figures, mean_defined, point, ratio
from provenet.stats.intervals import Figure


def confusion_of(prediction: NDArray[np.uint8], target: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Return the pixels by true class (rows) and predicted class (columns), void left out.

    Args:
        prediction: class indices, H x W, uint8.
        target: class indices, H x W, uint8, `VOID` where unknown.
        num_classes: number of classes K, at most 255.

    Returns:
        Counts, (K, K).

    Example:
        >>> confusion_of(np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, 255]], np.uint8), 2).tolist()
        [[1, 1], [0, 0]]
    """
    assert prediction.shape == target.shape, (prediction.shape, target.shape)
    void = target == VOID
    assert prediction.max(initial=0) < num_classes, "a predicted value is no class"
    assert target.max(initial=0, where=~void) < num_classes, "a target is no class"
    # one row more takes the void pixels, which is faster than leaving them out; 256 x 255 cells fit 16 bits
    cells = np.where(void, num_classes, target).astype(np.uint16) * np.uint16(num_classes) + prediction
    counts = np.bincount(cells.ravel(), minlength=(num_classes + 1) * num_classes)
    return counts.reshape(num_classes + 1, num_classes)[:num_classes]


class SegmentationTally:
    """Collects what a segmentation net says about a split.

    Args:
        classes: class names, K of them, 2 to 255; of two classes the second is the foreground.
        boundaries: whether the boundary F1 is measured (most of the time that an image takes).

    Example:
        >>> tally = SegmentationTally(("background", "cell"))
        >>> tally.update(np.array([[0, 1], [0, 1]], np.uint8), np.array([[0, 1], [0, 0]], np.uint8), 0)
        >>> round(tally.quick()["dice"], 3), tally.scores().confusion
        (0.667, [[2, 1], [0, 1]])
    """

    task = "segmentation"

    def __init__(self, classes: tuple[str, ...], boundaries: bool = True) -> None:
        assert 2 <= len(classes) <= VOID, len(classes)
        self.classes = classes
        self.boundaries = boundaries
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)
        self._images: dict[int, NDArray[np.int64]] = {}

    @property
    def primary(self) -> str:
        """The metric that decides: "dice" of the foreground for two classes, else "miou"."""
        return "dice" if len(self.classes) == 2 else "miou"

    def update(self, prediction: NDArray[np.uint8], target: NDArray[np.uint8], sample_id: int) -> None:
        """Add an image.

        Args:
            prediction: class indices, H x W, uint8.
            target: class indices, H x W, uint8, `VOID` where unknown (those pixels are left out).
            sample_id: id of the image; each id once.
        """
        assert sample_id not in self._images, f"image {sample_id} was tallied twice"
        num_classes = len(self.classes)
        confusion = confusion_of(prediction, target, num_classes)
        counts = [confusion.sum(1), confusion.sum(0), confusion.diagonal()]
        if self.boundaries:
            counts += [*boundary_counts(prediction, target, num_classes)]
        self._confusion += confusion
        self._images[int(sample_id)] = np.concatenate(counts)

    def merge(self, other: SegmentationTally) -> None:
        """Add what another tally of the same kind has collected."""
        assert (self.classes, self.boundaries) == (other.classes, other.boundaries)
        assert self._images.keys().isdisjoint(other._images), "an image was tallied twice"
        self._confusion += other._confusion
        self._images |= other._images

    def image_dice(self) -> dict[int, float]:
        """Return the Dice of each image by id: of the foreground, or the mean over its classes; NaN without any."""
        ids, counts = self._counts()
        return dict(zip(ids, self._dice_by_image(counts).tolist(), strict=True))

    def quick(self) -> dict[str, float]:
        """Return the metrics of `scores` without intervals; NaN where not defined."""
        values = point(self._rows(), self._statistics)
        return {name: float(value) for name, value in values.items() if value.ndim == 0}

    def scores(self, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Scores:
        """Return all scores with bootstrap intervals over images.

        A class with no pixel in truth and prediction has no IoU and no Dice and stays out of the means.

        Args:
            level: coverage of the intervals, in (0, 1).
            resamples: number of bootstrap resamples.
            seed: seed of the resamples.

        Returns:
            Metrics miou, mean_dice, pixel_accuracy and boundary_f1 (mean over classes) of all pixels pooled; for two
            classes dice and iou of the foreground; mean_image_dice, the mean over images of `image_dice`, which weighs
            small images and small objects more. Per class support (pixels), iou, dice and boundary_f1.
        """
        found = figures(self._rows(), self._statistics, Resampling(level, resamples, seed))
        # a statistic of the whole split has one figure, one of each class has K (at least 2)
        metrics = {name: part[0] for name, part in found.items() if len(part) == 1}
        extra: dict[str, Any] = {"interval": {"level": level, "resamples": resamples, "over": "images"}}
        if self.boundaries:
            extra["boundary"] = {"tolerance_frac": TOLERANCE_FRAC, "tolerance_least_px": 1}
        if len(self.classes) == 2:
            extra["foreground"] = self.classes[1]
        confusion = self._confusion.tolist()
        return Scores(self.task, self.primary, len(self._images), metrics, self._per_class(found), confusion, extra)

    def _per_class(self, found: dict[str, list[Figure]]) -> list[dict[str, Any]]:
        supports = self._confusion.sum(1).tolist()
        names = [name.removeprefix("class_") for name in found if name.startswith("class_")]
        return [
            {"name": label, "support": supports[k], **{name: found["class_" + name][k] for name in names}}
            for k, label in enumerate(self.classes)
        ]

    def _counts(self) -> tuple[list[int], NDArray[np.float64]]:
        """Return the ids in order, and the counts of each image, (N, 3, K) or (N, 7, K)."""
        ids = sorted(self._images)
        counts = np.array([self._images[sample_id] for sample_id in ids], np.float64)
        return ids, counts.reshape(len(ids), 7 if self.boundaries else 3, len(self.classes))

    def _dice_by_image(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        truth, predicted, agreed = counts[:, 0], counts[:, 1], counts[:, 2]
        dice = ratio(2 * agreed, truth + predicted)
        return dice[:, 1] if len(self.classes) == 2 else mean_defined(dice)

    def _rows(self) -> NDArray[np.float64]:
        """Return what each image adds to each sum: its Dice, whether it has one, then its counts."""
        _, counts = self._counts()
        dice = self._dice_by_image(counts)
        flat = counts.reshape(len(counts), counts.shape[1] * counts.shape[2])
        return np.column_stack([np.nan_to_num(dice), ~np.isnan(dice), flat])

    def _statistics(self, sums: NDArray[np.float64]) -> Statistics:
        """Return the statistics of sums laid out by `_rows`."""
        num_classes = len(self.classes)
        counts = sums[:, 2:].reshape(len(sums), -1, num_classes)
        truth, predicted, agreed = counts[:, 0], counts[:, 1], counts[:, 2]
        iou, dice = ratio(agreed, truth + predicted - agreed), ratio(2 * agreed, truth + predicted)
        found = {"dice": dice[:, 1], "iou": iou[:, 1]} if num_classes == 2 else {}
        found |= {
            "miou": mean_defined(iou),
            "mean_dice": mean_defined(dice),
            "pixel_accuracy": ratio(agreed.sum(1), truth.sum(1)),
            "mean_image_dice": ratio(sums[:, 0], sums[:, 1]),
            "class_iou": iou,
            "class_dice": dice,
        }
        if self.boundaries:
            found["class_boundary_f1"] = boundary_f1(counts[:, 3:])
            found["boundary_f1"] = mean_defined(found["class_boundary_f1"])
        return found
