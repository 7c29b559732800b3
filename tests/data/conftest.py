"""Small data sets in memory, made of real PNG bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from provenet.core.files import sha256
from provenet.data.index import Index, Item


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return an array H W, or H W C, as the bytes of a PNG."""
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


@dataclass
class MemorySource:
    """Files in a dictionary; counts what is read."""

    files: dict[str, bytes]
    name: str = "memory"
    num_reads: int = 0
    gone: set[str] = field(default_factory=set)

    def names(self) -> list[str]:
        return sorted(self.files)

    def folders(self) -> list[str]:
        return []

    def skipped(self) -> dict[str, tuple[str, ...]]:
        return {}

    def read(self, name: str) -> bytes:
        self.num_reads += 1
        if name in self.gone:
            raise FileNotFoundError(2, "No such file", name)
        return self.files[name]

    def stamp(self, name: str) -> str:
        return sha256(self.files[name])

    def close(self) -> None:
        pass


@pytest.fixture
def png() -> Callable[[np.ndarray], bytes]:
    return png_bytes


@pytest.fixture
def make_index() -> Callable[..., Index]:
    """Return a maker of indexes: arrays (or bytes) by file name, with labels or masks, splits, groups."""

    def make(
        images: dict[str, Any],
        labels: dict[str, str] | None = None,
        masks: dict[str, Any] | None = None,
        splits: dict[str, str] | None = None,
        groups: dict[str, str] | None = None,
    ) -> Index:
        splits, groups, masks = splits or {}, groups or {}, masks or {}
        content = images | {f"mask/{name}": mask for name, mask in masks.items()}
        files = {name: data if isinstance(data, bytes) else png_bytes(data) for name, data in content.items()}
        items = tuple(
            Item(
                name,
                labels[name] if labels else None,
                f"mask/{name}" if name in masks else None,
                splits.get(name),
                groups.get(name),
            )
            for name in sorted(images)
        )
        task = "segmentation" if masks else "classification"
        return Index(MemorySource(files), "a data set in memory", task, items, {}, ())

    return make


@pytest.fixture
def pictures() -> Callable[..., dict[str, np.ndarray]]:
    """Return a maker of random pictures, all different."""

    def make(num: int, shape: tuple[int, ...] = (8, 10, 3), seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {f"{i:03d}.png": rng.integers(0, 256, shape, dtype=np.uint8) for i in range(num)}

    return make


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in this process: the files of these tests do no harm, and children take time to start."""
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)
    monkeypatch.setattr("provenet.data.survey.num_decoders", lambda _: 0)
