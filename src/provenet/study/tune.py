"""Each arm at its own best learning rate, so that none is punished for a rate that was chosen for another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from provenet.records.study import Arm, Cell, CellCost, Design
from provenet.study.cells import Task

SEED = 10_000
"""Seed of the sweep; no seed of a study is."""
RATIO = 3.0
MOST = 5
"""Rates tried at most: three around the arm's own, and on while the best is at an end."""


def tuned(
    design: Design,
    task: Callable[[Arm, int], Task],
    carry_out: Callable[[Iterable[Task]], None],
    cell: Callable[[Task], tuple[Cell, CellCost]],
) -> Design:
    """Return a design whose arms have their best rates, with the scores of all that were tried.

    Every arm gets the same sweep: a third of its own rate, the rate, three times the rate; where the best is at
    an end, further that way. One training each, judged by the best validation score; a rate that diverges has none.

    Args:
        design: the design before.
        task: makes the task of an arm and a seed.
        carry_out: carries tasks out.
        cell: reads a cell.
    """
    rates = {arm.name: _around(_rate(arm)) for arm in design.arms}
    scores: dict[str, dict[float, float | None]] = {arm.name: {} for arm in design.arms}
    for _ in range(1 + MOST - 3):
        tried = [(arm, rate) for arm in design.arms for rate in rates[arm.name] if rate not in scores[arm.name]]
        tasks = {(arm.name, rate): task(with_rate(arm, rate), SEED) for arm, rate in tried}
        carry_out(tasks.values())
        for (name, rate), made in tasks.items():
            scores[name][rate] = max((score for *_, score in cell(made)[0].curve), default=None)
        for arm in design.arms:
            rates[arm.name] = _further(rates[arm.name], scores[arm.name])
    arms = tuple(with_rate(arm, best(scores[arm.name]) or _rate(arm)) for arm in design.arms)
    tuning = {name: {f"{rate:g}": found[rate] for rate in sorted(found)} for name, found in scores.items()}
    return design.model_copy(update={"arms": arms, "tuning": tuning})


def _rate(arm: Arm) -> float:
    return float(arm.recipe["optimizer"]["lr"])


def _around(rate: float) -> list[float]:
    return [_rounded(rate / RATIO), rate, _rounded(rate * RATIO)]


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def with_rate(arm: Arm, rate: float) -> Arm:
    """Return an arm with another peak learning rate."""
    return arm.model_copy(update={"recipe": arm.recipe | {"optimizer": arm.recipe["optimizer"] | {"lr": rate}}})


def best(scores: dict[float, float | None]) -> float | None:
    """Return the rate with the highest score, the lowest of equals; None where none has a score.

    Example:
        >>> best({0.1: 0.5, 0.3: 0.7, 0.9: None})
        0.3
    """
    found = {rate: score for rate, score in scores.items() if score is not None}
    return min(found, key=lambda rate: (-found[rate], rate), default=None)


def _further(rates: list[float], scores: dict[float, float | None]) -> list[float]:
    """Return the rates with one more beyond the end that is best."""
    found = best(scores)
    if found is None or len(rates) >= MOST:
        return rates
    if found == min(rates):
        return [_rounded(found / RATIO), *rates]
    return [*rates, _rounded(found * RATIO)] if found == max(rates) else rates
