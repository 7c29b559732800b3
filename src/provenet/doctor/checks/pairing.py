"""Which losses go with which outputs and targets: the rules behind the checks of losses."""

# N batch, K classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from provenet.doctor.case import Case
from provenet.doctor.checks.heads import indices_for_binary, targets_of
from provenet.doctor.kinds import ACTIVATION, CONVOLUTION, DROPOUT, ELEMENTWISE, POOL, PROBABILITIES, RESIZE, SHAPE
from provenet.doctor.reading import Reading
from provenet.doctor.recorder import Op, Ref, Trace
from provenet.records.finding import Evidence, Severity

BEYOND = 0.05
"""Share of targets outside of what an output activation can reach; fewer may be outliers."""
OFF_ONE = 0.01
_REACH = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, float("inf"))}
_WITHIN = PROBABILITIES - {"log_softmax", "logsigmoid"} | {"clamp", "clamp_min", "hardtanh", "maximum", "exp", "glu"}
_UNBOUNDED = ACTIVATION - _WITHIN | {"batch_norm", "layer_norm", "group_norm", "instance_norm"}
"""What gives values outside of [0, 1] for some inputs."""
_WEIGHTED = CONVOLUTION | {"linear", "addmm", "bilinear"}
_KEEPS = SHAPE | DROPOUT | POOL | RESIZE
"""What gives values outside of [0, 1] at most where it was given some."""
_MAPPED = PROBABILITIES | {"exp", "sqrt", "norm", "rsqrt", "gt", "ge", "argmax", "round"}
"""What makes scores something else on the way into an overlap, or the overlap a cosine."""
_PAIRWISE = (*ELEMENTWISE, "binary_cross_entropy", "binary_cross_entropy_with_logits")
_ARITHMETIC = ("sub", "mul", "div", "add", "pow", "eq")


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mismatch:
    """A loss that does not fit."""

    severity: Severity
    message: str
    fix: str
    evidence: dict[str, Evidence] = field(default_factory=dict)


def mismatch(reading: Reading, trace: Trace, case: Case) -> Mismatch | None:
    """Return why a loss does not fit outputs and targets; the first rule that applies."""
    if reading.score is None or reading.target is None:
        return None
    return next(_rules(reading, trace, case, reading.score.float(), reading.target), None)


def _rules(reading: Reading, trace: Trace, case: Case, score: Tensor, target: Tensor) -> Iterator[Mismatch]:
    given = next(iter(targets_of(case)), None)
    if reading.loss == "binary_cross_entropy":
        yield from _bare_cross_entropy(reading, _unbounded(reading, trace))
        yield from _competing(reading, score, target)
    elif reading.loss == "cross_entropy":
        yield from _cross_entropy(score, target)
    elif reading.loss in ELEMENTWISE:
        yield from _elementwise(reading, score, target, given)
    elif reading.loss == "kl_div":
        yield from _divergence(score, reading)
    elif not reading.loss and target.shape == score.shape:
        yield from _out_of_reach(reading, target)
    if indices_for_binary(reading):
        fix = "nn.CrossEntropyLoss(), or one-hot targets: F.one_hot(targets, K).float()."
        yield Mismatch("error", f"A binary loss is given class indices for {score.shape[1]} outputs.", fix)


def _unbounded(reading: Reading, trace: Trace) -> str:
    """Return the function that lets scores leave [0, 1], whether it does so on these samples or not; "" for none."""
    op = reading.op
    maker = None if op is None or not op.inputs else trace.maker(op.inputs[0], _KEEPS)
    if maker is None or maker.function in _UNBOUNDED:
        return "" if maker is None else maker.function
    own = any(ref.token in trace.names and ref.requires_grad for ref in maker.inputs)
    return maker.function if maker.function in _WEIGHTED and own else ""


def _bare_cross_entropy(reading: Reading, unbounded: str) -> Iterator[Mismatch]:
    # What goes into the function itself: a loss may make probabilities of scores before.
    given = None if reading.op is None or not reading.op.inputs else reading.op.inputs[0].value
    if given is None:
        return
    score = given.float()
    outside = float(((score < 0) | (score > 1)).float().mean())
    if outside > 0 or unbounded:
        raw = f"they are made by {unbounded}, which is bound to no such range" if unbounded else "they are raw scores"
        yield Mismatch(
            "error",
            f"BCELoss wants probabilities, and {outside:.0%} of the outputs lie outside of [0, 1]: {raw}.",
            "nn.BCEWithLogitsLoss() on the last layer's scores, or a sigmoid behind that layer.",
            {"share_outside": round(outside, 4), "output_min": float(score.min()), "output_max": float(score.max())},
        )


