"""Output activations: what the net does to its scores, against what the loss does to them itself."""

# N batch, K classes

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import (
    ACTIVATION,
    DROPOUT,
    LINEAR,
    MERGE,
    NORM,
    POOL,
    PROBABILITIES,
    RECTIFIER,
    RESIZE,
    SHAPE,
)
from provenet.doctor.reading import Reading
from provenet.doctor.recorder import Op
from provenet.records.finding import Finding

SUMS = 1e-4
"""How near to 1 the outputs of a sample must sum to be a distribution; a float32 softmax of 1000 classes errs 1e-6."""
ROWS = 8
"""Distributions that are wanted before values alone say softmax."""
VALUES = 1000
"""Values, all within (0, 1), before values alone say sigmoid: raw scores of a fresh net are as often below 0."""
NORMED = 0.01
"""How far logsumexp of log-probabilities may lie from 0; log(p + 1e-8) stays within."""
CLIPPED = 0.05
"""Share of scores at a hard limit from which clipping is no mere guard."""

_EXPECTS = {"log_softmax": "log-softmax", "softmax": "softmax", "sigmoid": "a sigmoid"}
_WITHOUT = "Give the scores to the loss function as they are; keep probabilities for what else the loss computes."
_SQUASHES = ("softmax", "sigmoid", "hardsigmoid")
_KEEPS = SHAPE | DROPOUT | POOL | RESIZE
"""What gives values outside of [0, 1] only where it was given some."""
_HARD = {"relu", "relu6", "threshold", "hardtanh", "clamp", "clamp_min", "maximum"}
_SOFT = ACTIVATION - RECTIFIER - PROBABILITIES - {"glu", "maximum"}
_HARMS = ("vanishing-gradients", "cannot-overfit-batch", "bad-initial-loss", "lr-too-low", "saturating-activations")


def _softmax_before_ce(examination: Examination) -> Iterable[Finding]:
    reading, squashed = examination.reading, _squashed_in_loss(examination)
    if reading.applied not in ("log_softmax", "softmax") or not (
        _distribution(reading) or _made_by(squashed, "softmax")
    ):
        return
    width = reading.width or 2
    floor = math.log(1 + (width - 1) / math.e)
    yield Finding(
        id="softmax-before-ce",
        severity="error",
        layer=_layer(squashed or reading.maker),
        evidence={
            "output_sums": _sum_of(reading) if squashed is None else 1.0,
            "classes": width,
            "lowest_loss_possible": round(floor, 3),
            "loss_of_a_guess": round(math.log(width), 3),
        },
        message=f"{'The loss makes' if squashed else 'The net returns'} probabilities, and "
        f"{'cross_entropy' if squashed else 'the loss'} applies {_EXPECTS[reading.applied]} to them once more: "
        f"a cross-entropy cannot fall below {floor:.2f}, however right the answers are.",
        fix=_WITHOUT
        if squashed
        else "Return the raw scores: take the softmax out of the net, and apply it where probabilities are wanted.",
    )


def _sigmoid_before_bce_logits(examination: Examination) -> Iterable[Finding]:
    reading, squashed = examination.reading, _squashed_in_loss(examination)
    score = reading.score if squashed is None else squashed.outputs[0].value
    if reading.applied != "sigmoid" or score is None:
        return
    inside = bool(((score > 0) & (score < 1)).all()) and score.numel() >= VALUES and not _free(examination)
    made = squashed is not None or reading.given in ("sigmoid", "hardsigmoid")
    if not (made or _distribution(reading) or inside):
        return
    low, high = float(score.min()), float(score.max())
    yield Finding(
        id="sigmoid-before-bce-logits",
        severity="error",
        layer=_layer(squashed or reading.maker),
        evidence={"output_min": low, "output_max": high, "highest_probability": 0.731, "lowest_probability": 0.5},
        message=f"{'The loss makes probabilities' if squashed else 'The outputs lie'} in [{low:.3g}, {high:.3g}] "
        f"{'itself' if squashed else 'already'}, and {reading.loss or 'the loss'} applies a sigmoid once more: "
        "it sees probabilities between 0.50 and 0.73 only, so that nothing can be denied.",
        fix=_WITHOUT if squashed else "Return the raw scores, or use nn.BCELoss() with the sigmoid that is there.",
    )


