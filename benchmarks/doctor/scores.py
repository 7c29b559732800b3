"""How well a trained model does on held-out inputs; more is better."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from functools import partial

import torch
from benchmarks.doctor.cases import Batch, Score, evaluating
from torch import Tensor, nn


def outputs(model: nn.Module, inputs: Tensor, num: int = 64) -> Tensor:
    """Return the answers in eval mode, `num` inputs at a time; the first of several answers counts."""
    with evaluating(model):
        found = [model(part) for part in inputs.split(num)]
    return torch.cat(
        [one[0] if isinstance(one, tuple) else one["out"] if isinstance(one, dict) else one for one in found]
    )


def _mean_iou(found: Tensor, targets: Tensor) -> float:
    ious = []
    for kind in targets.unique():
        ours, theirs = found == kind, targets == kind
        ious.append((ours & theirs).sum() / (ours | theirs).sum())
    return float(torch.stack(ious).mean())


def mean_iou(model: nn.Module, test: Batch) -> float:
    """Return the mean over classes of intersection over union; classes are the largest outputs."""
    return _mean_iou(outputs(model, test[0]).argmax(1), test[1])


def _above(model: nn.Module, test: Batch, threshold: float) -> float:
    return _mean_iou((outputs(model, test[0]) > threshold).long().reshape(test[1].shape), test[1])


def iou_above(threshold: float) -> Score:
    """Return a score: mean IoU of foreground and ground, where one output decides by a threshold."""
    return partial(_above, threshold=threshold)


def balanced_accuracy(model: nn.Module, test: Batch) -> float:
    """Return the mean over classes of the share that is found."""
    right = outputs(model, test[0]).argmax(1) == test[1]
    return float(torch.stack([right[test[1] == kind].float().mean() for kind in test[1].unique()]).mean())


def _few_at_a_time(model: nn.Module, test: Batch, num: int) -> float:
    return float((outputs(model, test[0], num).argmax(1) == test[1]).float().mean())


def accuracy_in_batches(num: int) -> Score:
    """Return a score: accuracy when the net sees `num` inputs at a time, as in use."""
    return partial(_few_at_a_time, num=num)


def accuracy_by_class(model: nn.Module, test: Batch) -> float:
    """Return the accuracy when the inputs come sorted by class, as from a folder."""
    order = test[1].argsort()
    return _few_at_a_time(model, (test[0][order], test[1][order]), 16)


def fit(model: nn.Module, test: Batch) -> float:
    """Return 1 - squared error over the variance of the targets; 0 for the best constant answer."""
    found = outputs(model, test[0])
    error = (found.reshape(test[1].shape) - test[1]).square().mean()
    return float(1 - error / test[1].var(correction=0))


def labels_right(model: nn.Module, test: Batch) -> float:
    """Return the share of right yes-or-no answers, of outputs above 0, where a sample has several labels."""
    return float(((outputs(model, test[0]) > 0) == (test[1] > 0.5)).float().mean())
