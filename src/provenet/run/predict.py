"""Answers of a trained net for new pictures: labels to a table, masks and overlays to image files."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provenet.core.errors import DataError, Fault, listed, near
from provenet.core.log import Reporter
from provenet.data.build import READ_ERRORS
from provenet.data.child import reduced
from provenet.data.decode import BadFile, decode_image
from provenet.data.draft import converted
from provenet.data.masks import counted
from provenet.data.source import FileSource, open_source
from provenet.data.warp import center, place, warp
from provenet.engine.evaluate import MOST_PIXELS, seen
from provenet.engine.segment import Tiles, logits_of, picture_batch, resize_logits, segment
from provenet.run.model import Model
from provenet.run.thinned import Pooled, demand_dropout, demand_samples, pool

ProbsOf = Callable[[Model, list[NDArray[Any]], "Answering"], Tensor]
"""Class probabilities N K ... of pictures as the net sees them."""


@dataclass(frozen=True)
class Answering:
    """How answers are made.

    Args:
        mirrored: average the answers for the picture and its mirror image (test-time augmentation).
        tiles: how big pictures are cut (segmentation).
        batch_size: pictures at a time (classification).
        dropout_samples: average so many answers with dropout on (Monte-Carlo dropout), at least 2, and tell their
            spread; typical 20 to 100. With `mirrored`, each sample is the average of both views. None: dropout is off.

    Raises:
        RecipeError: fewer than two samples are asked for.
    """

    mirrored: bool = False
    tiles: Tiles = field(default_factory=Tiles)
    batch_size: int = 64
    dropout_samples: int | None = None

    def __post_init__(self) -> None:
        demand_samples(self.dropout_samples)


@dataclass(frozen=True, eq=False)
class Spread:
    """How sure the dropout samples are of an answer; see `run.thinned`.

    Args:
        entropy: predictive entropy in nats, from 0 to ln K; segmentation: the mean over the pixels.
        mutual_information: the part of it in which the samples disagree, in nats; segmentation: the mean likewise.
        entropy_map: entropy of each pixel H W at the original size (segmentation), else None.
    """

    entropy: float
    mutual_information: float
    entropy_map: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one picture.

    Args:
        file: its name: as it was given, or as the folder or zip has it (in front the folder, when several were given).
        label: the likeliest class (classification), else None.
        probs: probability by class (classification), else None.
        mask: class indices H W at the original size (segmentation), else None.
        picture: the picture as decoded, H W C.
        spread: how sure the dropout samples are, where they were asked for, else None.
    """

    file: str
    label: str | None
    probs: dict[str, float] | None
    mask: NDArray[np.uint8] | None
    picture: NDArray[Any]
    spread: Spread | None = None


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
        RecipeError: dropout samples are asked for and the net has no dropout.
    """
    answering, paths = answering or Answering(), [Path(file) for file in files]
    if answering.dropout_samples is not None:
        demand_dropout(model.net, model.recipe)
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
    answers = _labelled(model, rendered, answering)
    for (name, pixels), (row, spread) in zip(waiting, answers, strict=True):
        by_class = {label: float(p) for label, p in zip(model.classes, row, strict=True)}
        yield Prediction(name, model.classes[int(row.argmax())], by_class, None, pixels, spread)


def _labelled(
    model: Model, rendered: list[NDArray[Any]], answering: Answering
) -> Iterator[tuple[NDArray[Any], Spread | None]]:
    """Yield the class probabilities of each picture, with their spread where dropout samples are asked for."""
    if answering.dropout_samples is None:
        for row in _probs(model, rendered, answering).cpu().numpy():
            yield row, None
        return
    for one in rendered:
        pooled = _pooled(model, one, answering, _probs)
        yield pooled.probs.cpu().numpy(), Spread(pooled.entropy.item(), pooled.mutual_information.item())


def _pooled(model: Model, one: NDArray[Any], answering: Answering, probs_of: ProbsOf) -> Pooled:
    """Return what the dropout samples say of a picture: it goes through the net in copies, and no other beside it."""
    assert answering.dropout_samples is not None
    at_once = max(1, MOST_PIXELS // (one.shape[0] * one.shape[1]))
    samples, seed = answering.dropout_samples, model.recipe.seed
    return pool(model.net, lambda num: probs_of(model, [one] * num, answering), samples, at_once, seed)


def _probs(model: Model, rendered: list[NDArray[Any]], answering: Answering) -> Tensor:
    """Return class probabilities N K of pictures as the net sees them (classification)."""
    images = model.feed.clean(picture_batch(rendered)).images
    probs = logits_of(model.net, images, model.feed).softmax(1)
    if answering.mirrored:
        probs = (probs + logits_of(model.net, images.flip(-1), model.feed).softmax(1)) / 2
    return probs


def _segment(model: Model, pictures: Iterator[tuple[str, NDArray[Any]]], answering: Answering) -> Iterator[Prediction]:
    for name, pixels in pictures:
        size = (pixels.shape[0], pixels.shape[1])
        scores, spread = _scored(model, seen(as_stored(model, pixels), model.recipe.view), answering, size)
        mask = scores.argmax(0).cpu().numpy().astype(np.uint8)
        yield Prediction(name, None, None, mask, pixels, spread)


def _scored(
    model: Model, stored: NDArray[Any], answering: Answering, size: tuple[int, int]
) -> tuple[Tensor, Spread | None]:
    """Return scores K H W of a picture at its size, the best the largest, and the spread where samples are asked for.

    Scores are logits; where several answers are averaged, they are probabilities.
    """
    if answering.dropout_samples is not None:
        pooled = _pooled(model, stored, answering, _probs_by_pixel)
        maps = resize_logits(torch.stack([pooled.entropy, pooled.mutual_information])[None], size)[0].cpu().numpy()
        spread = Spread(float(maps[0].mean()), float(maps[1].mean()), maps[0].astype(np.float32))
        return resize_logits(pooled.probs[None], size)[0], spread
    if answering.mirrored:
        return resize_logits(_probs_by_pixel(model, [stored], answering), size)[0], None
    return resize_logits(segment(model.net, [stored], model.feed, answering.tiles), size)[0], None


def _probs_by_pixel(model: Model, stored: list[NDArray[Any]], answering: Answering) -> Tensor:
    """Return class probabilities N K H W of pictures of one shape, as the net sees them (segmentation)."""
    probs = segment(model.net, stored, model.feed, answering.tiles).softmax(1)
    if answering.mirrored:
        flipped = [np.ascontiguousarray(one[:, ::-1]) for one in stored]
        probs = (probs + segment(model.net, flipped, model.feed, answering.tiles).softmax(1).flip(-1)) / 2
    return probs
