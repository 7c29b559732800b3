"""How many faults `provenet.diagnose` names, and how often it is wrong: the cases of a part, one row each.

    python -m benchmarks.doctor.run seen [NAME ...] [--seed 0] [--older] [--out FILE.json]
    python -m benchmarks.doctor.run seen --harm [NAME ...] [--seeds 3]

Of a fault: is a cause among the first three loud findings (error or warning), is it the first, what else is said loudly
that is not true. Its repaired twin and every sound net must stay silent. Beside it: what the simple rules of older
tools come to. `--harm` trains faulty and repaired code instead, and says which faults cost nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarks.doctor.cases import Case, Given, Sound, collect
from benchmarks.doctor.harm import compare, score_of
from benchmarks.doctor.older_rules import older_rules
from benchmarks.doctor.pictures import DATA
from benchmarks.doctor.vocabulary import SYMPTOMS

RESULTS = Path(__file__).resolve().parents[1] / "results"
MOST = 3
"""So many loud findings are read."""
Said = list[tuple[str, bool]]
"""Ids in the order of the findings, with whether they are loud."""
Tool = Callable[[Given], Said]


def doctor(given: Given) -> Said:
    """Return what `provenet.diagnose` finds."""
    import provenet

    more = {"val_batches": given.val_batches, "transform": given.transform, "schedule": given.schedule}
    result = provenet.diagnose(given.model, given.batches, given.loss_fn, given.optimizer, **more)
    return [(finding.id, finding.severity in ("error", "warning")) for finding in result.findings]


def older(given: Given) -> Said:
    """Return what the rules of older tools find; all of it is loud."""
    return [(name, True) for name in older_rules(given)]


@dataclass(frozen=True)
class Row:
    """What was said of one net.

    Args:
        name: of the case; of a repaired net too.
        kind: "fault", "repaired" or "sound".
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
    wanted: list[list[str]]
    found: list[str]
    quiet: list[str]
    named: bool
    first: bool
    false: list[str]
    seconds: float


def _said(tool: Tool, given: Given) -> tuple[list[str], list[str], float]:
    """Return loud and quiet ids and the seconds; warnings that the nets themselves give are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        said = tool(given)
        seconds = time.perf_counter() - start
    return [name for name, loud in said if loud], [name for name, loud in said if not loud], seconds


def row_of_fault(case: Case, tool: Tool, seed: int) -> Row:
    """Return the row of a faulty net."""
    loud, quiet, seconds = _said(tool, case.make(seed))
    seen = {*loud, *quiet} if case.harm == "static" else set(loud[:MOST])
    causes = frozenset().union(*case.causes)
    false = [name for name in loud if name not in causes | case.allowed]
    named = all(group & seen for group in case.causes)
    wanted = [sorted(group) for group in case.causes]
    first = bool(loud) and loud[0] in causes
    return Row(case.name, "fault", wanted, loud, quiet, named, first, false, seconds)


def row_of_silence(case: Case | Sound, tool: Tool, seed: int) -> Row:
    """Return the row of a repaired or sound net."""
    make, kind = (case.repaired, "repaired") if isinstance(case, Case) else (case.make, "sound")
    loud, quiet, seconds = _said(tool, make(seed))
    return Row(case.name, kind, [], loud, quiet, not loud, False, loud, seconds)


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of a tool over all rows."""
    faults = [row for row in rows if row.kind == "fault"]
    loud = [(row, name) for row in faults for name in row.found]
    causes = [name not in row.false for row, name in loud if name not in SYMPTOMS]
    found: dict[str, Any] = {"faults": len(faults)}
    if faults:
        found["recall"] = sum(row.named for row in faults) / len(faults)
        found["ranked_first"] = sum(row.first for row in faults) / len(faults)
        found["precision_of_causes"] = sum(causes) / len(causes) if causes else None
        found["symptoms_among_loud"] = len(loud) - len(causes)
        found["more_than_three_loud"] = sum(len(row.found) > MOST for row in faults) / len(faults)
    for kind in ("repaired", "sound"):
        silent = [not row.found for row in rows if row.kind == kind]
        found[kind] = len(silent)
        found[f"loud_of_{kind}"] = 1 - sum(silent) / len(silent) if silent else None
    seconds = [row.seconds for row in rows]
    found["seconds_median"] = statistics.median(seconds)
    found["seconds_95"] = sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]
    return {key: round(one, 4) if isinstance(one, float) else one for key, one in found.items()}


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


def harm(cases: Iterable[Case | Sound], seeds: Sequence[int]) -> None:
    """Print what each fault costs, and how well sound nets learn."""
    print("| case | faulty or sound | repaired | cost | harm |\n|---|---|---|---|---|")
    for case in cases:
        if isinstance(case, Sound):
            scores = [round(score_of(case, seed), 2) for seed in seeds]
            print(
                f"| {case.name} | {scores} | | | {'learns' if min(scores) >= case.score else '**weak**'} |", flush=True
            )
            continue
        found = compare(case, seeds)
        verdict = "yes" if found.harmful else "static" if case.harm == "static" else "**no**"
        pair = ([round(one, 2) for one in scores] for scores in (found.faulty, found.repaired))
        print(f"| {case.name} | {' | '.join(map(str, pair))} | {found.cost:.2f} | {verdict} |", flush=True)


def write(part: str, tools: dict[str, list[Row]], out: Path | None) -> None:
    """Print the totals of all tools, and write everything."""
    found = {name: {"totals": totals(rows), "rows": [asdict(row) for row in rows]} for name, rows in tools.items()}
    names = list(next(iter(found.values()))["totals"])
    print(f"\n| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for name in names:
        print(f"| {name.replace('_', ' ')} | {' | '.join(str(one['totals'].get(name)) for one in found.values())} |")
    machine = {"machine": platform.machine(), "python": platform.python_version(), "threads": torch.get_num_threads()}
    versions = {name: version(name) for name in ("provenet", "torch", "torchvision", "timm", "numpy")}
    pictures = "CIFAR-10 and nuclei" if (DATA / "cifar10.zip").is_file() else "drawn"
    about = {"part": part, "pictures": pictures, "machine": machine, "versions": versions}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(about | found, indent=1) + "\n")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("seen", "unseen"))
    parser.add_argument("names", nargs="*", help="parts of names; all cases where there are none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3, help="of --harm")
    parser.add_argument("--harm", action="store_true")
    parser.add_argument("--older", action="store_true", help="the older rules only")
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/doctor_PART.json for all cases")
    args = parser.parse_args()
    faults, sounds = collect(args.part)
    cases = [one for one in [*faults, *sounds] if not args.names or any(name in one.name for name in args.names)]
    if args.harm:
        harm(cases, range(args.seeds))
        return
    tools: dict[str, Tool] = {"older rules": older} if args.older else {"provenet": doctor, "older rules": older}
    head = "| case | wanted | loud | | false | s |\n|---|---|---|---|---|---|"
    rows = {}
    for name, tool in tools.items():
        print(f"\n{name}\n\n{head}")
        rows[name] = rows_of(cases, tool, args.seed)
    whole = RESULTS / f"doctor_{args.part}.json" if not args.names and not args.older else None
    write(args.part, rows, args.out or whole)


if __name__ == "__main__":
    main()
