"""Losses: how far logits are from targets. Void targets are left out; half-precision logits count in float32."""

# N batch, H W pixels, K classes

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from provenet.core.batch import VOID
from provenet.core.spec import Source, Technique


def at_least_float32(logits: Tensor) -> Tensor:
    """Return logits in float32, or as they are when they are more exact."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Return targets as class probabilities in the shape and type of the logits.

    Args:
        logits: N K or N K H W.
        targets: class indices N or N H W, or class probabilities N K.

    Returns:
        N K or N K H W; all zero where the target is `VOID`, which is no class unless K is above 255.

    Example:
        >>> target_probs(torch.zeros(2, 3), torch.tensor([1, 255]))
        tensor([[0., 1., 0.],
                [0., 0., 0.]])
    """
    if targets.is_floating_point():
        return targets.to(logits)
    classes = torch.arange(logits.shape[1], device=targets.device).view(-1, *[1] * (targets.ndim - 1))
    return (targets.unsqueeze(1) == classes).to(logits)


def along_classes(class_weights: Tensor, logits: Tensor) -> Tensor:
    """Return class weights (K,) in a shape that multiplies logits N K ..."""
    return class_weights.view(-1, *[1] * (logits.ndim - 2))


def weighted_mean(losses: Tensor, probs: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the weighted sum of losses over the summed weight of the target classes, and 0 when nothing is known.

    Args:
        losses: of each class, N K ...
        probs: target probabilities, N K ...
        class_weights: weight of each class (K,), or None for 1.
    """
    if class_weights is not None:
        weights = along_classes(class_weights, losses)
        losses, probs = losses * weights, probs * weights
    weight = probs.sum()
    return losses.sum() / weight.where(weight > 0, 1.0)


def cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean of -w log p(target) over all known targets, weighted by class.

    Equal to `torch.nn.functional.cross_entropy` with `ignore_index`, but 0 (with a gradient) when nothing is known, and
    a one-hot row counts the same as its index also with class weights.

    Args:
        logits: N K or N K H W.
        targets: class indices N or N H W, or class probabilities N K.
        class_weights: weight of each class (K,), or None.
        label_smoothing: share of each target that is spread evenly over all classes, in [0, 1].

    Example:
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([3, 255]))
        tensor(1.3863)
    """
    logits = at_least_float32(logits)
    if not targets.is_floating_point():
        return _index_cross_entropy(logits, targets, class_weights, label_smoothing)
    probs = target_probs(logits, targets)
    smooth = probs * (1 - label_smoothing) + probs.sum(1, keepdim=True) * (label_smoothing / logits.shape[1])
    return weighted_mean(-smooth * logits.log_softmax(1), probs, class_weights)


def _index_cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None, label_smoothing: float
) -> Tensor:
    """Return the cross-entropy for class indices by PyTorch's kernel, which needs no probabilities for every pixel."""
    # with more than 255 classes VOID is one of them; -100 is PyTorch's own default, which no class has
    void = VOID if logits.shape[1] <= VOID else -100
    known = targets != void
    weight = (known if class_weights is None else class_weights[targets.where(known, 0)] * known).sum()
    total = F.cross_entropy(
        logits, targets, class_weights, ignore_index=void, reduction="sum", label_smoothing=label_smoothing
    )
    return total / weight.where(weight > 0, 1)


