"""`provenet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Write report.html again from a run's records."""
    from provenet.report.run import write_run_report

    typer.echo(f"report: {write_run_report(run)}")
