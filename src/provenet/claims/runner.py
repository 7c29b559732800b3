"""Carries claims out one after the other; each finding is stored at once and not measured again while it holds."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from provenet.claims import NAMES, find, number_of
from provenet.claims.claim import Claim
from provenet.claims.lab import Bench, Lab
from provenet.claims.scenes import write_scenes
from provenet.core.errors import Fault, RecipeError, near
from provenet.core.files import canonical, read_json, sha256, write_json
from provenet.core.log import Reporter
from provenet.data.index import read_index
from provenet.records.claim import ClaimRecord, ClaimsRecord
from provenet.run.provenance import provenance

PACKAGE = Path(__file__).parents[1]
ABOVE = ("cli", "report", "api.py", "claims", "study", "doctor")
"""Parts of the package that a finding does not depend on; of the claims it depends on what it imports."""

Heard = Callable[[ClaimRecord, bool], None]
"""Told of each finding, and whether it was stored before."""


def chosen(words: Sequence[str]) -> tuple[str, ...]:
    """Return the names of claims that were asked for by name or number, all where none was, in their order.

    Raises:
        RecipeError: there is no such claim; all faults at once.

    Example:
        >>> chosen(["9", "symmetry"])
        ('symmetry', 'degradation')
    """
    names = {str(number_of(name)): name for name in NAMES} | {name: name for name in NAMES}
    strange = [word for word in words if word not in names]
    if strange:
        allowed = "1 to 20, or a name that `provenet claims --list` shows"
        raise RecipeError([Fault("there is no such claim", word, allowed, near(word, NAMES)) for word in strange])
    wanted = {names[word] for word in words}
    return tuple(name for name in NAMES if name in wanted or not words)


def make_lab(scale: str, seeds: int | None, sources: Sequence[str], folder: Path, reporter: Reporter) -> Lab:
    """Return the laboratory of a command.

    Args:
        scale: "quick" or "full".
        seeds: how many; None: 3, and 5 at full scale.
        sources: data sets, at most one for each task; where a task has none, handwritten digits or scenes of them.
        folder: where findings go.
        reporter: hears progress.

    Raises:
        RecipeError: the scale is unknown, or two data sets have one task.
        DataError: a data set cannot be read.
    """
    if scale not in ("quick", "full"):
        raise RecipeError(Fault("no such scale", scale, "quick or full", near(scale, ("quick", "full"))))
    by_task: dict[str, str] = {}
    for source in sources:
        task = read_index(source).task
        if task in by_task:
            got = f"{by_task[task]} and {source}"
            raise RecipeError(Fault(f"two data sets for {task}", got, "one for each task", "leave one of them out"))
        by_task[task] = source
    by_task.setdefault("classification", "digits")
    if "segmentation" not in by_task:
        by_task["segmentation"] = str(write_scenes(folder / "scenes"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    num = seeds or (3 if scale == "quick" else 5)
    return Lab("quick" if scale == "quick" else "full", tuple(range(num)), by_task, folder, device, reporter)


def carry_out(names: Sequence[str], lab: Lab, folder: Path, heard: Heard) -> ClaimsRecord:
    """Measure claims and write `claims.json`.

    Args:
        names: the claims, in order.
        lab: where they are measured.
        folder: where findings are stored, a file each; those that still hold are taken from there.
        heard: told of each.
    """
    records = []
    for name in names:
        lab.earlier = stored(folder)
        record, known = _carry_out(name, lab, folder)
        heard(record, known)
        records.append(record)
    found = ClaimsRecord(
        scale=lab.scale,
        seeds=lab.seeds,
        claims=tuple(records),
        seconds=round(sum(record.seconds for record in records), 1),
        provenance=_provenance(lab),
    )
    write_json(folder / "claims.json", found.model_dump(mode="json"))
    return found


def stored(folder: Path) -> list[ClaimRecord]:
    """Return the findings that a folder holds, in the order of the claims."""
    files = (folder / "findings" / f"{name}.json" for name in NAMES)
    return [ClaimRecord.model_validate(read_json(file)) for file in files if file.exists()]


def _carry_out(name: str, lab: Lab, folder: Path) -> tuple[ClaimRecord, bool]:
    """Return a claim's record, and whether it was stored before."""
    claim, file = find(name), folder / "findings" / f"{name}.json"
    key = _key(name, claim, lab)
    if file.exists() and (record := ClaimRecord.model_validate(read_json(file))).key == key:
        return record, True
    begun = time.monotonic()
    finding = claim.measure(lab)
    record = ClaimRecord(
        number=number_of(name),
        name=name,
        statement=claim.statement,
        experiment=claim.experiment,
        data=_bench(claim, lab).described() if claim.task else "",
        verdict=finding.verdict,
        finding=finding,
        seconds=round(time.monotonic() - begun, 1),
        key=key,
    )
    write_json(file, record.model_dump(mode="json"))
    return record, False


def _bench(claim: Claim, lab: Lab) -> Bench:
    return lab.classification if claim.task == "classification" else lab.segmentation


def _key(name: str, claim: Claim, lab: Lab) -> str:
    """Return the identity of all that a finding depends on."""
    data = _bench(claim, lab).dataset.fingerprint() if claim.task else ""
    others = [record.key for record in lab.earlier if record.name != name] if claim.reads_others else []
    return sha256(canonical([name, code_of(name), data, lab.scale, lab.seeds, lab.device, others]))


def code_of(name: str) -> str:
    """Return one hash of the source that a claim's finding depends on."""
    below = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in ABOVE]
    files = sorted([*below, *(PACKAGE / "claims" / f"{module}.py" for module in imported(name))])
    return sha256(canonical([[str(path.relative_to(PACKAGE)), sha256(path.read_bytes())] for path in files]))


def imported(name: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return a module of the claims with those that it imports, and that these import.

    Example:
        >>> sorted(imported("lab"))
        ['claim', 'lab', 'training']
    """
    known |= {name}
    for node in ast.walk(ast.parse((PACKAGE / "claims" / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("provenet.claims."):
            module = str(node.module).removeprefix("provenet.claims.")
            known = known if module in known else imported(module, known)
    return known


def _provenance(lab: Lab) -> dict[str, object]:
    """Return versions and machine, with the data by task."""
    found = provenance("", lab.device, "fp32", {"source": "", "fingerprint": ""})
    kept = {key: found[key] for key in ("fingerprint", "versions", "python", "machine", "git")}
    return kept | {"data": {task: Path(source).name for task, source in lab.sources.items()}}
