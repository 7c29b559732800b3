"""`provenet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from provenet.cli.train import Data


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scores as JSON.")] = None,
) -> None:
    """Score a run's net on other data: on their test split where the layout gives one, else on all of them."""
    from provenet.cli.console import Terminal
    from provenet.cli.figures import score_line
    from provenet.core.files import write_json
    from provenet.run.evaluate import evaluate as score
    from provenet.run.model import load_model

    terminal = Terminal()
    found = score(load_model(run), run, data, terminal)
    terminal.close()
    terminal.note(score_line(found["split"], found))
    if out is not None:
        write_json(out, found)
        terminal.note(f"written: {out}")
