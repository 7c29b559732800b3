"""What is measured on the cells of a study: time to the target, area under the curve, test score, honest gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from provenet.records.study import Cell, CellCost, Design, Goal
from provenet.stats.censored import first_crossing

Cells = Mapping[tuple[str, int], Cell]
"""Cells by arm and seed."""
Figures = Sequence[float | None]
Axis = Callable[[Cell], tuple[Sequence[float], float]]
"""Where the validations of a cell lie, and where its budget ends; 0 where that is not known."""

EPOCHS = "epochs to target"
STEPS = "steps to target"
SECONDS = "seconds to target"
AREA = "area under the validation curve"
GAP = "honest gap"


@dataclass(frozen=True)
class Measure:
    """One figure of a cell that arms are compared in.

    Args:
        name: as in the rows of effects.
        goal: the goal that it speaks of.
        primary: whether the verdict on the goal rests on it.
        more_is_better: whether a larger figure is the better one.
        better: what a gain reads like, as in "{} epochs sooner".
        worse: what a loss reads like.
        read: cells of one seed and the target -> a figure for each; None where a cell has none. The cells come together
            since they are followed up to one horizon.
    """

    name: str
    goal: Goal
    primary: bool
    more_is_better: bool
    better: str
    worse: str
    read: Callable[[Sequence[Cell], float | None], Figures]


def by_place(design: Design, cells: Sequence[Cell]) -> Cells:
    """Return the cells of a design by arm and seed, in the order of the design; others are left out."""
    known = {(cell.arm, cell.seed): cell for cell in cells}
    places = [(arm.name, seed) for arm in design.arms for seed in design.seeds]
    return {place: known[place] for place in places if place in known}


def target_of(design: Design, cells: Cells) -> float | None:
    """Return the score of the target: a share of the median, over the baseline's seeds, of the best validation score.

    Args:
        design: the study.
        cells: its cells; the baseline's finished ones count.

    Returns:
        The score, or None while no cell of the baseline is finished.
    """
    baseline = [cells.get((design.arms[0].name, seed)) for seed in design.seeds]
    best = [max(row[2] for row in cell.curve) for cell in baseline if cell and cell.state == "done" and cell.curve]
    return design.target_frac * median(best) if best else None


def epochs_of(cell: Cell) -> tuple[Sequence[float], float]:
    """Return the validations of a cell and its budget in epochs."""
    return [row[0] for row in cell.curve], cell.budget_epochs


def steps_of(cell: Cell) -> tuple[Sequence[float], float]:
    """Return the validations of a cell and its budget in updates."""
    return [row[1] for row in cell.curve], cell.budget_steps


def seconds_of(costs: Mapping[str, CellCost]) -> Axis:
    """Return the axis of training seconds; a budget in seconds is the budget in epochs at the cell's own pace."""

    def axis(cell: Cell) -> tuple[Sequence[float], float]:
        cost = costs.get(cell.key, CellCost())
        pace = cost.seconds_per_epoch
        if pace is None and cost.seconds and cell.curve and cell.curve[-1][0] > 0:
            pace = cost.seconds[-1] / cell.curve[-1][0]
        return cost.seconds, (pace or 0.0) * cell.budget_epochs

    return axis


def reach(cell: Cell, axis: Axis, target: float) -> float | None:
    """Return where a cell first reaches the target, None where it never does; what diverged never does."""
    places, _ = axis(cell)
    return None if cell.diverged else first_crossing(places, [row[2] for row in cell.curve], target)


def times(axis: Axis) -> Callable[[Sequence[Cell], float | None], Figures]:
    """Return the measure min(time to the target, budget) along an axis.

    Cells with different budgets are followed up to the smallest one: of a cell that misses the target nothing is known
    beyond its budget. A cell that neither finished nor diverged has no figure.
    """

    def read(cells: Sequence[Cell], target: float | None) -> Figures:
        horizon = _horizon(cells, axis)
        if target is None or horizon is None or not all(_followed(cell, axis) for cell in cells):
            return [None] * len(cells)
        reached = [reach(cell, axis, target) for cell in cells]
        return [horizon if place is None else min(place, horizon) for place in reached]

    return read


def _followed(cell: Cell, axis: Axis) -> bool:
    """Whether it is known of a cell when it reached what."""
    return cell.diverged or (cell.state == "done" and 0 < len(cell.curve) == len(axis(cell)[0]))


def _horizon(cells: Sequence[Cell], axis: Axis) -> float | None:
    """Return the smallest budget; of a cell whose budget is not known, what the others have."""
    return min((budget for _, budget in map(axis, cells) if budget > 0), default=None)


def areas(cells: Sequence[Cell], target: float | None) -> Figures:
    """Return the mean height of each validation curve over the smallest budget.

    Straight lines between validations; the first score holds before the first one, the last after an early stop. None
    for a cell that did not finish.

    Example:
        >>> half = Cell(arm="a", seed=0, key="", state="done", curve=((1, 10, 0.2), (3, 30, 0.6)), budget_epochs=4)
        >>> areas([half], None)
        [0.4]
    """
    horizon = _horizon(cells, epochs_of)
    return [_area(cell, horizon) if cell.state == "done" and cell.curve and horizon else None for cell in cells]


def _area(cell: Cell, horizon: float) -> float:
    epochs = np.array([row[0] for row in cell.curve], dtype=np.float64)
    scores = np.array([row[2] for row in cell.curve], dtype=np.float64)
    places = np.concatenate([[0.0], epochs[(epochs > 0) & (epochs < horizon)], [horizon]])
    return float(np.trapezoid(np.interp(places, epochs, scores), places) / horizon)


def _tests(cells: Sequence[Cell], target: float | None) -> Figures:
    return [cell.test if cell.state == "done" else None for cell in cells]


def _gaps(cells: Sequence[Cell], target: float | None) -> Figures:
    return [cell.gap if cell.state == "done" else None for cell in cells]


def measures(metric: str) -> tuple[Measure, ...]:
    """Return what arms are compared in, primary measures first.

    Args:
        metric: the primary score of the study.

    Example:
        >>> [(measure.name, measure.primary) for measure in measures("dice")][:3]
        [('epochs to target', True), ('test dice', True), ('steps to target', False)]
    """
    score = metric.replace("_", " ")
    test, curve = f"test {score}", f"mean validation {score}"
    return (
        Measure(EPOCHS, "convergence", True, False, "{} epochs sooner", "{} epochs later", times(epochs_of)),
        Measure(test, "generalisation", True, True, f"{test} {{}} higher", f"{test} {{}} lower", _tests),
        Measure(STEPS, "convergence", False, False, "{} updates sooner", "{} updates later", times(steps_of)),
        Measure(AREA, "convergence", False, True, f"{curve} {{}} higher", f"{curve} {{}} lower", areas),
        Measure(GAP, "generalisation", False, False, "honest gap {} smaller", "honest gap {} larger", _gaps),
    )


def clock(costs: Mapping[str, CellCost]) -> Measure:
    """Return the measure that the clock decides: seconds to the target.

    Args:
        costs: what cells took, by key.
    """
    read = times(seconds_of(costs))
    return Measure(SECONDS, "convergence", False, False, "{} s sooner", "{} s later", read)
