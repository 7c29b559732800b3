"""What the net answers: which classes it confuses, how well it fits each, and how far its confidence can be trusted."""

from __future__ import annotations

from typing import Any

from provenet.records import RunRecord
from provenet.report.charts import draw_confusion, draw_intervals, draw_reliability
from provenet.report.page import Chart, Table
from provenet.report.parts import entries, part, rows
from provenet.report.verdict import splits_of
from provenet.report.words import Figure, capital, is_number, metric_name, number

MOST_CLASSES = 40
"""Classes that a chart can show so that they are still read."""
MOST_PAIRS = 25


def answer_charts(record: RunRecord) -> list[Chart]:
    """Return the charts of the most honest split: confusion or fit per class, then reliability."""
    scores = next(iter(splits_of(record).values()), {})
    charts = _confusion_chart(record, scores) if record.task == "classification" else _class_charts(scores)
    bins = [one for one in rows(part(scores, "extra"), "reliability") if _is_bin(one)]
    if bins:
        drawn = draw_reliability("reliability", [(one["confidence"], one["accuracy"], one["n"]) for one in bins])
        note = "On the dashed line confidence can be taken at its word; below it the net is too sure of itself."
        charts.append(Chart("Confidence and truth", drawn, f"{note} Grey bars: where its answers lie."))
    return charts


def class_table(record: RunRecord) -> Table | None:
    """Return the figures per class of the most honest split."""
    lines = rows(next(iter(splits_of(record).values()), {}), "per_class")
    names = list(dict.fromkeys(name for row in lines for name in row if name not in ("class", "name", "support")))
    if not lines:
        return None
    head = ("Class", "Support", *(capital(metric_name(name)) for name in names))
    return Table(head, [(_name(row), number(row.get("support")), *_figures(row, names)) for row in lines])


def confused_pairs(record: RunRecord) -> Table | None:
    """Return the most frequent mistakes of a classifier, most frequent first."""
    scores = next(iter(splits_of(record).values()), {})
    confusion = _matrix(record, scores) if record.task == "classification" else []
    pairs = [
        (count, truth, said, count / sum(counts))
        for truth, counts in enumerate(confusion)
        for said, count in enumerate(counts)
        if truth != said and count
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    most = MOST_PAIRS if len(record.classes) > MOST_CLASSES else 5
    names = record.classes
    lines = [(f"{names[truth]} → {names[said]}", number(n), f"{share:.1%}") for n, truth, said, share in pairs[:most]]
    return Table(("Truth → answer", "Images", "Share of the class"), lines) if lines else None


def _confusion_chart(record: RunRecord, scores: dict[str, Any]) -> list[Chart]:
    """Return the heat map where the classes are few enough to be read."""
    confusion = _matrix(record, scores)
    if not 0 < len(confusion) <= MOST_CLASSES:
        return []
    note = "Rows are the truth, columns the answer. Blue: right, orange: mistaken; depth of colour: share of the row."
    return [Chart("Confusion matrix", draw_confusion("confusion", record.classes, confusion), note, wide=True)]


def _class_charts(scores: dict[str, Any]) -> list[Chart]:
    """Return IoU and Dice per class with their intervals."""
    lines = rows(scores, "per_class")[:MOST_CLASSES]
    charts = []
    for metric in ("iou", "dice"):
        figures = [(_name(row), Figure.of(row.get(metric))) for row in lines if metric in row]
        if figures:
            title = f"{capital(metric_name(metric))} per class"
            charts.append(Chart(title, draw_intervals(f"class-{metric}", title, figures)))
    return charts


def _name(row: dict[str, Any]) -> str:
    return str(row.get("class", row.get("name", "")))


def _figures(row: dict[str, Any], names: list[str]) -> list[Figure]:
    return [Figure.of(row.get(name)) for name in names]


def _is_bin(one: dict[str, Any]) -> bool:
    return all(is_number(one.get(key)) for key in ("confidence", "accuracy", "n"))


def _matrix(record: RunRecord, scores: dict[str, Any]) -> list[list[int]]:
    """Return a split's confusion matrix; empty where it is not one of the run's classes."""
    matrix, num = entries(scores, "confusion"), len(record.classes)
    whole = all(isinstance(row, list) and len(row) == num and all(map(is_number, row)) for row in matrix)
    return matrix if whole and len(matrix) == num else []
