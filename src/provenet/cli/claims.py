"""`provenet claims`: the lecture's claims, each measured on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from provenet.records.claim import ClaimRecord

SIGNS = {"holds": "yes", "does not hold here": "no", "cannot tell": "open"}
STYLES = {"holds": "green", "does not hold here": "red", "cannot tell": "yellow"}


def claims(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or numbers. All: none.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Images to measure on; once for each task. Default: handwritten digits."),
    ] = None,
    scale: Annotated[str, typer.Option(help="quick: two CPU cores, minutes. full: as published, for a GPU.")] = "quick",
    seeds: Annotated[int | None, typer.Option(min=2, help="Seeds of what is compared. Default: 3, full: 5.")] = None,
    out: Annotated[Path, typer.Option(help="Where findings and report go.")] = Path("claims"),
    list_only: Annotated[bool, typer.Option("--list", help="Only say what the claims are.")] = False,
) -> None:
    """Measure the lecture's claims on real images; what OUT holds already is not measured again."""
    from rich.console import Console

    from provenet.claims import NAMES, find, number_of
    from provenet.claims.runner import carry_out, chosen, make_lab
    from provenet.cli.console import Terminal
    from provenet.report.claims import write_claims_report

    wanted = chosen(names or [])
    if list_only:
        for name in wanted:
            typer.echo(f"{number_of(name):2}  {name:<20} {find(name).statement}")
        return
    terminal = Terminal(Console(highlight=False))
    lab = make_lab(scale, seeds, data or [], out, terminal)
    try:
        record = carry_out(wanted, lab, out, _Heard(terminal))
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the same command goes on with what {out} holds", err=True)
        raise typer.Exit(130) from None
    _table(terminal.console, record.claims)
    missing = "" if len(wanted) == len(NAMES) else f" ({len(wanted)} of {len(NAMES)} claims)"
    typer.echo(f"{record.seconds / 60:.1f} minutes{missing}\nreport: {write_claims_report(out)}")


class _Heard:
    """Says what each claim came to."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal

    def __call__(self, record: ClaimRecord, known: bool) -> None:
        took = "measured before" if known else f"{record.seconds:.0f} s"
        self._terminal.note(f"{record.number:2}  {record.name}: {record.verdict} ({took})")


def _table(console: Console, found: tuple[ClaimRecord, ...]) -> None:
    """Print the claims with the checks that decide them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "", "claim", "verdict", "what decides", "figure", "wanted", "n", box=None, header_style="bold", pad_edge=False
    )
    for record in found:
        for row, check in enumerate(record.finding.checks):
            head = (str(record.number), record.name, Text(record.verdict, STYLES[record.verdict]))
            answer = {True: "yes", False: "no", None: "open"}[check.outcome]
            figure = figure_text(check.value, check.low, check.high)
            first = head if row == 0 else ("", "", "")
            table.add_row(*first, check.says, f"{figure} {answer}", check.wanted, str(check.n))
    console.print(table)


def figure_text(value: float | None, low: float | None, high: float | None) -> str:
    """Return a figure with its interval, in three digits.

    Example:
        >>> figure_text(0.12345, 0.1, 0.2), figure_text(None, None, None)
        ('0.123 [0.1, 0.2]', 'n/a')
    """
    if value is None:
        return "n/a"
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"
