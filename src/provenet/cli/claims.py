"""`provenet claims`: the lecture's claims, each measured on real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from provenet.cli.console import Terminal
    from provenet.records.claim import ClaimRecord

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
    typer.echo(f"{record.seconds / 60:.1f} minutes of measuring{missing}\nreport: {write_claims_report(out)}")


class _Heard:
    """Says what each claim came to, check by check."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __call__(self, record: ClaimRecord, known: bool) -> None:
        from provenet.report.claim_words import ANSWERS, figure_of

        took = "measured before" if known else f"{record.seconds:.0f} s"
        self._terminal.note(f"{record.number:2}  {record.name}: {record.verdict} ({took})")
        for check in record.finding.checks:
            answer, _ = ANSWERS[check.outcome]
            self._terminal.note(f"      {answer:<4}  {check.says}: {figure_of(check)}, wanted {check.wanted}")


def _table(console: Console, found: tuple[ClaimRecord, ...]) -> None:
    """Print a line a claim: its verdict and the check that decides it."""
    from rich.text import Text

    from provenet.report.claim_words import deciding, figure_of

    wide = max(len(record.name) for record in found)
    for record in found:
        line = Text(f"{record.number:2}  {record.name:<{wide}}  ")
        line.append(f"{record.verdict:<18}", STYLES[record.verdict])
        if (check := deciding(record)) is not None:
            line.append(f"  {figure_of(check)}, wanted {check.wanted}, n = {check.n}")
        console.print(line, soft_wrap=True)
