"""Write the page of the doctor's benchmark from the files in `benchmarks/results/`.

python -m benchmarks.doctor.page
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.doctor.figures import table

HERE = Path(__file__).resolve()
RESULTS, PAGE = HERE.parents[1] / "results", HERE.parents[2] / "docs/findings/doctor.md"
RUNS = {
    "seen": "doctor_seen.json",
    "unseen, first look": "doctor_unseen_first.json",
    "unseen": "doctor_unseen.json",
    "fresh, first look": "doctor_fresh_first.json",
    "fresh": "doctor_fresh.json",
    "last, first look": "doctor_last_first.json",
    "last": "doctor_last.json",
}
HEAD = """# How often the doctor is right

Faults from bug reports, forums and repositories of this field, each with its twin in which the fault is repaired, and
sound nets that a naive tool would complain of: `benchmarks/doctor/`. A fault counts as named when its cause is among
the first three errors and warnings; of a repaired or sound net nothing loud may be said. Shares have intervals of 95 %
(Wilson).

* **seen**: the checks were written with these at hand.
* **unseen**: written by others from their own sources, and not looked at before the first run on it.
* **fresh**: written by yet others while the misses of that run were being mended, and measured after.
* **last**: written once more by others after the misses of both had been mended, with few batches for most.

Only the **first looks** say how the doctor does on faults that it was not made for: after each of them what it missed
was mended where the reason was a general one, and the part was no longer unseen. What older tools do is shown by their
simple rules (loss not finite, gradients vanishing or exploding by fixed thresholds, share of dead ReLUs, and the like).
"""
NOTES = """
Repeat a part with `python -m benchmarks.doctor.run seen|unseen|fresh|last`, read one diagnosis in full with
`python -m benchmarks.doctor.run unseen --say NAME`, and see what each fault costs a short training with `--harm`.
"""


def page(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page as Markdown.

    Args:
        runs: name to what `benchmarks.doctor.run --out` wrote.
    """
    own = {name: run["tools"]["provenet"]["totals"] for name, run in runs.items()}
    older = {name: run["tools"]["older rules"]["totals"] for name, run in runs.items() if "look" not in name}
    parts = [HEAD, "## provenet\n", table(own), "", "## The rules of older tools\n", table(older), ""]
    for name, run in runs.items():
        if wrong := [_said(row) for row in run["tools"]["provenet"]["rows"] if _is_wrong(row)]:
            parts += [f"## Wrong: {name}\n", *wrong, ""]
    about = next(reversed(runs.values()))
    machine, versions = about["machine"], about["versions"]
    parts.append(f"Machine: {machine['processor']}, {machine['cores']} cores, {about['threads']} threads.")
    parts.append(f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    parts.append("Commits: " + ", ".join(f"{name} {run['git']['commit'][:7]}" for name, run in runs.items()) + ".")
    return "\n".join(parts) + "\n" + NOTES


def _is_wrong(row: Mapping[str, Any]) -> bool:
    return bool(row["false"]) or (row["kind"] == "fault" and not row["named"])


def _said(row: Mapping[str, Any]) -> str:
    found = ", ".join(row["found"]) or "nothing loud"
    if row["kind"] != "fault":
        return f"* {row['name']} ({row['kind']}): {found}"
    return f"* {row['name']}: {' and '.join('/'.join(group) for group in row['wanted'])} wanted, {found} said"


def main() -> None:
    """Write the page."""
    found = {
        name: json.loads((RESULTS / file).read_text()) for name, file in RUNS.items() if (RESULTS / file).is_file()
    }
    PAGE.write_text(page(found))
    print(PAGE)


if __name__ == "__main__":
    main()
