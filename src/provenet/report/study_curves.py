"""How the arms of a study learned, and when they reached the target: each against the baseline, over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

from provenet.records.study import Arm, Cell, StudyRecord
from provenet.report.page import Chart
from provenet.report.study_charts import Frame, Trace, draw_panel
from provenet.report.study_words import cells_of, compared
from provenet.report.svg import tick_values
from provenet.report.words import counted
from provenet.stats.censored import first_crossing, kaplan_meier

SHARES = (0.0, 0.5, 1.0)


def learning(cells: Sequence[Cell]) -> Trace:
    """Return the validation score by epoch: mean, least and most over the seeds.

    An epoch is shown where at least half of the seeds were validated: of fewer, the mean would speak of others.
    """
    curves = [cell.curve for cell in cells if cell.curve]
    scores: dict[float, list[float]] = defaultdict(list)
    for curve in curves:
        for epoch, _, score in curve:
            scores[round(epoch, 6)].append(score)
    kept = [(epoch, some) for epoch, some in sorted(scores.items()) if 2 * len(some) >= len(curves)]
    return [(epoch, fmean(some), min(some), max(some)) for epoch, some in kept]


def reaching(cells: Sequence[Cell], target: float) -> Trace:
    """Return the share of the seeds that have reached the target by each epoch, in steps, with its 95 % interval.

    A cell that diverged never reached it; one that failed for another reason, or is missing, says nothing.
    """
    known = [cell for cell in cells if cell.state == "done" or cell.diverged]
    if not known:
        return []
    times = [_reached(cell, target) for cell in known]
    ends = [_budget(cell) for cell in known]
    followed = [end if time is None else time for time, end in zip(times, ends, strict=True)]
    points, now = [(0.0, 0.0, 0.0, 0.0)], (0.0, 0.0, 0.0)
    for step in kaplan_meier(followed, [time is not None for time in times]):
        points.append((step.time, *now))
        now = (step.share, step.low, step.high)
        points.append((step.time, *now))
    return [*points, (max([*ends, points[-1][0]]), *now)]


def _reached(cell: Cell, target: float) -> float | None:
    """Return the epochs that a cell took to the target."""
    if cell.diverged or not cell.curve:
        return None
    epochs, _, scores = zip(*cell.curve, strict=True)
    return first_crossing(epochs, scores, target)


def _budget(cell: Cell) -> float:
    return max([cell.budget_epochs, *(epoch for epoch, _, _ in cell.curve)])


def learning_panels(record: StudyRecord) -> list[Chart]:
    """Return the learning curve of each arm against the baseline's."""
    traces = {arm.name: learning(cells_of(record, arm.name)) for arm in record.design.arms}
    middles = [middle for trace in traces.values() for _, middle, _, _ in trace]
    ticks = tick_values(min(middles, default=0.0), max(middles, default=1.0), most=4)
    return _panels(record, "learning", traces, lambda end: Frame(end, ticks, target=record.target))


def reaching_panels(record: StudyRecord) -> list[Chart]:
    """Return the share of seeds that reached the target, of each arm against the baseline; none without a target."""
    if record.target is None:
        return []
    traces = {arm.name: reaching(cells_of(record, arm.name), record.target) for arm in record.design.arms}
    # The bands of arm and baseline would hide each other: the arm's is kept.
    base = record.design.arms[0].name
    traces[base] = [(x, share, share, share) for x, share, _, _ in traces[base]]
    return _panels(record, "reaching", traces, lambda end: Frame(end, SHARES))


def _panels(record: StudyRecord, kind: str, traces: dict[str, Trace], framed: Callable[[float], Frame]) -> list[Chart]:
    """Return a panel an arm; all have the same axes. A study without anything recorded has none."""
    if not any(traces.values()):
        return []
    frame = framed(max(trace[-1][0] for trace in traces.values() if trace))
    base = traces[record.design.arms[0].name]
    return [
        Chart(arm.name, draw_panel(f"{kind}-{index}", arm.name, traces[arm.name], base, frame), _seeds(record, arm))
        for index, arm in enumerate(compared(record))
    ]


def _seeds(record: StudyRecord, arm: Arm) -> str:
    """Return what an arm changes, and of how many seeds its line speaks."""
    num = sum(bool(cell.curve) for cell in cells_of(record, arm.name))
    return " · ".join(part for part in (arm.says, counted(num, "seed")) if part)