def _squashed_in_loss(examination: Examination) -> Op | None:
    """Return the op of the loss that makes probabilities of what torch's own loss function takes for scores."""
    op, trace = examination.reading.op, examination.walk.trace
    if op is None or not op.inputs or op.function not in ("cross_entropy", "binary_cross_entropy_with_logits"):
        return None
    maker = trace.maker(op.inputs[0])
    return maker if maker is not None and maker.layer == "loss" and _made_by(maker, *_SQUASHES) else None


def _made_by(op: Op | None, *functions: str) -> bool:
    return op is not None and op.function in functions


def _free(examination: Examination) -> bool:
    """Return whether the scores come from something that does not keep them within bounds, or clips them on purpose."""
    makers = [examination.reading.maker]
    while makers:
        maker = makers.pop()
        if maker is not None and maker.function in LINEAR | NORM | _HARD:
            return True
        if maker is not None and maker.function in _KEEPS | MERGE:
            makers += [examination.walk.trace.makers.get(ref.token) for ref in maker.inputs]
    return False


def _nll_without_logsoftmax(examination: Examination) -> Iterable[Finding]:
    reading = examination.reading
    op = reading.op
    if reading.loss != "nll_loss" or op is None or not op.inputs or op.inputs[0].value is None:
        return
    given = op.inputs[0].value
    before = {earlier.function for earlier in examination.walk.trace.upstream(op)}
    # (1 - p)^gamma * log p, the focal loss, is fed to nll_loss unnormalised on purpose.
    if given.dim() < 2 or before & {"log_softmax", "logsigmoid", "log"}:
        return
    off = given.float().logsumexp(1).abs()
    if float((off > NORMED).float().mean()) <= 0.5:
        return
    plain = "probabilities" if _distribution(reading) else "raw scores"
    yield Finding(
        id="nll-without-logsoftmax",
        severity="error",
        layer=_layer(reading.maker),
        evidence={"logsumexp": float(given.float().logsumexp(1).mean()), "wanted": 0.0, "loss": examination.walk.loss},
        message=f"NLLLoss gets {plain} where it wants log-probabilities: its value falls for ever, by making scores "
        "larger, without answers getting better.",
        fix="Return F.log_softmax(scores, dim=1), or give raw scores to nn.CrossEntropyLoss().",
    )


def _activation_on_logits(examination: Examination) -> Iterable[Finding]:
    reading = examination.reading
    score, maker = reading.score, _maker(examination)
    if maker is None or score is None or not reading.applied or examination.walk.failure is not None:
        return
    wrong_sigmoid = maker.function == "sigmoid" and reading.applied != "sigmoid"
    hard = maker.function in _HARD and _at_limits(score) > CLIPPED
    if not (wrong_sigmoid or hard or maker.function in _SOFT):
        return
    low, high = float(score.min()), float(score.max())
    yield Finding(
        id="activation-on-logits",
        severity="warning",
        layer=_layer(maker),
        evidence={"activation": maker.function, "output_min": low, "output_max": high, "at_limit": _at_limits(score)},
        message=f"The last step of the net is {maker.function}, and the loss wants free scores: it applies "
        f"{_EXPECTS[reading.applied]} itself. Scores stay within [{low:.3g}, {high:.3g}].",
        fix=f"Take the {maker.function} behind the last layer away.",
    )


def _distribution(reading: Reading) -> bool:
    """Return whether the scores are probabilities over the classes, by the op that made them or by their values."""
    score = reading.score
    if score is None or score.dim() < 2 or score.shape[1] < 2:
        return False
    if reading.given == "softmax":
        return True
    many = score.numel() // score.shape[1] >= ROWS
    return many and bool((score >= 0).all()) and _sums(score.float(), 1) and float(score.float().std()) > SUMS


def _sums(probabilities: Tensor, axis: int) -> bool:
    return bool(((probabilities.sum(axis) - 1).abs() < SUMS).all())


def _sum_of(reading: Reading) -> float | None:
    if reading.score is None or reading.score.dim() < 2:
        return None
    score = reading.score.float()
    return round(float((score.exp() if reading.given == "log_softmax" else score).sum(1).mean()), 4)


def _at_limits(score: Tensor) -> float:
    """Return the share of values that equal the least or the greatest of all."""
    return round(float(((score == score.min()) | (score == score.max())).float().mean()) - 2 / score.numel(), 4)


def _maker(examination: Examination) -> Op | None:
    """Return the op that made the scores, looking through dropout too."""
    maker, trace = examination.reading.maker, examination.walk.trace
    while maker is not None and maker.function in DROPOUT | SHAPE and maker.inputs:
        maker = trace.makers.get(maker.inputs[0].token)
    return maker


def _layer(maker: Op | None) -> str:
    return "" if maker is None else maker.layer


