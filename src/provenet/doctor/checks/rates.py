"""The learning rate: too high where a lower one learns and this one does not, too low where nothing moves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from provenet.doctor.arm import GAIN, LEVEL, Arm, Comparison
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.course import highest_rate
from provenet.doctor.examination import Examination
from provenet.doctor.probe import LONG_STEPS, Fix, Trial
from provenet.doctor.stride import Stride
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
LOWER = (0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7)
LEAST = 1e-3
"""What a rate that fails is tried with instead; below the least only while losses leap up."""
LEAP = 10.0
"""Highest loss over that at the start."""
WARM = 1 / 30
"""Share of the highest rate at which training must learn without a warm-up; the whole rate is what it warms up for."""
WILD, WORTH = 1.0, 0.01
"""The same number of updates, below which the very first one is promised more than there is to gain. Where training
learns all the same, a hundredth of the rate is tried: no rate that is right to a factor of ten is beaten by that."""
SLOW = 1e4
"""The same, from which a rate is suspected to be too low. Usual rates need 10 to 1000."""
NEVER = 1e6
"""The same, from which it is an error: no training is as long."""
STILL = 1e-5
"""Update relative to the weights below which a rate is suspected; 1e-3 is usual (Karpathy, CS231n)."""
FROZEN = 1e-6
"""The same, from which it is said also where the probe cannot show it: a task may be too hard for a short training, but
weights that change by a tenth in 100,000 updates learn nothing."""
EPOCHS = 6.0
"""Steps at the full rate that a schedule must leave. Of exponential decays 0.83 leaves as many; usual are 0.9 and more,
and steps of seven and more epochs."""
USUAL = 10.0
"""The same number of updates, for the rate that is tried instead; a tenth of it as well."""
LEARNED = 0.05
"""Share of the gap that training as it is closes at most, where its rate is called too low."""
TRAINED = 0.5
"""A net whose loss is below this share of that of a guess has been trained: it has little left to close."""


@cache
def scaled(factor: float) -> Fix:
    """Return the fix that multiplies every rate; the same object for the same factor, so that arms are shared."""

    def fix(trial: Trial) -> None:
        trial.scale_lr(factor)

    return fix


def _lr_too_high(examination: Examination) -> Iterable[Finding]:
    case = examination.case
    if case.optimizer is None:
        return
    if _warms_up(examination):
        yield from _too_high_to_warm_up_for(examination)
        return
    stride = examination.stride
    if stride.straight() and _steps(examination, stride) > CALM:
        return
    plain = examination.probe.single()
    factor = None if plain is None else _lower(examination, plain)
    compared = None if factor is None else examination.probe.compare(scaled(factor), steps=LONG_STEPS)
    if plain is None or factor is None or compared is None or not _better(examination, plain, compared):
        return
    lr, better = _rate(examination), float(f"{_rate(examination) * factor:.3g}")
    wild = compared.diverged[0] == compared.repeats
    ends = "leaves the finite numbers" if wild else f"goes from {_mean(plain.start):.3g} to {_mean(plain.end):.3g}"
    yield Finding(
        id="lr-too-high",
        severity="error" if wild else "warning",
        layer="optimizer",
        evidence={"lr": lr, "lr_tried": better, "relative_update": stride.ratio} | compared.evidence(),
        message=f"At a rate of {lr:.3g} the loss {ends} in {compared.steps} updates; at {better:.3g} it falls"
        + ("." if _fails(examination, plain) else " clearly further."),
        fix=_set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
        gain=round(compared.gain, 3),
    )


def _too_high_to_warm_up_for(examination: Examination) -> Iterable[Finding]:
    lr, peak, probe = _rate(examination), _peak(examination), examination.probe
    if lr == 0:
        return
    base = scaled(WARM * peak / lr)
    plain = probe.single(base)
    if plain is None or not _fails(examination, plain):
        return
    factor = _best(examination, LOWER, base)
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
        fix=_set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
        gain=round(compared.gain, 3),
    )


def _lower(examination: Examination, plain: Arm) -> float | None:
    """Return the factor of the rate that is worth a comparison; None where the rate gives no reason."""
    if _fails(examination, plain) and not _recovers(examination, plain):
        return _best(examination, LOWER)
    left = _mean(plain.end) - examination.battery.floor
    room = left > GAIN * _gap(examination, plain) and not trained(examination)
    return WORTH if room and _steps(examination, examination.stride) < WILD else None


def _better(examination: Examination, plain: Arm, compared: Comparison) -> bool:
    """Return whether a lower rate clearly learns more, and nothing else that was found explains it.

    What gains more at the rate as it is does: it is the cause, and the lower rate a way around.
    """
    failed = _fails(examination, plain)
    if compared.p is None or compared.p >= LEVEL or compared.diverged[1] > compared.diverged[0]:
        return False
    if failed and _learned(examination, plain, compared.end):
        return False
    start = max(_mean(plain.start) - examination.battery.floor, 1e-6)
    explained = any(other is not None and other > compared.gain for other in examination.loud.values())
    return not explained and compared.gain * start / _gap(examination, plain) >= GAIN


def _lr_too_low(examination: Examination) -> Iterable[Finding | Suspicion]:
    if examination.case.optimizer is None:
        return
    yield from _fading(examination)
    if _warms_up(examination):
        return
    lr = _rate(examination)
    if lr == 0:
        yield _low_rate(0.0, 1e-3, "error", {"lr": 0.0}, "The rate of every parameter group is 0: nothing is learned.")
        return
    stride = examination.stride
    steps = _steps(examination, stride)
    if not (steps > SLOW or 0 < stride.ratio < STILL) or trained(examination):
        return
    plain = examination.probe.single()
    usual = 10.0 ** max(1, round(math.log10(min(steps, 1e12) / USUAL)))
    if plain is None or plain.diverged or plain.failure is not None or _closed(examination, plain) > LEARNED:
        return
    factor = _best(examination, (usual, usual / 10) if usual > 10 else (usual,))
    if factor is None:
        return
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
    sure = steps > SLOW and stride.ratio < FROZEN
    yield Suspicion(finding, scaled(factor), "keep" if sure else "drop", steps=LONG_STEPS)


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
        fix=_set_rate(better),
        overrides=(f"optimizer.lr={better:.3g}",),
    )


def _steps(examination: Examination, stride: Stride) -> float:
    """Return how many updates it would take to close the loss gap along a straight slope."""
    gap = max(stride.loss - examination.battery.floor, 1e-12)
    return gap / stride.promised if stride.promised > 0 else math.inf


def _rate(examination: Examination) -> float:
    """Return the highest rate of all groups that hold a parameter of the net."""
    groups = [group for group in examination.walk.groups if group.names]
    return max((float(group.settings.get("lr") or 0.0) for group in groups), default=0.0)


def _peak(examination: Examination) -> float:
    """Return the highest rate that a schedule is known to give."""
    groups = [highest_rate(group.settings) for group in examination.walk.groups if group.names]
    course = examination.course
    played = _rate(examination) / course.first if course is not None and course.bound and course.first > 0 else 0.0
    return max([*groups, played])


def _warms_up(examination: Examination) -> bool:
    """Return whether the rate is going to rise: then that of the first steps says little."""
    groups = [group.settings for group in examination.walk.groups]
    rises = any(highest_rate(group) > 1.01 * float(group.get("lr") or 0.0) for group in groups)
    course = examination.course
    return rises or (course is not None and course.bound and course.first < 0.99)


def trained(examination: Examination) -> bool:
    """Return whether the net has learned already."""
    return _knows(examination, examination.stride.loss)


def _knows(examination: Examination, loss: float) -> bool:
    ignorance = examination.battery.ignorance
    return math.isfinite(ignorance) and loss < TRAINED * ignorance


def _learned(examination: Examination, arm: Arm, end: float, share: float = STUCK) -> bool:
    """Return whether a training that ends at a loss has learned something of the inputs, or kept what it knew."""
    gap = _gap(examination, arm)
    return _knows(examination, end) or examination.battery.floor + gap - end >= share * gap


def _gap(examination: Examination, arm: Arm) -> float:
    """Return how far the loss can fall from the best answer that knows nothing, or from where it begins."""
    start, ignorance = _mean(arm.start), examination.battery.ignorance
    begin = min(start, ignorance) if math.isfinite(ignorance) else start
    return max(begin - examination.battery.floor, 1e-6)


def _closed(examination: Examination, arm: Arm) -> float:
    return _mean(arm.closed(examination.battery.floor))


def _fails(examination: Examination, arm: Arm) -> bool:
    """Return whether training as it is learns nothing, or forgets what was learned, and the loss has come to rest."""
    ended = arm.failure is None and not _learned(examination, arm, _mean(arm.end))
    return arm.diverged or (ended and not _falls(examination, arm))


def _falls(examination: Examination, arm: Arm) -> bool:
    """Return whether the loss is clearly below its start, and in the last third of the updates below the second.

    Where most pixels are of one class it takes a while to come down to what a guess would reach.
    """
    third, start = len(arm.losses) // 3, _mean(arm.start)
    if third == 0:
        return False
    before, last = _mean(arm.losses[third : 2 * third]), _mean(arm.losses[2 * third :])
    return min(start, before) - last > FALLS * (start - examination.battery.floor)


def _recovers(examination: Examination, plain: Arm) -> bool:
    """Return whether a longer training at the same rate learns after all; no where there is no time for it."""
    probe, steps = examination.probe, min(RECOVERY * len(plain.losses), LONG_STEPS)
    allowed = examination.clock.allows(2 * probe.seconds(steps))
    if plain.diverged or steps <= len(plain.losses) or not allowed:
        return False
    gap = _gap(examination, plain)
    whole = max(_mean(plain.start) - examination.battery.floor, gap)

    def stop_half_way(trial: Trial) -> None:
        trial.until = gap / whole / 2

    longer = probe.arm(stop_half_way, steps=steps)
    return not longer.diverged and longer.failure is None and _learned(examination, plain, _mean(longer.end), 2 * STUCK)


def _best(examination: Examination, factors: Sequence[float], *base: Fix) -> float | None:
    """Return the factor of the rate that closes most of the gap in one training; None where there is no time."""
    found: list[tuple[float, float]] = []
    for factor in factors:
        arm = examination.probe.single(*base, scaled(factor))
        if arm is None:
            break
        found.append((_closed(examination, arm), factor))
        if found[-1][0] > 0.5 or (factor <= LEAST and not _wild(arm)):
            break
    return max(found)[1] if found else None


def _wild(arm: Arm) -> bool:
    """Return whether a training has diverged, or has come to rest after a leap."""
    return arm.diverged or max(arm.losses) > LEAP * max(_mean(arm.start), 1e-6)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _set_rate(lr: float) -> str:
    return f"for group in optimizer.param_groups: group['lr'] = {lr:.3g}"


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
    Check(
        id="lr-too-low",
        look=_lr_too_low,
        cost="probe",
        shows="The loss stays where it began, or falls in the fourth digit an epoch, and weights hardly change.",
        signal="One update is measured: along its slope the loss would need more than 10,000 of them to close its gap, "
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
