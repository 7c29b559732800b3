"""What loss and targets ask for: the task, the class axis, which loss was called on what, and what it applies."""

# N batch, K classes, H W pixels

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from provenet.doctor.kinds import LOSS, PROBABILITIES, SHAPE
from provenet.doctor.recorder import Op, Ref, Trace
from provenet.doctor.tree import main_tensor
from provenet.doctor.walk import Walk

Task = Literal["classes", "labels", "regression", "unknown"]
_APPLIED = {"cross_entropy": "log_softmax", "binary_cross_entropy_with_logits": "sigmoid"}
"""What a loss function of torch does to its input before it judges."""
SUMS = 1e-3
"""How near to 1 probabilities of a sample must sum; log(p + 1e-8) stays within."""
ROWS = 8
"""Samples that are wanted before sums say so."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How outputs, targets and loss go together, as far as they tell.

    Args:
        task: "classes": one of K (targets are indices, one-hot or soft); "labels": every output is a yes or no of its
            own (binary included); "regression"; "unknown".
        dense: whether there is a target for every pixel.
        width: K, the size of the class axis; 1 for a single yes or no; None for regression.
        indices: whether targets are class indices.
        score: what went into the loss: the tensor given to the loss's first op, else the main output.
        target: the main tensor of the first batch's targets.
        loss: name of the function of torch that the loss called, as in "cross_entropy"; empty for a loss written out.
        op: that call, also where it raised; None for a loss written out.
        functions: every function that the loss called, in order.
        given: what the net itself applied last to its scores: "softmax", "sigmoid", "log_softmax" or "relu" ...; the
            name of the op that made them. Empty where unknown.
        maker: that op.
        applied: what the loss applies to the scores: "log_softmax", "softmax", "sigmoid" or "".
        ignore_index: target value that the loss leaves out; None where it leaves none out.
        weight: class weights of the loss, (K,); None without.
        reduction: "mean", "sum" or "none"; empty where unknown.
    """

    task: Task
    dense: bool
    width: int | None
    indices: bool
    score: Tensor | None
    target: Tensor | None
    loss: str
    op: Op | None
    functions: tuple[str, ...]
    given: str
    maker: Op | None
    applied: str
    ignore_index: int | None
    weight: Tensor | None
    reduction: str

    @property
    def mapped(self) -> Literal["softmax", "log_softmax", "sigmoid", ""]:
        """What the net gives: probabilities, their logarithms, or "" for scores; by its last op, else by values."""
        if self.given in ("softmax", "log_softmax", "sigmoid"):
            return self.given  # type: ignore[return-value]
        score = None if self.score is None else self.score.float()
        if score is None or self.task != "classes" or score.dim() < 2 or score.numel() < ROWS * score.shape[1]:
            return ""
        if bool((score >= 0).all()) and _sum_to_one(score):
            return "softmax"
        return "log_softmax" if bool((score <= SUMS).all()) and _sum_to_one(score.exp()) else ""

    def valid(self, target: Tensor) -> Tensor:
        """Return the target values that count, flat: without those that the loss ignores."""
        flat = target.flatten()
        return flat if self.ignore_index is None else flat[flat != self.ignore_index]


def _sum_to_one(probabilities: Tensor) -> bool:
    return bool(((probabilities.sum(1) - 1).abs() < SUMS).all())


def read(walk: Walk, targets: Any, loss_fn: Any) -> Reading:
    """Return how outputs, targets and loss go together.

    Args:
        walk: what ran.
        targets: of the batch that ran.
        loss_fn: the loss.
    """
    trace = walk.trace
    in_loss = [op for op in trace.ops if op.layer == "loss"]
    if trace.failed is not None and trace.failed.layer == "loss":
        in_loss.append(trace.failed)
    op = next((op for op in in_loss if op.function in LOSS), None)
    ref = _score(trace, in_loss, op)
    score = walk.output if ref is None or ref.value is None else ref.value
    target = _target(op, targets)
    maker = None if ref is None else trace.maker(ref)
    maker = maker if maker is None or maker.layer != "loss" else None
    if maker is None and ref is None:
        maker = _last_op(trace)
    task, width, indices = _task(score, target)
    ignored, weight, reduction = _options(op, loss_fn, indices)
    return Reading(
        task=task,
        dense=target is not None and target.dim() >= 3 and min(target.shape[-2:]) > 1,
        width=width,
        indices=indices,
        score=score,
        target=target,
        loss="" if op is None else op.function,
        op=op,
        functions=tuple(op.function for op in in_loss),
        given="" if maker is None else maker.function,
        maker=maker,
        applied=_applied(trace, in_loss, op),
        ignore_index=ignored,
        weight=weight,
        reduction=reduction,
    )


