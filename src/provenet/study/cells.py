"""The folder of a study: cells that are done, attempts in work, failures; and what a cell's run folder tells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from provenet.core.errors import DivergedError, ProvenetError
from provenet.core.files import canonical, read_json, sha256, storage_error, sync_folder, write_json
from provenet.data.sampler import steps_per_epoch
from provenet.records.run import EpochRow, RunRecord
from provenet.records.study import Cell, CellCost
from provenet.run.folder import RunFolder

KEY_DIGITS = 24


@dataclass(frozen=True)
class Task:
    """One cell to be made, as a worker is given it.

    Args:
        key: name of the cell, see `cell_key`.
        arm: name of the arm.
        seed: the study's seed.
        data: path or name of the data.
        recipe: the resolved recipe as a tree, its seed included.
        study: the folder of the study.
        threads: threads that the cell computes with.
        attempt: name of the folder in `attempts/`: the key, or the key, a dash and more.
        fingerprint: of the data that the key was made with; a cell that saw others is refused. Empty: not looked at.
    """

    key: str
    arm: str
    seed: int
    data: str
    recipe: dict[str, Any]
    study: Path
    threads: int
    attempt: str
    fingerprint: str = ""

    def to_line(self) -> str:
        """Return the task as one line of JSON.

        Example:
            >>> task = Task("k", "baseline", 1, "digits", {"seed": 1}, Path("studies/digits"), 1, "k")
            >>> Task.from_line(task.to_line()) == task
            True
        """
        return json.dumps({**asdict(self), "study": str(self.study)}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Task:
        """Return the task of a line."""
        row = json.loads(line)
        return cls(**{**row, "study": Path(row["study"])})


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Args:
        key: name of the cell.
        state: whether the cell stands.
        reason: why it does not.
        exit_code: of the error's family, see `core.errors`.
        final: whether repeating it would give the same.
        diverged: whether its numbers left the finite range.
        attempt: name of the folder in `attempts/` where it was made, when it is another than the task says.
    """

    key: str
    state: Literal["done", "failed"]
    reason: str = ""
    exit_code: int = 0
    final: bool = False
    diverged: bool = False
    attempt: str = ""

    @property
    def settled(self) -> bool:
        """Whether another try would change nothing."""
        return self.state == "done" or self.final

    @classmethod
    def of(cls, key: str, error: ProvenetError) -> Outcome:
        """Return the outcome of a cell that ended in an error.

        What the recipe, the data or the arithmetic refuse, they refuse again; a machine may have a better day.
        """
        diverged = isinstance(error, DivergedError)
        return cls(key, "failed", str(error), error.exit_code, diverged or error.exit_code in (2, 8), diverged)


def cell_key(recipe: Mapping[str, Any], data_fingerprint: str, code: str, threads: int) -> str:
    """Return the name of a cell: 24 hex digits of a hash of everything that its result follows from.

    Args:
        recipe: the resolved recipe as a tree, its seed included.
        data_fingerprint: `Dataset.fingerprint()`.
        code: hash of the code that trains.
        threads: threads that the cell computes with; they change the last bits.

    Example:
        >>> cell_key({"seed": 1, "steps": 9}, "d", "c", 1) == cell_key({"steps": 9, "seed": 1}, "d", "c", 1)
        True
        >>> cell_key({"seed": 1, "steps": 9}, "d", "c", 1) == cell_key({"seed": 1, "steps": 9}, "d", "c", 2)
        False
    """
    return sha256(canonical([recipe, data_fingerprint, code, threads]))[:KEY_DIGITS]


