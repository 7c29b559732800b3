"""Instrument J: what depends on what, in evaluation mode: outputs on chance, on other samples, on their own sample."""

# N batch

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import forward
from provenet.doctor.double import Double
from provenet.doctor.recorder import Op, Recorder
from provenet.doctor.tree import fresh, main_tensor, map_tensors, num_samples, take, tensors
from provenet.doctor.walk import named

SAMPLES = 4
SAME = 1e-5
"""Relative difference below which two values of a layer count as equal: what float32 leaves of them."""


@dataclass(frozen=True, eq=False)
class Difference:
    """Where two passes that ought to agree do not.

    Args:
        amount: largest difference of the outputs, relative to their own scale.
        layer: path of the module whose op differs first; empty where none does.
        function: that op.
    """

    amount: float
    layer: str = ""
    function: str = ""


@dataclass(frozen=True, eq=False)
class Dependence:
    """What outputs depend on, in evaluation mode.

    Args:
        chance: between two passes on the same inputs.
        others: of the other samples' outputs, when one sample is replaced.
        own: of a sample's output, when it is replaced.
        failure: what a pass raised; then nothing else is known.
    """

    chance: Difference
    others: Difference
    own: Difference
    failure: Failure | None = None


@dataclass(frozen=True, eq=False)
class _Seen:
    """One pass: its output, and what every op gave that has a row a sample."""

    output: Tensor | None
    steps: list[tuple[Op, Tensor]]
    failure: Failure | None


def depend(double: Double, inputs: Any) -> Dependence:
    """Compare passes in evaluation mode on a few samples.

    Args:
        double: the net; its state is reset afterwards.
        inputs: of one batch; the first `SAMPLES` are used, all where a net wants its whole batch.
    """
    nothing = Difference(0.0)
    few = take(inputs, slice(SAMPLES))
    double.model.eval()
    one = _see(double, few, 0)
    if one.failure is not None:
        few = inputs
        one = _see(double, few, 0)
    other = _see(double, few, 1)
    changed = _see(double, _replaced(few), 0)
    double.reset()
    failure = one.failure or other.failure or changed.failure
    if failure is not None:
        return Dependence(nothing, nothing, nothing, failure)
    num = num_samples(few)
    rest, first = slice(1, num), slice(0, 1)
    return Dependence(
        chance=_difference(one, other, slice(None)),
        others=_difference(one, changed, rest) if num > 1 else nothing,
        own=_difference(one, changed, first),
    )


def _see(double: Double, inputs: Any, seed: int) -> _Seen:
    num, steps = num_samples(inputs), []

    def watch(op: Op, result: Any) -> None:
        for tensor in tensors(result):
            if tensor.dim() and len(tensor) == num and tensor.is_floating_point():
                steps.append((op, tensor.detach().clone()))
                return

    recorder = Recorder(double.model, watch)
    outputs, inputs = None, fresh(inputs, double.case.device)
    torch.manual_seed(seed)
    with Attempt("forward") as attempt, torch.no_grad(), recorder.recording():
        outputs = main_tensor(forward(double.model, inputs))
    return _Seen(outputs, steps, named(attempt.failure, recorder.trace.running))


def _replaced(inputs: Any) -> Any:
    """Return the inputs with the first sample replaced by noise of its own mean and spread."""
    num, generator = num_samples(inputs), torch.Generator().manual_seed(0)

    def replace(tensor: Tensor) -> Tensor:
        if tensor.dim() == 0 or len(tensor) != num:
            return tensor
        changed = tensor.clone()
        if tensor.is_floating_point():
            noise = torch.randn(tensor[0].shape, generator=generator).to(tensor)
            changed[0] = tensor[0].mean() + noise * tensor[0].std(unbiased=False).clamp(min=1e-3)
        else:
            changed[0] = tensor[-1] if num > 1 else tensor[0].flip(0) if tensor.dim() > 1 else tensor[0]
        return changed

    return map_tensors(replace, inputs)


def _difference(one: _Seen, other: _Seen, rows: slice) -> Difference:
    """Return how far two passes differ in some samples, and where they part first."""
    if one.output is None or other.output is None or one.output.shape != other.output.shape:
        return Difference(0.0)
    amount = _relative(one.output, other.output, rows)
    if amount > SAME:
        for (op, left), (_, right) in zip(one.steps, other.steps, strict=False):
            if left.shape == right.shape and _relative(left, right, rows) > SAME:
                return Difference(amount, op.layer, op.function)
    return Difference(amount)


def _relative(one: Tensor, other: Tensor, rows: slice) -> float:
    left, right = one.float(), other.float()
    if left.dim() and len(left) > 1:
        left, right = left[rows], right[rows]
    scale = max(float(one.float().abs().max()), 1e-12) if one.numel() else 1.0
    return float((left - right).abs().max()) / scale if left.numel() else 0.0
