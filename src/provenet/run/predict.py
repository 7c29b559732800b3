"""Answers of a trained net for new pictures: labels to a table, masks and overlays to image files."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from provenet.core.batch import Batch
from provenet.core.errors import DataError, Fault, listed, near
from provenet.core.log import Reporter
from provenet.data.build import READ_ERRORS
from provenet.data.child import reduced
from provenet.data.decode import BadFile, decode_image
from provenet.data.draft import converted
from provenet.data.masks import counted
from provenet.data.source import FileSource, open_source
from provenet.data.warp import center, place, warp
from provenet.engine.evaluate import seen
from provenet.engine.segment import Tiles, logits_of, picture_batch, resize_logits, segment
from provenet.run.model import Model


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
        file: its name: as it was given, or as the folder or zip has it (in front the folder, when several were given).
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
    answering, paths = answering or Answering(), [Path(file) for file in files]
    _demand(paths)
    bad: list[str] = []
    pictures = _pictures(paths, model, bad)
    answered = 0
    for prediction in (_classify if model.task == "classification" else _segment)(model, pictures, answering):
        answered += 1
        yield prediction
    if bad and answered and reporter is not None:
        reporter.warn(f"{counted(len(bad), 'file')} passed over: {listed(bad, 5)}")
    if not answered:
        got = listed(bad, 5) or "no file at all"
        remedy = "give picture files, or folders or zips of them"
        raise DataError(Fault("none of the files is a picture that can be read", got, remedy=remedy))


def _demand(paths: Sequence[Path]) -> None:
    """Refuse paths that do not exist.

    Raises:
        DataError: names all of them.
    """
    faults = []
    for path in paths:
        if not path.exists():
            known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            remedy = near(path.name, known) or "check the path"
            faults.append(Fault("there is no such file", str(path), "pictures, folders of pictures, zips", remedy))
    if faults:
        raise DataError(faults)


def _pictures(paths: Sequence[Path], model: Model, bad: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield names and decoded pictures; what cannot be read or decoded is added to `bad`."""
    for source, name, shown in _names(paths):
        try:
            pixels = decode_image(source.read(name), name, model.recipe.data.max_pixels).pixels
        except BadFile as error:
            bad.append(f"{shown} ({error.reason})")
        except READ_ERRORS as error:
            bad.append(f"{shown} (cannot be read: {error or type(error).__name__})")
        else:
            yield shown, pixels


def _names(paths: Sequence[Path]) -> Iterator[tuple[FileSource, str, str]]:
    """Yield each file: where it is, its name there, and the name that answers bear."""
    for path in paths:
        whole = path.is_dir() or path.suffix.lower() == ".zip"
        source = open_source(path if whole else path.parent)
        try:
            for name in source.names() if whole else [path.name]:
                yield source, name, (name if len(paths) == 1 else f"{path.name}/{name}") if whole else str(path)
        finally:
            source.close()


def as_stored(model: Model, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a decoded picture as the store of the training would hold it: reduced first, then made uniform."""
    pixels = reduced(pixels, model.recipe.data.max_side, cv2.INTER_AREA)
    if pixels.dtype == np.uint16 and not model.deep:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return converted(pixels, model.channels, np.dtype(np.uint16 if model.deep else np.uint8))


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
            logits = logits.softmax(1) + mirrored.flip(-1).softmax(1)
        size = (pixels.shape[0], pixels.shape[1])
        mask = resize_logits(logits, size)[0].argmax(0).cpu().numpy().astype(np.uint8)
        yield Prediction(name, None, None, mask, pixels)
