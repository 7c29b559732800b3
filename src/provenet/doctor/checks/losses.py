"""What the loss rewards: its direction, overlaps of raw scores, sums in place of means, losses that do not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable

from provenet.doctor.check import Check, Suspicion
from provenet.doctor.checks.pairing import mismatch, overlap_on_scores
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import PROBABILITIES
from provenet.doctor.trial import Trial
from provenet.records.finding import Finding

MARGIN = 1e-3
"""Share of the losses' own size by which the perfect answer must lose to the wrong one: float32 leaves less."""
DOUBLES = 1.8
"""Ratio of the losses of a batch with every sample twice and once: a sum gives 2, a mean 1."""
WHOLE_BATCH = 4096
"""A summed loss grows with the batch, so its probe takes batches as they are."""


def _loss_sign(examination: Examination) -> Iterable[Finding]:
    reading, battery = examination.reading, examination.battery
    # A loss that is written out and applies nothing may be an overlap: it is asked with probabilities, not scores.
    known = reading.loss or reading.applied or reading.given in PROBABILITIES
    losses = battery.own if known else battery.unit
    perfect, wrong = losses.get("perfect", math.nan), losses.get("wrong", math.nan)
    least = MARGIN * max(abs(perfect), abs(wrong))
    # Where both are worse than knowing nothing, answers do not reach the loss in the order of the targets.
    if not perfect - wrong > least or losses.get("uniform", wrong) < wrong - least:
        return
    yield Finding(
        id="loss-sign",
        severity="error",
        layer="loss",
        evidence={"loss_of_perfect_answer": perfect, "loss_of_wrong_answer": wrong},
        message=f"The loss of a perfect answer is {perfect:.3g}, that of a wrong one {wrong:.3g}: training makes the "
        "net as wrong as it can be.",
        fix="Minimise the opposite: 1 - score of a score such as Dice or accuracy; no minus in front of a loss.",
    )


def _dice_on_logits(examination: Examination) -> Iterable[Finding]:
    reading = examination.reading
    if reading.score is None or overlap_on_scores(reading, examination.walk.trace) is None:
        return
    low, high, raw = float(reading.score.min()), float(reading.score.max()), examination.battery.raw
    yield Finding(
        id="dice-on-logits",
        severity="error",
        layer="loss",
        evidence={
            "output_min": low,
            "output_max": high,
            "loss_of_confident_answer": raw.get("perfect"),
            "loss_of_ten_times_as_confident": raw.get("sharp"),
        },
        message=f"An overlap (Dice, Jaccard, Tversky) is computed on raw scores in [{low:.3g}, {high:.3g}]; it means "
        "something for probabilities only, and leaves [0, 1] here.",
        fix="Apply torch.sigmoid(scores), or scores.softmax(1), in front of the overlap.",
    )


