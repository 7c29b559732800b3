"""The leaves of an autograd graph."""

from __future__ import annotations

from torch import Tensor


def leaves(output: Tensor) -> list[Tensor]:
    """Return the leaf tensors that a gradient of `output` reaches, each once.

    Example:
        >>> import torch
        >>> a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> [leaf is a for leaf in leaves((a * b.detach()).sum())]
        [True]
    """
    if output.grad_fn is None:
        return [output] if output.requires_grad else []
    queue, seen, found = [output.grad_fn], {output.grad_fn}, {}
    while queue:
        node = queue.pop()
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            found[id(leaf)] = leaf
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                queue.append(following)
    return list(found.values())
