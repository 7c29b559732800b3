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
    tiles: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=64,
            help="Cut pictures (segmentation) into overlapping tiles of this side. Default: 512, above 2 megapixels.",
        ),
    ] = None,
    dropout_samples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Average N answers with dropout on (Monte-Carlo dropout, 20 to 100) and tell how far they lie apart: "
            "entropy, mutual information, for masks a map.",
        ),
    ] = None,
) -> None:
    """Answer for new pictures: predictions.csv with probabilities, or masks and overlays at the original size."""
    from provenet.cli.console import Terminal
    from provenet.data.masks import counted
    from provenet.engine.segment import Tiles
    from provenet.run.answers import write_predictions
    from provenet.run.model import load_model
    from provenet.run.predict import Answering
    from provenet.run.predict import predict as answer

    terminal = Terminal()
    model = load_model(run)
    cut = Tiles() if tiles is None else Tiles(tiles, whole_below=tiles * tiles)
    answering = Answering(tta, cut, dropout_samples=dropout_samples)
    count, written = write_predictions(model, answer(model, files, answering, terminal), out)
    terminal.note(f"{counted(count, 'picture')} answered: {written}")
