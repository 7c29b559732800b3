"""The pace of a training: its learning rates, how far one update comes, and whether another rate does better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from provenet.doctor.arm import Arm
from provenet.doctor.course import highest_rate
from provenet.doctor.examination import Examination
from provenet.doctor.stride import Stride
from provenet.doctor.trial import Fix, Trial

LOWER = (0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7)
LEAST = 1e-3
"""What a rate that fails is tried with instead; below the least only while losses leap up."""
LEAP = 10.0
"""Highest loss over that at the start."""
STILL = 1e-5
"""Update relative to the weights below which a rate is suspected; 1e-3 is usual (Karpathy, CS231n)."""
TRAINED = 0.5
"""A net whose loss is below this share of that of a guess has been trained: it has little left to close."""


@cache
def scaled(factor: float) -> Fix:
    """Return the fix that multiplies every rate; the same object for the same factor, so that arms are shared."""

    def fix(trial: Trial) -> None:
        trial.scale_lr(factor)

    return fix


def updates_to_close(examination: Examination, stride: Stride) -> float:
    """Return how many updates it would take to close the loss gap along a straight slope."""
    gap = max(stride.loss - examination.battery.floor, 1e-12)
    return gap / stride.promised if stride.promised > 0 else math.inf


def highest_now(examination: Examination) -> float:
    """Return the highest rate of all groups that hold a parameter of the net."""
    groups = [group for group in examination.walk.groups if group.names]
    return max((float(group.settings.get("lr") or 0.0) for group in groups), default=0.0)


def highest_ever(examination: Examination) -> float:
    """Return the highest rate that a schedule is known to give."""
    groups = [highest_rate(group.settings) for group in examination.walk.groups if group.names]
    course = examination.course
    played = (
        highest_now(examination) / course.first if course is not None and course.bound and course.first > 0 else 0.0
    )
    return max([*groups, played])


def warms_up(examination: Examination) -> bool:
    """Return whether the rate is going to rise: then that of the first steps says little."""
    groups, course = [group.settings for group in examination.walk.groups], examination.course
    if course is not None and course.bound and course.factors:
        return course.first < 0.99
    return any(highest_rate(group) > 1.01 * float(group.get("lr") or 0.0) for group in groups)


def trained(examination: Examination) -> bool:
    """Return whether the net has learned already."""
    return knows(examination, examination.stride.loss)


def knows(examination: Examination, loss: float) -> bool:
    """Return whether a loss is so low that the net must know something of its inputs."""
    ignorance = examination.battery.ignorance
    return math.isfinite(ignorance) and loss < TRAINED * ignorance


def closed(examination: Examination, arm: Arm) -> float:
    """Return the share of the loss gap that a training closed, as a mean over its batches."""
    return mean(arm.closed(examination.battery.floor))


def best_factor(examination: Examination, factors: Sequence[float], *base: Fix) -> float | None:
    """Return the factor of the rate that closes most of the gap in one training; None where there is no time."""
    found: list[tuple[float, float]] = []
    for factor in factors:
        arm = examination.probe.single(*base, scaled(factor))
        if arm is None:
            break
        found.append((closed(examination, arm), factor))
        if found[-1][0] > 0.5 or (factor <= LEAST and not _wild(arm)):
            break
    return max(found)[1] if found else None


def _wild(arm: Arm) -> bool:
    """Return whether a training has diverged, or has come to rest after a leap."""
    return arm.diverged or max(arm.losses) > LEAP * max(mean(arm.start), 1e-6)


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of no values."""
    return sum(values) / max(len(values), 1)


def set_rate(lr: float) -> str:
    """Return the line of code that sets a rate in every parameter group."""
    return f"for group in optimizer.param_groups: group['lr'] = {lr:.3g}"
