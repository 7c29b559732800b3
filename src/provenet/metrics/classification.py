"""Scores of a classifier, from one row a sample: the same scores however batches and ranks share the samples."""

# N samples, K classes, R resamples

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from provenet.core.batch import VOID
from provenet.metrics.calibration import NUM_BINS, bin_of, reliability
from provenet.metrics.scores import Resampling, Scores, Statistics, figures, mean_defined, point, ratio, widened
from provenet.stats.intervals import Figure

TOP = 5
TOP_FROM = 10
"""Number of classes from which the top-5 accuracy is told."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What is kept of each sample, in the order of the ids; every field has shape (N,).

    Args:
        ids: sample ids.
        targets: true classes.
        predicted: classes with the largest logit.
        confidence: probability of the predicted class.
        log_prob: logarithm of the probability of the true class.
        rank: how many classes stand before the true one; 0 is a hit.
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    log_prob: NDArray[np.float64]
    rank: NDArray[np.int64]


class ClassificationTally:
    """Collects what a classifier says about a split.

    Args:
        classes: class names, K of them.

    Example:
        >>> tally = ClassificationTally(("cat", "dog"))
        >>> tally.update(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), np.array([0, 1]))
        >>> tally.quick()["accuracy"], tally.scores().confusion
        (0.5, [[1, 0], [1, 0]])
    """

    task = "classification"
    primary = "accuracy"

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._parts: list[tuple[NDArray[np.int64], Tensor]] = []

    def update(self, logits: Tensor, targets: Tensor, ids: NDArray[np.int64]) -> None:
        """Add samples. Nothing is read back from the device before the scores are asked for.

        Args:
            logits: N K, floating point.
            targets: class indices, int64, N; `VOID` where unknown (left out; it is a class where K > 255).
            ids: sample ids, N; each id once.
        """
        num_classes = len(self.classes)
        assert logits.ndim == 2 and logits.shape[1] == num_classes, (logits.shape, num_classes)
        assert len(logits) == len(targets) == len(ids), (len(logits), len(targets), len(ids))
        logits = logits.detach().double()
        known = targets.to(logits.device).clamp(max=num_classes - 1)[:, None]
        log_probs = logits.log_softmax(1)
        true_logits = logits.gather(1, known)
        # among equal logits the lower index stands first, as in argmax; where a logit is NaN there is no hit
        later = torch.arange(num_classes, device=logits.device) >= known
        rank = num_classes - ((logits < true_logits) | ((logits == true_logits) & later)).sum(1)
        top, predicted = log_probs.max(1).values, logits.argmax(1)
        columns = (targets.to(logits.device), predicted, top.exp(), log_probs.gather(1, known)[:, 0], rank)
        self._parts.append((np.asarray(ids, np.int64), torch.stack([column.double() for column in columns], 1)))

    def merge(self, other: ClassificationTally) -> None:
        """Add what another tally of the same classes has collected."""
        assert self.classes == other.classes, (self.classes, other.classes)
        self._parts.extend(other._parts)

    def rows(self) -> Rows:
        """Return one row a sample with a known target, in the order of the ids."""
        ids = np.concatenate([np.empty(0, np.int64)] + [part[0] for part in self._parts])
        table = np.concatenate([np.empty((0, 5))] + [part[1].cpu().numpy() for part in self._parts])
        order = np.argsort(ids)
        ids, table = ids[order], table[order]
        assert (np.diff(ids) > 0).all(), "a sample was tallied twice"
        if len(self.classes) <= VOID:
            known = table[:, 0] != VOID
            ids, table = ids[known], table[known]
        targets, predicted, confidence, log_prob, rank = table.T
        assert not len(targets) or targets.max() < len(self.classes), "a target is no class"
        whole = [column.astype(np.int64) for column in (targets, predicted, rank)]
        return Rows(ids, whole[0], whole[1], confidence, log_prob, whole[2])

    def quick(self) -> dict[str, float]:
        """Return accuracy, balanced_accuracy, log_loss, ece (and top5) without intervals; NaN where not defined."""
        values = point(_features(self.rows(), len(self.classes)), self._statistics)
        return {name: float(value) for name, value in values.items() if value.ndim == 0}

    def scores(self, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Scores:
        """Return all scores with bootstrap intervals over samples.

        A recall of a class without samples, and a precision of a class that was never predicted, are not defined and
        stay out of means. Proportions of 0 or 1, where a bootstrap has no width, carry Wilson's interval.

        Args:
            level: coverage of the intervals, in (0, 1).
            resamples: number of bootstrap resamples.
            seed: seed of the resamples.

        Returns:
            Metrics accuracy, balanced_accuracy (mean recall of the classes present), log_loss (nats), ece (15 bins of
            equal width), top5 from 10 classes on; per class support, recall, precision and f1.
        """
        rows = self.rows()
        num_classes, n = len(self.classes), len(rows.ids)
        found = figures(_features(rows, num_classes), self._statistics, Resampling(level, resamples, seed))
        metrics = {name: found[name][0] for name in self._names()}
        metrics |= {name: widened(metrics[name], n, level) for name in ("accuracy", "top5") if name in metrics}
        cells = np.bincount(rows.targets * num_classes + rows.predicted, minlength=num_classes**2)
        confusion = cells.reshape(num_classes, num_classes)
        extra = {
            "reliability": reliability(rows.confidence, rows.rank == 0),
            "interval": {"level": level, "resamples": resamples, "over": "samples"},
        }
        per_class = self._per_class(found, confusion, level)
        return Scores(self.task, self.primary, n, metrics, per_class, confusion.tolist(), extra)

    def _names(self) -> list[str]:
        names = ["accuracy", "balanced_accuracy", "log_loss", "ece"]
        return names + ["top5"] if len(self.classes) >= TOP_FROM else names

    def _per_class(
        self, found: dict[str, list[Figure]], confusion: NDArray[np.int64], level: float
    ) -> list[dict[str, Any]]:
        supports, predicted = confusion.sum(1).tolist(), confusion.sum(0).tolist()
        return [
            {
                "name": name,
                "support": supports[k],
                "recall": widened(found["recall"][k], supports[k], level),
                "precision": widened(found["precision"][k], predicted[k], level),
                "f1": found["f1"][k],
            }
            for k, name in enumerate(self.classes)
        ]

    def _statistics(self, sums: NDArray[np.float64]) -> Statistics:
        """Return the statistics of sums laid out by `_features`."""
        num_classes = len(self.classes)
        ends = np.cumsum([num_classes] * 3 + [NUM_BINS, 1])
        truth, predicted, agreed, excess, loss, top = np.split(sums, ends, axis=1)
        num, recall = truth.sum(1), ratio(agreed, truth)
        found = {
            "accuracy": ratio(agreed.sum(1), num),
            "balanced_accuracy": mean_defined(recall),
            "log_loss": ratio(loss[:, 0], num),
            "ece": ratio(np.abs(excess).sum(1), num),
            "top5": ratio(top[:, 0], num),
            "recall": recall,
            "precision": ratio(agreed, predicted),
            "f1": ratio(2 * agreed, truth + predicted),
        }
        return found if num_classes >= TOP_FROM else {name: found[name] for name in found if name != "top5"}


def _features(rows: Rows, num_classes: int) -> sparse.csr_array:
    """Return what each sample adds to each sum: classes (truth, prediction, agreement), bins, loss, top 5."""
    n, after = len(rows.ids), 3 * num_classes
    hit = (rows.rank == 0).astype(np.float64)
    entries = [
        (rows.targets, np.ones(n)),
        (num_classes + rows.predicted, np.ones(n)),
        (2 * num_classes + rows.targets, hit),
        (after + bin_of(rows.confidence), rows.confidence - hit),
        (np.full(n, after + NUM_BINS), -rows.log_prob),
        (np.full(n, after + NUM_BINS + 1), (rows.rank < TOP).astype(np.float64)),
    ]
    columns = np.stack([entry[0] for entry in entries], axis=1).ravel()
    values = np.stack([entry[1] for entry in entries], axis=1).ravel()
    starts = np.arange(n + 1) * len(entries)
    return sparse.csr_array((values, columns, starts), shape=(n, after + NUM_BINS + 2))
