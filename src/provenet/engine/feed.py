"""From a batch as stored to a batch as the net wants it: colour and normalisation in one affine map."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.engine.precision import Precision
from provenet.techniques.augment import Augmentation, apply_pixels, compose_colors, compose_matrices
from provenet.techniques.inputs import InputNormalization, Stats


@dataclass(frozen=True, eq=False)
class Feed:
    """Prepares batches: the same arithmetic in training, validation, test and prediction.

    Args:
        inputs: the input normalisation.
        stats: its statistics, from the training split.
        precision: device and layout.
        num_classes: K.
        seed: seed of the run.
        augment: augmentations of the training batches, in order.
    """

    inputs: InputNormalization
    stats: Stats
    precision: Precision
    num_classes: int
    seed: int = 0
    augment: Sequence[Augmentation] = ()

    def warps(self, keys: Keys, size: tuple[int, int]) -> np.ndarray:
        """Return the geometry of all augmentations as one matrix a sample, (N, 3, 3)."""
        return compose_matrices(self.augment, keys, size)

    def train(self, batch: Batch, epoch: int) -> Batch:
        """Return the augmented, normalised batch of a training step."""
        keys = Keys(self.seed, epoch, batch.ids)
        colors = compose_colors(self.augment, keys, batch.images.shape[1])
        batch = self._place(batch, None if colors is None else torch.from_numpy(colors).float())
        return apply_pixels(self.augment, batch, keys, self.num_classes)

    def clean(self, batch: Batch) -> Batch:
        """Return the normalised batch, not augmented."""
        return self._place(batch, None)

    def _place(self, batch: Batch, colors: Tensor | None) -> Batch:
        images = normalize(batch.images, colors, self.inputs, self.stats)
        targets = batch.targets.to(self.precision.device, non_blocking=True)
        return batch.with_(images=self.precision.arrange(images), targets=targets)


def normalize(images: Tensor, colors: Tensor | None, inputs: InputNormalization, stats: Stats) -> Tensor:
    """Return float images after the colour map and the input normalisation.

    Args:
        images: stored images N C H W, uint8 or uint16.
        colors: affine colour maps on values 0..255, N x C x (C + 1), or None.
        inputs: the input normalisation.
        stats: its statistics.

    Returns:
        float32 images N C H W, with channels last in memory.
    """
    values = levels_255(images)
    affine = inputs.affine(stats)
    if affine is None:
        return inputs.apply(_recolor(values, colors), stats)
    scale, shift = affine
    if colors is None:
        return values * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    fused = colors * scale.view(1, -1, 1)
    fused[:, :, -1] += shift
    return _recolor(values, fused)


def levels_255(images: Tensor) -> Tensor:
    """Return stored values as float32 on the scale 0..255, whatever the depth they were stored in."""
    return images.float() / 257 if images.dtype == torch.uint16 else images.float()


def _recolor(values: Tensor, colors: Tensor | None) -> Tensor:
    """Apply one affine map of the channels a sample as one batched matrix product; the layout stays channels last."""
    if colors is None:
        return values
    n, c, h, w = values.shape
    pixels = values.permute(0, 2, 3, 1).reshape(n, h * w, c)
    mixed = torch.baddbmm(colors[:, None, :, -1], pixels, colors[:, :, :c].transpose(1, 2))
    return mixed.view(n, h, w, c).permute(0, 3, 1, 2)
