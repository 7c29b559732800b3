"""A learning rate that is too high: a lower one learns, and this one does not."""

from __future__ import annotations

import math
from collections.abc import Iterable

from provenet.doctor.arm import GAIN, LEVEL, Arm, Comparison
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.pace import (
    LOWER,
    STILL,
    best_factor,
    highest_ever,
    highest_now,
    knows,
    mean,
    scaled,
    set_rate,
    trained,
    updates_to_close,
    warms_up,
)
from provenet.doctor.probe import LONG_STEPS
from provenet.doctor.trial import Trial
from provenet.records.finding import Finding

STUCK = 0.1
"""Share of the loss gap that training as it is closes at most, where its rate is called too high: sound high rates
begin roughly, but they do begin. The gap begins at the best answer that knows nothing of the inputs: to come down to
that is no learning."""
FALLS = 0.05
"""Share of the gap by which the loss must be lower in the last third of the updates than in the second, and than at
the start, to be still on its way."""
RECOVERY = 3
"""Where time makes a training short, a rate that fails is given this many times as many updates to recover."""
CALM = 10.0
"""Updates that closing the loss gap would take along a straight slope, above which a loss that does follow its slope
says that the rate is not too high."""
WARM = 1 / 30
"""Share of the highest rate at which training must learn without a warm-up; the whole rate is what it warms up for."""
WILD, WORTH = 1.0, 0.01
"""The same number of updates, below which the very first one is promised more than there is to gain. Where training
learns all the same, a hundredth of the rate is tried: no rate that is right to a factor of ten is beaten by that."""


def _lr_too_high(examination: Examination) -> Iterable[Finding]:
    case = examination.case
    if case.optimizer is None:
        return
    if warms_up(examination):
        yield from _too_high_to_warm_up_for(examination)
        return
    stride = examination.stride
    calm = stride.straight() and updates_to_close(examination, stride) > CALM
    if calm or 0 < stride.ratio < STILL:
        return
    plain = examination.probe.single()
    factor = None if plain is None else _lower(examination, plain)
    compared = None if factor is None else examination.probe.compare(scaled(factor), steps=LONG_STEPS)
    if plain is None or factor is None or compared is None or not _better(examination, plain, compared):
        return
    lr, better = highest_now(examination), float(f"{highest_now(examination) * factor:.3g}")
    wild = compared.diverged[0] == compared.repeats
    ends = "leaves the finite numbers" if wild else f"goes from {mean(plain.start):.3g} to {mean(plain.end):.3g}"
    yield Finding(
        id="lr-too-high",
        severity="error" if wild else "warning",
        layer="optimizer",
        evidence={"lr": lr, "lr_tried": better, "relative_update": stride.ratio} | compared.evidence(),
        message=f"At a rate of {lr:.3g} the loss {ends} in {compared.steps} updates; at {better:.3g} it falls"
        + ("." if _fails(examination, plain) else " clearly further."),
        fix=set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
        gain=round(compared.gain, 3),
    )


def _too_high_to_warm_up_for(examination: Examination) -> Iterable[Finding]:
    lr, peak, probe = highest_now(examination), highest_ever(examination), examination.probe
    if lr == 0:
        return
    base = scaled(WARM * peak / lr)
    plain = probe.single(base)
    if plain is None or not _fails(examination, plain):
        return
    factor = best_factor(examination, LOWER, base)
    compared = None if factor is None else probe.compare(scaled(factor), base, steps=LONG_STEPS)
    if factor is None or compared is None or not _better(examination, plain, compared):
        return
    better = float(f"{peak * WARM * factor:.3g}")
    yield Finding(
        id="lr-too-high",
        severity="error" if compared.diverged[0] == compared.repeats else "warning",
        layer="optimizer",
        evidence={"lr": peak, "lr_failing": peak * WARM, "lr_tried": better} | compared.evidence(),
        message=f"The rate warms up to {peak:.3g}, but already {peak * WARM:.3g} learns nothing in {compared.steps} "
        f"updates; at {better:.3g} the loss falls.",
        fix=set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
        gain=round(compared.gain, 3),
    )


def _lower(examination: Examination, plain: Arm) -> float | None:
    """Return the factor of the rate that is worth a comparison; None where the rate gives no reason."""
    if _fails(examination, plain) and not _recovers(examination, plain):
        return best_factor(examination, LOWER)
    left = mean(plain.end) - examination.battery.floor
    room = left > GAIN * _gap(examination, plain) and not trained(examination)
    return WORTH if room and updates_to_close(examination, examination.stride) < WILD else None


