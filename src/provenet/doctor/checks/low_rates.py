"""A learning rate that is too low: nothing moves, or soon will not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from provenet.doctor.arm import GAIN
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.pace import (
    STILL,
    TRAINED,
    best_factor,
    closed,
    highest_now,
    scaled,
    set_rate,
    trained,
    updates_to_close,
    warms_up,
)
from provenet.doctor.probe import LONG_STEPS
from provenet.records.finding import Finding

SLOW, LATE = 1e4, 1e3
"""Updates that closing the loss gap would take along a straight slope, from which a rate is suspected to be too low.
Usual ones need 10 to 1000. From the second on only where the rate that is tried instead closes `MOST` of the gap."""
MOST = 0.3
NEVER = 1e6
"""The same, from which it is an error: no training is as long."""
FROZEN = 1e-6
"""Update relative to the weights below which it is said also where the probe cannot show it: a task may be too hard for
a short training, but weights that change by a tenth in 100,000 updates learn nothing."""
EPOCHS = 6.0
"""Steps at the full rate that a schedule must leave. Of exponential decays 0.83 leaves as many; usual are 0.9 and more,
and steps of seven and more epochs."""
USUAL = 10.0
"""Updates that closing the gap should take, for the rate that is tried instead; a tenth of it as well."""
LEARNED = 0.05
"""Share of the gap that training as it is closes at most, where its rate is called too low."""


def _lr_too_low(examination: Examination) -> Iterable[Finding | Suspicion]:
    if examination.case.optimizer is None:
        return
    yield from _fading(examination)
    if warms_up(examination):
        return
    lr = highest_now(examination)
    if lr == 0:
        yield _low_rate(0.0, 1e-3, "error", {"lr": 0.0}, "The rate of every parameter group is 0: nothing is learned.")
        return
    stride = examination.stride
    steps = updates_to_close(examination, stride)
    if not (steps > LATE or 0 < stride.ratio < STILL) or trained(examination):
        return
    plain = examination.probe.single()
    usual = 10.0 ** max(1, round(math.log10(min(steps, 1e12) / USUAL)))
    sure = steps > SLOW and stride.ratio < FROZEN
    if plain is not None and (plain.diverged or plain.failure is not None or closed(examination, plain) > LEARNED):
        return
    factor = None if plain is None else best_factor(examination, (usual, usual / 10) if usual > 10 else (usual,))
    tried = factor is not None
    if steps <= SLOW and stride.ratio >= STILL and not _clearly(examination, factor):
        return
    if factor is None:
        if not sure:
            return
        factor = usual
    better = float(f"{lr * factor:.3g}")
    told = f"{steps:.2g}" if math.isfinite(steps) else "no number of"
    finding = _low_rate(
        lr,
        better,
        "error" if steps > NEVER else "warning",
        {"lr": lr, "updates_to_close_gap": steps, "relative_update": stride.ratio, "lr_tried": better},
        f"At a rate of {lr:.3g} an update moves the weights by {stride.ratio:.1e} of their length: along its slope the "
        f"loss would need {told} updates.",
    )
    yield Suspicion(finding, scaled(factor), "keep" if sure else "drop", steps=LONG_STEPS) if tried else finding


def _clearly(examination: Examination, factor: float | None) -> bool:
    """Return whether one training at another rate closes much of the gap."""
    arm = None if factor is None else examination.probe.single(scaled(factor))
    return arm is not None and closed(examination, arm) > MOST


def _fading(examination: Examination) -> Iterable[Finding]:
    """Yield that a schedule takes the rate away before anything is learned."""
    course = examination.course
    faded = None if course is None or not course.bound else course.fades
    if course is None or faded is None or faded[1] > EPOCHS:
        return
    step, worth = faded
    yield Finding(
        id="lr-too-low",
        severity="warning",
        layer="schedule",
        evidence={"schedule": course.kind, "steps_to_a_thousandth": step, "worth_in_steps": worth, "limit": EPOCHS},
        message=f"{course.kind} takes the rate below a thousandth within {step} steps: all of them together are worth "
        f"{worth:.1f} at the full rate.",
        fix="Call scheduler.step() once an epoch, not after every batch, or take a slower decay.",
    )


def _low_rate(lr: float, better: float, severity: Any, evidence: dict[str, Any], message: str) -> Finding:
    return Finding(
        id="lr-too-low",
        severity=severity,
        layer="optimizer",
        evidence=evidence,
        message=message,
        fix=set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
    )


CHECKS: tuple[Check, ...] = (
    Check(
        id="lr-too-low",
        look=_lr_too_low,
        cost="probe",
        shows="The loss stays where it began, or falls in the fourth digit an epoch, and weights hardly change.",
        signal="One update is measured: along its slope the loss would need more than 10,000 of them to close its gap "
        "(more than 1000 where another rate closes 30 % of it at once), "
        "or it moves the weights by less than 1e-5 of their length. A short training as the caller trains closes less "
        "than 5 % of the gap, and one at a higher rate at least 20 % more. A rate of 0 is proof. Also a "
        "schedule that takes the rate below a thousandth, though not to 0 as a planned end does, before all steps "
        "together are worth 6 at the full rate.",
        fix="Raise the rate as the probe did; usual are 0.1 for SGD with batch norm, 0.01 without, and 1e-3 for Adam.",
        before="optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)",
        after="optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
        silent="Warm-up, known by the schedule or by what it wrote into the optimizer. Small rates for a pretrained "
        "body beside a head that learns. Nets that have been trained.",
        source="Karpathy, CS231n (updates of 1e-3 of the weights); SageMaker Debugger's WeightUpdateRatio has a fixed "
        "1e-8; counting updates along the slope is ours.",
        thresholds={
            "SLOW": SLOW,
            "LATE": LATE,
            "MOST": MOST,
            "NEVER": NEVER,
            "STILL": STILL,
            "FROZEN": FROZEN,
            "LEARNED": LEARNED,
            "EPOCHS": EPOCHS,
            "TRAINED": TRAINED,
            "GAIN": GAIN,
        },
        hides=("cannot-overfit-batch",),
    ),
)
