"""The pictures of a run, embedded: examples it gets wrong, masks beside the truth, and what the net sees."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenet.records import RunRecord
from provenet.report.parts import rows
from provenet.report.words import is_number, number

_PNG = b"\x89PNG\r\n\x1a\n"
_PARTS = ("image", "truth", "prediction")


@dataclass(frozen=True)
class Picture:
    """An embedded PNG."""

    uri: str
    width: int
    height: int
    alt: str

    @property
    def css(self) -> str:
        """The class that keeps the pixels of a tiny picture sharp."""
        return "tiny" if max(self.width, self.height) <= 96 else "photo"


@dataclass(frozen=True)
class Example:
    """One or more pictures with a line in words and a quiet second line."""

    pictures: tuple[Picture, ...]
    caption: str
    detail: str = ""


@dataclass(frozen=True)
class Swatch:
    """A class with the colour that masks show it in."""

    name: str
    fill: str


class Album:
    """Takes pictures out of a run's `views` folder until a page would become too heavy.

    Args:
        folder: the `views` folder; nothing outside it is read.
        budget: bytes that all pictures may have together, before base64.
    """

    def __init__(self, folder: Path, budget: int = 3_300_000) -> None:
        self.folder = folder.resolve()
        self.left = budget
        self.left_out = 0

    def take(self, names: list[Any], alts: list[str]) -> tuple[Picture, ...]:
        """Return the pictures of one example, all or none: none where one is absent, no PNG, or over the budget."""
        contents = [self._read(name) for name in names]
        size = sum(map(len, contents))
        if not all(contents) or size > self.left:
            self.left_out += 1
            return ()
        self.left -= size
        return tuple(map(_embedded, contents, alts))

    def _read(self, name: Any) -> bytes:
        """Return a PNG of the folder; nothing for any other file."""
        path = (self.folder / str(name)).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file() or path.stat().st_size > self.left:
            return b""
        data = path.read_bytes()
        return data if _is_png(data) else b""


def from_base64(text: str, alt: str) -> Picture | None:
    """Return the picture that a record holds in base64; none where it is no PNG."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return _embedded(data, alt) if _is_png(data) else None


def _is_png(data: bytes) -> bool:
    return data.startswith(_PNG) and len(data) > 24


def _embedded(data: bytes, alt: str) -> Picture:
    """Return a PNG with the size that its header names."""
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    return Picture("data:image/png;base64," + base64.b64encode(data).decode(), width, height, alt)


def wrong_examples(record: RunRecord, album: Album) -> list[Example]:
    """Return the images that the net got most wrong, with what it said and how sure it was."""
    examples = []
    for view in rows(record.views, "wrong"):
        said = f"{view.get('truth', '?')} → {view.get('predicted', '?')}"
        sure = f"{view['probability']:.1%} sure, " if is_number(view.get("probability")) else ""
        pictures = album.take([view.get("file")], [said])
        examples.append(Example(pictures, said, f"{sure}{view.get('caption', '')}"))
    return [example for example in examples if example.pictures]


def overlays(record: RunRecord, album: Album) -> list[Example]:
    """Return image, truth and prediction of segmented images, side by side."""
    examples = []
    for view in rows(record.views, "overlays"):
        caption = str(view.get("caption", ""))
        score = f"score {number(float(view['score']))}" if is_number(view.get("score")) else ""
        pictures = album.take([view.get(part) for part in _PARTS], [f"{part} of {caption}" for part in _PARTS])
        examples.append(Example(pictures, caption, score))
    return [example for example in examples if example.pictures]


def augmented(record: RunRecord, album: Album) -> list[Example]:
    """Return training images as the net sees them, after augmentation."""
    views = [(str(view.get("caption", "")), view.get("file")) for view in rows(record.views, "augmented")]
    examples = [Example(album.take([file], [caption]), "", caption) for caption, file in views]
    return [example for example in examples if example.pictures]


def swatches(record: RunRecord) -> list[Swatch]:
    """Return the colours of the classes in masks, where the records name them."""
    palette = record.views.get("palette") or record.data.get("palette")
    colors = list(palette.values()) if isinstance(palette, dict) else palette
    if not isinstance(colors, list):
        return []
    return [
        Swatch(name, "rgb({:d} {:d} {:d})".format(*color))
        for name, color in zip(record.classes, colors, strict=False)
        if isinstance(color, list) and len(color) == 3 and all(isinstance(level, int) for level in color)
    ]
