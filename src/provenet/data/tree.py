"""The files of a data set seen from one of its folders, and what a layout finds there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from provenet.core.errors import Fault
from provenet.data.source import FileSource

Task = Literal["classification", "segmentation"]

IMAGE_SUFFIXES = frozenset(
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".webp")
    + (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".tga")
)
"""Suffixes of files that are read as pictures, in lower case; a file without suffix is tried too."""


@dataclass(frozen=True, slots=True)
class Item:
    """One sample.

    Args:
        file: name of the image in the source.
        label: class, classification only.
        mask: name of the mask in the source, segmentation only.
        split: train, val or test, where the data set says so.
        group: what must stay in one split (a patient, a scene), where the data set says so.
    """

    file: str
    label: str | None = None
    mask: str | None = None
    split: str | None = None
    group: str | None = None


@dataclass
class Found:
    """What a layout found.

    Args:
        layout: a phrase for the user.
        task: what can be learnt from it.
        items: the samples.
        ignored: reason -> files that are none of it.
        missing: (file, reason) of samples that are not whole.
        faults: what is wrong with it.
        tables: the tables and lists that were read.
    """

    layout: str
    task: Task
    items: list[Item] = field(default_factory=list)
    ignored: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    missing: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


def suffix(name: str) -> str:
    """Return what follows the last dot of a file's name, in lower case, with the dot; empty where there is none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""


def stem(name: str) -> str:
    """Return a name without the suffix of a picture; other dots belong to the name.

    Example:
        >>> stem("images/slide.01.PNG"), stem("images/slide.01")
        ('images/slide.01', 'images/slide.01')
    """
    ending = suffix(name)
    return name[: -len(ending)] if ending in IMAGE_SUFFIXES else name


def is_image(name: str) -> bool:
    """Tell whether a file is tried as a picture."""
    return suffix(name) in IMAGE_SUFFIXES or not suffix(name)


class Tree:
    """The files below one folder of a source, named from there.

    Args:
        source: where they lie.
        prefix: the folder with a '/' at its end; empty for the source itself.
        names: the files below it.
        folders: the folders below it, also empty ones.
    """

    def __init__(self, source: FileSource, prefix: str, names: Iterable[str], folders: Iterable[str]) -> None:
        self.source, self.prefix = source, prefix
        self.images: list[str] = []
        self.others: list[str] = []
        for name in names:
            (self.images if is_image(name) else self.others).append(name)
        self.folders = list(folders)
        self.tops: dict[str, list[str]] = defaultdict(list)
        """Folder directly below -> its images, named from there; '' -> the images that lie loose here."""
        for name in self.images:
            top, slash, rest = name.partition("/")
            self.tops[top if slash else ""].append(rest if slash else name)

    @classmethod
    def of_source(cls, source: FileSource) -> Tree:
        """Return all of a source."""
        return cls(source, "", source.names(), source.folders())

    def below(self, folder: str) -> Tree:
        """Return what lies in a folder directly below."""
        cut = folder + "/"
        names = (name[len(cut) :] for name in (*self.images, *self.others) if name.startswith(cut))
        folders = (name[len(cut) :] for name in self.folders if name.startswith(cut))
        return Tree(self.source, self.prefix + cut, names, folders)

    def only_folder(self) -> str | None:
        """Return the one folder that holds all images, or None; files without suffix (README) do not count."""
        tops = {
            top
            for top, names in self.tops.items()
            if any(suffix(name) for name in names) or (top and len(self.tops) == 1)
        }
        return next(iter(tops)) if len(tops) == 1 and "" not in tops else None

    def read(self, name: str) -> bytes:
        """Return the bytes of a file below."""
        return self.source.read(self.prefix + name)

    def full(self, names: Iterable[str]) -> list[str]:
        """Return names as the source knows them."""
        return [self.prefix + name for name in names]
