"""What the cells of a study come to: effects for both goals, with intervals and verdicts.

A pure function of the design and of what was read from the cells: the same cells give the same record, whatever was
interrupted on the way. Only `machine` holds what the clock decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from provenet.records.study import ArmCost, Cell, CellCost, Design, Effect, Look, Machine, StudyRecord
from provenet.study.advice import advice_of, judged_of, taken
from provenet.study.command import command_of
from provenet.study.effects import (
    Frame,
    Judge,
    contrasts,
    diverged_of,
    effects_of,
    main_contrasts,
    rule_of,
)
from provenet.study.measures import Cells, by_place, clock, measures, target_of
from provenet.study.pairing import held_equal
from provenet.study.race import last_looks, open_arms, primary_differences, race_looks

__all__ = ["analyse", "open_arms", "primary_differences", "race_looks"]


def analyse(
    design: Design,
    cells: Sequence[Cell],
    costs: Mapping[str, CellCost],
    looks: Sequence[Look] = (),
    minutes: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> StudyRecord:
    """Return the record of a study as far as it has come.

    For each arm, seed by seed, the difference from the baseline in every measure; what a technique bought is positive
    where it is better. Verdicts: p values of paired t tests, corrected by Holm over the arms, measure by measure; where
    seeds are raced, a goal's verdict is that of its race, other measures are called at the nominal level of one look.

    Args:
        design: what was settled before the first cell.
        cells: what was read from the cells, in any order; what is not of the design is left out.
        costs: what cells took, by key.
        looks: the looks of a race; without any they are made from the cells.
        minutes: what the study took; None: as long as any of its cells was at work.
        provenance: machine and versions.

    Returns:
        The record, free of NaN; rows name the seeds that have no pair, and why.
    """
    found = by_place(design, cells)
    looks = tuple(looks) or race_looks(design, cells)
    target = target_of(design, found)
    effects, main_effects, timed = _effects(design, Frame(design.seeds, found, target), looks, costs)
    judged = judged_of(design, effects, main_effects)
    command, used = command_of(design, taken(judged))
    return StudyRecord(
        design=design,
        target=target,
        effects=effects,
        main_effects=main_effects,
        cells=tuple(found.values()),
        looks=looks,
        held_equal=held_equal(design, found),
        advice=(*advice_of(design, found, target, judged), *_about_command(len(used))),
        command=command,
        complete=complete(design, cells),
        machine=Machine(
            effects=timed,
            costs=_arm_costs(design, found, costs),
            cells={cell.key: costs[cell.key] for cell in found.values() if cell.key in costs},
            minutes=busy_minutes(costs.values()) if minutes is None else minutes,
            provenance=dict(provenance or {}),
        ),
    )


def _effects(
    design: Design, frame: Frame, looks: Sequence[Look], costs: Mapping[str, CellCost]
) -> tuple[tuple[Effect, ...], tuple[Effect, ...], tuple[Effect, ...]]:
    """Return the effects of the arms, of the techniques of a grid, and of the arms on the clock."""
    pairs, mains, shown = contrasts(design), main_contrasts(design), measures(design.metric)
    judge = Judge(design.level, len(pairs), rule_of(design), last_looks(looks), diverged_of(design, frame.cells))
    alone = Judge(design.level, len(mains), judge.rule, {}, {})
    return (
        effects_of(pairs, shown, frame, judge),
        effects_of(mains, shown, frame, alone),
        effects_of(pairs, [clock(costs)], frame, judge),
    )


def busy_minutes(costs: Iterable[CellCost]) -> float | None:
    """Return for how long at least one cell was at work; pauses between two commands do not count.

    Example:
        >>> busy_minutes([CellCost(began=0, ended=60), CellCost(began=30, ended=90), CellCost(began=600, ended=630)])
        2.0
    """
    spans = sorted((cost.began, cost.ended) for cost in costs if cost.began is not None and cost.ended is not None)
    busy, until = 0.0, -math.inf
    for began, ended in spans:
        busy += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return round(busy / 60, 2) if spans else None


def complete(design: Design, cells: Sequence[Cell]) -> bool:
    """Return whether every cell that the design needs is done or diverged; a race needs none of a closed arm.

    Args:
        design: the study.
        cells: cells in any order.
    """
    found = by_place(design, cells)
    if any(cell.state == "failed" and not cell.diverged for cell in found.values()):
        return False
    alone = len(design.arms) == 1
    ended = sum(cell.state != "missing" for cell in found.values())
    return ended == len(design.seeds) if alone else not open_arms(design, cells)


def _about_command(num: int) -> tuple[str, ...]:
    if num == 0:
        return ("The command is the baseline: the evidence supports no change.",)
    if num == 1:
        return ()
    return (f"The command makes {num} changes at once; the study measured each of them alone.",)


def _arm_costs(design: Design, cells: Cells, costs: Mapping[str, CellCost]) -> tuple[ArmCost, ...]:
    """Return what the finished cells of each arm took, mean over them."""
    rows = []
    for arm in design.arms:
        done = [cells[arm.name, seed] for seed in design.seeds if (arm.name, seed) in cells]
        known = [costs[cell.key] for cell in done if cell.state == "done" and cell.key in costs]
        row = ArmCost(
            arm=arm.name,
            seconds_per_epoch=_mean([cost.seconds_per_epoch for cost in known]),
            images_per_s=_mean([cost.images_per_s for cost in known]),
            peak_memory_mib=_mean([cost.peak_memory_mib for cost in known]),
            cell_seconds=_mean([cost.seconds[-1] if cost.seconds else None for cost in known]),
        )
        rows.append(row)
    return tuple(rows)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
