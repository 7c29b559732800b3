"""Instrument U: one update of the caller's optimizer, and how it compares with the weights and with the loss."""

# D one weight tensor

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.inventory import slots_of
from provenet.doctor.tree import fresh

LONGEST_MEMORY = 0.9999
"""Momentum from which on the length in the long run is that of ten thousand updates: it is cut there."""


@dataclass(frozen=True)
class Step:
    """How one weight tensor moved.

    Args:
        ratio: length of the update over that of the weights.
        pull: cosine between the update and the way to zero weights, in [-1, 1]; 1 where it only shrinks them.
        lost: share of the weights' length that an update takes away; negative where it adds.
    """

    ratio: float
    pull: float
    lost: float


@dataclass(frozen=True, eq=False)
class Stride:
    """One update on the first batch, from the weights as given.

    Args:
        steps: by path of the weight tensors (two axes or more, not all zeros) that the optimizer holds; those that
            get no gradient as yet, as behind gates of zero, only where none does.
        loss: before.
        promised: how far the loss would fall in the long run a step, to first order; momentum included.
        got: how far it did fall on the same batch with the same random stream, after an update of that length.
        memory: how many updates one gradient is felt, 1 / (1 - momentum); 1 without momentum.
        failure: what the update raised.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    loss: float = 0.0
    promised: float = 0.0
    got: float = 0.0
    memory: float = 1.0
    failure: Failure | None = None

    @property
    def ratio(self) -> float:
        """Median over weights of the length of the update relative to theirs, in the long run."""
        return median(step.ratio for step in self.steps.values()) * self.memory if self.steps else 0.0

    @property
    def pull(self) -> float:
        """Median over weights of how much the update only shrinks them."""
        return median(step.pull for step in self.steps.values()) if self.steps else 0.0

    @property
    def lost(self) -> float:
        """Median over weights of the share of their length that an update takes away, in the long run."""
        return median(step.lost for step in self.steps.values()) * self.memory if self.steps else 0.0

    def straight(self) -> bool:
        """Return whether the loss followed its slope: it fell at least half as far as the gradient promised."""
        return self.promised > 0 and self.got >= self.promised / 2


def stride(double: Double, batch: Pair) -> Stride:
    """Make one update of the caller's optimizer and measure it.

    Args:
        double: the net; its state is reset afterwards.
        batch: inputs and targets.
    """
    found = Stride()
    with Attempt("step") as attempt:
        found = _measured(double, batch)
    double.reset()
    return found if attempt.failure is None else Stride(failure=attempt.failure)


def _measured(double: Double, batch: Pair) -> Stride:
    optimizer = double.new_optimizer()
    if optimizer is None:
        return Stride()
    names = {id(slot.tensor): slot.name for slot in slots_of(double.model)}
    held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad and id(p) in names]
    if not held:
        return Stride()
    loss = _loss(double, batch)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=held, retain_graph=True)
    before = [tensor.detach().clone() for tensor in held]
    gradients = [None if tensor.grad is None else tensor.grad.detach().clone() for tensor in held]
    optimizer.step()
    asked = [gradient is not None and bool(gradient.any()) for gradient in gradients]
    memory, promised, steps = memory_of(optimizer), 0.0, {}
    # One weight at a time: a copy of all moves would double what huge nets cost here.
    for tensor, start, gradient, told in zip(held, before, gradients, asked, strict=True):
        move = tensor.detach() - start
        promised -= memory * _along(gradient, move) if gradient is not None else 0.0
        if tensor.dim() > 1 and bool(start.any()) and (told or not any(asked)):
            steps[names[id(tensor)]] = _step(start, move)
        if memory != 1:
            tensor.data.copy_(start + memory * move)
    with torch.no_grad():
        got = float(loss.detach()) - float(_loss(double, batch))
    return Stride(steps, float(loss.detach()), promised, got, memory)


def memory_of(optimizer: torch.optim.Optimizer) -> float:
    """Return how many plain updates one gradient amounts to in the long run; averaged gradients do not add up.

    Example:
        >>> round(memory_of(torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)))
        10
    """
    largest = max((float(group.get("momentum", 0.0)) for group in optimizer.param_groups), default=0.0)
    damped = any(group.get("dampening", 0) for group in optimizer.param_groups)
    return 1.0 if damped or not isinstance(optimizer, torch.optim.SGD) else 1 / (1 - min(largest, LONGEST_MEMORY))


def _loss(double: Double, batch: Pair) -> Tensor:
    inputs, targets = fresh(batch[0], double.case.device), fresh(batch[1], double.case.device)
    torch.manual_seed(0)
    return loss_of(double.loss_fn, forward(double.model, inputs), targets)


def _step(start: Tensor, move: Tensor) -> Step:
    size, length = float(start.norm()), float(move.norm())
    along = -_along(start, move)
    return Step(length / size, along / (size * length) if length > 0 else 0.0, along / size**2)


def _along(one: Tensor, other: Tensor) -> float:
    """Return the sum of products."""
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))
