"""Checkpoints that are whole or absent: safetensors and JSON under a manifest of SHA-256 sums, renamed into place.

The commit: write into a temporary folder, fsync each file, write the manifest last, fsync the folder, rename it, fsync
the parent, read it back. Only then are older ones removed. There is no pointer to the latest: the latest is the
highest step whose manifest agrees with its files.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from provenet.core.errors import Fault, ResumeError
from provenet.core.files import canonical, read_json, sha256, storage_error, sync_folder, write_json
from provenet.engine.state import TrainState

MANIFEST = "MANIFEST.json"
KEEP = 2


def commit_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files with its manifest so that it is whole or absent.

    Raises:
        StorageError: the disk refused; nothing of the attempt is left and what was there stays.
    """
    temporary = target.with_name(f".tmp-{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    manifest = {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in files.items()}
    try:
        temporary.mkdir(parents=True)
        for name, data in [*files.items(), (MANIFEST, canonical(manifest).encode())]:
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        _discard(target)
        temporary.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise storage_error(error, target, "save") from error


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a committed folder, each checked against the manifest before anything uses it.

    Raises:
        ResumeError: a file is missing or differs from what was written; names the file.
    """
    try:
        manifest: dict[str, dict[str, Any]] = read_json(folder / MANIFEST)
        files = {name: (folder / name).read_bytes() for name in manifest}
        bad = [name for name, data in files.items() if sha256(data) != manifest[name]["sha256"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResumeError(Fault(f"the checkpoint {folder.name} cannot be read", str(error))) from error
    if bad:
        raise ResumeError(Fault(f"the checkpoint {folder.name} is damaged", f"other bytes in {', '.join(bad)}"))
    return files


def _discard(folder: Path) -> None:
    """Remove a folder so that a kill on the way leaves no half of it under its name."""
    if folder.exists():
        doomed = folder.with_name(f".del-{folder.name}-{secrets.token_hex(4)}")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `RUN/checkpoints`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Return the steps for which there is a checkpoint, ascending, verified or not."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*"))

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:07d}"

    def save(self, state: TrainState) -> None:
        """Commit the state, read it back, then remove all but the newest two."""
        weights, rest = state.tensors()
        files = {
            "weights.safetensors": _pack(weights),
            "state.safetensors": _pack(rest),
            "state.json": canonical(state.plain()).encode(),
        }
        target = self._of(state.counters.step)
        commit_folder(target, files)
        read_folder(target)
        for step in self.steps()[:-KEEP]:
            _discard(self._of(step))

    def load(self, state: TrainState) -> list[str]:
        """Load the newest checkpoint that verifies into `state`; returns a sentence for each that did not.

        Raises:
            ResumeError: there are checkpoints and none of them can be used; nothing is deleted.
        """
        damaged: list[str] = []
        for step in reversed(self.steps()):
            try:
                files = read_folder(self._of(step))
            except ResumeError as error:
                damaged.append(str(error))
                continue
            weights, rest = _unpack(files["weights.safetensors"]), _unpack(files["state.safetensors"])
            state.load(weights, rest, json.loads(files["state.json"]))
            state.rollbacks = self.rollbacks()
            state.lr_scale = 0.5**state.rollbacks
            return damaged
        remedy = "give --restart to begin again; what is there is kept until then"
        raise ResumeError([Fault("no checkpoint can be used", "; ".join(damaged) or "none", "", remedy)])

    def rollbacks(self) -> int:
        """Return how many roll-backs the run has made."""
        path = self.folder / "rollbacks.json"
        return int(read_json(path)) if path.exists() else 0

    def note_rollbacks(self, count: int) -> None:
        """Store how many roll-backs the run has made; apart from the checkpoints, which it outlives."""
        write_json(self.folder / "rollbacks.json", count)

    def save_best(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Commit the best weights so far as `best/`."""
        files = {"weights.safetensors": _pack(weights), "best.json": canonical({"step": step}).encode()}
        commit_folder(self.folder / "best", files)

    def load_best(self) -> dict[str, Tensor]:
        """Return the best weights, checked.

        Raises:
            ResumeError: there are none, or they are damaged.
        """
        return _unpack(read_folder(self.folder / "best")["weights.safetensors"])

    def clean(self) -> None:
        """Remove what a kill may have left of an unfinished commit; put back a `best` that was being replaced."""
        if not self.folder.exists():
            return
        kept = sorted(self.folder.glob(".del-best-*"))
        if kept and not (self.folder / "best").exists() and (kept[-1] / MANIFEST).exists():
            kept[-1].rename(self.folder / "best")
        for leftover in [*self.folder.glob(".tmp-*"), *self.folder.glob(".del-*")]:
            shutil.rmtree(leftover, ignore_errors=True)


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def _unpack(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(load_tensors(data))
    except SafetensorError as error:
        raise ResumeError(Fault("a weights file cannot be read", str(error))) from error
