"""Every check in one list, family by family; the order breaks ties between findings of one weight."""

from __future__ import annotations

from provenet.doctor.check import Check
from provenet.doctor.checks import (
    activity,
    augmentation,
    classes,
    contents,
    copies,
    data,
    failures,
    graph,
    init,
    labels,
    loop,
    losses,
    masks,
    mode,
    norm,
    optimization,
    outputs,
    rates,
    relation,
    structure,
    symptoms,
    weights,
)

CHECKS: tuple[Check, ...] = (
    *outputs.CHECKS,
    *losses.CHECKS,
    *labels.CHECKS,
    *graph.CHECKS,
    *contents.CHECKS,
    *data.CHECKS,
    *masks.CHECKS,
    *copies.CHECKS,
    *classes.CHECKS,
    *weights.CHECKS,
    *augmentation.CHECKS,
    *relation.CHECKS,
    *mode.CHECKS,
    *norm.CHECKS,
    *init.CHECKS,
    *activity.CHECKS,
    *structure.CHECKS,
    *rates.CHECKS,
    *optimization.CHECKS,
    *loop.CHECKS,
    *failures.CHECKS,
    *symptoms.CHECKS,
)