CHECKS: tuple[Check, ...] = (
    Check(
        id="softmax-before-ce",
        look=_softmax_before_ce,
        cost="static",
        shows="The loss begins near that of a guess, falls slowly and stays far above zero; gradients are small.",
        signal="The loss applies softmax or log-softmax to the net's outputs, and these were made by a softmax, or are "
        "at least 0 and sum to 1 for every sample; or the loss itself gives what a softmax made to cross_entropy.",
        fix="Return raw scores from forward; take the softmax where probabilities are shown.",
        before="def forward(self, x):\n    return F.softmax(self.head(x), dim=1)   # with nn.CrossEntropyLoss()",
        after="def forward(self, x):\n    return self.head(x)   # with nn.CrossEntropyLoss()",
        silent="log_softmax in front of a cross-entropy: a second log-softmax changes nothing. Softmax within the net, "
        "as in attention.",
        source="Karpathy (2019), A recipe for training neural networks; the lowest loss is that of a one-hot answer, "
        "ln(1 + (K - 1)/e).",
        thresholds={"SUMS": SUMS, "ROWS": ROWS},
        hides=(*_HARMS, "activation-on-logits", "loss-mismatch"),
    ),
    Check(
        id="sigmoid-before-bce-logits",
        look=_sigmoid_before_bce_logits,
        cost="static",
        shows="The loss stays near 0.69 or above 0.3; a mask is never empty, as no probability falls below one half.",
        signal="The loss applies a sigmoid to the net's outputs, and these were made by a sigmoid or softmax, or lie "
        "in (0, 1) without exception though no layer made them last; or the loss itself gives what a sigmoid made to "
        "binary_cross_entropy_with_logits.",
        fix="Return raw scores, or use nn.BCELoss().",
        before="return torch.sigmoid(self.head(x))   # with nn.BCEWithLogitsLoss()",
        after="return self.head(x)                  # with nn.BCEWithLogitsLoss()",
        silent="Sigmoids within the net: gates, attention. Outputs that are clipped hard.",
        source="torch.nn.BCEWithLogitsLoss, definition; sigmoid(0) = 0.5, sigmoid(1) = 0.731.",
        thresholds={"VALUES": VALUES, "SUMS": SUMS},
        hides=(*_HARMS, "activation-on-logits", "loss-mismatch"),
    ),
    Check(
        id="nll-without-logsoftmax",
        look=_nll_without_logsoftmax,
        cost="static",
        shows="The loss is negative and falls without end, or training breaks; accuracy does not follow.",
        signal="What goes into nll_loss is not normalised: logsumexp over the classes is not 0 for most samples.",
        fix="F.log_softmax in front of it, or nn.CrossEntropyLoss on raw scores.",
        before="loss = nn.NLLLoss()(self.head(x), y)",
        after="loss = nn.NLLLoss()(F.log_softmax(self.head(x), dim=1), y)",
        silent="Inputs made of log-probabilities that are weighted on purpose, as in the focal loss.",
        source="torch.nn.NLLLoss, definition: the input is expected to be log-probabilities.",
        thresholds={"NORMED": NORMED},
        hides=(
            "exploding-gradients",
            "loss-not-finite",
            "bad-initial-loss",
            "cannot-overfit-batch",
            "loss-mismatch",
            "loss-sign",
            "lr-too-high",
            "activation-on-logits",
        ),
    ),
    Check(
        id="activation-on-logits",
        look=_activation_on_logits,
        cost="static",
        shows="Some classes are never answered; the loss stops early, or at once when a ReLU is dead.",
        signal="The last op before a loss that wants free scores is an activation; one that clips counts when it does.",
        fix="End with the linear or convolutional layer.",
        before="nn.Sequential(nn.Linear(64, 10), nn.ReLU())   # with nn.CrossEntropyLoss()",
        after="nn.Sequential(nn.Linear(64, 10))              # with nn.CrossEntropyLoss()",
        silent="A pooling behind the activation (SqueezeNet); bounds so wide that no score meets them; scaled forms "
        "such as 10 * tanh(x / 10); leaky ReLU.",
        source="UMLAUT's rule on activations of the last layer (Schoop et al. 2021); 25 of the 52 real faults of "
        "DeepFD's set lie in the output layer.",
        thresholds={"CLIPPED": CLIPPED},
        hides=(
            "dead-relu",
            "constant-output",
            "cannot-overfit-batch",
            "bad-initial-loss",
            "vanishing-gradients",
            "saturating-activations",
        ),
    ),
)
