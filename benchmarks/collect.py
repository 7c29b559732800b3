"""Gather the figures of finished runs into one file, and write tables from the files in `benchmarks/results/`.

python benchmarks/collect.py runs/nuclei runs/cifar10 ...      adds or renews these runs in results/main_job.json
python benchmarks/collect.py                                   only writes the tables again

Main job and speed of the loop go to the README, how far studies keep their word to docs/findings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from provenet.records import RunRecord

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "main_job.json"
README, FINDINGS = HERE.parent / "README.md", HERE.parent / "docs/findings/README.md"


def figures(folder: Path) -> dict[str, Any]:
    """Return what the tables need of a finished run."""
    record = RunRecord.read(folder)
    assert record.result is not None, f"{folder} is not finished"
    result, said = record.result, [choice for choice in record.choices if choice.by == "user"]
    test = result["splits"]["test"]
    return {
        "data": Path(str(record.data.get("source", folder.name))).name,
        "said": {choice.key: str(choice.value).rsplit("/", 1)[-1] for choice in said},
        "net": record.recipe["net"]["name"],
        "primary": result["primary"],
        "n_test": test["n"],
        "test": test["metrics"],
        "per_class": [{"class": row["name"], **{k: row[k] for k in row if k != "name"}} for row in test["per_class"]],
        "gap": result["gap"],
        "baselines": [row for row in result["baselines"] if row["split"] == "test"],
        "training": result["training"],
        "machine": record.provenance["machine"],
        "fingerprint": record.provenance["fingerprint"],
        "git": record.provenance["git"],
        "seed": record.recipe["seed"],
    }


def shown(figure: dict[str, Any] | None) -> str:
    """Return a figure with its interval."""
    if not figure or figure["value"] is None:
        return "n/a"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def job_table(runs: dict[str, Any]) -> str:
    """Return the table of the main job as Markdown."""
    lines = ["| data | said | net (chosen) | test score, 95 % interval | n | beside it |", "|---|---|---|---|---|---|"]
    for row in runs.values():
        beside = "; ".join(f"{b['name']}: {shown(b['metrics'].get(row['primary']))}" for b in row["baselines"])
        said = " ".join(f"`{key}={value}`" for key, value in row["said"].items())
        score = f"{row['primary']} **{shown(row['test'][row['primary']])}**"
        if "pixel_accuracy" in row["test"]:
            score += f"; pixel accuracy {shown(row['test']['pixel_accuracy'])}"
        lines.append(f"| {row['data']} | {said} | {row['net']} | {score} | {row['n_test']} | {beside} |")
    machine = next(iter(runs.values()))
    lines += ["", f"One seed each, on {machine['machine']['cores']} cores of {machine['machine']['processor']}, "]
    lines[-1] += f"torch {machine['fingerprint']['torch']}, {machine['fingerprint']['precision']}. "
    lines[-1] += "Written by `benchmarks/collect.py` from the runs' own records."
    return "\n".join(lines)


def speed_table() -> str:
    """Return the table of loop speeds as Markdown."""
    lines = ["| data | images/s | over the resident-batch limit | over a plain PyTorch loop |", "|---|---|---|---|"]
    for path in sorted((HERE / "results").glob("loop_speed_*.json")):
        found = json.loads(path.read_text())
        ratios = found["median_ratios"]
        speed = f"{found['median_images_per_s']['loop']:.0f}"
        row = (found["data"], speed, f"{ratios['loop_over_limit']:.2f}", f"{ratios['loop_over_plain']:.2f}")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _span(rates: list[float]) -> str:
    return f"{min(rates) * 100:.1f} to {max(rates) * 100:.1f} %"


def method_table() -> str:
    """Return what simulated studies say of the method, and what a second worker brings, as Markdown."""
    calibration, workers = (
        json.loads((HERE / "results" / f"{name}.json").read_text()) for name in ("calibration", "workers")
    )
    null = [figure["value"] for row in calibration["without_effect"] for figure in row["called"].values()]
    looked = [figure["value"] for row in calibration["without_effect_raced"] for figure in row["called"].values()]
    held = [figure["held"]["value"] for row in calibration["known_effect"] for figure in row["intervals"].values()]
    within = sum(0.93 <= value <= 0.97 for value in held)
    pace = " and ".join(f"{pace:.1f} ({count} at a time)" for count, pace in workers["median"].items())
    rows = [
        ("Studies without effect that call any difference, per goal", _span(null)),
        ("The same with racing, looking after every seed", _span(looked)),
        ("95 % intervals that hold a known effect", f"{_span(held)}; {within} of {len(held)} within 93 to 97 %"),
        (f"Cells a minute on {workers['machine']['cores']} cores ({workers['data']}, small net)", pace),
    ]
    lines = ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)]
    return "\n".join([*lines, "", f"{calibration['studies']} simulated studies a row of `benchmarks/calibration.py`."])


def racing_table() -> str:
    """Return what racing saves, and how often it errs, as Markdown."""
    found = json.loads((HERE / "results" / "racing.json").read_text())
    lines = [
        "| noise of seeds | effects | cells saved | false call, raced | false call, all seeds |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        rates = (row["cells_saved"], *(row[design]["any_false_call_a_goal"] for design in ("raced", "fixed")))
        lines.append(f"| {row['noise']} | {row['mix']} | {' | '.join(f'{rate * 100:.1f} %' for rate in rates)} |")
    of = f"{found['arms']} arms, at most {found['seeds_at_most']} seeds, {found['studies']} simulated studies a row"
    return "\n".join([*lines, "", f"{of} of `benchmarks/racing.py`; a false call is any in a study, per goal."])


def write_between(text: str, mark: str, table: str) -> str:
    """Return a text with what stands between two marks replaced."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"


def main(folders: list[str]) -> None:
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for folder in map(Path, folders):
        runs[folder.name] = figures(folder)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
    text = README.read_text()
    if runs:
        text = write_between(text, "main job", job_table(runs))
    if table := speed_table():
        text = write_between(text, "loop speed", table)
    README.write_text(text)
    text = write_between(FINDINGS.read_text(), "method", method_table())
    FINDINGS.write_text(write_between(text, "racing", racing_table()))


if __name__ == "__main__":
    main(sys.argv[1:])
