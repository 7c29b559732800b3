"""Answers of a trained net for new pictures: labels to a table, masks and overlays to image files."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from provenet.core.batch import Batch
from provenet.core.errors import DataError, Fault, listed
from provenet.core.files import write_bytes, write_text
from provenet.core.log import Reporter
from provenet.data.child import reduced
from provenet.data.decode import BadFile, decode_image
from provenet.data.draft import converted
from provenet.data.source import FileSource, open_source
from provenet.data.warp import center, place, warp
from provenet.engine.evaluate import seen
from provenet.engine.segment import Tiles, logits_of, picture_batch, resize_logits, segment
from provenet.run.model import Model
from provenet.run.views import displayed, encode_png, overlaid


@dataclass(frozen=True)
class Answering:
    """How answers are made.

    Args:
        mirrored: average the answers for the picture and its mirror image (test-time augmentation).
        tiles: how big pictures are cut (segmentation).
        batch_size: pictures at a time (classification).
    """

    mirrored: bool = False
    tiles: Tiles = field(default_factory=Tiles)
    batch_size: int = 64


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one picture.

    Args:
        file: its name.
        label: the likeliest class (classification), else None.
        probs: probability by class (classification), else None.
        mask: class indices H W at the original size (segmentation), else None.
        picture: the picture as decoded, H W C.
    """

    file: str
    label: str | None
    probs: dict[str, float] | None
    mask: NDArray[np.uint8] | None
    picture: NDArray[Any]


def predict(
    model: Model, files: Iterable[str | Path], answering: Answering | None = None, reporter: Reporter | None = None
) -> Iterator[Prediction]:
    """Yield the answers for files, folders or zips of pictures; a bad file is reported and passed over.

    Args:
        model: the trained net.
        files: paths; folders and zips give all pictures in them.
        answering: how answers are made.
        reporter: hears of bad files.

    Raises:
        DataError: a path does not exist, or none of the files is a picture.
    """
    answering = answering or Answering()
    bad: list[str] = []
    pictures = _pictures(files, model, bad)
    answered = 0
    for prediction in (_classify if model.task == "classification" else _segment)(model, pictures, answering):
        answered += 1
        yield prediction
    if bad and reporter is not None:
        reporter.warn(f"{len(bad)} files passed over: {listed(bad, 5)}")
    if not answered:
        raise DataError(Fault("none of the files is a picture that can be read", listed(bad, 5) or "no file at all"))


