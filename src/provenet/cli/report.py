"""`provenet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, a study, claims, or a diagnosis.")],
) -> None:
    """Write report.html again from the records of a run, a study, claims, or a diagnosis."""
    from provenet.report.claims import write_claims_report
    from provenet.report.doctor import write_doctor_report
    from provenet.report.run import write_run_report
    from provenet.report.study import write_study_report

    writers = {"claims.json": write_claims_report, "effects.json": write_study_report}
    if not (folder / "recipe.yaml").exists():  # a run keeps what the doctor said before its first update
        writers["doctor.json"] = write_doctor_report
    write = next((write for name, write in writers.items() if (folder / name).exists()), write_run_report)
    typer.echo(f"report: {write(folder)}")
