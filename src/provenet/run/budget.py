"""A budget in minutes becomes a number of updates, once, from measured times."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import nn

from provenet.core.errors import Fault, RecipeError
from provenet.engine.probe import step_seconds
from provenet.recipe.build import Session, clean_ids
from provenet.run.finish import FINAL_CLEAN

MARGIN = 0.96
"""Share of the time left that is planned with: measured times vary by a few per cent."""
VALIDATION_SHARE = 0.08
"""Share of the training time that validations may take."""
FINAL_EXTRA_S = 12.0
"""Seconds at the end of a run beside scoring: intervals, views, report."""


@dataclass(frozen=True)
class Pace:
    """Measured times of one session, in seconds.

    Args:
        step_s: one update with its data.
        sample_s: scoring one sample.
        validation_s: one validation.
        final_s: everything after the last update: scores of all splits, intervals, views and report.
    """

    step_s: float
    sample_s: float
    validation_s: float
    final_s: float


@dataclass(frozen=True)
class Plan:
    """What a budget comes to.

    Args:
        steps: updates.
        val_every: epochs between validations.
        reason: how it was found, a clause.
    """

    steps: int
    val_every: float
    reason: str


def measure(session: Session, net: nn.Module) -> Pace:
    """Return the pace of a session; leaves no trace in the net."""
    step_s = step_seconds(session.job, net, session.optimizer_for)
    splits = session.dataset.splits
    ids = splits["val"] if len(splits["val"]) else splits["train"]
    few = ids[: 512 if session.dataset.task == "classification" else 12]
    session.scorer.score(net, few[: max(1, len(few) // 4)])
    began = time.perf_counter()
    session.scorer.score(net, few)
    sample_s = (time.perf_counter() - began) / len(few)
    clean = len(clean_ids(session.dataset))
    clean_at_end = len(clean_ids(session.dataset, FINAL_CLEAN[session.dataset.task]))
    final = len(splits["val"]) + len(splits["test"]) + clean_at_end
    return Pace(step_s, sample_s, sample_s * (len(splits["val"]) + clean), sample_s * final * 1.2 + FINAL_EXTRA_S)


def plan(pace: Pace, left_s: float, steps_per_epoch: int, minutes: float, val_every: float | None = None) -> Plan:
    """Return the updates that fit into the time left, validations and the end included.

    Args:
        pace: measured times.
        left_s: seconds left of the budget.
        steps_per_epoch: updates an epoch.
        minutes: the whole budget, for the message.
        val_every: epochs between validations; None: as many as keep their share of the time small.

    Raises:
        RecipeError: not even a few updates fit.

    Example:
        >>> plan(Pace(1.0, 0.0, 10.0, 20.0), 620.0, 100, 11).steps
        514
    """
    # One validation comes at the very end, wherever the others fall.
    train_s = (left_s - pace.final_s) * MARGIN - pace.validation_s
    epoch_s = pace.step_s * steps_per_epoch
    epochs_between = val_every or float(max(1, round(pace.validation_s / (VALIDATION_SHARE * epoch_s))))
    per_step = pace.step_s + pace.validation_s / (epochs_between * steps_per_epoch)
    steps = int(train_s / per_step)
    if steps < 2:
        needed_s = pace.final_s + 2 * pace.validation_s + 60 * pace.step_s + minutes * 60 - left_s
        needed = math.ceil(needed_s / 60 + 1)
        raise RecipeError(
            Fault(
                f"minutes={minutes:g} is too short for this data on this machine",
                f"{left_s:.0f} s left, {pace.final_s:.0f} s for the final scores, {pace.step_s:.2f} s an update",
                "a budget that leaves room for updates",
                f"say minutes={needed} or more",
            )
        )
    reason = f"minutes={minutes:g}: {pace.step_s:.3g} s an update, {pace.validation_s:.3g} s a validation, measured"
    return Plan(steps, epochs_between, reason)
