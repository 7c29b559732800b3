"""Scoring a net on a split: clean images, evaluation mode, every sample exactly once."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from provenet.data.dataset import Dataset
from provenet.data.loader import Loader
from provenet.data.options import View
from provenet.data.store import Store
from provenet.engine.feed import Feed
from provenet.engine.segment import logits_of, resize_logits, segment
from provenet.metrics.classification import ClassificationTally
from provenet.metrics.segmentation import SegmentationTally
from provenet.techniques.loss import Loss

Ids = NDArray[np.int64]
Tally = ClassificationTally | SegmentationTally
MOST_PIXELS = 1 << 20


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores nets on samples of one data set.

    Args:
        dataset: the samples.
        view: what the net sees of a picture.
        feed: normalises batches.
        batch_size: images at a time (classification).
        loss: gives the loss of a split; None leaves it out.
    """

    dataset: Dataset
    view: View
    feed: Feed
    batch_size: int = 256
    loss: Loss | None = None

    def score(self, net: nn.Module, ids: Ids, boundaries: bool = True) -> tuple[Tally, float | None]:
        """Return (tally, mean loss) of a net on the samples `ids`; the net is in evaluation mode afterwards.

        Args:
            net: scored on clean images.
            ids: sample ids.
            boundaries: also score boundaries (segmentation), which takes most of the scoring's time.
        """
        net.eval()
        if self.dataset.task == "classification":
            return self._classify(net, ids)
        return self._segment(net, ids, boundaries)

    def _classify(self, net: nn.Module, ids: Ids) -> tuple[Tally, float | None]:
        tally = ClassificationTally(self.dataset.classes)
        loader = Loader(self.dataset, ids, self.view, self.batch_size, seed=0, warps=None, train=False)
        losses: list[tuple[float, int]] = []
        for batch in loader.batches(0):
            logits = logits_of(net, self.feed.clean(batch).images, self.feed)
            targets = batch.targets.to(logits.device)
            tally.update(logits.cpu(), batch.targets, batch.ids)
            losses.append((self._loss(logits, targets), len(batch)))
        return tally, self._mean(losses)

    def _segment(self, net: nn.Module, ids: Ids, boundaries: bool) -> tuple[Tally, float | None]:
        tally = SegmentationTally(self.dataset.classes, boundaries)
        losses: list[tuple[float, int]] = []
        for group in same_shape(self.dataset.store, ids):
            for i, logits in zip(group, self.logits(net, group), strict=True):
                truth = self.dataset.store.truth(int(i))
                tally.update(logits.argmax(0).cpu().numpy().astype(np.uint8), truth, int(i))
                losses.append((self._loss(logits[None], _targets(truth, logits)), 1))
        return tally, self._mean(losses)

    def logits(self, net: nn.Module, ids: Ids) -> Iterator[Tensor]:
        """Yield logits K H W at original size for samples whose stored pictures have one shape (segmentation)."""
        store = self.dataset.store
        pictures = [seen(store.image(int(i)), self.view) for i in ids]
        whole = segment(net, pictures, self.feed)
        for i, one in zip(ids, whole, strict=True):
            yield resize_logits(one[None], store.original_size(int(i)))[0]

    def _loss(self, logits: Tensor, targets: Tensor) -> float:
        return float("nan") if self.loss is None else self.loss.compute(logits, targets).item()

    def _mean(self, losses: list[tuple[float, int]]) -> float | None:
        total = sum(count for _, count in losses)
        return sum(loss * count for loss, count in losses) / total if total and self.loss is not None else None


def _targets(truth: np.ndarray, logits: Tensor) -> Tensor:
    return torch.from_numpy(truth.astype(np.int64))[None].to(logits.device)


def seen(picture: np.ndarray, view: View) -> np.ndarray:
    """Return what a segmentation net sees of a stored picture: itself (window), or squashed to the view's size."""
    if view.resize == "window" or picture.shape[:2] == view.size:
        return picture
    height, width = view.size
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return resized.reshape(height, width, picture.shape[2])


def same_shape(store: Store, ids: Ids, most_pixels: int = MOST_PIXELS) -> Iterator[Ids]:
    """Yield the ids in groups of one stored shape, each of at most `most_pixels` pixels (at least one picture)."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i in ids:
        shapes.setdefault((*store.shape(int(i)), *store.original_size(int(i))), []).append(int(i))
    for shape, members in shapes.items():
        at_once = max(1, most_pixels // (shape[0] * shape[1]))
        for start in range(0, len(members), at_once):
            yield np.array(members[start : start + at_once], dtype=np.int64)
