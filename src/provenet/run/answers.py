"""Answers written to disk: a table, and for segmentation a mask and an overlay a picture."""

# H W pixels

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenet.core.errors import Fault, RecipeError
from provenet.core.files import write_bytes, write_text
from provenet.run.model import Model
from provenet.run.predict import Prediction
from provenet.run.views import displayed, encode_png, overlaid

TABLE = "predictions.csv"


def write_predictions(model: Model, predictions: Iterable[Prediction], out: Path) -> tuple[int, Path]:
    """Write `predictions.csv`; for segmentation also `masks/` (values are class indices) and `overlays/`.

    Args:
        model: the net that answered.
        predictions: its answers.
        out: the folder; nothing is made there before the first answer, and nothing is ever written outside it.

    Returns:
        How many there were, and the file or folder that holds them.

    Raises:
        RecipeError: `out` is a file.
        StorageError: the disk refused.
    """
    if out.exists() and not out.is_dir():
        raise RecipeError(Fault("--out is a file", str(out), "a folder, new or old", "name another"))
    table = (_labels if model.task == "classification" else _masks)(model, predictions, out)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    count = sum(1 for row in table if writer.writerow(row)) - 1
    write_text(out / TABLE, text.getvalue())
    return count, out / TABLE if model.task == "classification" else out


def _labels(model: Model, predictions: Iterable[Prediction], _: Path) -> Iterator[list[str]]:
    """Yield the head and the rows of the table of labels."""
    yield ["file", "label", "probability", *(f"p_{name}" for name in model.classes)]
    for prediction in predictions:
        assert prediction.probs is not None and prediction.label is not None
        shares = [f"{prediction.probs[name]:.6f}" for name in model.classes]
        yield [cell(prediction.file), cell(prediction.label), f"{prediction.probs[prediction.label]:.6f}", *shares]


def _masks(model: Model, predictions: Iterable[Prediction], out: Path) -> Iterator[list[str]]:
    """Write masks and overlays; yield the head and the rows of their table, with the share of pixels of each class."""
    yield ["file", "mask", "overlay", *(f"share_{name}" for name in model.classes)]
    taken: set[str] = set()
    for prediction in predictions:
        assert prediction.mask is not None
        name = free_name(prediction.file, taken)
        write_bytes(out / "masks" / name, _indexed_png(prediction.mask, model))
        overlay = overlaid(displayed(prediction.picture), prediction.mask, model.palette)
        write_bytes(out / "overlays" / name, encode_png(overlay))
        shares = np.bincount(prediction.mask.ravel(), minlength=len(model.classes)) / prediction.mask.size
        yield [
            cell(prediction.file),
            cell(f"masks/{name}"),
            cell(f"overlays/{name}"),
            *(f"{share:.6f}" for share in shares),
        ]


def free_name(file: str, taken: set[str]) -> str:
    """Return a name below the output folder for the answer to a file, and take it.

    Args:
        file: any name; folders in it stay, what would lead elsewhere does not.
        taken: names that are in use, without regard to case, as some file systems have none.

    Example:
        >>> taken = set()
        >>> [free_name(name, taken) for name in ("a.jpg", "a.png", "../../b/c.png", "/etc/d.png")]
        ['a.png', 'a.png.png', 'b/c.png', 'etc/d.png']
    """
    parts = [part for part in file.replace("\\", "/").split("/") if part not in ("", "..", ".")]
    path = PurePosixPath(*(parts or ["picture"]))
    tries = [path.with_suffix(".png"), path.with_name(path.name + ".png")]
    number = 2
    while str(tries[0]).casefold() in taken:
        tries.pop(0)
        tries.append(path.with_name(f"{path.name}-{number}.png"))
        number += 1
    taken.add(str(tries[0]).casefold())
    return str(tries[0])


def cell(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula, and that any encoding of names can be put in.

    Example:
        >>> cell("=1+1.png"), cell("a.png")
        ("'=1+1.png", 'a.png')
    """
    text = text.encode("utf-8", "replace").decode()
    return "'" + text if text[:1] in "=+-@\t\r" else text


def _indexed_png(mask: NDArray[np.uint8], model: Model) -> bytes:
    """Return a mask as a palette PNG: pixel values are class indices, colours are for the eye."""
    image = Image.frombytes("P", (mask.shape[1], mask.shape[0]), mask.tobytes())
    image.putpalette([value for color in model.palette for value in color])
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
