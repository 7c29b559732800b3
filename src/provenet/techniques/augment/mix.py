"""Augmentations that mix two samples of a batch and their targets: mixup, cutmix. Classification only."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from provenet.core.batch import VOID, Batch
from provenet.core.rng import Keys
from provenet.core.spec import Source
from provenet.techniques.augment.base import Augmentation, Floats
from provenet.techniques.augment.pixels import boxes, column


def soft_targets(targets: Tensor, num_classes: int) -> Tensor:
    """Return targets as class probabilities.

    Args:
        targets: class indices N, or probabilities N K, which are returned as they are.
        num_classes: number of classes K.

    Returns:
        float32 N K; the row of an unknown target (`VOID`, when K leaves that value free) is all zero.

    Example:
        >>> soft_targets(torch.tensor([1, 255]), 2)
        tensor([[0., 1.],
                [0., 0.]])
    """
    if targets.is_floating_point():
        return targets
    known = targets != VOID if num_classes <= VOID else torch.ones_like(targets, dtype=torch.bool)
    return F.one_hot(targets.where(known, 0), num_classes).float() * known[:, None]


def mixed_targets(targets: Tensor, shares: Floats, num_classes: int) -> Tensor:
    """Return each target with the share `shares` (N,) and the target of the neighbour before it with the rest."""
    soft = soft_targets(targets, num_classes)
    own = torch.as_tensor(shares).to(soft)[:, None]
    return own * soft + (1 - own) * soft.roll(1, 0)


def beta(draws: Floats, alpha: float) -> Floats:
    """Return draws of Beta(alpha, alpha) from uniform ones, by the inverse of its distribution function."""
    return np.asarray(betaincinv(alpha, alpha, draws), dtype=np.float64)


class _Mix(Augmentation):
    """What mixup and cutmix share: the partner is the sample before in the (shuffled) batch."""

    alpha: float = Field(default=1.0, gt=0)
    """Parameter of the Beta(alpha, alpha) distribution of the shares, above 0; 1 is uniform."""
    p: float = Field(default=1.0, ge=0, le=1)
    """Probability that a sample is mixed, in [0, 1]; 0.5 when mixup and cutmix are used together."""

    def shares(self, keys: Keys) -> Floats:
        """Return how much of itself each sample keeps, in [0, 1], shape (N,)."""
        drawn = beta(keys.uniform(self.purpose("share"))[:, 0], self.alpha)
        return np.where(keys.happens(self.purpose("chosen"), self.p), drawn, 1.0)


class Mixup(_Mix):
    """Blend each picture with another one, and their targets alike.

    Definition  image = s a + (1 - s) b, target = s t_a + (1 - s) t_b, s ~ Beta(alpha, alpha) for each sample;
        b is the neighbour in the batch, which is shuffled. Segmentation batches pass unchanged.
    Default and why  alpha = 0.2, from the paper's range for ImageNet (0.1 to 0.4).
    Cost  one pass over the batch; targets become N K probabilities; the train score is no longer an accuracy.
    Fails when  training is short (it slows the fit) or the loss needs class indices. The result of a sample depends on
        its batch.
    """

    name: Literal["mixup"] = "mixup"
    source: ClassVar[Source] = Source(
        "Zhang et al.",
        2017,
        "mixup: beyond empirical risk minimization",
        "https://arxiv.org/abs/1710.09412",
        "section 2",
    )
    alpha: float = Field(default=0.2, gt=0)
    """Parameter of the Beta(alpha, alpha) distribution of the shares, above 0; typical 0.1 to 0.4."""

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        if batch.targets.ndim > 2:
            return batch
        shares = self.shares(keys)
        images = batch.images.roll(1, 0).lerp(batch.images, column(shares, batch.images))
        return batch.with_(images=images, targets=mixed_targets(batch.targets, shares, num_classes))


class Cutmix(_Mix):
    """Paste a box of another picture, and mix the targets by area.

    Definition  a box of sides sqrt(1 - s) H and sqrt(1 - s) W, s ~ Beta(alpha, alpha), its middle uniform over the
        picture, comes from b; target = r t_a + (1 - r) t_b with r the share of the area that a really keeps (the box
        is cut off at the border). b is the neighbour in the batch. Segmentation batches pass unchanged.
    Default and why  alpha = 1, the paper's choice.
    Cost  one pass over the batch; targets become N K probabilities.
    Fails when  the box covers the object or brings only background, so that area does not measure content.
    """

    name: Literal["cutmix"] = "cutmix"
    source: ClassVar[Source] = Source(
        "Yun et al.",
        2019,
        "CutMix: regularization strategy to train strong classifiers with localizable features",
        "https://arxiv.org/abs/1905.04899",
        "section 3",
    )

    def apply(self, batch: Batch, keys: Keys, num_classes: int) -> Batch:
        if batch.targets.ndim > 2:
            return batch
        height, width = batch.images.shape[2:]
        side = np.sqrt(1 - self.shares(keys))
        pasted = boxes(keys.uniform(self.purpose("place"), 2), side * height, side * width, (height, width))
        kept = 1 - pasted.double().mean((1, 2, 3)).numpy()
        images = torch.where(pasted.to(batch.images.device), batch.images.roll(1, 0), batch.images)
        return batch.with_(images=images, targets=mixed_targets(batch.targets, kept, num_classes))
