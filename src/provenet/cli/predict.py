"""`provenet predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    files: Annotated[list[Path], typer.Argument(help="Pictures, folders of pictures, or zips.")],
    out: Annotated[Path, typer.Option(help="Folder for the answers.")] = Path("answers"),
    tta: Annotated[bool, typer.Option("--tta", help="Average with the answer for the mirror image.")] = False,
    tiles: Annotated[int, typer.Option(metavar="PIXELS", help="Side of the tiles of big pictures.", min=64)] = 512,
) -> None:
    """Answer for new pictures: predictions.csv with probabilities, or masks and overlays at the original size."""
    from provenet.cli.console import Terminal
    from provenet.engine.segment import Tiles
    from provenet.run.model import load_model
    from provenet.run.predict import Answering, write_predictions
    from provenet.run.predict import predict as answer

    terminal = Terminal()
    model = load_model(run)
    answering = Answering(mirrored=tta, tiles=Tiles(side=tiles))
    count, written = write_predictions(model, answer(model, files, answering, terminal), out)
    terminal.note(f"{count} pictures answered: {written}")
