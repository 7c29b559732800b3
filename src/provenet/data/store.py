"""Everything decoded once: a folder with one flat memory map of pictures and one of masks, an offset a picture.

A store holds what follows from the files alone. Labels and splits stay in the index, so that runs which differ in them
share a store. Its folder is named by a key of the files and of the choices that change pixels.
"""

# H W pixels, C channels

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provenet.core.files import canonical, read_json, sha256
from provenet.data.index import Index
from provenet.data.masks import MaskRule
from provenet.data.options import DataOptions

VERSION = 1
"""Changes whenever decoding, or the form of a store, gives other bytes."""


def store_key(index: Index, options: DataOptions) -> str:
    """Return the hash of everything that decides what a store holds."""
    files = [[item.file, _stamp(index, item.file), item.mask, _stamp(index, item.mask)] for item in index.items]
    choices = [options.max_side, options.channels, options.max_pixels]
    masks = [options.classes, options.void] if index.task == "segmentation" else []
    return sha256(canonical([VERSION, index.task, choices, masks, files]))


def _stamp(index: Index, name: str | None) -> str:
    """Return what changes when a file does; nothing for one that cannot be looked at (decoding will say why)."""
    try:
        return index.source.stamp(name) if name else ""
    except OSError:
        return ""


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded pictures and masks of a data set; a sample id is the position of a picture here.

    Args:
        folder: where it lies.
        facts: what `store.json` says.
        arrays: what `index.npz` holds.
    """

    folder: Path
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, folder: Path, key: str) -> Store | None:
        """Return the finished store in a folder; None when there is none, or it is not whole."""
        try:
            facts = read_json(folder / "store.json")
            if not (facts["finished"] and facts["key"] == key):
                return None
            if any((folder / name).stat().st_size != size for name, size in facts["sizes"].items()):
                return None
            with np.load(folder / "index.npz") as saved:
                arrays = {name: saved[name] for name in saved.files}
        except (OSError, ValueError, KeyError):
            return None
        return cls(folder, facts, arrays)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def files(self) -> list[str]:
        """Name of each picture."""
        names: list[str] = self.facts["files"]
        return names

    @property
    def positions(self) -> NDArray[np.int64]:
        """Position of each picture in the index."""
        return self.arrays["positions"]

    @property
    def quarantined(self) -> list[tuple[str, str]]:
        """Files that could not be used, each with its reason."""
        return [(file, reason) for file, reason in self.facts["quarantined"]]

    @property
    def channels(self) -> Literal[1, 3]:
        """Channels of every picture."""
        return 3 if self.facts["channels"] == 3 else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, or uint16 when any picture has more than 8 bits."""
        return np.dtype(np.uint16 if self.facts["dtype"] == "uint16" else np.uint8)

    @cached_property
    def rule(self) -> MaskRule | None:
        """How mask values became class indices; None without masks."""
        saved = self.facts["masks"]
        return MaskRule.from_json(saved) if saved else None

    @cached_property
    def _pictures(self) -> NDArray[Any]:
        return np.asarray(np.memmap(self.folder / "pictures.bin", self.dtype, "r"))

    @cached_property
    def _masks(self) -> NDArray[np.uint8]:
        return np.asarray(np.memmap(self.folder / "masks.bin", np.uint8, "r"))

    def shape(self, i: int) -> tuple[int, int]:
        """Return height and width of a stored picture."""
        height, width = self.arrays["shapes"][i]
        return int(height), int(width)

    def original_size(self, i: int) -> tuple[int, int]:
        """Return height and width of a picture as its file shows it, EXIF orientation applied."""
        height, width = self.arrays["originals"][i]
        return int(height), int(width)

    def image(self, i: int) -> NDArray[Any]:
        """Return a picture, H x W x C, a read-only view."""
        height, width = self.shape(i)
        start = int(self.arrays["offsets"][i])
        return self._pictures[start : start + height * width * self.channels].reshape(height, width, self.channels)

    def mask(self, i: int) -> NDArray[np.uint8]:
        """Return the class indices of a stored picture, H x W, `VOID` where unknown; a read-only view."""
        return self._mask(int(self.arrays["mask_offsets"][i]), self.shape(i))

    def truth(self, i: int) -> NDArray[np.uint8]:
        """Return the class indices at the size of the file: what scores are measured against."""
        return self._mask(int(self.arrays["truth_offsets"][i]), self.original_size(i))

    def _mask(self, start: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        return self._masks[start : start + shape[0] * shape[1]].reshape(shape)
