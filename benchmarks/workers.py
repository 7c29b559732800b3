"""Cells a minute of a study by the number of workers, which share the cores: rounds interleaved, medians.

    python benchmarks/workers.py DATA [KEY=VALUE ...] [--workers 1,2] [--rounds 3] [--out FILE]

Every round makes one small study (two arms, two seeds) with each number of workers, in a folder of its own. The pace is
that of the cells alone: from the first that began to the last that ended.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from provenet.records.study import StudyRecord
from provenet.report.study import read_study

ARM = "again: seed=1000"


def study(data: str, words: list[str], workers: int, out: Path) -> StudyRecord:
    """Make a study in a process of its own."""
    command = [sys.executable, "-m", "provenet", "ablate", data, *words, "--arm", ARM]
    command += ["--seeds", "2", "--workers", str(workers), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_study(out)


def cells_per_minute(record: StudyRecord) -> float:
    """Return the pace of a study's cells."""
    assert record.complete and record.machine.minutes
    return len(record.cells) / record.machine.minutes


def measure(data: str, words: list[str], counts: list[int], rounds: int) -> dict[str, Any]:
    """Return the paces of all rounds, their medians, and their ratio to the first number of workers."""
    paces: dict[int, list[float]] = {count: [] for count in counts}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds):
            for count in counts:
                record = study(data, words, count, Path(folder) / f"{count}-{round_}")
                paces[count].append(cells_per_minute(record))
                found = record.machine.provenance
    medians = {count: statistics.median(values) for count, values in paces.items()}
    return {
        "data": Path(data).name,
        "words": words,
        "rounds": rounds,
        "cells_per_minute": {str(count): values for count, values in paces.items()},
        "median": {str(count): value for count, value in medians.items()},
        "over_first": {str(count): value / medians[counts[0]] for count, value in medians.items()},
        "machine": found["machine"],
        "versions": found["versions"],
        "git": found["git"],
    }


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--workers", default="1,2", help="numbers of workers, the first is what others are set against")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/workers.json"))
    asked = parser.parse_args()
    counts = [int(word) for word in asked.workers.split(",")]
    found = measure(asked.data, asked.words, counts, asked.rounds)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    for count in counts:
        print(
            f"{count} workers: {found['median'][str(count)]:.2f} cells a minute, {found['over_first'][str(count)]:.2f}x"
        )


if __name__ == "__main__":
    main()