def _loss_reduction_sum(examination: Examination) -> Iterable[Finding | Suspicion]:
    reading, battery = examination.reading, examination.battery
    target = reading.target
    if not battery.doubled > DOUBLES or target is None:
        return
    one_hot = reading.task == "classes" and not reading.indices
    terms = max(target.numel() // ((reading.width or 1) if one_hot else 1), 1)
    finding = Finding(
        id="loss-reduction-sum",
        severity="warning",
        layer="loss",
        evidence={"loss": examination.walk.loss, "ratio_when_batch_doubles": battery.doubled, "terms": terms},
        message=f"The loss is a sum over {terms} terms: gradients grow with batch and picture, and a rate that is "
        "usual for a mean is too high.",
        fix="reduction='mean', or divide by the number of samples or pixels.",
    )

    def averaged(trial: Trial) -> None:
        summed = trial.loss_fn
        trial.loss_fn = lambda outputs, targets: summed(outputs, targets) / terms

    if examination.case.optimizer is None:
        yield finding.model_copy(update={"severity": "info"})
    else:
        yield Suspicion(finding, averaged, unconfirmed="info", samples=WHOLE_BATCH)


def _loss_mismatch(examination: Examination) -> Iterable[Finding]:
    found = mismatch(examination.reading, examination.walk.trace, examination.case)
    if found is not None:
        yield Finding(
            id="loss-mismatch",
            severity=found.severity,
            layer="loss",
            evidence=found.evidence,
            message=found.message,
            fix=found.fix,
        )


CHECKS: tuple[Check, ...] = (
    Check(
        id="loss-sign",
        look=_loss_sign,
        cost="static",
        shows="The loss falls as it should, and accuracy or overlap falls with it.",
        signal="Made-up answers of the right shape: the loss of the perfect one is above that of the wrong one, and "
        "that of one that knows nothing is not below both.",
        fix="Turn the sign round; minimise 1 - score.",
        before="loss = dice_score(outputs.sigmoid(), masks)",
        after="loss = 1 - dice_score(outputs.sigmoid(), masks)",
        silent="Scores written as negative losses, -dice: the order of answers is right. Losses that made-up answers "
        "cannot be given to (pairs, triplets).",
        source="The order of three answers holds for every loss that training can go down.",
        thresholds={"MARGIN": MARGIN},
        hides=("bad-initial-loss", "cannot-overfit-batch", "loss-mismatch", "exploding-gradients", "loss-not-finite"),
    ),
    Check(
        id="dice-on-logits",
        look=_dice_on_logits,
        cost="static",
        shows="The loss leaves [0, 1], jumps, and falls without end, or masks fill the picture.",
        signal="The loss divides one sum by another, both hang on scores outside of [0, 1], and neither goes through a "
        "sigmoid or softmax.",
        fix="Probabilities first.",
        before="inter = (outputs * masks).sum()\nloss = 1 - 2 * inter / (outputs.sum() + masks.sum())",
        after="probs = outputs.sigmoid()\ninter = (probs * masks).sum()\n"
        "loss = 1 - 2 * inter / (probs.sum() + masks.sum())",
        silent="Averages over a mask, whose divisor does not hang on the scores; cosines, which divide by roots.",
        source="Milletari et al. (2016), V-Net, section 3: the overlap is defined for probabilities in [0, 1].",
        hides=(
            "bad-initial-loss",
            "cannot-overfit-batch",
            "loss-not-finite",
            "exploding-gradients",
            "loss-sign",
            "loss-mismatch",
        ),
    ),
    Check(
        id="loss-reduction-sum",
        look=_loss_reduction_sum,
        cost="probe",
        shows="The loss is in the hundreds or more and changes with the batch size; training blows up at usual rates.",
        signal="With every sample twice the loss doubles; loud where a mean learns more in the probe at the same rate.",
        fix="reduction='mean'.",
        before="nn.CrossEntropyLoss(reduction='sum')",
        after="nn.CrossEntropyLoss()",
        silent="A sum whose rate was made smaller to fit: the probe finds nothing, and it is an info.",
        source="torch.nn.CrossEntropyLoss, parameter reduction; TheDeepChecker's rule on growth with the data's size.",
        thresholds={"DOUBLES": DOUBLES},
        hides=("lr-too-high", "exploding-gradients", "loss-not-finite", "bad-initial-loss", "cannot-overfit-batch"),
    ),
    Check(
        id="loss-mismatch",
        look=_loss_mismatch,
        cost="static",
        shows="The loss is 0 from the start, or raises, or falls without answers getting better.",
        signal="Rules on loss, outputs and targets: BCELoss on what a layer or an activation other "
        "than a sigmoid or softmax gives, or on values outside of [0, 1]; cross-entropy over one output, or over "
        "labels that do not exclude each other; squared error for classes; KLDivLoss on what is no log-probability; "
        "targets out of the output activation's reach.",
        fix="One of K classes: nn.CrossEntropyLoss. Yes or no, once or many times: nn.BCEWithLogitsLoss. Amounts: "
        "nn.MSELoss on a linear output.",
        before="nn.MSELoss()(model(x), F.one_hot(y, 10).float())",
        after="nn.CrossEntropyLoss()(model(x), y)",
        silent="Soft targets (distillation, mixup) under squared error; whole numbers that thin out, as counts do. "
        "BCELoss on clamped values, averages and products of probabilities.",
        source="16 of the 52 real faults of DeepFD's set are wrong losses; definitions of torch.nn's losses.",
        hides=("bad-initial-loss", "cannot-overfit-batch", "forward-fails", "constant-output", "vanishing-gradients"),
    ),
)
