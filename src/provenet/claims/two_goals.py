"""Claim 20: every technique serves one of two goals, or both; put together from what the other claims measured."""

from __future__ import annotations

from provenet.claims.claim import Claim, within
from provenet.claims.lab import Lab
from provenet.records.claim import Dots, Effect, Finding, Grid
from provenet.stats.intervals import Figure

GOALS = ("convergence", "generalisation")


def measure(lab: Lab) -> Finding:
    """Put the effects of all claims measured so far into one table."""
    effects = [found for record in lab.earlier for found in record.finding.effects]
    named = list(dict.fromkeys(found.technique for found in effects))
    rows = [(name, *(_words(effects, name, goal) for goal in GOALS), _moved(effects, name)) for name in named]
    told = [name for name in named if any(_answer(found) for found in effects if found.technique == name)]
    share = Figure(len(told) / len(named) if named else None)
    checks = [within("every technique that was trained with and without moved a goal", share, 1, 1, len(named))]
    return Finding(
        checks=tuple(checks),
        said=_said(len(named), len(told), {record.number for record in lab.earlier if record.finding.effects}),
        charts=tuple(_chart(effects, goal) for goal in GOALS if any(found.goal == goal for found in effects)),
        tables=(Grid(title="What each technique moved", head=("technique", *GOALS, "moved"), rows=tuple(rows)),),
    )


def _answer(found: Effect) -> str:
    """Return what an effect's interval says: better, worse, or nothing."""
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return ""
    return "better" if found.low > 0 else "worse"


def _words(effects: list[Effect], technique: str, goal: str) -> str:
    """Return the effects of a technique on a goal, as text."""
    return "; ".join(
        f"{_answer(found) or 'could be zero'} {_figure(found)} (n = {found.n})"
        for found in effects
        if found.technique == technique and found.goal == goal
    )


def _figure(found: Effect) -> str:
    if found.value is None:
        return "n/a"
    if found.low is None or found.high is None:
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _moved(effects: list[Effect], technique: str) -> str:
    """Return which goals a technique moved, and whether for the worse."""
    moved = {
        goal: _answer(found)
        for goal in GOALS
        for found in effects
        if found.technique == technique and found.goal == goal and _answer(found)
    }
    return ", ".join(goal if answer == "better" else f"{goal} (worse)" for goal, answer in moved.items()) or "neither"


def _said(num: int, told: int, numbers: set[int]) -> str:
    """Return what came out, in words."""
    if not num:
        return "No other claim has been measured in this folder yet, so there is nothing to put together."
    listed = ", ".join(str(number) for number in sorted(numbers))
    return (
        f"Of {num} comparisons from claims {listed}, {told} moved at least one goal by more than its 95 % interval; "
        f"for the other {num - told} both effects could be zero at these few seeds and short trainings. The intervals "
        f"are not corrected for the number of comparisons: about one in twenty would stand out by chance."
    )


def _chart(effects: list[Effect], goal: str) -> Dots:
    chosen = [found for found in effects if found.goal == goal]
    rows = tuple((found.technique, found.value, found.low, found.high) for found in chosen)
    note = "Above zero: better with the technique. " + "; ".join(dict.fromkeys(found.measure for found in chosen)) + "."
    return Dots(title=f"What moved {goal}", rows=rows, note=note)


CLAIM = Claim(
    statement="Each of these techniques serves faster convergence, better generalisation, or both.",
    experiment=(
        "Nothing is trained: the effects that the other claims measured are put into one table, each with its "
        "interval, for both goals. Run the other claims into the same folder first."
    ),
    task=None,
    measure=measure,
    reads_others=True,
)
