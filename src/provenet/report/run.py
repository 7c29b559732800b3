"""The report of a run: written from its folder, finished or not, without torch."""

from __future__ import annotations

from pathlib import Path

from provenet.records import RunRecord
from provenet.report import answers, facts, figures, pictures, verdict
from provenet.report.doctor import first_look
from provenet.report.page import render, write_page
from provenet.report.words import split_name


def write_run_report(folder: str | Path) -> Path:
    """Write `report.html` into a run folder: one page that opens offline, the same bytes for the same records.

    Args:
        folder: the run folder.

    Returns:
        The path of the page.

    Raises:
        RecipeError: the folder holds no run.
        StorageError: a record is damaged, or the page cannot be written.
    """
    record = RunRecord.read(folder)
    return write_page(record.folder / "report.html", run_page(record))


def run_page(record: RunRecord) -> str:
    """Return the report of a run as HTML."""
    album = pictures.Album(record.folder / "views")
    return render(
        "run.html.j2",
        name=record.name,
        task=record.task,
        verdict=verdict.verdict(record),
        unfinished=verdict.unfinished_sentence(record),
        resume=verdict.resume_command(record),
        tiles=figures.tiles(record),
        metrics=figures.metric_table(record),
        curves=figures.learning_charts(record),
        judged=split_name(next(iter(verdict.splits_of(record)), "")).lower(),
        answers=answers.answer_charts(record),
        pairs=answers.confused_pairs(record),
        per_class=answers.class_table(record),
        wrong=pictures.wrong_examples(record, album),
        overlays=pictures.overlays(record, album),
        swatches=pictures.swatches(record),
        augmented=pictures.augmented(record, album),
        left_out=album.left_out,
        gap=verdict.gap_sentence(record),
        doctor=first_look(record.doctor),
        counts=facts.count_table(record),
        shares=facts.share_table(record),
        twins=facts.twin_table(record),
        data_notes=facts.notes_on_data(record),
        quarantined=facts.quarantine_table(record),
        data_facts=facts.data_facts(record),
        choices=facts.choice_table(record),
        recipe=facts.recipe_text(record),
        events=facts.event_table(record),
        provenance=facts.provenance_table(record),
        commands=facts.commands(record),
    )
