"""The report of measured claims: one page and one text, written from `claims.json` without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from provenet.core.errors import Fault, RecipeError, StorageError
from provenet.core.files import read_json
from provenet.records.claim import Check, ClaimRecord, ClaimsRecord, Grid
from provenet.report import claim_words as words
from provenet.report.claim_charts import Album, shown
from provenet.report.claim_words import Measured, figure_of
from provenet.report.claims_text import claims_markdown
from provenet.report.page import Chart, Table, render, write_page
from provenet.report.words import duration, flat

LONGEST_NUMBER = 32
_NUMERIC = re.compile(r"[-+–<>≤≥]?\s*[\d.,]+(e[-+]?\d+)?\s*(%|s|ms|px|×)?|n/a|–|-|", re.IGNORECASE)
_INTERVAL = re.compile(r"\s*(\[[^\]]*\]|\([^)]*\)|±\s*[\d.,]+)\s*$")


@dataclass(frozen=True)
class Row:
    """A check as the page shows it."""

    says: str
    figure: Measured
    wanted: str
    n: int
    answer: str
    mark: str

    @classmethod
    def of(cls, check: Check) -> Row:
        """Return the row of a check."""
        answer, mark = words.ANSWERS[check.outcome]
        return cls(check.says, figure_of(check), check.wanted, check.n, answer, mark)


@dataclass(frozen=True)
class Section:
    """A claim as the page shows it."""

    record: ClaimRecord
    charts: tuple[Chart | Album, ...]
    tables: tuple[tuple[str, Table], ...]
    effects: Table | None

    @property
    def title(self) -> str:
        """The claim's name in words."""
        return words.short_name(self.record)

    @property
    def mark(self) -> str:
        """The name of the verdict's mark."""
        return words.VERDICTS[self.record.verdict]

    @property
    def passed(self) -> str:
        """How many checks hold."""
        return words.passed(self.record)

    @property
    def deciding(self) -> Row | None:
        """The check that the verdict hangs on."""
        check = words.deciding(self.record)
        return Row.of(check) if check else None

    @property
    def checks(self) -> list[Row]:
        """All checks."""
        return [Row.of(check) for check in self.record.finding.checks]

    @property
    def brief(self) -> str:
        """The beginning of what is claimed."""
        return words.short_statement(self.record)

    @property
    def took(self) -> str:
        """How long measuring it took."""
        return duration(self.record.seconds)

    @property
    def effort(self) -> str:
        """What it was measured on, and what that took."""
        return words.effort(self.record)


def write_claims_report(folder: Path) -> Path:
    """Write `report.html`, one page that opens offline, and beside it the same facts as text, `claims.md`.

    Args:
        folder: the folder with `claims.json`.

    Returns:
        The path of the page.

    Raises:
        RecipeError: the folder holds no measured claims.
        StorageError: the record is damaged, or the page cannot be written.
    """
    record = read_claims(folder)
    write_page(folder / "claims.md", claims_markdown(record))
    return write_page(folder / "report.html", claims_page(record))


def read_claims(folder: Path) -> ClaimsRecord:
    """Read `claims.json`.

    Raises:
        RecipeError: there is none.
        StorageError: it cannot be read.
    """
    path = folder / "claims.json"
    if not path.is_file():
        remedy = f"measure some: provenet claims --out {folder}"
        raise RecipeError(Fault(f"{folder} holds no measured claims", "no claims.json", "", remedy))
    try:
        return ClaimsRecord.model_validate(read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        remedy = "give the same `provenet claims` command again: it writes the record anew from what it has found"
        raise StorageError(Fault("the record cannot be read", first_line, "", remedy, str(path))) from error


def claims_page(record: ClaimsRecord) -> str:
    """Return the report of claims as HTML."""
    return render(
        "claims.html.j2",
        headline=words.headline(record),
        how_to_read=words.how_to_read(record),
        sections=[_section(claim) for claim in record.claims],
        tally=words.tally(record),
        marks=words.VERDICTS,
        facts=Table(("", ""), flat(words.facts(record)), numeric=False),
    )


def _section(claim: ClaimRecord) -> Section:
    charts = (shown(chart, f"claim{claim.number}-{index}") for index, chart in enumerate(claim.finding.charts))
    tables = ((grid.title, _table(grid)) for grid in claim.finding.tables)
    return Section(claim, tuple(charts), tuple(tables), _effects(claim))


def _effects(claim: ClaimRecord) -> Table | None:
    """Return what techniques bought, for both goals."""
    rows = [
        (one.technique, one.goal, words.reading(one), figure_of(one), f"{one.n:,}", one.measure)
        for one in claim.finding.effects
    ]
    head = ("Technique", "Goal", "With it", "By how much", "n", "Measured in")
    return Table(head, rows, numeric=False) if rows else None


def _table(grid: Grid) -> Table:
    """Return a finding's table, its columns to the right where they hold numbers and here and there a short word."""
    numeric = [_is_numeric(cell) for row in grid.rows for cell in row[1:]]
    short = all(len(cell) <= LONGEST_NUMBER for row in grid.rows for cell in row[1:])
    return Table(grid.head, grid.rows, numeric=short and 2 * sum(numeric) >= len(numeric))


def _is_numeric(text: str) -> bool:
    """Whether a cell holds a number and nothing else but its unit and its interval."""
    return _NUMERIC.fullmatch(_INTERVAL.sub("", text.strip())) is not None
