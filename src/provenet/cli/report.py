"""`provenet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(folder: Annotated[Path, typer.Argument(help="The folder of a run, or of measured claims.")]) -> None:
    """Write report.html again from the records of a run, or of claims."""
    from provenet.report.claims import write_claims_report
    from provenet.report.run import write_run_report

    write = write_claims_report if (folder / "claims.json").exists() else write_run_report
    typer.echo(f"report: {write(folder)}")