def _competing(reading: Reading, score: Tensor, target: Tensor) -> Iterator[Mismatch]:
    """Yield that probabilities which share one whole are judged by labels of which a sample may have several."""
    if reading.given != "softmax" or score.dim() < 2 or score.shape[1] < 2 or target.shape != score.shape:
        return
    several = float((target.float().sum(1) > 1 + OFF_ONE).float().mean())
    if several > BEYOND:
        yield Mismatch(
            "error",
            f"{several:.0%} of the samples have several labels at once, and a softmax lets classes compete for one: "
            "with two labels none can be above one half.",
            "Take the softmax away and use nn.BCEWithLogitsLoss(), which gives each label an answer of its own.",
            {"share_with_several": round(several, 4), "largest_sum": float(target.float().sum(1).max())},
        )


def _cross_entropy(score: Tensor, target: Tensor) -> Iterator[Mismatch]:
    if score.dim() >= 2 and score.shape[1] == 1:
        yield Mismatch(
            "error",
            "Cross-entropy over a single output is always 0: one class is certain whatever the net says.",
            "nn.BCEWithLogitsLoss() for one output, or two outputs.",
            {"outputs": 1},
        )
    elif target.is_floating_point() and target.shape == score.shape:
        sums = target.float().sum(1)
        several = float((sums > 1 + OFF_ONE).float().mean())
        if several > BEYOND:
            yield Mismatch(
                "warning",
                f"{several:.0%} of the samples have several labels at once, and cross-entropy lets classes compete for "
                "one.",
                "nn.BCEWithLogitsLoss() for labels that do not exclude each other.",
                {"share_with_several": round(several, 4), "largest_sum": float(sums.max())},
            )


def _elementwise(reading: Reading, score: Tensor, target: Tensor, given: Tensor | None) -> Iterator[Mismatch]:
    width = score.shape[1] if score.dim() >= 2 else 1
    if reading.task == "classes" and width > 2 and (reading.indices or bool(((target == 0) | (target == 1)).all())):
        yield Mismatch(
            "error" if reading.indices else "warning",
            f"{width} classes are fitted by {reading.loss}: its gradient fades where the answer is most wrong"
            + (", and class indices are compared with scores." if reading.indices else "."),
            "nn.CrossEntropyLoss() on raw scores, with class indices.",
            {"classes": width, "loss_function": reading.loss},
        )
    elif width == 1 and (classes := _like_classes(target) or _class_map(target, given)):
        yield Mismatch(
            "warning",
            f"Class numbers 0 to {classes - 1} are fitted as if they were amounts: class 2 is no mean of 1 and 3.",
            f"{classes} outputs and nn.CrossEntropyLoss().",
            {"classes": classes, "loss_function": reading.loss},
        )
    else:
        yield from _out_of_reach(reading, target)


def _out_of_reach(reading: Reading, target: Tensor) -> Iterator[Mismatch]:
    if reading.given in _REACH and target.is_floating_point():
        low, high = _REACH[reading.given]
        beyond = float(((target < low - OFF_ONE) | (target > high + OFF_ONE)).float().mean())
        if beyond > BEYOND:
            yield Mismatch(
                "warning",
                f"The net ends with {reading.given} and cannot reach {beyond:.0%} of the targets, which run from "
                f"{float(target.min()):.3g} to {float(target.max()):.3g}.",
                f"Take the {reading.given} away, or scale the targets into [{low:g}, {high:g}].",
                {
                    "share_out_of_reach": round(beyond, 4),
                    "target_min": float(target.min()),
                    "target_max": float(target.max()),
                },
            )


