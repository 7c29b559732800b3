"""How many faults `provenet.diagnose` names, and how often it is wrong: the cases of a part, one row each.

    python -m benchmarks.doctor.run seen [NAME ...] [--seed 0] [--older] [--out FILE.json]
    python -m benchmarks.doctor.run seen --harm [NAME ...] [--seeds 3]
    python -m benchmarks.doctor.run seen --say NAME ...
    python -m benchmarks.doctor.run seen --count

Of a fault: is a cause among the first three loud findings (error or warning), is it the first, what else is said loudly
that is not true. Its repaired twin and every sound net must stay silent. Beside it: what the simple rules of older
tools come to. `--out` takes all rows, the figures with their intervals, the machine, versions and the commit. `--harm`
trains faulty and repaired code instead, and says which faults cost nothing; `--say` prints diagnoses in full;
`--count` counts the cases.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.doctor.cases import Case, Sound, collect
from benchmarks.doctor.figures import table, totals
from benchmarks.doctor.harm import compare, score_of
from benchmarks.doctor.pictures import DATA
from benchmarks.doctor.rows import HEAD, Row, Tool, diagnosis, doctor, older, rows_of, wrong
from benchmarks.doctor.vocabulary import FAMILIES, family

from provenet.run.provenance import provenance

RESULTS = Path(__file__).resolve().parents[1] / "results"


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


def count(part: str, cases: Sequence[Case | Sound]) -> None:
    """Print how many faults of each family there are, and how many sound nets."""
    faults = [case for case in cases if isinstance(case, Case)]
    found = Counter(family(frozenset[str]().union(*case.causes)) for case in faults)
    names = [name for name, _ in FAMILIES]
    print(f"| part | {' | '.join(names)} | faults | of these static | sound |\n|---|{'---|' * (len(names) + 3)}")
    static = sum(case.harm == "static" for case in faults)
    numbers = [*(found[name] for name in names), len(faults), static, len(cases) - len(faults)]
    print(f"| {part} | {' | '.join(map(str, numbers))} |")


def say(cases: Iterable[Case | Sound], seed: int) -> None:
    """Print what is said of each net in full."""
    for case in cases:
        wanted = " and ".join("/".join(sorted(group)) for group in case.causes) if isinstance(case, Case) else "nothing"
        print(f"{case.name}: {wanted} wanted\n{diagnosis(case.make(seed))}\n", flush=True)


def write(part: str, tools: dict[str, list[Row]], out: Path | None) -> None:
    """Print the figures of all tools and where the first is wrong, and write everything."""
    figures = {name: totals(rows) for name, rows in tools.items()}
    print(f"\n{table(figures)}\n")
    print("\n".join(wrong(next(iter(tools.values())))))
    if out is None:
        return
    about = provenance("", "cpu", "float32", {"fingerprint": part})
    place = {name: about[name] for name in ("machine", "versions", "python", "git")}
    pictures = "CIFAR-10 and nuclei" if (DATA / "cifar10.zip").is_file() else "drawn"
    found = {name: {"totals": figures[name], "rows": [asdict(row) for row in rows]} for name, rows in tools.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    text = {"part": part, "pictures": pictures, "threads": torch.get_num_threads(), **place, "tools": found}
    out.write_text(json.dumps(text, indent=1) + "\n")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("seen", "unseen", "fresh", "last"))
    parser.add_argument("names", nargs="*", help="parts of names; all cases where there are none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3, help="of --harm")
    parser.add_argument("--harm", action="store_true")
    parser.add_argument("--say", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--older", action="store_true", help="the older rules only")
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/doctor_PART.json for all cases")
    args = parser.parse_args()
    faults, sounds = collect(args.part)
    every: list[Case | Sound] = [*faults, *sounds]
    cases = [one for one in every if not args.names or any(name in one.name for name in args.names)]
    if args.count:
        return count(args.part, cases)
    if args.harm:
        return harm(cases, range(args.seeds))
    if args.say:
        return say(cases, args.seed)
    tools: dict[str, Tool] = {"older rules": older} if args.older else {"provenet": doctor, "older rules": older}
    rows = {}
    for name, tool in tools.items():
        print(f"\n{name}\n\n{HEAD}")
        rows[name] = rows_of(cases, tool, args.seed)
    whole = RESULTS / f"doctor_{args.part}.json" if not args.names and not args.older else None
    return write(args.part, rows, args.out or whole)


if __name__ == "__main__":
    main()
