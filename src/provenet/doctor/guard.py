"""What would kill a GPU: a wrong index ends the process's whole device there, so it is refused before it is tried."""

# N batch, K classes

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from provenet.doctor.kinds import function_name


class Guard(TorchFunctionMode):
    """Raises for indices and probabilities out of range, as the CPU does, where CUDA would assert on the device.

    After a device-side assert no CUDA call of the process works any more, the caller's own among them.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (check := _CHECKS.get(function_name(func))) is not None:
            check(*args, **kwargs)
        return func(*args, **kwargs)


def _class_indices(scores: Any, target: Any, *args: Any, **options: Any) -> None:
    """Refuse class indices that are neither 0 to K - 1 nor ignored."""
    if not isinstance(target, Tensor) or target.is_floating_point() or scores.dim() == 0:
        return
    width = scores.shape[1] if scores.dim() > 1 else scores.shape[0]
    strange = (target < 0) | (target >= width)
    strange &= target != options.get("ignore_index", -100)
    if bool(strange.any()):
        raise IndexError(f"Target {int(target[strange][0])} is out of bounds.")


def _probabilities(scores: Any, target: Any, *args: Any, **options: Any) -> None:
    """Refuse what is no probability."""
    if bool(((scores < 0) | (scores > 1)).any()):
        raise RuntimeError("all elements of input should be between 0 and 1")


def _rows(indices: Any, weight: Any, *args: Any, **options: Any) -> None:
    """Refuse indices of rows that a table does not have."""
    if bool(((indices < 0) | (indices >= len(weight))).any()):
        raise IndexError("index out of range in self")


def _places(values: Any, dim: Any, index: Any, *args: Any, **options: Any) -> None:
    """Refuse places that an axis does not have."""
    if isinstance(index, Tensor) and bool(((index < 0) | (index >= values.shape[dim])).any()):
        raise RuntimeError(f"index out of bounds for dimension {dim} with size {values.shape[dim]}")


def _one_hot(target: Any, num_classes: int = -1, *args: Any, **options: Any) -> None:
    """Refuse classes that are not 0 to K - 1."""
    if bool((target < 0).any()) or (num_classes > 0 and bool((target >= num_classes).any())):
        raise RuntimeError("Class values must be non-negative and smaller than num_classes.")


_CHECKS: dict[str, Callable[..., None]] = {
    "cross_entropy": _class_indices,
    "nll_loss": _class_indices,
    "binary_cross_entropy": _probabilities,
    "embedding": _rows,
    "gather": _places,
    "scatter": _places,
    "one_hot": _one_hot,
}
