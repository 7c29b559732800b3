"""What came out, in sentences."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from provenet.records import EpochRow, RunRecord
from provenet.report.parts import part, rows
from provenet.report.words import Figure, capital, counted, is_number, metric_name, number, split_name


def primary_metric(record: RunRecord) -> str:
    """Return the metric that decides: the result's, or of an unfinished run the first known one it validated."""
    named = (record.result or {}).get("primary")
    if named:
        return str(named)
    seen = [name for row in record.epochs for name in row.val]
    segmentation = ("miou", "dice") if len(record.classes) > 2 else ("dice", "miou")
    return next((name for name in (*segmentation, "accuracy") if name in seen), seen[0] if seen else "accuracy")


def splits_of(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Return the measured splits of the result by name, the most honest one first."""
    splits = part(record.result, "splits")
    order = ("test", "val", "train")
    names = [name for name in order if name in splits] + [name for name in splits if name not in order]
    return {name: splits[name] for name in names if isinstance(splits[name], dict)}


def figure_of(split: dict[str, Any], metric: str) -> Figure:
    """Return one figure of a split."""
    return Figure.of(part(split, "metrics").get(metric))


def best_row(record: RunRecord) -> EpochRow | None:
    """Return the epoch whose weights were kept; of an unfinished run the best one so far."""
    metric = primary_metric(record)
    best_step = part(record.result, "training").get("best_step")
    named = [row for row in record.epochs if row.step == best_step]
    rated = [(row.val[metric], row) for row in record.epochs if is_number(row.val.get(metric))]
    return named[0] if named else max(rated, key=lambda pair: pair[0] or 0.0)[1] if rated else None


def best_baseline(record: RunRecord, split: str) -> tuple[str, Figure] | None:
    """Return the name and the primary figure of the strongest baseline that was measured on a split."""
    metric = primary_metric(record)
    measured = [row for row in rows(record.result, "baselines") if row.get("split") == split]
    rated = [(str(row.get("name", "the baseline")), figure_of(row, metric)) for row in measured]
    rated = [pair for pair in rated if is_number(pair[1].value)]
    return max(rated, key=lambda pair: pair[1].value) if rated else None


def verdict(record: RunRecord) -> str:
    """Return the outcome in one sentence, with the interval, the count of images and the baseline."""
    splits, metric = splits_of(record), primary_metric(record)
    if not splits:
        best = best_row(record)
        if best is None:
            return "Nothing has been measured yet."
        reached = number(best.val.get(metric))
        return f"Best validation {metric_name(metric)} so far: {reached}, after {counted(best.epoch, 'epoch')}."
    split, scores = next(iter(splits.items()))
    text = f"{split_name(split)} {metric_name(metric)} {figure_of(scores, metric)}"
    if is_number(scores.get("n")):
        text += f" on {counted(scores['n'], 'image')}"
    baseline = best_baseline(record, split)
    return f"{text}; {baseline[0]} would give {baseline[1].text}." if baseline else f"{text}."


def gap_sentence(record: RunRecord) -> str:
    """Return the honest gap in words; empty where it was not taken."""
    gap = part(record.result, "gap")
    figure = Figure.of(gap)
    if not is_number(figure.value):
        return ""
    metric = metric_name(str(gap.get("metric", primary_metric(record))))
    text = (
        f"Clean training {metric} minus validation {metric} is {figure}, both in evaluation mode and without "
        "augmentation: what the net knows of its own training images only. "
    )
    if is_number(figure.low) and is_number(figure.high) and figure.low <= 0 <= figure.high:
        return text + "The interval holds zero, so the difference may be chance."
    return text + ("More data, augmentation or dropout may narrow it." if figure.value > 0 else "It did not overfit.")


def unfinished_sentence(record: RunRecord) -> str:
    """Return how far an unfinished run came and what it last told; empty for a finished one."""
    if record.finished:
        return ""
    last = record.epochs[-1] if record.epochs else None
    step = max([row.step for row in record.steps[-1:]] + ([last.step] if last else []), default=0)
    text = (
        f"This run is not finished: {counted(last.epoch if last else 0, 'epoch')} and {counted(step, 'step')} recorded."
    )
    if record.events:
        event = record.events[-1]
        text += f" Last event: {capital(event.kind)}, {event.text.rstrip('.')}."
    return text


def resume_command(record: RunRecord) -> str:
    """Return the command that goes on with the run."""
    return f"provenet resume {run_path(record)}"


def run_path(record: RunRecord) -> str:
    """Return the run folder as a word of a command line."""
    return path_word(record.folder)


def path_word(folder: Path) -> str:
    """Return a folder as a word of a command line: from where the user is, else its name alone."""
    here, folder = Path.cwd(), folder.resolve()
    path = folder.relative_to(here) if folder.is_relative_to(here) else Path(folder.name)
    return shlex.quote(path.as_posix())
