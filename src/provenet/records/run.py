"""The records of a run folder: the rows that an engine writes, and a reader that bears an unfinished run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from provenet.core.errors import Fault, RecipeError, StorageError
from provenet.core.files import read_json, read_log

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """Base of the records that stand in a file as one JSON object each."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values; a number that is not finite becomes null, which JSON can hold."""
        return {name: _finite(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Return the row of a JSON object; fields of later versions are passed over, absent ones are defaults."""
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in names})


@dataclass(frozen=True)
class EpochRow(Row):
    """One line of `epochs.jsonl`.

    Args:
        epoch: passes over the training images so far; a fraction where validation does not wait for their end.
        step: optimiser steps made so far.
        lr: learning rate, in front of the schedule.
        train_loss: mean loss of the epoch's training batches, augmentation and dropout on.
        val_loss: mean validation loss.
        val: validation metrics by name.
        train_clean: metrics on un-augmented training images in evaluation mode, where they were taken.
        seconds: training time so far.
        images_per_s: training images a second.
        averaged: whether the validated weights were the moving average.
        best: whether this was the best validation so far.

    Example:
        >>> EpochRow(3, 120, 0.1, math.nan, 0.4, {"accuracy": 0.9}).to_json()["train_loss"] is None
        True
    """

    epoch: float = 0
    step: int = 0
    lr: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    val: dict[str, float | None] = field(default_factory=dict)
    train_clean: dict[str, float | None] | None = None
    seconds: float | None = None
    images_per_s: float | None = None
    averaged: bool = False
    best: bool = False


@dataclass(frozen=True)
class StepRow(Row):
    """One line of `steps.jsonl`: an optimiser step, its loss, learning rate and gradient norm before clipping."""

    step: int = 0
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True)
class EventRow(Row):
    """One line of `events.jsonl`: something worth telling that is no measurement (a resume, a skipped step)."""

    step: int = 0
    kind: str = ""
    text: str = ""


@dataclass(frozen=True)
class Choice(Row):
    """One entry of `choices.json`: a recipe key, its value, why, and by whom ("auto", "user" or "default")."""

    key: str = ""
    value: Any = None
    reason: str = ""
    by: str = "auto"


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run folder tells; what is not there yet is empty.

    Args:
        name: name of the run folder.
        folder: the run folder.
        recipe: the resolved recipe.
        choices: what was chosen, with reasons.
        data: the content of `data.json`.
        provenance: the content of `provenance.json`.
        epochs: rows of `epochs.jsonl`.
        steps: rows of `steps.jsonl`.
        events: rows of `events.jsonl`.
        doctor: the content of `doctor.json`; empty where the training was begun without a look at it.
        result: the content of `result.json`; None while the run is not finished.
        views: the content of `views/views.json`.
    """

    name: str
    folder: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    epochs: tuple[EpochRow, ...] = ()
    steps: tuple[StepRow, ...] = ()
    events: tuple[EventRow, ...] = ()
    doctor: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    views: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord:
        """Read a run folder, finished or not.

        Raises:
            RecipeError: the folder holds no run.
            StorageError: a record is damaged; all damaged ones are named.
        """
        folder = Path(folder).resolve()
        _refuse_other_folder(folder)
        faults: list[Fault] = []
        record = cls(
            name=folder.name,
            folder=folder,
            recipe=_read(folder / "recipe.yaml", _read_yaml, {}, faults),
            choices=_rows(Choice, _read(folder / "choices.json", read_json, [], faults)),
            data=_read(folder / "data.json", read_json, {}, faults),
            provenance=_read(folder / "provenance.json", read_json, {}, faults),
            epochs=_rows(EpochRow, list(read_log(folder / "epochs.jsonl"))),
            steps=_rows(StepRow, list(read_log(folder / "steps.jsonl"))),
            events=_rows(EventRow, list(read_log(folder / "events.jsonl"))),
            doctor=_read(folder / "doctor.json", read_json, {}, faults),
            result=_read(folder / "result.json", read_json, {}, faults) or None,
            views=_read(folder / "views" / "views.json", read_json, {}, faults),
        )
        if faults:
            raise StorageError(faults)
        return record

    @property
    def finished(self) -> bool:
        """Whether the run came to its end and wrote its result."""
        return self.result is not None

    @property
    def task(self) -> str:
        """The task, "classification" or "segmentation", from the first record that names it; else empty."""
        return str(
            next((part["task"] for part in (self.result, self.data, self.recipe) if part and "task" in part), "")
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of their indices."""
        lists = [part.get("classes") for part in (self.result, self.data) if part]
        return tuple(str(name) for name in next((names for names in lists if isinstance(names, list)), ()))


def _refuse_other_folder(folder: Path) -> None:
    """Refuse a folder that holds no record of a run."""
    known = ("recipe.yaml", "provenance.json", "epochs.jsonl", "result.json")
    if not any((folder / name).is_file() for name in known):
        got = "a folder without any of them" if folder.is_dir() else "no such folder"
        remedy = "give the folder that `provenet train` printed, such as runs/NAME"
        raise RecipeError(Fault(f"{folder} is not a run folder", got, f"a folder with {', '.join(known)}", remedy))


def _read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _read(path: Path, reader: Callable[[Path], Any], empty: T, faults: list[Fault]) -> T:
    """Return what `reader` reads; `empty` when the file is absent, or damaged, which is added to `faults`."""
    if not path.exists():
        return empty
    remedy = "bring the file back from a copy; move it away to read the run without it"
    try:
        value = reader(path)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        faults.append(Fault("the record cannot be read", first_line, "", remedy, str(path)))
        return empty
    if not isinstance(value, type(empty)):
        allowed = "a list" if isinstance(empty, list) else "a mapping"
        faults.append(Fault("the record has another form", type(value).__name__, allowed, remedy, str(path)))
        return empty
    return value


R = TypeVar("R", bound=Row)


def _rows(kind: type[R], rows: list[Any]) -> tuple[R, ...]:
    """Return typed rows; what is no JSON object is passed over."""
    return tuple(kind.from_json(row) for row in rows if isinstance(row, dict))


def _finite(value: Any) -> Any:
    """Return JSON values with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
