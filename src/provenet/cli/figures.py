"""Results as lines for a terminal: scores with their intervals, what stands beside them, where things are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provenet.api import Run


def score_line(split: str, scores: dict[str, Any]) -> str:
    """Return the scores of a split: the primary one first, then three more."""
    primary = scores["primary"]
    names = [primary, *[name for name in scores["metrics"] if name != primary][:3]]
    shown = "  ".join(f"{name} {figure(scores['metrics'][name])}" for name in names)
    return f"{split:<5} {shown}  (n = {scores['n']:,})"


def figure(found: dict[str, Any]) -> str:
    """Return a figure with its interval.

    Example:
        >>> figure({"value": 0.5, "low": 0.25, "high": 0.75}), figure({"value": None})
        ('0.500 [0.250, 0.750]', 'n/a')
    """
    if found["value"] is None:
        return "n/a"
    if found.get("low") is None or found.get("high") is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def run_lines(run: Run) -> Iterator[str]:
    """Yield the outcome of a run: scores, baselines, gap, where the report is, what to do next."""
    result = run.result
    splits, primary = result["splits"], result["primary"]
    for split in ("train", "val", "test"):
        if split in splits:
            yield score_line(split, splits[split])
    judged = "test" if "test" in splits else "val"
    for row in result["baselines"]:
        if row["split"] == judged:
            yield f"{judged:<5} {primary} {figure(row['metrics'][primary])} by a baseline: {row['name']}"
    if result["gap"] is not None:
        yield f"gap   {primary} {figure(result['gap'])}: clean train score minus val score"
    kind = "x.jpg" if result["task"] == "classification" else "x.png"
    yield f"report: {run.report}"
    yield f"next:   provenet predict {shlex.quote(str(run.folder))} {kind} --out answers"
