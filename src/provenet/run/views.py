"""Pictures for the report: what the net sees, and where it is wrong."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from provenet.core.batch import VOID
from provenet.core.files import write_bytes, write_json
from provenet.engine.evaluate import Tally
from provenet.engine.feed import Feed, levels_255
from provenet.metrics.classification import ClassificationTally
from provenet.metrics.segmentation import SegmentationTally
from provenet.recipe.build import Session

Picture = NDArray[np.uint8]
NUM_AUGMENTED = 12
NUM_WRONG = 12
NUM_OVERLAYS = 6
LONGEST = 360
"""Longest side of a picture in the report, pixels."""


def write_views(folder: Path, session: Session, net: nn.Module, tallies: dict[str, Tally]) -> None:
    """Write the PNGs and `views.json` that the report shows.

    Args:
        folder: `RUN/views`.
        session: data, recipe and feed.
        net: the trained net, in evaluation mode.
        tallies: what was scored; examples come from the test split, else from validation.
    """
    split = "test" if "test" in tallies else "val"
    views: dict[str, Any] = {"split": split, "augmented": _augmented(folder, session)}
    tally = tallies.get(split)
    if isinstance(tally, ClassificationTally):
        views["wrong"] = _wrong(folder, session, tally)
    elif isinstance(tally, SegmentationTally):
        views["overlays"] = _overlays(folder, session, net, tally)
        views["palette"] = [list(color) for color in session.dataset.palette]
    write_json(folder / "views.json", views)


def encode_png(picture: Picture) -> bytes:
    """Return a picture H W, H W 1 or H W 3 (RGB) as PNG bytes."""
    ordered = picture[..., ::-1] if picture.ndim == 3 and picture.shape[2] == 3 else picture
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered))
    assert done
    return data.tobytes()


def displayed(picture: NDArray[Any]) -> Picture:
    """Return a stored picture H W C as uint8 RGB; 16-bit levels and dark pictures are stretched to be seen."""
    values = picture.astype(np.float32) / (257.0 if picture.dtype == np.uint16 else 1.0)
    top = float(np.percentile(values, 99.5))
    if top < 128:
        values = values * (255.0 / max(top, 1.0))
    shown = values.clip(0, 255).astype(np.uint8)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown


def fitted(picture: Picture, longest: int = LONGEST, smooth: bool = True) -> Picture:
    """Return a picture enlarged or reduced so that its longest side is `longest` (whole factors when enlarged)."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 2:
        whole = int(factor)
        return np.ascontiguousarray(picture.repeat(whole, axis=0).repeat(whole, axis=1))
    if factor >= 1:
        return picture
    how = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=how))


def colored(mask: Picture, palette: Sequence[Sequence[int]]) -> Picture:
    """Return a mask H W of class indices as RGB; void is white."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(palette)] = palette
    table[VOID] = 255
    return table[mask]


def overlaid(picture: Picture, mask: Picture, palette: Sequence[Sequence[int]], opacity: float = 0.45) -> Picture:
    """Return an RGB picture with its classes (the first excepted) tinted and outlined."""
    tint = colored(mask, palette).astype(np.float32)
    share = np.where((mask > 0) & (mask != VOID), opacity, 0.0)[..., None]
    mixed = picture * (1 - share) + tint * share
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    mixed[edges] = np.maximum(tint[edges], 40)
    return mixed.clip(0, 255).astype(np.uint8)


def _augmented(folder: Path, session: Session) -> list[dict[str, Any]]:
    """Write training images as the net gets them, brought back to displayable values."""
    loader, feed = session.job.loader, session.feed
    batch = next(iter(loader.batches(0)))
    stored, prepared = levels_255(batch.images), feed.train(batch, 0)
    rows: list[dict[str, Any]] = []
    for i in range(min(NUM_AUGMENTED, len(batch))):
        seen = _unnormalized(prepared.images[i].float().cpu().numpy(), stored[i].numpy(), feed)
        name = f"augmented-{i:02d}.png"
        write_bytes(folder / name, encode_png(fitted(displayed(seen), 128)))
        rows.append({"file": name, "caption": _caption(session, int(batch.ids[i]))})
    return rows


def _unnormalized(values: NDArray[np.float32], stored: NDArray[np.float32], feed: Feed) -> NDArray[np.uint8]:
    """Return normalised values C H W on the scale 0..255, H W C."""
    mean, std = np.array(feed.stats.mean), np.array(feed.stats.std)
    if feed.inputs.affine(feed.stats) is None:
        mean, std = stored.mean((1, 2)), stored.std((1, 2))
    pixels = values * std[:, None, None] + mean[:, None, None]
    return pixels.transpose(1, 2, 0).clip(0, 255).astype(np.uint8)


def _caption(session: Session, sample: int) -> str:
    dataset = session.dataset
    return dataset.classes[dataset.labels[sample]] if dataset.labels is not None else _file(session, sample)


def _file(session: Session, sample: int) -> str:
    return session.dataset.store.files[sample]


def _wrong(folder: Path, session: Session, tally: ClassificationTally) -> list[dict[str, Any]]:
    """Write the wrong answers in which the net was most certain."""
    rows = tally.rows()
    wrong = np.flatnonzero(rows.predicted != rows.targets)
    worst = wrong[np.argsort(-rows.confidence[wrong], kind="stable")][:NUM_WRONG]
    classes = session.dataset.classes
    found: list[dict[str, Any]] = []
    for place, row in enumerate(worst):
        sample = int(rows.ids[row])
        name = f"wrong-{place:02d}.png"
        write_bytes(folder / name, encode_png(fitted(displayed(session.dataset.store.image(sample)), 160)))
        found.append(
            {
                "file": name,
                "caption": _file(session, sample),
                "truth": classes[rows.targets[row]],
                "predicted": classes[rows.predicted[row]],
                "probability": float(rows.confidence[row]),
            }
        )
    return found


def _overlays(folder: Path, session: Session, net: nn.Module, tally: SegmentationTally) -> list[dict[str, Any]]:
    """Write image, truth and prediction of samples from the worst to the best."""
    scores = {sample: score for sample, score in tally.image_dice().items() if score == score}
    ranked = sorted(scores, key=lambda sample: (scores[sample], sample))
    if not ranked:
        return []
    places = sorted({round(at * (len(ranked) - 1)) for at in (0, 0.02, 0.1, 0.25, 0.5, 1.0)})
    dataset, rows = session.dataset, []
    for number, sample in enumerate(ranked[place] for place in places[:NUM_OVERLAYS]):
        picture = displayed(dataset.store.image(sample))
        height, width = dataset.store.original_size(sample)
        if picture.shape[:2] != (height, width):
            picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
        logits = next(session.scorer.logits(net, np.array([sample])))
        prediction = logits.argmax(0).cpu().numpy().astype(np.uint8)
        row: dict[str, Any] = {"caption": _file(session, sample), "score": scores[sample]}
        layers = {
            "image": picture,
            "truth": overlaid(picture, dataset.store.truth(sample), dataset.palette),
            "prediction": overlaid(picture, prediction, dataset.palette),
        }
        for kind, layer in layers.items():
            row[kind] = f"overlay-{number:02d}-{kind}.png"
            write_bytes(folder / row[kind], encode_png(fitted(layer)))
        rows.append(row)
    return rows
