"""The report of an examination: one page, written from `doctor.json` without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from provenet.core.errors import Fault, RecipeError, StorageError
from provenet.core.files import read_json
from provenet.records.doctor import DoctorRecord
from provenet.records.finding import Diagnosis, Finding
from provenet.report import doctor_words as words
from provenet.report.page import Table, render, write_page

RECORD = "doctor.json"


@dataclass(frozen=True)
class Entry:
    """A finding as the page shows it."""

    finding: Finding
    figures: list[tuple[str, str]]
    explains: list[str]


def write_doctor_report(folder: Path) -> Path:
    """Write `report.html`, one page that opens offline.

    Args:
        folder: the folder with `doctor.json`.

    Returns:
        The path of the page.

    Raises:
        RecipeError: the folder holds no diagnosis.
        StorageError: the record is damaged, or the page cannot be written.
    """
    return write_page(folder / "report.html", doctor_page(read_doctor(folder)))


def read_doctor(folder: Path) -> DoctorRecord:
    """Read `doctor.json`.

    Raises:
        RecipeError: there is none.
        StorageError: it cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        remedy = f"make one: provenet doctor path/to/images --out {folder}"
        raise RecipeError(Fault(f"{folder} holds no diagnosis", f"no {RECORD}", "", remedy))
    try:
        return DoctorRecord.model_validate(read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        remedy = "give the same `provenet doctor` command again"
        raise StorageError(Fault("the record cannot be read", first_line, "", remedy, str(path))) from error


def doctor_page(record: DoctorRecord) -> str:
    """Return the report of an examination as HTML."""
    found = record.diagnosis
    return render(
        "doctor.html.j2",
        name=words.subject(record),
        headline=words.headline(found),
        seconds=f"{found.seconds:.1f}",
        entries=entries(found),
        further=_finding_table(found.further),
        hidden=_hidden_table(found),
        left_out=_left_out_table(found),
        facts=Table(("", ""), [(_name(key), words.figure(value)) for key, value in found.facts.items()], numeric=False),
        commands=words.commands(record),
    )


def entries(found: Diagnosis) -> list[Entry]:
    """Return the findings as a page shows them, most costly first."""
    return [Entry(finding, words.figures(finding), words.explained(found, finding)) for finding in found.findings]


@dataclass(frozen=True)
class FirstLook:
    """What the report of a run says of the look before its first update."""

    headline: str
    entries: list[Entry]
    commands: list[tuple[str, str]]


def first_look(record: dict[str, Any]) -> FirstLook | None:
    """Return what `doctor.json` of a run comes to; None where there was no look, or another version's record."""
    try:
        found = DoctorRecord.model_validate(record)
    except ValidationError:
        return None
    return FirstLook(words.headline(found.diagnosis), entries(found.diagnosis), words.commands(found))


def _finding_table(findings: tuple[Finding, ...]) -> Table | None:
    rows = [(finding.id, finding.severity, finding.layer, finding.message, finding.fix) for finding in findings]
    return Table(("Found", "Severity", "Where", "What is wrong", "To do"), rows, numeric=False) if rows else None


def _hidden_table(found: Diagnosis) -> Table | None:
    rows = [(one.finding.id, one.by, one.finding.layer, one.finding.message) for one in found.hidden]
    return Table(("Found", "Explained by", "Where", "What is seen"), rows, numeric=False) if rows else None


def _left_out_table(found: Diagnosis) -> Table | None:
    rows = [(reason, ", ".join(names)) for reason, names in found.reasons.items()]
    return Table(("Reason", "Not looked at"), rows, numeric=False) if rows else None


def _name(key: str) -> str:
    return key.replace("_", " ")
