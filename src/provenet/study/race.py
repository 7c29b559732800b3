"""Racing: which arms of a study still need seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from provenet.records.study import Arm, Cell, Design, Goal, Look
from provenet.stats.paired import paired_test
from provenet.stats.racing import Bounds, decide
from provenet.study.effects import FIRST_LOOK, Frame, contrasts, diverged_of, pairs_of, rule_of
from provenet.study.measures import Cells, by_place, measures, target_of


def primary_differences(design: Design, cells: Sequence[Cell]) -> dict[tuple[str, Goal], list[float]]:
    """Return, for each arm and goal, what the technique bought in the primary measure.

    Args:
        design: the study; the target is that of its baseline's cells at hand.
        cells: cells in any order.

    Returns:
        One difference for each seed of which arm and baseline have a figure, in the order of the seeds; positive is
        better.
    """
    found = by_place(design, cells)
    frame = Frame(design.seeds, found, target_of(design, found))
    primary = [measure for measure in measures(design.metric) if measure.primary]
    return {
        (contrast.arm.name, measure.goal): pairs_of(contrast, measure, frame).differences
        for contrast in contrasts(design)
        for measure in primary
    }


def race_looks(design: Design, cells: Sequence[Cell]) -> tuple[Look, ...]:
    """Return every look that the cells allow, with its decision.

    The looks are made again from the cells: after 3, 4, 5 ... seeds, each with the cells of these seeds alone, so
    that an interrupted study decides as an unbroken one. A seed is looked at once the arm's cell and the baseline's
    have ended; a goal that is closed is looked at no more, nor is an arm of which half of the cells diverged.

    Args:
        design: the study.
        cells: cells in any order.

    Returns:
        By arm, in the order of the looks; none where seeds are not raced.
    """
    rule = rule_of(design)
    if rule is None:
        return ()
    found = by_place(design, cells)
    return tuple(look for arm in design.arms[1:] for look in _looks_of(design, arm, found, rule))


def _looks_of(design: Design, arm: Arm, cells: Cells, rule: Bounds) -> list[Look]:
    looks: list[Look] = []
    last = dict.fromkeys(get_args(Goal), 0)
    for num in range(FIRST_LOOK, len(_ended(design, arm, cells)) + 1):
        part = _first_seeds(design, arm, num)
        differences = primary_differences(part, list(cells.values()))
        for goal in list(last):
            found = differences[arm.name, goal]
            if len(found) > max(last[goal], FIRST_LOOK - 1):
                last[goal] = len(found)
                looks.append(_look(arm, goal, found, rule))
                if looks[-1].decision != "open":
                    del last[goal]
        if not last or arm.name in diverged_of(part, cells):
            break
    return looks


def _first_seeds(design: Design, arm: Arm, num: int) -> Design:
    """Return the study of one arm with the first seeds alone."""
    return design.model_copy(update={"arms": (design.arms[0], arm), "seeds": design.seeds[:num]})


def _ended(design: Design, arm: Arm, cells: Cells) -> tuple[int, ...]:
    """Return the first seeds whose cells have ended, one way or another, without a hole."""
    found = []
    for seed in design.seeds:
        pair = [cells.get((name, seed)) for name in (design.arms[0].name, arm.name)]
        if any(cell is None or cell.state == "missing" for cell in pair):
            break
        found.append(seed)
    return tuple(found)


def _look(arm: Arm, goal: Goal, differences: Sequence[float], rule: Bounds) -> Look:
    test = paired_test(differences)
    bound = rule.bounds[test.n - rule.looks[0]]
    decision = decide(differences, rule)
    return Look(arm=arm.name, goal=goal, n=test.n, t=test.t, bound=bound, decision=decision)


def last_looks(looks: Sequence[Look]) -> dict[tuple[str, Goal], Look]:
    """Return the last look at each arm and goal."""
    return {(look.arm, look.goal): look for look in looks}


def open_arms(design: Design, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the arms that need more seeds: a goal is open, and seeds are left without a cell of arm or baseline.

    An arm of which at least half of the cells of three or more seeds diverged is closed. Without a race every arm is
    open until all its seeds have cells.

    Args:
        design: the study.
        cells: cells in any order.
    """
    found = by_place(design, cells)
    rule = rule_of(design)
    looks = last_looks(race_looks(design, cells))
    open_ = []
    for arm in design.arms[1:]:
        ended = len(_ended(design, arm, found))
        closed = rule is not None and _closed(design, arm, found, ended, looks)
        if ended < len(design.seeds) and not closed:
            open_.append(arm.name)
    return tuple(open_)


def _closed(design: Design, arm: Arm, cells: Cells, ended: int, looks: dict[tuple[str, Goal], Look]) -> bool:
    """Whether both goals are closed, or the arm failed at a look."""
    goals = [looks.get((arm.name, goal)) for goal in get_args(Goal)]
    if all(look is not None and look.decision != "open" for look in goals):
        return True
    sizes = range(FIRST_LOOK, ended + 1)
    return any(arm.name in diverged_of(_first_seeds(design, arm, num), cells) for num in sizes)
