"""The figures of a result as tiles and tables, and the curves that led there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from provenet.records import EpochRow, RunRecord
from provenet.report.charts import Axes, Line, Point, draw_lines
from provenet.report.page import Chart, Table
from provenet.report.parts import part, rows
from provenet.report.verdict import best_baseline, best_row, figure_of, primary_metric, splits_of
from provenet.report.words import (
    Figure,
    capital,
    compact,
    counted,
    duration,
    is_number,
    metric_name,
    number,
    plain,
    rounded,
    split_name,
)


@dataclass(frozen=True)
class Tile:
    """A key figure with what stands beside it."""

    label: str
    value: str
    interval: str = ""
    note: str = ""


def tiles(record: RunRecord) -> list[Tile]:
    """Return the key figures, the deciding one first."""
    metric, splits = primary_metric(record), splits_of(record)
    found = [_score_tile(record, name, metric) for name in splits] or _tile_so_far(record, metric)
    figure = Figure.of(part(record.result, "gap"))
    if is_number(figure.value):
        found.append(Tile("Honest gap", figure.text, figure.interval, "clean training minus validation"))
    return found + _training_tiles(record)


def _score_tile(record: RunRecord, split: str, metric: str) -> Tile:
    """Return the tile of the primary metric on a split, the baseline or the count of images beside it."""
    scores = splits_of(record)[split]
    figure, baseline = figure_of(scores, metric), best_baseline(record, split)
    name = _measured(split)
    note = f"{baseline[0]}: {baseline[1].text}" if baseline else counted(scores.get("n"), "image")
    return Tile(f"{name} {metric_name(metric)}", figure.text, figure.interval, note)


def _measured(split: str) -> str:
    """Return the name of a measured split: the training split is measured without augmentation."""
    return "Clean training" if split == "train" else split_name(split)


def _tile_so_far(record: RunRecord, metric: str) -> list[Tile]:
    """Return the best validation figure of a run without a result."""
    best = best_row(record)
    name = f"Best validation {metric_name(metric)} so far"
    return [Tile(name, number(best.val.get(metric)), "", f"after {counted(best.epoch, 'epoch')}")] if best else []


def _training_tiles(record: RunRecord) -> list[Tile]:
    """Return what training took; of an unfinished run, from its rows."""
    training = part(record.result, "training")
    last = record.epochs[-1] if record.epochs else EpochRow(seconds=0.0)
    took, num_epochs = training.get("seconds", last.seconds), training.get("epochs", last.epoch)
    found = [Tile("Training time", duration(took), "", counted(num_epochs, "epoch"))]
    best = best_row(record)
    if best is not None:
        note = plain(training["stopped"]) if training.get("stopped") else ""
        found.append(Tile("Best epoch", rounded(best.epoch), f"step {number(best.step)}", note))
    if "parameters" in training:
        flops = f"{compact(training['flops'])} multiply-adds an image" if is_number(training.get("flops")) else ""
        found.append(Tile("Parameters", compact(training["parameters"]), "", flops))
    if is_number(training.get("images_per_s")):
        share = training.get("loader_share")
        note = f"{share:.0%} of the time in loading" if is_number(share) else ""
        found.append(Tile("Images a second", compact(training["images_per_s"]), "", note))
    return found


def metric_table(record: RunRecord) -> Table | None:
    """Return every metric on every split with its interval, the baselines as further columns."""
    splits = splits_of(record)
    shown = next(iter(splits), "")
    baselines = [row for row in rows(record.result, "baselines") if row.get("split") == shown]
    columns = [*splits.values(), *baselines]
    metrics = list(dict.fromkeys(name for column in columns for name in part(column, "metrics")))
    if not metrics:
        return None
    head = ["", *map(_measured, splits), *(f"{split_name(shown)}: {row.get('name', 'baseline')}" for row in baselines)]
    lines: list[tuple[str | Figure, ...]] = [
        (capital(metric_name(metric)), *(_cell(column, metric) for column in columns)) for metric in metrics
    ]
    lines.append(("Images", *map(_evaluated, columns)))
    return Table(tuple(head), lines)


def _cell(column: dict[str, Any], metric: str) -> str | Figure:
    """Return a figure's cell; a dash where it was not taken."""
    return figure_of(column, metric) if metric in part(column, "metrics") else "–"


def _evaluated(column: dict[str, Any]) -> str:
    """Return how many images were evaluated, of how many listed where that differs."""
    n, listed = column.get("n"), column.get("listed")
    if n is None:
        return "–"
    return number(n) if listed in (None, n) else f"{number(n)} of {number(listed)}"


def learning_charts(record: RunRecord) -> list[Chart]:
    """Return loss and metric by epoch, learning rate and gradient norm by step; only what was recorded."""
    metric, best = primary_metric(record), best_row(record)
    name = metric_name(metric)
    losses = [
        Line("training", _points((row.epoch, row.train_loss) for row in record.epochs), 1),
        Line("validation", _points((row.epoch, row.val_loss) for row in record.epochs), 2),
    ]
    scores = [
        Line("clean training", _points((row.epoch, (row.train_clean or {}).get(metric)) for row in record.epochs), 1),
        Line("validation", _points((row.epoch, row.val.get(metric)) for row in record.epochs), 2),
    ]
    marked = (float(best.epoch), f"best: {number(best.val.get(metric))}, epoch {rounded(best.epoch)}") if best else None
    return [
        *_chart("loss", losses, Axes("Loss by epoch", "epoch", "loss")),
        *_chart("metric", scores, Axes(f"{capital(name)} by epoch", "epoch", name, marked)),
        *_step_chart(record, "lr", "Learning rate by step", "learning rate"),
        *_step_chart(record, "grad_norm", "Gradient norm by step", "norm before clipping"),
    ]


def _points(pairs: Iterable[tuple[float, float | None]]) -> list[Point]:
    """Return the pairs that hold numbers."""
    return [(x, y) for x, y in pairs if is_number(x) and is_number(y)]


def _chart(chart_id: str, lines: list[Line], axes: Axes) -> list[Chart]:
    """Return a chart, or none where nothing was recorded for it."""
    drawn = [line for line in lines if line.points]
    return [Chart(axes.title, draw_lines(chart_id, drawn, axes))] if drawn else []


def _step_chart(record: RunRecord, field: str, title: str, words: str) -> list[Chart]:
    """Return the chart of one field of the step rows."""
    line = Line(words, _points((row.step, getattr(row, field)) for row in record.steps), 3)
    return _chart(field, [line], Axes(title, "step", words))
