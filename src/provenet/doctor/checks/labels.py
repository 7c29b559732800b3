"""Labels against outputs: their range, the width of the head, and shapes that are silently broadcast."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from provenet.doctor.check import Check
from provenet.doctor.checks.heads import SURE, TIMES_TOO_MANY, head_fault, indices_for_binary, labels_of
from provenet.doctor.checks.pairing import outer_product
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import ELEMENTWISE
from provenet.doctor.reading import Reading
from provenet.records.finding import Finding

_VOID = 255
_SIGNS = ("soft_margin_loss", "hinge_embedding_loss")
"""Losses that want -1 for no and 1 for yes."""


def _label_out_of_range(examination: Examination) -> Iterable[Finding]:
    reading, case = examination.reading, examination.case
    if reading.target is None or reading.score is None or head_fault(case, reading) is not None:
        return
    labels = labels_of(case, reading)
    if reading.loss in _SIGNS:
        yield from _without_signs(labels)
        return
    if _wants_indices(reading):
        highest = reading.score.shape[1] - 1
    elif _wants_unit(reading):
        highest = 1
    else:
        return
    wrong = labels[(labels < 0) | (labels > highest)]
    if len(wrong) == 0:
        return
    low, high = float(labels.min()), float(labels.max())
    yield Finding(
        id="label-out-of-range",
        severity="error",
        layer="targets",
        evidence={"min": low, "max": high, "allowed": f"0 to {highest}", "strange_values": len(wrong)},
        message=f"Targets run from {low:g} to {high:g}; with the outputs of this net the loss accepts 0 to {highest}.",
        fix=_repair(labels, wrong, highest, _wants_indices(reading)),
    )


def _without_signs(labels: Tensor) -> Iterable[Finding]:
    """Yield the finding that targets hold values other than -1 and 1: at 0 such a loss does not look at the answer."""
    wrong = labels[labels.abs() != 1]
    if len(wrong):
        yield Finding(
            id="label-out-of-range",
            severity="error",
            layer="targets",
            evidence={"min": float(labels.min()), "max": float(labels.max()), "allowed": "-1 and 1"},
            message=f"Targets run from {float(labels.min()):g} to {float(labels.max()):g}; this loss wants -1 for no "
            "and 1 for yes, and multiplies them with the answers.",
            fix="targets * 2 - 1, or nn.BCEWithLogitsLoss() for targets of 0 and 1.",
        )


def _wants_indices(reading: Reading) -> bool:
    """Return whether the loss wants class indices; a written-out loss, where targets look like them."""
    if reading.target is None or reading.target.is_floating_point() or reading.score is None:
        return False
    return reading.loss in ("cross_entropy", "nll_loss") or (reading.indices and not reading.loss)


def _wants_unit(reading: Reading) -> bool:
    """Return whether targets are shares or a yes and no: of a binary cross-entropy, or two values beside a sigmoid."""
    if reading.loss.startswith("binary_cross_entropy"):
        return not indices_for_binary(reading)
    beside_sigmoid = "sigmoid" in (reading.applied, reading.given) and reading.loss not in ELEMENTWISE
    return beside_sigmoid and reading.target is not None and len(reading.target.unique()) == 2


def _repair(labels: Tensor, wrong: Tensor, highest: int, indices: bool) -> str:
    low, high = float(labels.min()), float(labels.max())
    if not indices:
        return "masks / 255, or (masks > 0).float()." if low >= 0 else "Give 0 and 1 for no and yes."
    if low == 1 and high == highest + 1:
        return "Classes are numbered from 1: targets - 1."
    if wrong.tolist() == [_VOID]:
        void = "nn.CrossEntropyLoss(ignore_index=255) if 255 marks void"
        return f"{void}; (masks > 0).long() if it is the foreground."
    return "Number the classes 0 to K - 1, and name a value that is no class by ignore_index."


def _target_shape_broadcast(examination: Examination) -> Iterable[Finding]:
    found = outer_product(examination.reading, examination.walk.trace)
    if found is None:
        return
    output, target, compared = found
    yield Finding(
        id="target-shape-broadcast",
        severity="error",
        layer="loss",
        evidence={"output_shape": str(output), "target_shape": str(target), "compared_as": str(compared)},
        message=f"Outputs {output} meet targets {target} in the loss: "
        + (f"each is compared with those of other samples or places, {compared}." if compared else "they do not fit."),
        fix="Make the shapes equal: outputs.squeeze(1), or targets.unsqueeze(1).",
    )


def _head_size_mismatch(examination: Examination) -> Iterable[Finding]:
    reading = examination.reading
    fault = head_fault(examination.case, reading)
    if fault is None:
        return
    yield Finding(
        id="head-size-mismatch",
        severity=fault.severity,
        layer="" if reading.maker is None else reading.maker.layer,
        evidence={"outputs": fault.outputs, "classes_seen": fault.seen, "largest_label": fault.largest},
        message=f"The net has {fault.outputs} outputs; {fault.seen} classes occur among the labels, up to "
        f"{fault.largest:g}.",
        fix=f"Make the last layer {fault.wanted}.",
    )


CHECKS: tuple[Check, ...] = (
    Check(
        id="label-out-of-range",
        look=_label_out_of_range,
        cost="static",
        shows="An IndexError, or a device-side assert on a GPU; with a binary loss a loss that falls below zero.",
        signal="Distinct target values of all batches, those that the loss ignores left out, against 0 to K - 1, or "
        "against 0 to 1 for a binary loss.",
        fix="Number classes from 0; divide masks by 255; name void by ignore_index.",
        before="loss = nn.BCEWithLogitsLoss()(outputs, masks.float())   # masks hold 0 and 255",
        after="loss = nn.BCEWithLogitsLoss()(outputs, masks.float() / 255)",
        silent="Values that the loss ignores; soft targets within 0 and 1; regression.",
        source="torch.nn.CrossEntropyLoss and BCEWithLogitsLoss, shapes and ranges of their targets.",
        hides=(
            "forward-fails",
            "loss-not-finite",
            "bad-initial-loss",
            "exploding-gradients",
            "cannot-overfit-batch",
            "loss-sign",
            "class-imbalance",
            "lr-too-high",
        ),
    ),
    Check(
        id="target-shape-broadcast",
        look=_target_shape_broadcast,
        cost="static",
        shows="The net answers the mean of all targets; the loss stops at the variance of the targets.",
        signal="Outputs and targets meet in the loss with different shapes; for a loss written out, the result is "
        "larger than both.",
        fix="squeeze or unsqueeze one of them.",
        before="nn.MSELoss()(model(x), y)              # (N, 1) and (N,): compared as (N, N)",
        after="nn.MSELoss()(model(x).squeeze(1), y)",
        silent="Weights and masks that are broadcast on purpose: they make nothing larger than the outputs. Batches of "
        "one sample.",
        source="torch warns: using a target size that is different to the input size.",
        hides=(
            "forward-fails",
            "constant-output",
            "cannot-overfit-batch",
            "bad-initial-loss",
            "labels-uninformative",
            "loss-sign",
        ),
    ),
    Check(
        id="head-size-mismatch",
        look=_head_size_mismatch,
        cost="static",
        shows="An IndexError for a label that has no output; or a head that was made for other data.",
        signal="Labels 0 to M, most of them present, with M at least K; or a hundred outputs and more, ten times the "
        "classes, when chance cannot have left the others out.",
        fix="num_classes as there are classes.",
        before="model = resnet18()                     # 1000 outputs, ten classes",
        after="model = resnet18(num_classes=10)",
        silent="Classes that a few batches merely do not show; labels that are numbered from 1 or jump, which is "
        "label-out-of-range.",
        source="torch.nn.CrossEntropyLoss: indices in [0, K); chance: ((M + 1) / K)^n for n samples.",
        thresholds={"TIMES_TOO_MANY": TIMES_TOO_MANY, "SURE": SURE},
        hides=("forward-fails", "bad-initial-loss"),
    ),
)
