"""A store that is being written: pictures as they were decoded, made uniform when all are known."""

# H W pixels, C channels, K classes

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.core.batch import VOID
from provenet.core.errors import DataError, Fault, listed
from provenet.core.files import write_json
from provenet.core.log import Reporter
from provenet.data.child import Answer
from provenet.data.index import Index
from provenet.data.masks import MaskCensus, MaskRule, as_value, decide, merged
from provenet.data.options import DataOptions
from provenet.data.store import VERSION


class Draft:
    """Takes the answers in the order of the index, then writes the files of a store.

    Args:
        folder: an empty folder.
        index: what was asked for.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self.rows: list[dict[str, Any]] = []
        self.quarantined = [[file, reason] for file, reason in index.missing]
        self._raw: BinaryIO = (folder / "raw.bin").open("wb")
        self._masks: BinaryIO = (folder / "masks.bin").open("wb")

    def add(self, position: int, found: Answer) -> None:
        """Write what was decoded of an item, or note why it cannot be used."""
        if found.bad is not None:
            self.quarantined.append([self.index.items[position].file, found.bad])
            return
        pixels, *masks = found.arrays
        row = found.facts | {"position": position, "shape": pixels.shape, "dtype": str(pixels.dtype)}
        row["start"] = self._raw.tell()
        self._raw.write(pixels.data)
        for name, codes in zip(("mask_start", "truth_start"), masks, strict=False):
            row[name] = self._masks.tell()
            self._masks.write(codes.data)
        self.rows.append(row)

    def close(self) -> None:
        """Close the files; what was not finished is for the caller to remove."""
        self._raw.close()
        self._masks.close()

    def finish(self, options: DataOptions, key: str, reporter: Reporter) -> None:
        """Settle the masks, make the pictures uniform and write the index.

        Raises:
            DataError: nothing is left, or the masks do not say which classes there are.
        """
        self.close()
        self._refuse_nothing()
        masks: dict[str, Any] | None = None
        if self.index.task == "segmentation":
            masks = self._settle_masks(options, reporter)
            self._refuse_nothing()
        channels, dtype = _form(self.rows, options)
        offsets = _unify(self.folder, self.rows, channels, dtype)
        arrays = _arrays(self.rows) | {"offsets": offsets}
        if masks is not None:
            arrays |= _mask_arrays(self.folder / "masks.bin", self.rows, len(masks["classes"]))
        np.savez(self.folder / "index.npz", **arrays)  # type: ignore[arg-type]
        files = [self.index.items[row["position"]].file for row in self.rows]
        facts = {
            "version": VERSION,
            "key": key,
            "finished": True,
            "channels": channels,
            "dtype": str(dtype),
            "masks": masks,
            "quarantined": sorted(self.quarantined),
            "notes": {file: note for file, row in zip(files, self.rows, strict=True) if (note := _note(row))},
            "sizes": {path.name: path.stat().st_size for path in self.folder.iterdir()},
            "files": files,
        }
        write_json(self.folder / "store.json", facts)

    def _refuse_nothing(self) -> None:
        if not self.rows:
            reasons = listed((f"{file}: {reason}" for file, reason in self.quarantined), 12)
            raise DataError(Fault("no picture can be used", reasons, "", "see the reasons; `inspect` lists them all"))

    def _settle_masks(self, options: DataOptions, reporter: Reporter) -> dict[str, Any]:
        """Find the rule of the masks, quarantine those outside it, and write class indices over the codes."""
        census = [_census(self.index.items[row["position"]].file, row) for row in self.rows]
        rule, strays = decide(census, options)
        self.quarantined += [[census[i].file, reason] for i, reason in strays.items()]
        self.rows = [row for i, row in enumerate(self.rows) if i not in strays]
        seen = merged([mask for i, mask in enumerate(census) if i not in strays])
        reporter.note(rule.sentence)
        if self.rows:
            _write_ids(self.folder / "masks.bin", self.rows, rule)
        return rule.as_json() | {"census": [[value, *figures] for value, figures in seen.items()]}


def _note(row: dict[str, Any]) -> str:
    return "; ".join(note for note in (row["note"], row.get("mask_note")) if note)


def _census(file: str, row: dict[str, Any]) -> MaskCensus:
    values = [as_value(value) for value in row["values"]]
    colors = zip(values, row["colors"] or [None] * len(values), strict=True)
    pixels = {value: n for value, n in zip(values, row["counts"], strict=True) if n}
    return MaskCensus(file, pixels, {value: (c[0], c[1], c[2]) for value, c in colors if c is not None})


def _spans(row: dict[str, Any]) -> list[tuple[int, int]]:
    """Return where a row's codes lie in `masks.bin`: at the stored size, and at the original size if that differs."""
    height, width = row["shape"][:2]
    spans = [(row["mask_start"], row["mask_start"] + height * width)]
    if "truth_start" in row:
        height, width = row["original"]
        spans.append((row["truth_start"], row["truth_start"] + height * width))
    return spans


