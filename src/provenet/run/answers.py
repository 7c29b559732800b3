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
Row = dict[str, str]
"""Text by column."""


def write_predictions(model: Model, predictions: Iterable[Prediction], out: Path) -> tuple[int, Path]:
    """Write `predictions.csv`; for segmentation also `masks/` (values are class indices) and `overlays/`.

    With dropout samples the table also tells their spread, and `uncertainty/` maps the entropy: white is ln K.

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
    table = list((_labels if model.task == "classification" else _masks)(model, predictions, out))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(list(row) for row in table[:1])
    writer.writerows(row.values() for row in table)
    write_text(out / TABLE, text.getvalue())
    return len(table), out / TABLE if model.task == "classification" else out


def _labels(model: Model, predictions: Iterable[Prediction], _: Path) -> Iterator[Row]:
    """Yield the rows of the table of labels."""
    for prediction in predictions:
        assert prediction.probs is not None and prediction.label is not None
        yield {
            "file": cell(prediction.file),
            "label": cell(prediction.label),
            "probability": f"{prediction.probs[prediction.label]:.6f}",
            **_spread(prediction),
            **{f"p_{name}": f"{prediction.probs[name]:.6f}" for name in model.classes},
        }


def _masks(model: Model, predictions: Iterable[Prediction], out: Path) -> Iterator[Row]:
    """Write masks, overlays and maps; yield the rows of their table, with the share of pixels of each class."""
    taken: set[str] = set()
    for prediction in predictions:
        assert prediction.mask is not None
        name = free_name(prediction.file, taken)
        write_bytes(out / "masks" / name, _indexed_png(prediction.mask, model))
        overlay = overlaid(displayed(prediction.picture), prediction.mask, model.palette)
        write_bytes(out / "overlays" / name, encode_png(overlay))
        pictures = {"mask": cell(f"masks/{name}"), "overlay": cell(f"overlays/{name}")}
        if prediction.spread is not None and prediction.spread.entropy_map is not None:
            write_bytes(out / "uncertainty" / name, _map_png(prediction.spread.entropy_map, len(model.classes)))
            pictures["uncertainty"] = cell(f"uncertainty/{name}")
        shares = np.bincount(prediction.mask.ravel(), minlength=len(model.classes)) / prediction.mask.size
        by_class = {f"share_{label}": f"{share:.6f}" for label, share in zip(model.classes, shares, strict=True)}
        yield {"file": cell(prediction.file), **pictures, **_spread(prediction), **by_class}


def _spread(prediction: Prediction) -> Row:
    """Return the columns of the dropout samples; none without them."""
    spread = prediction.spread
    if spread is None:
        return {}
    return {"entropy": f"{spread.entropy:.6f}", "mutual_information": f"{spread.mutual_information:.6f}"}


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


def _map_png(entropies: NDArray[np.float32], num_classes: int) -> bytes:
    """Return entropies in nats as a grey PNG, from 0 (certain) to 255 (ln K: nothing known)."""
    return encode_png((entropies / np.log(max(num_classes, 2)) * 255).round().clip(0, 255).astype(np.uint8))