def _like_classes(target: Tensor) -> int:
    """Return how many classes a single column of whole numbers looks like; 0 where it looks like amounts.

    Classes are all present from 0 on, and about equally frequent; counts and ages thin out.
    """
    values = target.float().flatten()
    if values.numel() < 8 or not bool((values == values.round()).all()):
        return 0
    labels, counts = values.unique(return_counts=True)
    dense = len(labels) >= 3 and bool((labels == torch.arange(len(labels), device=labels.device)).all())
    even = len(labels) <= 20 and int(counts.max()) <= 5 * int(counts.min())
    return len(labels) if dense and even else 0


def _class_map(target: Tensor, given: Tensor | None) -> int:
    """Return how many classes a map of whole numbers holds, given as such; 0 for amounts: depths are no integers."""
    if given is None or given.is_floating_point() or given.dim() < 3 or given.numel() != target.numel():
        return 0
    labels = target.unique()
    dense = 3 <= len(labels) <= 64 and bool((labels == torch.arange(len(labels), device=labels.device)).all())
    return len(labels) if dense else 0


def _divergence(score: Tensor, reading: Reading) -> Iterator[Mismatch]:
    if score.dim() < 2 or reading.op is None or reading.op.inputs[0].value is None:
        return
    given = reading.op.inputs[0].value.float()
    off = float(given.logsumexp(1).abs().mean())
    if off > OFF_ONE:
        yield Mismatch(
            "error",
            f"KLDivLoss wants log-probabilities as its input; logsumexp is {off:.3g} from 0.",
            "F.kl_div(F.log_softmax(scores, dim=1), targets, reduction='batchmean').",
            {"logsumexp_off": off},
        )


def overlap_on_scores(reading: Reading, trace: Trace) -> Op | None:
    """Return the division of an overlap whose both sides hang on raw scores; None where there is none.

    Averages over a mask divide by something that does not hang on the scores; a cosine divides by roots.
    """
    score = reading.score
    if score is None or bool(((score >= -OFF_ONE) & (score <= 1 + OFF_ONE)).all()):
        return None
    for op in trace.ops:
        if op.layer == "loss" and op.function == "div" and len(op.inputs) == 2:
            above, below = (_within_loss(trace, ref) for ref in op.inputs)
            names = {step.function for step in (*above, *below)}
            product = any(step.function == "mul" for step in above)
            if product and not names & _MAPPED and _on_score(trace, above) and _on_score(trace, below):
                return op
    return None


def _within_loss(trace: Trace, ref: Ref) -> list[Op]:
    """Return the ops of the loss that a value depends on."""
    made = trace.makers.get(ref.token)
    if made is None or made.layer != "loss":
        return []
    return [made, *(op for op in trace.upstream(made) if op.layer == "loss")]


def _on_score(trace: Trace, steps: list[Op]) -> bool:
    """Return whether steps of the loss are given something that the net made and that has a gradient."""
    outside = (ref for op in steps for ref in op.inputs if ref.requires_grad and ref.token in trace.makers)
    return any(trace.makers[ref.token].layer != "loss" for ref in outside)


def outer_product(reading: Reading, trace: Trace) -> tuple[Shape, Shape, Shape] | None:
    """Return the shapes of outputs, targets and what a loss makes of them, where they differ; () where nothing fits."""
    op = reading.op
    if op is not None and len(op.inputs) > 1 and op.function in _PAIRWISE:
        left, right = op.inputs[0].shape, op.inputs[1].shape
        if left != right and _several(left) and _several(right) and not indices_for_binary(reading):
            return left, right, _broadcast(left, right)
    for step in trace.ops:
        if step.layer == "loss" and step.function in _ARITHMETIC and len(step.inputs) == 2 and step.outputs:
            # Exactly one of the two hangs on the net: distances between all pairs of samples are no accident.
            one, other = sorted(step.inputs, key=lambda ref: not ref.requires_grad)
            result, largest = step.outputs[0].shape, max(prod(one.shape), prod(other.shape))
            meet = one.requires_grad and not other.requires_grad and one.shape[:1] == other.shape[:1]
            if meet and _several(one.shape) and prod(result) > largest:
                return one.shape, other.shape, result
    return None


def _several(shape: Shape) -> bool:
    return len(shape) > 0 and shape[0] > 1


def _broadcast(left: Shape, right: Shape) -> Shape:
    try:
        return tuple(torch.broadcast_shapes(left, right))
    except RuntimeError:
        return ()