def _write_ids(path: Path, rows: list[dict[str, Any]], rule: MaskRule) -> None:
    """Replace the codes of each mask by class indices, in place."""
    masks = np.memmap(path, np.uint8, "r+")
    for row in rows:
        table = np.full(256, VOID, np.uint8)
        found = [rule.find(as_value(value)) for value in row["values"]]
        table[: len(found)] = [VOID if index is None else index for index in found]
        for start, stop in _spans(row):
            masks[start:stop] = table[masks[start:stop]]
    masks.flush()


def _form(rows: list[dict[str, Any]], options: DataOptions) -> tuple[int, np.dtype[Any]]:
    """Return the channels and the type that hold every picture."""
    deep = any(row["dtype"] == "uint16" for row in rows)
    channels = options.channels or max(row["shape"][2] for row in rows)
    return channels, np.dtype(np.uint16 if deep else np.uint8)


def _unify(folder: Path, rows: list[dict[str, Any]], channels: int, dtype: np.dtype[Any]) -> NDArray[np.int64]:
    """Write `pictures.bin` with one type and number of channels; return the offset of each picture, in values."""
    raw = folder / "raw.bin"
    uniform = all(row["shape"][2] == channels and row["dtype"] == str(dtype) for row in rows)
    if uniform:
        raw.rename(folder / "pictures.bin")
        return np.array([row["start"] // dtype.itemsize for row in rows], np.int64)
    source = np.memmap(raw, np.uint8, "r")
    offsets = np.zeros(len(rows), np.int64)
    with (folder / "pictures.bin").open("wb") as file:
        for i, row in enumerate(rows):
            offsets[i] = file.tell() // dtype.itemsize
            size = int(np.prod(row["shape"])) * np.dtype(row["dtype"]).itemsize
            pixels = source[row["start"] : row["start"] + size].view(row["dtype"]).reshape(row["shape"])
            file.write(converted(pixels, channels, dtype).data)
    raw.unlink()
    return offsets


def converted(pixels: NDArray[Any], channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a picture H W C with other channels and depth.

    Grey becomes three equal channels; colour becomes its luma (ITU-R BT.601); 8-bit levels become 16-bit ones
    times 257, so that 255 becomes 65535.
    """
    if pixels.shape[2] < channels:
        pixels = np.repeat(pixels, channels, axis=2)
    if pixels.shape[2] > channels:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
    if pixels.dtype == np.uint8 and dtype == np.uint16:
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    return np.ascontiguousarray(pixels)


def _arrays(rows: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the index of a store as arrays, so that 10^5 pictures are no 10^5 objects."""
    return {
        "positions": np.array([row["position"] for row in rows], np.int64),
        "shapes": np.array([row["shape"][:2] for row in rows], np.int32),
        "originals": np.array([row["original"] for row in rows], np.int32),
        "std": np.array([row["std"] for row in rows], np.float32),
        "file_hash": _hashes(rows, "file_hash"),
        "pixel_hash": _hashes(rows, "pixel_hash"),
    }


def _hashes(rows: list[dict[str, Any]], name: str) -> NDArray[np.uint8]:
    """Return hashes as N x 32 bytes."""
    return np.frombuffer(bytes.fromhex("".join(row[name] for row in rows)), np.uint8).reshape(-1, 32)


def _mask_arrays(path: Path, rows: list[dict[str, Any]], num_classes: int) -> dict[str, NDArray[Any]]:
    masks = np.memmap(path, np.uint8, "r")
    counts = [np.bincount(masks[slice(*_spans(row)[0])], minlength=256)[:num_classes] for row in rows]
    return {
        "mask_offsets": np.array([row["mask_start"] for row in rows], np.int64),
        "truth_offsets": np.array([row.get("truth_start", row["mask_start"]) for row in rows], np.int64),
        "class_pixels": np.array(counts, np.int64),
        "mask_hash": _hashes(rows, "mask_hash"),
    }
