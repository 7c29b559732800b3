"""The figures of a tool over all rows: recall, precision, false alarms, seconds; shares with Wilson's interval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.doctor.rows import MOST, Row
from benchmarks.doctor.vocabulary import FAMILIES, SYMPTOMS

from provenet.stats.intervals import proportion

Share = dict[str, float | int | None]


def share(hits: Sequence[bool]) -> Share:
    """Return how many of how many, their ratio, and the ends of its interval of 95 %."""
    found = proportion(sum(hits), len(hits))
    ends = (found.value, found.low, found.high)
    rounded = [None if end is None else round(end, 4) for end in ends]
    return {"count": sum(hits), "of": len(hits), **dict(zip(("share", "low", "high"), rounded, strict=True))}


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of one tool.

    * `recall`: faults all of whose causes are among the first `MOST` loud findings; `recall_of_*`: of a family of
      causes; `first`: faults whose first loud finding is a cause.
    * `precision`: loud findings about faulty nets that are true, as a cause or as something else that holds;
      `precision_of_causes`: without those that name an effect; `precision_over_all`: with those about sound nets.
    * `false_alarms_*`: nets without a fault of which anything loud is said.
    """
    faults = [row for row in rows if row.kind == "fault"]
    sound, repaired = ([row for row in rows if row.kind == kind] for kind in ("sound", "repaired"))
    loud = [(name, name not in row.false) for row in faults for name in row.found]
    false = [False for row in [*sound, *repaired] for _ in row.found]
    families = {f"recall_of_{name}": share([row.named for row in faults if row.family == name]) for name, _ in FAMILIES}
    return {
        "recall": share([row.named for row in faults]),
        "first": share([row.first for row in faults]),
        **families,
        "precision": share([true for _, true in loud]),
        "precision_of_causes": share([true for name, true in loud if name not in SYMPTOMS]),
        "precision_over_all": share([true for _, true in loud] + false),
        "more_than_three_loud": share([len(row.found) > MOST for row in faults]),
        "false_alarms_of_sound": share([bool(row.found) for row in sound]),
        "false_alarms_of_repaired": share([bool(row.found) for row in repaired]),
        "false_alarms": share([bool(row.found) for row in [*sound, *repaired]]),
        "seconds": seconds([row.seconds for row in rows]),
    }


def seconds(found: Sequence[float]) -> dict[str, float]:
    """Return the median, the smallest value that nine tenths do not exceed, and the largest."""
    ordered = sorted(found)
    nine_tenths = ordered[-(-9 * len(ordered) // 10) - 1]
    ends = {"median": statistics.median(ordered), "p90": nine_tenths, "most": ordered[-1]}
    return {name: round(end, 3) for name, end in ends.items()}


def table(tools: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of all tools as Markdown.

    Args:
        tools: name to `totals`.
    """
    names = list(next(iter(tools.values())))
    lines = [f"| | {' | '.join(tools)} |", f"|---|{'---|' * len(tools)}"]
    lines += [
        f"| {name.replace('_', ' ')} | {' | '.join(_cell(one[name]) for one in tools.values())} |" for name in names
    ]
    return "\n".join(lines)


def _cell(figure: Mapping[str, Any]) -> str:
    if "median" in figure:
        return f"median {figure['median']:.1f}, p90 {figure['p90']:.1f}, most {figure['most']:.1f}"
    if figure["share"] is None:
        return "-"
    low, high = figure["low"], figure["high"]
    return f"{figure['share']:.2f} [{low:.2f}, {high:.2f}] ({figure['count']} of {figure['of']})"
