"""`provenet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(folder: Annotated[Path, typer.Argument(help="The folder of a run, a study, or measured claims.")]) -> None:
    """Write report.html again from the records of a run, a study, or claims."""
    from provenet.report.claims import write_claims_report
    from provenet.report.run import write_run_report
    from provenet.report.study import write_study_report

    writers = {"claims.json": write_claims_report, "effects.json": write_study_report}
    write = next((write for name, write in writers.items() if (folder / name).exists()), write_run_report)
    typer.echo(f"report: {write(folder)}")
