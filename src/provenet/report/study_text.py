"""A study as Markdown: the same facts as the page, without its charts; the content of a page in `docs/findings/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from provenet.records.study import StudyRecord
from provenet.report import study_cells as cells
from provenet.report import study_tables as tables
from provenet.report import study_words as words
from provenet.report.markdown import inline, paragraph, table
from provenet.report.page import Table
from provenet.report.study_tables import Noted
from provenet.report.study_words import Bought, Shown, bought
from provenet.report.words import duration, flat, number

_WRITTEN = "<!-- Written by `provenet ablate` from effects.json: make the study again rather than change this page. -->"
_HEAD = ("technique", "arm", "verdict", "bought, 95 % interval", "for the number of arms", "pairs", "baseline → arm")


def study_markdown(record: StudyRecord) -> str:
    """Return a study as Markdown: what was found, what to do, effects a goal, costs, what was held equal, machine."""
    blocks = [
        _WRITTEN,
        f"# {inline(record.design.name)}: what each technique bought",
        paragraph(words.headline(record)),
    ]
    blocks += [_setting(record), "\n".join(f"* {inline(sentence)}" for sentence in record.advice)]
    if record.command:
        blocks += ["The recipe that the evidence supports:", f"```\n{record.command}\n```"]
    for title, effects in (("averaged over the grid, ", record.main_effects), ("", record.effects)):
        blocks += _effects(title, words.shown(record, effects))
    blocks += ["## What a cell takes", _table(tables.cost_table(record))]
    for title, found in (
        ("What the arms had in common", cells.held_equal(record)),
        ("Cells that failed", cells.failure_table(record)),
        ("Rates that were tried", cells.tuning_table(record)),
        ("Looks of the race", cells.look_table(record)),
    ):
        if found is not None:
            blocks += [f"## {title}", _table(found)]
    machine = [row for row in flat(record.machine.provenance) if row[1]]
    blocks += ["## Machine and versions", table(("what", "value"), machine)]
    blocks += ["## The baseline's recipe", f"```yaml\n{cells.recipe_text(record)}```"]
    return "\n\n".join(blocks) + "\n"


def _setting(record: StudyRecord) -> str:
    """Return what was compared, in a sentence or two."""
    design = record.design
    budget = next(((cell.budget_epochs, cell.budget_steps) for cell in record.cells if cell.budget_steps), None)
    length = "" if budget is None else f", trainings of {budget[0]:.3g} epochs ({budget[1]:,} updates)"
    took = "" if record.machine.minutes is None else f"; it took {duration(record.machine.minutes * 60)}"
    done = words.states(record).get("done", 0)
    target = (
        ""
        if record.target is None
        else f" The target of convergence is a validation {design.metric} of {number(record.target)}."
    )
    return inline(
        f"{PurePath(design.data).name}, {design.mode}: {len(design.arms)} arms, {len(design.seeds)} seeds, {done} of "
        f"{len(record.cells)} cells done{length}{took}.{target} In brackets: 95 % intervals over paired seeds; above "
        f"zero is better."
    )


def _effects(title: str, rows: Sequence[Shown]) -> list[str]:
    """Return a table a goal, the best effect first."""
    blocks = []
    for goal in words.GOALS:
        own = [row for row in rows if row.effect.goal == goal]
        own.sort(key=lambda row: (row.effect.value is None, -(row.effect.value or 0.0), row.name))
        if own:
            blocks += [
                f"## {goal.capitalize()}: {title}{inline(own[0].effect.measure)}",
                table(_HEAD, map(_row, own), (2,)),
            ]
    return blocks


def _row(row: Shown) -> tuple[str, ...]:
    effect = row.effect
    wide = Bought(effect.value, effect.wide_low, effect.wide_high).interval or "–"
    means = f"{number(effect.baseline)} → {number(effect.changed)}"
    return (row.name, effect.arm, f"**{inline(row.word)}**", str(bought(effect)), wide, number(effect.n), means)


def _table(found: Table) -> str:
    """Return a table of the page as Markdown."""
    rows: list[tuple[str, ...]] = [tuple(_cell(cell) for cell in row) for row in found.rows]
    return table([str(name) for name in found.head], rows)


def _cell(cell: Any) -> str:
    """Return a cell as text, its quieter note in brackets."""
    if isinstance(cell, Noted):
        return f"{cell.text} ({cell.interval})" if cell.interval else cell.text
    return str(cell)