def _pictures(files: Iterable[str | Path], model: Model, bad: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield names and decoded pictures."""
    for source, name in _names(files):
        try:
            pixels = decode_image(source.read(name), name, model.recipe.data.max_pixels).pixels
        except BadFile as error:
            bad.append(f"{name} ({error.reason})")
            continue
        yield name, pixels


def _names(files: Iterable[str | Path]) -> Iterator[tuple[FileSource, str]]:
    for path in map(Path, files):
        whole = path.is_dir() or path.suffix.lower() == ".zip"
        source = open_source(path if whole else path.parent)
        try:
            for name in source.names() if whole else [path.name]:
                yield source, name
        finally:
            source.close()


def as_stored(model: Model, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a decoded picture as the store of the training would hold it."""
    dtype = np.dtype(np.uint16 if model.deep else np.uint8)
    if pixels.dtype == np.uint16 and dtype == np.uint8:
        pixels = (pixels // 257).astype(np.uint8)
    return reduced(converted(pixels, model.channels, dtype), model.recipe.data.max_side, cv2.INTER_AREA)


def _classify(model: Model, pictures: Iterator[tuple[str, NDArray[Any]]], answering: Answering) -> Iterator[Prediction]:
    waiting: list[tuple[str, NDArray[Any]]] = []
    for one in pictures:
        waiting.append(one)
        if len(waiting) == answering.batch_size:
            yield from _classified(model, waiting, answering)
            waiting = []
    if waiting:
        yield from _classified(model, waiting, answering)


def _classified(model: Model, waiting: list[tuple[str, NDArray[Any]]], answering: Answering) -> Iterator[Prediction]:
    view = model.recipe.view
    rendered: list[NDArray[Any]] = []
    for _, pixels in waiting:
        stored = as_stored(model, pixels)
        out = np.empty((*view.size, stored.shape[2]), stored.dtype)
        warp(stored, place(stored.shape[:2], view) @ center(view.size), out)
        rendered.append(out)
    probs = _probs(model, picture_batch(rendered), answering).cpu().numpy()
    for (name, pixels), row in zip(waiting, probs, strict=True):
        by_class = {label: float(p) for label, p in zip(model.classes, row, strict=True)}
        yield Prediction(name, model.classes[int(row.argmax())], by_class, None, pixels)


def _probs(model: Model, batch: Batch, answering: Answering) -> Tensor:
    images = model.feed.clean(batch).images
    probs = logits_of(model.net, images, model.feed).softmax(1)
    if answering.mirrored:
        probs = (probs + logits_of(model.net, images.flip(-1), model.feed).softmax(1)) / 2
    return probs


def _segment(model: Model, pictures: Iterator[tuple[str, NDArray[Any]]], answering: Answering) -> Iterator[Prediction]:
    for name, pixels in pictures:
        stored = seen(as_stored(model, pixels), model.recipe.view)
        logits = segment(model.net, [stored], model.feed, answering.tiles)
        if answering.mirrored:
            mirrored = segment(model.net, [np.ascontiguousarray(stored[:, ::-1])], model.feed, answering.tiles)
            logits = torch.log(logits.softmax(1) + mirrored.flip(-1).softmax(1))
        size = (pixels.shape[0], pixels.shape[1])
        mask = resize_logits(logits, size)[0].argmax(0).cpu().numpy().astype(np.uint8)
        yield Prediction(name, None, None, mask, pixels)


def write_predictions(model: Model, predictions: Iterable[Prediction], out: Path) -> tuple[int, Path]:
    """Write the answers: `predictions.csv`, or a mask and an overlay PNG a picture.

    Returns:
        How many there were, and the file or folder that holds them.
    """
    out.mkdir(parents=True, exist_ok=True)
    if model.task == "classification":
        return _write_table(model, predictions, out / "predictions.csv")
    count = 0
    for prediction in predictions:
        assert prediction.mask is not None
        stem = out / Path(prediction.file).with_suffix("")
        write_bytes(stem.with_name(stem.name + ".png"), _indexed_png(prediction.mask, model))
        overlay = overlaid(displayed(prediction.picture), prediction.mask, model.palette)
        write_bytes(stem.with_name(stem.name + "_overlay.png"), encode_png(overlay))
        count += 1
    return count, out


def _write_table(model: Model, predictions: Iterable[Prediction], path: Path) -> tuple[int, Path]:
    text, count = io.StringIO(), 0
    writer = csv.writer(text)
    writer.writerow(["file", "label", "probability", *(f"p_{name}" for name in model.classes)])
    for prediction in predictions:
        assert prediction.probs is not None and prediction.label is not None
        shares = [f"{prediction.probs[name]:.6f}" for name in model.classes]
        writer.writerow(
            [_cell(prediction.file), prediction.label, f"{prediction.probs[prediction.label]:.6f}", *shares]
        )
        count += 1
    write_text(path, text.getvalue())
    return count, path


def _cell(text: str) -> str:
    """Return a name that a spreadsheet does not take for a formula."""
    return "'" + text if text[:1] in "=+-@\t\r" else text


def _indexed_png(mask: NDArray[np.uint8], model: Model) -> bytes:
    """Return a mask as a palette PNG: pixel values are class indices, colours are for the eye."""
    image = Image.frombytes("P", (mask.shape[1], mask.shape[0]), mask.tobytes())
    image.putpalette([value for color in model.palette for value in color])
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
