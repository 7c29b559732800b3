"""One arm of a probe before and while it trains: what a fix may change, its losses, and the order of its samples."""

# N batch, R repeats, B batches

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from provenet.core.rng import torch_generator
from provenet.doctor.case import Loss, Pair, forward, loss_of
from provenet.doctor.tree import map_tensors, num_samples, take


@dataclass(eq=False)
class Trial:
    """One arm before it trains: a fix changes what it likes.

    Args:
        model: the double, as the caller gave it.
        loss_fn: the loss.
        optimizer: a copy of the caller's that holds the double's parameters; Adam where none was given.
        batches: what it trains on, samples shuffled anew for every repeat.
        after_step: called after every update, with its number from 1; a schedule, say.
        until: share of the loss gap that may be left when it has learned enough, and ends; None: all its updates.
    """

    model: nn.Module
    loss_fn: Loss
    optimizer: torch.optim.Optimizer
    batches: list[Pair]
    after_step: Callable[[int], None] | None = None
    until: float | None = None

    def scale_lr(self, factor: float) -> None:
        """Multiply the rate of every parameter group."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def map_inputs(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the inputs of every batch."""
        self.batches = [(map_tensors(change, inputs), targets) for inputs, targets in self.batches]

    def map_targets(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the targets of every batch."""
        self.batches = [(inputs, map_tensors(change, targets)) for inputs, targets in self.batches]


Fix = Callable[[Trial], None]
"""Changes a trial in place; net and optimizer are the double's and are put back after the arm."""


def held(trial: Trial) -> list[Tensor]:
    """Return the tensors that its optimizer trains."""
    return [tensor for group in trial.optimizer.param_groups for tensor in group["params"] if tensor.requires_grad]


def losses_of(trial: Trial) -> tuple[float, ...]:
    """Return the loss of every batch in the trial's mode, without an update."""
    found = []
    with torch.no_grad():
        for inputs, targets in trial.batches:
            outputs = forward(trial.model, map_tensors(Tensor.clone, inputs))
            found.append(float(loss_of(trial.loss_fn, outputs, targets)))
    return tuple(found)


def shuffled(batches: list[Pair], repeat: int) -> list[Pair]:
    """Return batches of the same sizes with the samples of all of them in another order; repeat 0 keeps the order."""
    sizes = [num_samples(inputs) for inputs, _ in batches]
    if repeat == 0 or len({_form(batch) for batch in batches}) > 1:
        return batches[repeat % len(batches) :] + batches[: repeat % len(batches)]
    shuffle = torch.randperm(sum(sizes), generator=torch_generator(0, "probe", repeat))
    joined = _joined(batches)
    return [take(joined, rows) for rows in shuffle.split(sizes)]


def _form(tree: Any) -> str:
    """Return the nest of a batch with its shapes, samples aside; batches of one form can be joined."""
    return str(map_tensors(lambda tensor: str(tuple(tensor.shape[1:])), tree))  # type: ignore[arg-type, return-value]


def _joined(trees: Sequence[Any]) -> Any:
    """Return several nests of one form as one, tensors joined along the first axis."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees)) if first.dim() else first
    if isinstance(first, dict):
        return {key: _joined([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(_joined([tree[place] for tree in trees]) for place in range(len(first)))
    return first
