"""`provenet doctor`: why a network does not train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.console import Terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from provenet.records.doctor import DoctorRecord
    from provenet.records.finding import Diagnosis, Finding

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
BUDGET_S = 20.0
ILL = 9
"""Exit code of --strict where an error was found."""


def doctor(  # noqa: PLR0913 - a command's options are its arguments
    what: Annotated[
        str | None, typer.Argument(metavar="DATA|MODULE:FUNCTION", help="Data as for train, or a function.")
    ] = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe values, as for train.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="A recipe file (YAML).")] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time that it may take. Default: 20.", min=0.5)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write doctor.json and report.html to a folder.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help=f"End with code {ILL} where an error was found.")] = False,
    pages: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the documentation's pages, one a finding, and nothing else."),
    ] = None,
) -> None:
    """Say why a network does not train: that of DATA and a recipe, or that of package.module:function.

    The function takes no arguments and returns those of pn.diagnose as a dict: model, batches, loss_fn, optimizer ...
    The current folder can be imported from.
    """
    from provenet.core.errors import Fault, RecipeError

    if pages is not None:
        _write_pages(pages, bool(what or out))
        return
    if what is None:
        remedy = "provenet doctor path/to/images, or provenet doctor package.module:function"
        raise RecipeError(Fault("there is nothing to examine", remedy=remedy))
    if out is not None:
        _check_free(out)
    record = _examined(what, words or [], recipe, budget)
    _show(record)
    if out is not None:
        typer.echo(f"report: {_write(record, out)}")
    if strict and any(finding.severity == "error" for finding in record.diagnosis.findings):
        raise typer.Exit(ILL)


def _examined(what: str, words: list[str], recipe: Path | None, budget: float | None) -> DoctorRecord:
    """Return the diagnosis of data or of a function."""
    from provenet.core.errors import Fault, RecipeError
    from provenet.doctor.called import arguments, names_function
    from provenet.doctor.doctor import diagnose
    from provenet.doctor.session import diagnose_data
    from provenet.recipe.load import gather
    from provenet.records.doctor import DoctorRecord
    from provenet.run.request import Request

    if not names_function(what):
        terminal = _Brief()
        try:
            return diagnose_data(
                Request(what, gather(recipe, words), Path("runs/doctor")), budget or BUDGET_S, terminal
            )
        finally:
            terminal.close()
    if words or recipe is not None:
        got = words[0] if words else f"--recipe {recipe}"
        raise RecipeError(Fault("a function has no recipe", got, "", "leave it out, or change the function"))
    given = arguments(what)
    if budget is not None:
        given["budget_s"] = budget
    return DoctorRecord(subject=what, diagnosis=diagnose(**given))


class _Brief(Terminal):
    """Shows warnings and progress; what was chosen and why is told by `train`."""

    def note(self, text: str) -> None:
        pass

    def choice(self, key: str, value: Any, reason: str) -> None:
        pass


def _show(record: DoctorRecord) -> None:
    """Print the diagnosis: a table on a terminal, plain lines elsewhere; then what to do next."""
    from rich.console import Console

    from provenet.report.doctor_words import commands

    console = Console(highlight=False)
    if console.is_terminal:
        _table(console, record.diagnosis)
    else:
        typer.echo(str(record.diagnosis))
    for text, command in commands(record) if not record.diagnosis.healthy else ():
        typer.echo(f"{text.lower()}: {command}")


def _table(console: Console, found: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    from provenet.report.doctor_words import headline

    console.print(Text(f"{headline(found)} ({found.seconds:.1f} s)", "green" if found.healthy else "bold"))
    grid = Table(box=None, show_header=False, padding=(0, 2, 1, 0), pad_edge=True)
    grid.add_column(no_wrap=True)
    grid.add_column(max_width=28, overflow="fold")
    grid.add_column(ratio=1)
    for finding in found.findings:
        title = Text(finding.id, "bold")
        if finding.layer:
            title.append(f"\nin {finding.layer}", "not bold dim")
        grid.add_row(Text(finding.severity, STYLES[finding.severity]), title, _said(found, finding))
    if found.findings:
        console.print()
        console.print(grid)
    if found.further:
        further = ", ".join(finding.id for finding in found.further)
        console.print(f"further: {further}; look again when these are mended")
    for reason, names in found.reasons.items():
        console.print(Text(f"not looked at: {', '.join(names)}: {reason}", "dim"))


def _said(found: Diagnosis, finding: Finding) -> RenderableType:
    """Return message, figures, probe, fix and words of a finding, each on lines of its own."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from provenet.report.doctor_words import explained, figures

    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    rows.add_column(no_wrap=True, style="dim")
    rows.add_column(ratio=1)
    said = {
        "figures": ", ".join(f"{name} {value}" for name, value in figures(finding)),
        "tried": finding.tried,
        "fix": finding.fix,
        "recipe": " ".join(finding.overrides),
        "explains": ", ".join(explained(found, finding)),
    }
    for name, text in said.items():
        if text:
            rows.add_row(name, Text(text))
    return Group(Text(finding.message), rows)


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds something else than a diagnosis.

    Raises:
        RecipeError: it does.
    """
    from provenet.core.errors import Fault, RecipeError, listed

    entries = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(entries - {"doctor.json", "report.html"})
    if others or folder.is_file():
        got = listed(others, 5) or "a file"
        raise RecipeError(Fault(f"--out {folder} holds other things than a diagnosis", got, "", "name a new folder"))


def _write(record: DoctorRecord, folder: Path) -> Path:
    """Write record and report, and return the path of the report."""
    from provenet.core.files import write_json
    from provenet.report.doctor import RECORD, write_doctor_report

    write_json(folder / RECORD, record.model_dump(mode="json"))
    return write_doctor_report(folder)


def _write_pages(folder: Path, more: bool) -> None:
    """Write the documentation's pages."""
    from provenet.core.errors import Fault, RecipeError
    from provenet.doctor.cards import cards
    from provenet.report.doctor_pages import write_pages

    if more:
        raise RecipeError(Fault("--pages examines nothing and stands alone", remedy="leave the other words out"))
    typer.echo(f"{len(write_pages(folder, cards()))} pages: {folder}")
