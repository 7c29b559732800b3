"""What a tool says of one net, and whether that is right: a row of the benchmark's table."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.doctor.cases import Case, Given, Sound
from benchmarks.doctor.harm import RAISED
from benchmarks.doctor.older_rules import older_rules
from benchmarks.doctor.vocabulary import family

MOST = 3
"""So many loud findings are read."""
HEAD = "| case | wanted | loud | | false | s |\n|---|---|---|---|---|---|"
Said = list[tuple[str, bool]]
"""Ids in the order of the findings, with whether they are loud."""
Tool = Callable[[Given], Said]


def diagnosis(given: Given) -> Any:
    """Return what `provenet.diagnose` says."""
    import provenet

    more = {"val_batches": given.val_batches, "transform": given.transform, "schedule": given.schedule}
    return provenet.diagnose(given.model, given.batches, given.loss_fn, given.optimizer, **more)


def doctor(given: Given) -> Said:
    """Return the ids of it."""
    return [(finding.id, finding.severity in ("error", "warning")) for finding in diagnosis(given).findings]


def older(given: Given) -> Said:
    """Return what the rules of older tools find; all of it is loud."""
    return [(name, True) for name in older_rules(given)]


@dataclass(frozen=True)
class Row:
    """What was said of one net.

    Args:
        name: of the case; of a repaired net too.
        kind: "fault", "repaired" or "sound".
        family: "data", "model", "optimization" or "mode" of a fault; empty for others.
        wanted: the causes; one of each group is to be named.
        found: loud findings in their order.
        quiet: the others.
        named: whether all causes are among the first `MOST` loud findings; among all where the fault is static.
        first: whether the first loud finding is a cause.
        false: loud findings that are not true of this net.
        seconds: of the diagnosis.
    """

    name: str
    kind: str
    family: str
    wanted: list[list[str]]
    found: list[str]
    quiet: list[str]
    named: bool
    first: bool
    false: list[str]
    seconds: float


def _said(tool: Tool, given: Given) -> tuple[list[str], list[str], float]:
    """Return loud and quiet ids and the seconds; warnings that the nets themselves give are not shown.

    A tool that raises an exception has named nothing, and has given a false alarm.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        try:
            said = tool(given)
        except RAISED as error:
            said = [(f"raised {type(error).__name__}", True)]
        seconds = time.perf_counter() - start
    return [name for name, loud in said if loud], [name for name, loud in said if not loud], seconds


def row_of_fault(case: Case, tool: Tool, seed: int) -> Row:
    """Return the row of a faulty net."""
    loud, quiet, seconds = _said(tool, case.make(seed))
    seen = {*loud, *quiet} if case.harm == "static" else set(loud[:MOST])
    causes = frozenset[str]().union(*case.causes)
    false = [name for name in loud if name not in causes | case.allowed]
    named = all(group & seen for group in case.causes)
    wanted = [sorted(group) for group in case.causes]
    first = bool(loud) and loud[0] in causes
    return Row(case.name, "fault", family(causes), wanted, loud, quiet, named, first, false, seconds)


def row_of_silence(case: Case | Sound, tool: Tool, seed: int) -> Row:
    """Return the row of a repaired or sound net."""
    make, kind = (case.repaired, "repaired") if isinstance(case, Case) else (case.make, "sound")
    loud, quiet, seconds = _said(tool, make(seed))
    return Row(case.name, kind, "", [], loud, quiet, not loud, False, loud, seconds)


def rows_of(cases: Iterable[Case | Sound], tool: Tool, seed: int) -> list[Row]:
    """Return the rows of all cases, each printed when it is there."""
    rows: list[Row] = []
    for case in cases:
        found = [row_of_fault(case, tool, seed)] if isinstance(case, Case) else []
        for row in [*found, row_of_silence(case, tool, seed)]:
            print(line(row), flush=True)
            rows.append(row)
    return rows


def line(row: Row) -> str:
    """Return a row of the Markdown table."""
    mark = ("first" if row.first else "named" if row.named else "**missed**") if row.kind == "fault" else row.kind
    wanted = ", ".join("/".join(group) for group in row.wanted)
    cells = (row.name, wanted, ", ".join(row.found), mark, ", ".join(row.false), f"{row.seconds:.1f}")
    return f"| {' | '.join(cells)} |"


def wrong(rows: Sequence[Row]) -> list[str]:
    """Return a line for every fault that is not named and every net of which something false is said."""
    missed = [f"missed: {row.name} ({', '.join(row.found) or 'nothing loud'})" for row in rows if _missed(row)]
    return missed + [f"false alarm: {row.name} ({row.kind}): {', '.join(row.false)}" for row in rows if row.false]


def _missed(row: Row) -> bool:
    return row.kind == "fault" and not row.named
