"""Checkpoints that are whole or absent: safetensors and JSON under a manifest of SHA-256 sums, renamed into place.

The commit: write into a temporary folder, fsync each file, write the manifest last, fsync the folder, move aside what
was there, rename, fsync the parent, read it back. Only then are older ones removed. There is no pointer to the latest:
the latest is the highest step whose manifest agrees with its files.
"""

from __future__ import annotations

import contextlib
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

from provenet.core.errors import Fault, ResumeError, StorageError
from provenet.core.files import canonical, read_json, sha256, storage_error, sync_folder, write_json
from provenet.engine.state import Tensors, TrainState

MANIFEST = "MANIFEST.json"
FILES = ("weights.safetensors", "state.safetensors", "state.json")
KEEP = 2


def commit_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files with its manifest so that it is whole or absent, and check that it can be read back.

    Raises:
        StorageError: the disk refused; nothing of the attempt is left and what was there stays.
    """
    mark = f"{target.name}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = target.with_name(f".tmp-{mark}"), target.with_name(f".old-{mark}")
    replaces = target.exists()
    try:
        _write_folder(temporary, files)
        # The old folder is removed last: a kill in between leaves it whole, for `Checkpoints.clean` to put back.
        if replaces:
            target.rename(old)
        temporary.rename(target)
        sync_folder(target.parent)
        read_folder(target)
    except (OSError, ResumeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() or not replaces:
            shutil.rmtree(target, ignore_errors=True)
        if old.exists():
            with contextlib.suppress(OSError):
                old.rename(target)
        if isinstance(error, OSError):
            raise storage_error(error, target, "save") from error
        raise StorageError(Fault(f"could not save {target}", str(error), "", "check the disk")) from error
    shutil.rmtree(old, ignore_errors=True)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files and their manifest, each durable before the next, the manifest last."""
    manifest = {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in files.items()}
    folder.mkdir(parents=True)
    for name, data in [*files.items(), (MANIFEST, canonical(manifest).encode())]:
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a committed folder, each checked against the manifest before anything uses it.

    Raises:
        ResumeError: a file is missing or differs from what was written; names the file.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest: dict[str, dict[str, Any]] = json.loads(raw)
        files = {name: (folder / name).read_bytes() for name in manifest}
        wrong = [name for name, data in files.items() if manifest[name] != {"bytes": len(data), "sha256": sha256(data)}]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ResumeError(Fault(f"the checkpoint {folder.name} cannot be read", str(error))) from error
    if canonical(manifest).encode() != raw:
        wrong.append(MANIFEST)
    if wrong:
        raise ResumeError(Fault(f"the checkpoint {folder.name} is damaged", f"other bytes in {', '.join(wrong)}"))
    return files


def _discard(folder: Path) -> None:
    """Remove a folder so that a kill on the way leaves no half of it under its name."""
    doomed = folder.with_name(f".del-{folder.name}-{secrets.token_hex(4)}")
    try:
        folder.rename(doomed)
    except OSError as error:
        raise storage_error(error, folder, "remove") from error
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
        numbers = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:07d}"

    def save(self, state: TrainState) -> None:
        """Commit the state, read it back, then remove all others but the newest before it.

        Those of later steps go too: they were damaged, or the run has gone back behind them.

        Raises:
            StorageError: the disk refused; the checkpoints that were there stay.
        """
        weights, rest = state.tensors()
        content = (_pack(weights), _pack(rest), canonical(state.plain()).encode())
        step = state.counters.step
        commit_folder(self._of(step), dict(zip(FILES, content, strict=True)))
        older = [other for other in self.steps() if other < step]
        later = [other for other in self.steps() if other > step]
        for other in older[: 1 - KEEP] + later:
            _discard(self._of(other))

    def load(self, state: TrainState) -> list[str]:
        """Load the newest checkpoint that verifies into `state`; returns a sentence for each that did not.

        Raises:
            ResumeError: there are checkpoints and none of them can be used; nothing is deleted.
        """
        damaged: list[str] = []
        for step in reversed(self.steps()):
            try:
                weights, rest, plain = self._opened(step)
            except ResumeError as error:
                damaged.append(str(error))
                continue
            state.load(weights, rest, plain)
            state.rollbacks = self.rollbacks()
            state.lr_scale = 0.5**state.rollbacks
            return damaged
        remedy = "give --restart to begin again; what is there is kept until then"
        raise ResumeError([Fault("no checkpoint can be used", "; ".join(damaged) or "none", "", remedy)])

    def _opened(self, step: int) -> tuple[Tensors, Tensors, dict[str, Any]]:
        """Return the content of a checkpoint once all of it is known to be what was written at this step.

        Raises:
            ResumeError: it is not.
        """
        folder = self._of(step)
        files = read_folder(folder)
        if set(files) != set(FILES):
            raise ResumeError(Fault(f"the checkpoint {folder.name} is damaged", f"files {', '.join(files) or 'none'}"))
        plain: dict[str, Any] = json.loads(files["state.json"])
        if plain["counters"]["step"] != step:
            got = f"the state of update {plain['counters']['step']}"
            raise ResumeError(Fault(f"the checkpoint {folder.name} is another one's", got))
        return _unpack(files["weights.safetensors"]), _unpack(files["state.safetensors"]), plain

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
        """Remove what a kill may have left of an unfinished commit; put back what was being replaced."""
        for old in self.folder.glob(".old-*"):
            target = self.folder / old.name.removeprefix(".old-").rsplit("-", 2)[0]
            if _is_whole(old) and not _is_whole(target):
                shutil.rmtree(target, ignore_errors=True)
                old.rename(target)
        for pattern in (".tmp-*", ".old-*", ".del-*"):
            for leftover in self.folder.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        read_folder(folder)
    except ResumeError:
        return False
    return True


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def _unpack(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(load_tensors(data))
    except SafetensorError as error:
        raise ResumeError(Fault("a weights file cannot be read", str(error))) from error