def _better(examination: Examination, plain: Arm, compared: Comparison) -> bool:
    """Return whether a lower rate clearly learns more, and nothing else that was found explains it.

    What gains more at the rate as it is does: it is the cause, and the lower rate a way around.
    """
    failed = _fails(examination, plain)
    if compared.p is None or compared.p >= LEVEL or compared.diverged[1] > compared.diverged[0]:
        return False
    if failed and _learned(examination, plain, compared.end):
        return False
    start = max(mean(plain.start) - examination.battery.floor, 1e-6)
    explained = any(other is not None and other > compared.gain for other in examination.loud.values())
    return not explained and compared.gain * start / _gap(examination, plain) >= GAIN


def _fails(examination: Examination, arm: Arm) -> bool:
    """Return whether training as it is learns nothing, or forgets what was learned, and the loss has come to rest."""
    ended = arm.failure is None and not _learned(examination, arm, mean(arm.end))
    return arm.diverged or (ended and not _falls(examination, arm))


def _falls(examination: Examination, arm: Arm) -> bool:
    """Return whether the loss is clearly below its start, and in the last third of the updates below the second.

    Where most pixels are of one class it takes a while to come down to what a guess would reach.
    """
    third, start = len(arm.losses) // 3, mean(arm.start)
    if third == 0:
        return False
    before, last = mean(arm.losses[third : 2 * third]), mean(arm.losses[2 * third :])
    return min(start, before) - last > FALLS * (start - examination.battery.floor)


def _recovers(examination: Examination, plain: Arm) -> bool:
    """Return whether a longer training at the same rate learns after all; no where there is no time for it."""
    probe, steps = examination.probe, min(RECOVERY * len(plain.losses), LONG_STEPS)
    allowed = examination.clock.allows(2 * probe.seconds(steps))
    if plain.diverged or steps <= len(plain.losses) or not allowed:
        return False
    gap = _gap(examination, plain)
    whole = max(mean(plain.start) - examination.battery.floor, gap)

    def stop_half_way(trial: Trial) -> None:
        trial.until = gap / whole / 2

    longer = probe.arm(stop_half_way, steps=steps)
    return not longer.diverged and longer.failure is None and _learned(examination, plain, mean(longer.end), 2 * STUCK)


def _learned(examination: Examination, arm: Arm, end: float, share: float = STUCK) -> bool:
    """Return whether a training that ends at a loss has learned something of the inputs, or kept what it knew."""
    gap = _gap(examination, arm)
    return knows(examination, end) or examination.battery.floor + gap - end >= share * gap


def _gap(examination: Examination, arm: Arm) -> float:
    """Return how far the loss can fall from the best answer that knows nothing, or from where it begins."""
    start, ignorance = mean(arm.start), examination.battery.ignorance
    begin = min(start, ignorance) if math.isfinite(ignorance) else start
    return max(begin - examination.battery.floor, 1e-6)


CHECKS: tuple[Check, ...] = (
    Check(
        id="lr-too-high",
        look=_lr_too_high,
        cost="probe",
        shows="The loss rises or jumps from the first updates on, becomes NaN, or falls to that of a guess and stays "
        "there; scores grow large, ReLU units die.",
        signal="A short training as the caller trains diverges, or closes less than 10 % of the gap between the best "
        "answer that knows nothing of the inputs and a perfect one, also when it is given three times as long where "
        "time made it short; the same with a tenth, a hundredth or a thousandth of the rate closes at least 20 % more "
        "of the gap. Where the first update alone is promised more than the whole gap, a hundredth of the rate is "
        "tried in any case. Not tried where the loss follows its slope and an update is short. With a warm-up a "
        "thirtieth of its highest rate is tried instead.",
        fix="Lower the rate as the probe did; usual are 0.1 for SGD with batch norm, 0.01 without, and 1e-3 for Adam.",
        before="optimizer = torch.optim.Adam(model.parameters(), lr=0.1)",
        after="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
        silent="High rates that begin roughly and recover. Rates that are about to rise by a schedule. Nets that have "
        "been trained and keep what they know. Causes whose fix gains more at the rate as it is; causes that a lower "
        "rate only eases, as raw inputs or summed losses, hide it.",
        source="Schneider et al. (2021), Cockpit (the loss along a step); Smith (2017), learning-rate range test; the "
        "paired probe is ours.",
        thresholds={"STUCK": STUCK, "RECOVERY": RECOVERY, "FALLS": FALLS, "CALM": CALM, "WILD": WILD, "GAIN": GAIN}
        | {"WARM": WARM},
        hides=(
            "loss-not-finite",
            "exploding-gradients",
            "cannot-overfit-batch",
            "momentum-too-high",
            "constant-output",
        ),
    ),
)