def soft_dice(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return 1 - mean over classes of 2 sum(p t) / (sum(p) + sum(t)), sums over all known pixels of the batch.

    Args:
        logits: N K or N K H W.
        targets: class indices N or N H W, or class probabilities N K.
        class_weights: weight of each class in the mean (K,), or None.

    Example:
        >>> soft_dice(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.tensor([0, 1])).item() < 1e-6
        True
    """
    logits = at_least_float32(logits)
    probs = target_probs(logits, targets)
    predicted = logits.softmax(1) * probs.sum(1, keepdim=True)
    pixels = [dim for dim in range(logits.ndim) if dim != 1]
    true_size = probs.sum(pixels)
    size = predicted.sum(pixels) + true_size
    dice = 2 * (predicted * probs).sum(pixels) / size.where(size > 0, 1.0)
    present = (true_size > 0).to(logits)
    weights = present if class_weights is None else present * class_weights
    weight = weights.sum()
    return ((1 - dice) * weights).sum() / weight.where(weight > 0, 1.0)


def focal(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """Return the mean of -w (1 - p)^gamma log p over all known targets, p the probability of the target class.

    Args:
        logits: N K or N K H W.
        targets: class indices N or N H W, or class probabilities N K.
        class_weights: weight of each class (K,), or None.
        gamma: how much easy examples are discounted, 0 or more; 0 gives the cross-entropy.

    Example:
        >>> round(focal(torch.zeros(1, 2), torch.tensor([0])).item(), 4)  # 0.25 ln 2
        0.1733
    """
    logits = at_least_float32(logits)
    probs = target_probs(logits, targets)
    log_probs = logits.log_softmax(1)
    # where p rounds to 1, the power of 0 would have no finite gradient for gamma below 1
    missing = (-log_probs.expm1()).clamp(min=torch.finfo(logits.dtype).tiny ** 0.5)
    return weighted_mean(-probs * missing**gamma * log_probs, probs, class_weights)


class Criterion(Technique):
    """Base of all losses."""

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, a scalar; 0 with a gradient when no target is known.

        Args:
            logits: N K or N K H W.
            targets: class indices N or N H W, `VOID` where unknown, or class probabilities N K.
            class_weights: weight of each class (K,), or None.
        """
        raise NotImplementedError


class CrossEntropy(Criterion):
    """Cross-entropy between target and predicted class, with label smoothing.

    Definition  mean of -log p(target) over known targets; with smoothing e the target becomes (1 - e) t + e / K; with
        class weights the weighted mean.
    Default and why  label_smoothing = 0: it calibrates worse and its gain is small on short runs; 0.1 to 0.2 is
        customary for many classes.
    Cost  none.
    Fails when  classes are very unequal and no class weights are given: the rare class is learnt last or never.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    source: ClassVar[Source] = Source(
        "Szegedy et al.",
        2015,
        "Rethinking the Inception architecture for computer vision",
        "https://arxiv.org/abs/1512.00567",
        "section 7",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is spread over all classes, in [0, 1); typical 0 to 0.2."""

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        return cross_entropy(logits, targets, class_weights, self.label_smoothing)


class Dice(Criterion):
    """One minus the overlap of predicted and true regions, averaged over classes.

    Definition  1 - mean over classes of 2 sum(p t) / (sum(p) + sum(t)): p the softmax, t the target, sums over all
        known pixels of the batch; denominators without squares, as nnU-Net. Background is a class like any other;
        classes that do not occur in the batch's targets are left out.
    Default and why  no settings: whole-batch sums keep small regions from dominating.
    Cost  two more arrays of the size of the logits.
    Fails when  used alone: gradients are small and noisy early on, and probabilities end near 0 or 1; prefer ce_dice.
    """

    name: Literal["dice"] = "dice"
    source: ClassVar[Source] = Source(
        "Milletari et al.",
        2016,
        "V-Net: fully convolutional neural networks for volumetric medical image segmentation",
        "https://arxiv.org/abs/1606.04797",
        "section 3",
    )

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        return soft_dice(logits, targets, class_weights)


class Focal(Criterion):
    """Cross-entropy that discounts what is already predicted well.

    Definition  mean of -(1 - p)^gamma log p over known targets, p the probability of the target class; soft targets
        give each class its share.
    Default and why  gamma = 2, the paper's best.
    Cost  none.
    Fails when  labels are noisy: wrong labels are the hard examples that it insists on; probabilities are too timid.
    """

    name: Literal["focal"] = "focal"
    source: ClassVar[Source] = Source(
        "Lin et al.", 2017, "Focal loss for dense object detection", "https://arxiv.org/abs/1708.02002", "section 3.2"
    )
    gamma: float = Field(default=2.0, ge=0, le=10)
    """Exponent of the discount, in [0, 10]; 0 is cross-entropy; typical 1 to 3."""

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        return focal(logits, targets, class_weights, self.gamma)


class CrossEntropyDice(Criterion):
    """Cross-entropy plus a share of dice.

    Definition  cross_entropy + dice_weight * dice, each as the losses of those names.
    Default and why  dice_weight = 1, nnU-Net's: cross-entropy gives steady gradients, dice the region-wise goal.
    Cost  that of dice.
    Fails when  probabilities must be calibrated: dice pushes them to 0 and 1.
    """

    name: Literal["ce_dice"] = "ce_dice"
    source: ClassVar[Source] = Source(
        "Isensee et al.",
        2018,
        "nnU-Net: self-adapting framework for U-Net-based medical image segmentation",
        "https://arxiv.org/abs/1809.10486",
    )
    dice_weight: float = Field(default=1.0, ge=0)
    """Weight of dice beside the cross-entropy's 1, 0 or more; typical 0.5 to 1."""

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        dice = soft_dice(logits, targets, class_weights)
        return cross_entropy(logits, targets, class_weights) + self.dice_weight * dice


Loss = Annotated[CrossEntropy | Dice | Focal | CrossEntropyDice, Field(discriminator="name")]