class StudyFolder:
    """Paths and small files of one study.

    Args:
        path: the folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.design = path / "design.json"
        self.effects = path / "effects.json"
        self.report = path / "report.html"
        self.cells = path / "cells"
        self.attempts = path / "attempts"
        self.failures = path / "failures"

    def cell(self, key: str) -> Path:
        """Return the run folder of a cell that is done."""
        return self.cells / key

    def attempt(self, task: Task) -> Path:
        """Return the run folder in which a cell is made."""
        return self.attempts / task.attempt

    def failure(self, key: str) -> Path:
        """Return the file that says why a cell failed."""
        return self.failures / f"{key}.json"

    def owned(self) -> AbstractContextManager[None]:
        """Hold the study against a second command on this machine; see `RunFolder.owned`.

        Raises:
            ResumeError: a live process holds it; named by host and process id.
            StorageError: the folder cannot be made or written.
        """
        return RunFolder(self.path).owned()

    def done(self, key: str) -> bool:
        """Whether the result of a cell stands."""
        return (self.cell(key) / "result.json").exists()

    def commit(self, task: Task) -> None:
        """Make a finished attempt the cell, durably; where the cell stands already, throw the attempt away.

        One rename onto a name that does not exist decides, so that a cell is committed once whoever else made it.

        Raises:
            StorageError: the file system refused.
        """
        attempt, cell = self.attempt(task), self.cell(task.key)
        try:
            for left in attempt.rglob(".tmp-*"):  # half a file of a process that was killed
                left.unlink()
            for spare in attempt.glob("checkpoints/step-*"):  # a finished run goes on no more; `best` stays
                shutil.rmtree(spare)
            self.cells.mkdir(parents=True, exist_ok=True)
            try:
                attempt.rename(cell)
            except OSError:
                if not self.done(task.key):
                    raise
                shutil.rmtree(attempt, ignore_errors=True)
            # One who waited for the attempt to be free may have taken it just then.
            (cell / "owner.json").unlink(missing_ok=True)
            for parent in (self.cells, self.attempts):
                sync_folder(parent)
            self.failure(task.key).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, cell, "commit the cell") from error

    def note_failure(self, task: Task, outcome: Outcome) -> None:
        """Write down why a cell failed; its attempt stays, for a look at it and for another try.

        Raises:
            StorageError: the disk refused.
        """
        before = self._failure(task.key)
        row = {name: getattr(outcome, name) for name in ("reason", "exit_code", "final", "diverged")}
        noted = row | {"attempts": before.get("attempts", 0) + 1, "attempt": outcome.attempt or task.attempt}
        write_json(self.failure(task.key), noted)

    def _failure(self, key: str) -> dict[str, Any]:
        """Return what was written down about a failure; nothing where there was none, or the file is damaged."""
        with suppress(OSError, ValueError):
            found = read_json(self.failure(key))
            return found if isinstance(found, dict) else {}
        return {}

    def outcome_of(self, key: str) -> Outcome | None:
        """Return what became of a cell, None when nothing did yet."""
        if self.done(key):
            return Outcome(key, "done")
        found = self._failure(key)
        if not found:
            return None
        diverged, final = bool(found.get("diverged")), bool(found.get("final"))
        return Outcome(key, "failed", str(found.get("reason", "")), int(found.get("exit_code", 1)), final, diverged)

    def clean(self) -> None:
        """Remove the attempts of cells that are done: what others began of them, and what a kill left behind."""
        for attempt in self.attempts.glob("*"):
            if self.done(attempt.name.partition("-")[0]):
                shutil.rmtree(attempt, ignore_errors=True)

    def diverged_at(self, key: str) -> Path | None:
        """Return the run folder of a cell that diverged, None where there is none."""
        found = self._failure(key)
        attempt = self.attempts / str(found.get("attempt", key))
        return attempt if found.get("diverged") and attempt.is_dir() else None


def read_cell(folder: StudyFolder, arm: str, seed: int, key: str) -> tuple[Cell, CellCost]:
    """Return what a cell came to and what it took; one that failed or is missing is a cell too.

    One that diverged has no curve (where it ended depends on when its checkpoints were), but the budget that it had.

    Args:
        folder: the study.
        arm: name of the arm.
        seed: the study's seed.
        key: name of the cell.

    Raises:
        StorageError: a record of the cell is damaged.
    """
    outcome = folder.outcome_of(key)
    if outcome is None:
        return Cell(arm=arm, seed=seed, key=key, state="missing"), CellCost()
    place = folder.cell(key) if outcome.state == "done" else folder.diverged_at(key)
    tells: dict[str, Any] = {"state": outcome.state, "reason": outcome.reason, "diverged": outcome.diverged}
    if place is None:
        return Cell(arm=arm, seed=seed, key=key, **tells), CellCost()
    record = RunRecord.read(place)
    return Cell(arm=arm, seed=seed, key=key, **tells, **_figures(record)), _cost(record)


def _figures(record: RunRecord) -> dict[str, Any]:
    """Return the fields of `Cell` that a run folder fills."""
    result = record.result or {}
    training = result.get("training", {})
    per_epoch, steps = _budget(record)
    return {
        "curve": tuple((row.epoch, row.step, score) for row, score in _scored(record)),
        "budget_epochs": steps / per_epoch if per_epoch else 0.0,
        "budget_steps": steps,
        "test": _score(result, "test"),
        "gap": (result.get("gap") or {}).get("value"),
        "parameters": training.get("parameters"),
        "flops": training.get("flops"),
        "seen": record.provenance.get("seen", {}),
    }


def _cost(record: RunRecord) -> CellCost:
    """Return what a run took on its machine."""
    training = (record.result or {}).get("training", {})
    seconds, epochs = training.get("seconds"), training.get("epochs")
    return CellCost(
        seconds=tuple(row.seconds or 0.0 for row, _ in _scored(record)),
        seconds_per_epoch=seconds / epochs if seconds is not None and epochs else None,
        images_per_s=training.get("images_per_s"),
        peak_memory_mib=training.get("peak_memory_mib"),
        began=_written(record.folder / "request.json"),
        ended=_written(record.folder / "result.json"),
    )


def _written(path: Path) -> float | None:
    """Return when a file was written, in seconds since 1970."""
    return path.stat().st_mtime if path.exists() else None


def _budget(record: RunRecord) -> tuple[int, int]:
    """Return updates an epoch, and updates that the recipe allows; zeros where nothing was planned yet."""
    num = record.data.get("num_images", {}).get("train", 0)
    per_epoch = steps_per_epoch(num, record.recipe.get("batch_size", 1))
    epochs = record.recipe.get("epochs") or 0
    return per_epoch, record.recipe.get("steps") or max(1, round(epochs * per_epoch)) if per_epoch else 0


def _scored(record: RunRecord) -> Iterator[tuple[EpochRow, float]]:
    """Yield the validations of a finished run with their primary score, but for those that had nothing to score."""
    if record.result is None:
        return
    for row in record.epochs:
        score = row.val.get(record.result["primary"])
        if score is not None:
            yield row, score


def _score(result: Mapping[str, Any], split: str) -> float | None:
    """Return the primary score of a split, None where it has none."""
    metrics = result.get("splits", {}).get(split, {}).get("metrics", {})
    value: float | None = metrics.get(result.get("primary"), {}).get("value")
    return value
