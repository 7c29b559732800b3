"""The report of a study: one page, written from `effects.json` without torch, whether all cells are done or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provenet.core.errors import Fault, RecipeError, StorageError
from provenet.core.files import read_json
from provenet.records.study import StudyRecord
from provenet.report import study_cells as cells
from provenet.report import study_tables as tables
from provenet.report import study_words as words
from provenet.report.page import Chart, render, write_page
from provenet.report.study_charts import draw_forest, sign
from provenet.report.study_curves import learning_panels, reaching_panels
from provenet.report.study_text import study_markdown
from provenet.report.words import capital


def write_study_report(folder: Path) -> Path:
    """Write `report.html`, one page that opens offline, and beside it the same facts as text, `study.md`.

    Args:
        folder: the folder with `effects.json`.

    Returns:
        The path of the page.

    Raises:
        RecipeError: the folder holds no study.
        StorageError: the record is damaged, or the page cannot be written.
    """
    record = read_study(folder)
    write_page(folder / "study.md", study_markdown(record))
    return write_page(folder / "report.html", study_page(record, folder))


def read_study(folder: Path) -> StudyRecord:
    """Read `effects.json`.

    Raises:
        RecipeError: there is none.
        StorageError: it cannot be read.
    """
    path = folder / "effects.json"
    if not path.is_file():
        remedy = f"make one: provenet ablate path/to/images --out {folder}"
        raise RecipeError(Fault(f"{folder} holds no study", "no effects.json", "", remedy))
    try:
        return StudyRecord.model_validate(read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        remedy = "give the same `provenet ablate` command again: it writes the record anew from the finished cells"
        raise StorageError(Fault("the record cannot be read", first_line, "", remedy, str(path))) from error


def study_page(record: StudyRecord, folder: Path) -> str:
    """Return the report of a study as HTML; `folder` is what its commands name."""
    return render(
        "study.html.j2",
        name=record.design.name,
        headline=words.headline(record),
        unfinished=words.unfinished(record),
        resume=words.resume_command(record, folder),
        tiles=cells.tiles(record),
        advice=record.advice,
        command=record.command,
        main_forests=_forests("main", words.shown(record, record.main_effects)),
        forests=_forests("effects", words.shown(record, record.effects)),
        verdicts=tables.verdict_rows(record),
        signs={verdict: (tone, sign(verdict)) for verdict, tone in words.TONES.items()},
        sentences=tables.sentence_table(record),
        costs=tables.cost_table(record),
        measures=tables.measure_table(record),
        learning=learning_panels(record),
        reaching=reaching_panels(record),
        held_equal=cells.held_equal(record),
        how_to_read=words.how_to_read(record),
        grid=cells.cell_grid(record),
        seeds=record.design.seeds,
        states=words.states(record),
        failures=cells.failure_table(record),
        tuning=cells.tuning_table(record),
        looks=cells.look_table(record),
        arms=cells.arm_table(record),
        facts=cells.facts(record),
        recipe=cells.recipe_text(record),
        commands=words.commands(record, folder),
    )


def _forests(kind: str, rows: Sequence[words.Shown]) -> list[Chart]:
    """Return a forest plot a goal, the best effect first, those without a figure last."""
    charts = []
    for goal in words.GOALS:
        own = sorted((row for row in rows if row.effect.goal == goal), key=_place)
        if own:
            title = f"{capital(goal)}: {own[0].effect.measure}"
            charts.append(Chart(title, draw_forest(f"{kind}-{goal}", title, own)))
    return charts


def _place(row: words.Shown) -> tuple[bool, float, str]:
    value = row.effect.value
    return value is None, -(value or 0.0), row.name
