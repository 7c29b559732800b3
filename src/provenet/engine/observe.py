"""Who watches a training: listeners that read rows and change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class StepInfo:
    """One update, for a progress display.

    Args:
        step: updates done, this one included.
        total_steps: updates of the whole run.
        epoch: passes over the training images so far, as a fraction.
        loss: training loss of this batch.
        lr: learning rate of this update, in front of multipliers.
        images_per_s: training images a second, lately.
        left_s: seconds until the last update at this pace, validations included.
    """

    step: int
    total_steps: int
    epoch: float
    loss: float
    lr: float
    images_per_s: float
    left_s: float


class Observer(Protocol):
    """Sees what happens; a progress display, TensorBoard, MLflow."""

    def step(self, info: StepInfo) -> None:
        """An update was made."""

    def validated(self, row: dict[str, Any]) -> None:
        """A validation was made; `row` is what `epochs.jsonl` gets."""

    def event(self, row: dict[str, Any]) -> None:
        """Something out of the ordinary happened; `row` is what `events.jsonl` gets."""


class Journal(Protocol):
    """The logs of a run: rows are appended, and cut back to a checkpoint's lengths on resume."""

    def step(self, row: dict[str, Any]) -> None:
        """Append to `steps.jsonl`."""

    def validated(self, row: dict[str, Any]) -> None:
        """Append to `epochs.jsonl`."""

    def event(self, row: dict[str, Any]) -> None:
        """Append to `events.jsonl`."""

    def sync(self) -> dict[str, int]:
        """Make all rows durable; returns the length of each log in bytes."""

    def cut(self, lengths: dict[str, int]) -> None:
        """Cut the logs to these lengths."""


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def step(self, info: StepInfo) -> None:
        for observer in self._observers:
            observer.step(info)

    def validated(self, row: dict[str, Any]) -> None:
        for observer in self._observers:
            observer.validated(row)

    def event(self, row: dict[str, Any]) -> None:
        for observer in self._observers:
            observer.event(row)
