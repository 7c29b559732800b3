"""Nested tensors: what nets take and give may be a tensor, or tuples and dicts of them."""

# N batch

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

_NAMES = ("out", "logits", "output", "pred", "preds", "prediction", "predictions", "scores", "mask", "masks")
"""Keys under which nets give what goes into the loss, the likeliest first (torchvision, transformers, and others)."""


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the same nest with every tensor changed; what is no tensor stays as it is.

    Example:
        >>> map_tensors(lambda tensor: tensor + 1, {"a": (torch.tensor(1), "b")})
        {'a': (tensor(2), 'b')}
    """
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        changed = {key: map_tensors(change, part) for key, part in tree.items()}
        return changed if type(tree) is dict else type(tree)(**changed)
    if isinstance(tree, tuple | list):
        parts = [map_tensors(change, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def tensors(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of a nest in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from tensors(part)
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from tensors(part)


def main_tensor(tree: Any) -> Tensor | None:
    """Return the tensor of a net's output that a loss most likely looks at: by its usual name, else the first one.

    Example:
        >>> main_tensor({"aux": torch.zeros(1), "out": torch.ones(2)})
        tensor([1., 1.])
    """
    if isinstance(tree, dict):
        for name in _NAMES:
            if isinstance(tree.get(name), Tensor):
                return tree[name]
    found = list(tensors(tree))
    return next((tensor for tensor in found if tensor.is_floating_point()), found[0] if found else None)


def num_samples(tree: Any) -> int:
    """Return N: the length of the first tensor's first axis, 0 where there is none."""
    first = next(tensors(tree), None)
    return 0 if first is None or first.dim() == 0 else len(first)


def take(tree: Any, rows: slice | Tensor) -> Any:
    """Return the nest with these samples only; tensors that are not one row a sample stay whole."""
    num = num_samples(tree)

    def cut(tensor: Tensor) -> Tensor:
        whole = tensor.dim() == 0 or len(tensor) != num
        index = rows.to(tensor.device) if isinstance(rows, Tensor) else rows
        return tensor if whole else tensor[index]

    return map_tensors(cut, tree)


def fresh(tree: Any, device: torch.device) -> Any:
    """Return a copy on a device, so that a net that works in place spoils nothing of the caller's."""
    return map_tensors(lambda tensor: tensor.detach().to(device, copy=True), tree)
