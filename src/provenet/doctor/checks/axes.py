"""Which axis holds the classes: a softmax over another one, and scores that a view has put out of order."""

# N batch, K classes

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from torch import Tensor

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import SHAPE
from provenet.doctor.reading import Reading
from provenet.doctor.recorder import Op
from provenet.records.finding import Evidence, Finding

SUMS = 1e-4
"""How near to 1 the outputs of a sample must sum to be a distribution; a float32 softmax of 1000 classes errs 1e-6."""
_VIEWS = ("view", "reshape")


def _softmax_wrong_dim(examination: Examination) -> Iterable[Finding]:
    reading = examination.reading
    axis, viewed, others = _wrong_axis(reading), _out_of_order(examination), None
    if axis is not None:
        evidence: dict[str, Evidence] = {"axis": axis, "axis_wanted": 1, "sum_over_classes": _sum_of(reading)}
        yield _finding("" if reading.maker is None else reading.maker.layer, _axis_words(axis), evidence)
    elif viewed is not None:
        shape, rows = list(viewed.inputs[0].shape), list(viewed.outputs[0].shape)
        words = f"over neighbouring places of one class: scores {shape} are viewed as {rows}"
        fix = "scores.movedim(1, -1).reshape(-1, K), or give N K H W to the loss as it is: it takes axis 1."
        yield _finding(viewed.layer, words, {"scores": str(shape), "viewed_as": str(rows)}, fix)
    else:
        others = examination.dependence.others
    if others is not None and others.function in ("softmax", "log_softmax"):
        evidence = {"axis": 0, "axis_wanted": 1, "sum_over_classes": _sum_of(reading)}
        yield _finding(others.layer, _axis_words(0), evidence)


def _finding(
    layer: str,
    where: str,
    evidence: dict[str, Evidence],
    fix: str = "Give the class axis: softmax(scores, dim=1) for N K and N K H W.",
) -> Finding:
    return Finding(
        id="softmax-wrong-dim",
        severity="error",
        layer=layer,
        evidence=evidence,
        message=f"The softmax runs {where}, not over the classes: what a sample is given depends on other values than "
        "its own scores.",
        fix=fix,
    )


def _wrong_axis(reading: Reading) -> int | None:
    """Return the axis over which the net's own softmax sums to one, where that is not the class axis."""
    score = reading.score
    if reading.given not in ("softmax", "log_softmax") or score is None or score.dim() < 2:
        return None
    if score.shape[1] == 1:
        return 1
    probabilities = score.float().exp() if reading.given == "log_softmax" else score.float()
    if _sums(probabilities, 1):
        return None
    return next((axis for axis in (0, *range(2, score.dim())) if _sums(probabilities, axis)), None)


def _out_of_order(examination: Examination) -> Op | None:
    """Return the view that makes rows of K neighbours out of N K H W, on the way into a cross-entropy."""
    op, trace = examination.reading.op, examination.walk.trace
    if op is None or op.function not in ("cross_entropy", "nll_loss") or not op.inputs:
        return None
    step = trace.makers.get(op.inputs[0].token)
    while step is not None and step.function in SHAPE | {"log_softmax"} and step.inputs:
        if step.function in _VIEWS and _swaps(step.inputs[0].shape, step.outputs[0].shape):
            return step
        step = trace.makers.get(step.inputs[0].token)
    return None


def _swaps(shape: tuple[int, ...], viewed: tuple[int, ...]) -> bool:
    """Return whether a view turns N K H W into N * H * W rows of K, or into N, H * W rows of K."""
    if len(shape) < 3 or shape[1] < 2 or shape[1] == shape[-1] or viewed[-1] != shape[1]:
        return False
    places = prod(shape[2:])
    return places > 1 and viewed[:-1] in ((shape[0] * places,), (shape[0], places))


def _axis_words(axis: int) -> str:
    if axis == 1:
        return "over an axis of length 1, where it always gives 1"
    return "over the samples of the batch" if axis == 0 else "over the places of the picture"


def _sums(probabilities: Tensor, axis: int) -> bool:
    return bool(((probabilities.sum(axis) - 1).abs() < SUMS).all())


def _sum_of(reading: Reading) -> float | None:
    if reading.score is None or reading.score.dim() < 2:
        return None
    score = reading.score.float()
    return round(float((score.exp() if reading.given == "log_softmax" else score).sum(1).mean()), 4)


CHECKS: tuple[Check, ...] = (
    Check(
        id="softmax-wrong-dim",
        look=_softmax_wrong_dim,
        cost="passes",
        shows="Answers for one picture change with the others in the batch, or with other places of the picture.",
        signal="Outputs of the net's own softmax sum to 1 over another axis than the classes; a view, not a "
        "permutation, makes rows of K scores out of N K H W for a cross-entropy; or a softmax within the net is where "
        "samples begin to depend on each other.",
        fix="Name the class axis, dim=1; move it with permute or movedim.",
        before="F.softmax(scores)             # N K: an implicit dim; or dim=0",
        after="F.softmax(scores, dim=1)",
        silent="N = K by chance: values decide, not lengths. Softmax over places within the net (spatial attention).",
        source="torch.nn.functional.softmax, parameter dim; torch.Tensor.view, which keeps the order of values.",
        thresholds={"SUMS": SUMS},
        hides=(
            "batch-mixing",
            "bad-initial-loss",
            "cannot-overfit-batch",
            "vanishing-gradients",
            "loss-mismatch",
            "constant-output",
        ),
    ),
)
