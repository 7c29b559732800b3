"""What the cells of a study come to: effects for both goals, with intervals and verdicts.

A pure function of the design and of what was read from the cells: the same cells give the same record, whatever was
interrupted on the way. Only `machine` holds what the clock decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from provenet.records.study import ArmCost, Cell, CellCost, Design, Look, Machine, StudyRecord
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

    For each arm, seed by seed, the difference from the baseline in every measure (`measures.measures`); what a
    technique bought is positive where it is better. Verdicts: p values of paired t tests, corrected by Holm over the
    arms, measure by measure; where seeds are raced, a goal's verdict is that of its race, and other measures are called
    at the nominal level of one look. Cells that failed for the machine's reasons or are missing leave their pair out,
    and the row says so.

    Args:
        design: what was settled before the first cell.
        cells: what was read from the cells, in any order; what is not of the design is left out.
        costs: what cells took, by key.
        looks: the looks of a race; without any they are made from the cells.
        minutes: what the study took.
        provenance: machine and versions.

    Returns:
        The record, free of NaN; it is incomplete while a cell that the design needs is missing, or failed other than
        by diverging.
    """
    found = by_place(design, cells)
    looks = tuple(looks) or race_looks(design, cells)
    pairs, mains = contrasts(design), main_contrasts(design)
    judge = Judge(design.level, len(pairs), rule_of(design), last_looks(looks), diverged_of(design, found))
    main_judge = Judge(design.level, len(mains), judge.rule, {}, {})
    figures = Frame(design.seeds, found, target_of(design, found))
    shown = measures(design.metric)
    effects, main_effects = effects_of(pairs, shown, figures, judge), effects_of(mains, shown, figures, main_judge)
    timed = effects_of(pairs, [clock(costs)], figures, judge)
    judged = judged_of(design, effects, main_effects)
    command, used = command_of(design, taken(judged))
    return StudyRecord(
        design=design,
        target=figures.target,
        effects=effects,
        main_effects=main_effects,
        cells=tuple(found.values()),
        looks=looks,
        held_equal=held_equal(design, found),
        advice=(*advice_of(design, found, figures.target, judged), *_about_command(len(used))),
        command=command,
        complete=complete(design, cells),
        machine=_machine(design, found, costs).model_copy(
            update={"effects": timed, "minutes": minutes, "provenance": dict(provenance or {})}
        ),
    )


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


def _machine(design: Design, cells: Cells, costs: Mapping[str, CellCost]) -> Machine:
    """Return what the cells took, each and on average over the finished ones of an arm."""
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
    return Machine(costs=tuple(rows), cells={c.key: costs[c.key] for c in cells.values() if c.key in costs})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