def _score(trace: Trace, in_loss: list[Op], op: Op | None) -> Ref | None:
    """Return the tensor that the loss judges: made by the net, and the first to go into an op of the loss.

    Where the loss has class centres, what it makes of the net's features.
    """
    outside = {ref.token for op in trace.ops if op.layer != "loss" for ref in op.outputs}
    found = _first_outside(trace, in_loss, op, outside)
    if op is None or found is None or op.function not in ("cross_entropy", "nll_loss") or not op.inputs:
        return found
    judged, given = op.inputs[0].shape, found.shape
    # A loss with class centres of its own makes scores of features: these it is that have a width.
    widened = len(judged) == len(given) >= 2 and judged[0] == given[0] and judged[1] != given[1]
    return op.inputs[0] if widened else found


def _first_outside(trace: Trace, in_loss: list[Op], op: Op | None, outside: set[int]) -> Ref | None:
    """Return the first tensor that the net made among those that torch's loss function, or any op of the loss, gets."""
    if op is not None and op.inputs:
        for ref in op.inputs[:2]:
            made = trace.makers.get(ref.token)
            while made is not None and made.layer == "loss" and made.function in SHAPE and made.inputs:
                ref, made = made.inputs[0], trace.makers.get(made.inputs[0].token)
            if ref.token in outside:
                return ref
    for op in in_loss:
        for ref in op.inputs:
            if ref.token in outside and ref.dtype.is_floating_point:
                return ref
    return None


def _last_op(trace: Trace) -> Op | None:
    """Return the net's last op that is more than a change of shape."""
    return next((op for op in reversed(trace.ops) if op.layer != "loss" and op.function not in SHAPE), None)


def _target(op: Op | None, targets: Any) -> Tensor | None:
    """Return the tensor that the loss compares with: as it went into torch's loss function, else as given.

    Targets that the loss only strings together, pixel after pixel, are taken as given: with the shape of the scores.
    """
    given = main_tensor(targets) if not isinstance(targets, Tensor) else targets
    if op is None or len(op.inputs) < 2 or op.inputs[1].value is None:
        return given
    judged = op.inputs[1].value
    if given is None or judged.dim() >= given.dim() or judged.numel() != given.numel():
        return judged
    return given if torch.equal(judged.flatten().float(), given.flatten().float()) else judged


def _task(score: Tensor | None, target: Tensor | None) -> tuple[Task, int | None, bool]:
    """Return the task, the number of classes and whether targets are indices."""
    if score is None or target is None or score.dim() == 0:
        return "unknown", None, False
    whole = not target.is_floating_point()
    if whole and target.dim() == score.dim() - 1 and score.dim() >= 2 and score.shape[1] > 1:
        return "classes", score.shape[1], True
    if whole and target.dim() == score.dim() and target.shape[1:2] == (1,) and score.shape[1] > 1:
        return "classes", score.shape[1], True
    width = score.shape[1] if score.dim() >= 2 else 1
    values = target.float()
    if values.numel() == 0 or bool(((values < 0) | (values > 1)).any()):
        integral = whole or bool((values == values.round()).all())
        return ("unknown", width, False) if integral and width == 1 else ("regression", None, False)
    if width > 1 and target.shape == score.shape and bool(((values.sum(1) - 1).abs() < 1e-3).all()):
        return "classes", width, False
    binary = bool(((values == 0) | (values == 1)).all())
    return ("labels", width, False) if binary else ("regression", None, False)


def _applied(trace: Trace, in_loss: list[Op], op: Op | None) -> str:
    """Return which map to probabilities the loss applies to what the net gave."""
    if op is not None and op.function in _APPLIED:
        return _APPLIED[op.function]
    outside = {ref.token for one in trace.ops if one.layer != "loss" for ref in one.outputs}
    for one in in_loss:
        if one.function in PROBABILITIES and one.inputs:
            ref, made = one.inputs[0], trace.makers.get(one.inputs[0].token)
            while made is not None and made.layer == "loss" and made.function in SHAPE and made.inputs:
                ref, made = made.inputs[0], trace.makers.get(made.inputs[0].token)
            if ref.token in outside:
                return one.function
    return ""


def _options(op: Op | None, loss_fn: Any, indices: bool) -> tuple[int | None, Tensor | None, str]:
    """Return ignored target, class weights and reduction, of torch's loss function or of the loss module."""
    kwargs = op.kwargs if op is not None else {}
    ignored = kwargs.get("ignore_index", getattr(loss_fn, "ignore_index", None))
    weight = kwargs.get("weight", getattr(loss_fn, "weight", None) if isinstance(loss_fn, nn.Module) else None)
    weight = weight.value if isinstance(weight, Ref) else weight
    reduction = kwargs.get("reduction", getattr(loss_fn, "reduction", ""))
    return (
        int(ignored) if indices and isinstance(ignored, int) else None,
        weight.detach() if isinstance(weight, torch.Tensor) and weight.dim() == 1 else None,
        reduction if isinstance(reduction, str) else "",
    )
