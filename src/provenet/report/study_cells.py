"""Which cells a study has, why some failed, what was decided before and between them, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from provenet.records.study import StudyRecord
from provenet.report.claim_words import Measured
from provenet.report.figures import Tile
from provenet.report.page import Table
from provenet.report.study_tables import Noted
from provenet.report.study_words import cells_of, compared, labels, raced_to_end, states
from provenet.report.words import capital, counted, duration, flat, metric_name, number
from provenet.stats.paired import mean_interval

LOOKS = {"open": "go on", "effect": "called", "no effect": "no effect in reach"}


def tiles(record: StudyRecord) -> list[Tile]:
    """Return what the study rests on, the baseline's test score first."""
    design, num = record.design, states(record)
    tests = [cell.test for cell in cells_of(record, design.arms[0].name) if cell.test is not None]
    score, test = metric_name(design.metric), mean_interval(tests)
    shown = Measured(test.value, test.low, test.high)
    reached = f"{design.target_frac:.0%} of the baseline's best"
    broken = ", ".join(f"{num[state]} {state}" for state in ("diverged", "failed", "missing") if num[state])
    minutes, thought = record.machine.minutes, design.minutes
    expected = f"thought to take {duration(thought * 60)}" if thought is not None else ""
    return [
        Tile(f"Baseline test {score}", shown.text, shown.interval, f"mean of {counted(len(tests), 'seed')}"),
        Tile(f"Target validation {score}", number(record.target), "", reached),
        Tile("Cells done", f"{num['done']} of {sum(num.values())}", "", broken or "none failed"),
        Tile("Time", duration(minutes * 60 if minutes is not None else None), "", expected),
    ]


@dataclass(frozen=True)
class Square:
    """A cell of the grid of arms and seeds."""

    state: str
    title: str


def cell_grid(record: StudyRecord) -> list[tuple[str, list[Square]]]:
    """Return each arm with the state of its cells, in the order of the seeds."""
    return [(arm.name, [_square(record, arm.name, seed) for seed in record.design.seeds]) for arm in record.design.arms]


def _square(record: StudyRecord, arm: str, seed: int) -> Square:
    """Return the state of a cell; a race leaves cells out that nobody asked for."""
    cell = next((cell for cell in record.cells if (cell.arm, cell.seed) == (arm, seed)), None)
    state: str = "missing" if cell is None else "diverged" if cell.diverged else cell.state
    if state == "missing" and raced_to_end(record):
        state = "not needed"
    return Square(state, f"{arm}, seed {seed}: {state}")


def failure_table(record: StudyRecord) -> Table | None:
    """Return the cells that failed, each with its reason."""
    failed = [cell for arm in record.design.arms for cell in cells_of(record, arm.name) if cell.state == "failed"]
    rows = [
        (cell.arm, number(cell.seed), "diverged" if cell.diverged else "failed", f"{cell.reason or '–'}")
        for cell in failed
    ]
    return Table(("Arm", "Seed", "State", "Reason"), rows, numeric=False) if rows else None


def tuning_table(record: StudyRecord) -> Table | None:
    """Return the validation score of each rate that was tried, arm by arm, the best of each marked."""
    tuning = record.design.tuning
    rates = sorted({rate for scores in tuning.values() for rate in scores}, key=_size)
    rows: list[tuple[Any, ...]] = []
    for arm, scores in tuning.items():
        known = [score for score in scores.values() if score is not None]
        best = max(known, default=None)
        tried = [_tried(scores, rate, best) for rate in rates]
        rows.append((arm, *tried))
    return Table(("Arm", *rates), rows) if rows else None


def _tried(scores: dict[str, float | None], rate: str, best: float | None) -> Noted:
    """Return the score of a rate; a rate that was tried without a score diverged."""
    if rate not in scores:
        return Noted("–")
    score = scores[rate]
    return Noted(number(score), "best" if score is not None and score == best else "")


def _size(rate: str) -> tuple[float, str]:
    """Return the order of a rate, which a record holds as text."""
    try:
        return float(rate), rate
    except ValueError:
        return float("inf"), rate


def look_table(record: StudyRecord) -> Table | None:
    """Return the interim looks of a study whose seeds were raced."""
    called = labels(record)
    rows = [
        (
            called.get(look.arm, look.arm),
            look.goal,
            f"{look.n}",
            number(look.t),
            number(look.bound),
            LOOKS[look.decision],
        )
        for look in record.looks
    ]
    return Table(("Technique", "Goal", "Pairs", "t", "Bound", "Decision"), rows) if rows else None


def arm_table(record: StudyRecord) -> Table:
    """Return what each arm changes."""
    rows = [
        (arm.name, arm.says or "the recipe as it is", f"{'without' if arm.without else 'with'} {arm.technique}")
        for arm in compared(record)
    ]
    base = (record.design.arms[0].name, "the recipe as it is", "what the others are compared with")
    return Table(("Arm", "Changes", "Speaks of"), [base, *rows], numeric=False)


def held_equal(record: StudyRecord) -> Table | None:
    """Return what the arms of a seed had in common."""
    rows = [(capital(name), text) for name, text in record.held_equal.items()]
    return Table(("", ""), rows, numeric=False) if rows else None


def facts(record: StudyRecord) -> Table:
    """Return the design without its arms, and where it was carried out."""
    design = record.design.model_dump(exclude={"arms", "tuning"})
    rows: list[tuple[str, ...]] = [*flat(design), *flat(record.machine.provenance)]
    return Table(("", ""), rows, numeric=False)


def recipe_text(record: StudyRecord) -> str:
    """Return the resolved recipe of the baseline as YAML."""
    recipe = record.design.arms[0].recipe
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else ""
