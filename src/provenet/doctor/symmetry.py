"""Units that are equal, and whether they stay so when the net is trained a little."""

# U units, F numbers a unit

from __future__ import annotations

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.intake import without_dropout
from provenet.doctor.tree import fresh, map_tensors, take

STEPS = 3
"""Updates before gradients are compared: a zero-initialised head and a zero-initialised branch before it let the
gradient through after one update each."""
LR = 1e-3
EQUAL_WEIGHTS, EQUAL_GRADIENTS = 1e-6, 1e-3
"""Difference of two units, relative to the largest number of all, up to which they are equal. Gradients of units that
differ at all differ by far more than float32 rounds."""
SAMPLES = 16


def by_unit(weight: Tensor, axis: int) -> Tensor:
    """Return a weight with a row a unit, (U, F).

    Args:
        weight: as the layer holds it.
        axis: that of the units: the first, or the second of transposed convolutions and of factors on the right.
    """
    return weight.detach().movedim(axis, 0).flatten(1)


def twins(rows: Tensor, tolerance: float) -> float:
    """Return the share of rows that equal another row.

    Example:
        >>> twins(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0], [2.0, 1.0]]), 1e-6)
        0.5
    """
    if len(rows) < 2:
        return 0.0
    rows = rows.float()
    # Equal rows are neighbours in the order of any fixed projection; unequal ones are told apart by all numbers.
    direction = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0)).to(rows)
    rows = rows[(rows @ direction).argsort()]
    same = (rows[1:] - rows[:-1]).abs().amax(1) <= tolerance * rows.abs().max()
    none = torch.zeros(1, dtype=torch.bool, device=rows.device)
    return float((torch.cat([same, none]) | torch.cat([none, same])).float().mean())


def twins_in_training(double: Double, batch: Pair, axes: dict[str, int]) -> dict[str, float]:
    """Return the share of units whose gradients equal those of another after a few updates, dropout left out.

    Args:
        double: the net; its state is reset afterwards.
        batch: inputs and targets.
        axes: those of the units, by the path of a weight.

    Returns:
        by path; empty where an update fails.
    """
    few = take(batch, slice(SAMPLES))
    inputs, targets = fresh(few[0], double.case.device), fresh(few[1], double.case.device)
    found: dict[str, float] = {}
    torch.manual_seed(0)
    with Attempt("step"), without_dropout():
        weights = {name: tensor for name, tensor in double.model.named_parameters() if tensor.requires_grad}
        optimizer = torch.optim.Adam(weights.values(), lr=LR)
        for step in range(STEPS + 1):
            images, labels = (map_tensors(Tensor.clone, part) for part in (inputs, targets))
            loss = loss_of(double.loss_fn, forward(double.model, images), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss, inputs=list(weights.values()), retain_graph=True)
            if step < STEPS:
                optimizer.step()
        for name, axis in axes.items():
            grad = weights[name].grad if name in weights else None
            found[name] = 0.0 if grad is None else twins(by_unit(grad, axis), EQUAL_GRADIENTS)
    double.reset()
    return found
