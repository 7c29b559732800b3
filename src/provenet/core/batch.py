"""The batch that flows from the loader through augmentation to the loss."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

VOID = 255
"""The target value that loss and metrics leave out."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their targets.

    Args:
        images: N C H W; uint8/uint16 as stored, or floating point after normalisation.
        targets: class indices N (classification) or N H W (segmentation), int64, `VOID` where unknown; or class
            probabilities N K, floating point, after mixup or cutmix.
        ids: sample ids, int64, N.
    """

    images: Tensor
    targets: Tensor
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def with_(self, **changes: Any) -> Batch:
        """Return a copy with some fields changed."""
        return replace(self, **changes)
