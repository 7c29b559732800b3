"""What one training is made of: finished parts, no names and no recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from provenet.core.batch import Batch
from provenet.engine.feed import Feed
from provenet.engine.precision import Precision
from provenet.techniques.average import Average
from provenet.techniques.loss import Loss
from provenet.techniques.schedule import Schedule
from provenet.techniques.transfer import Groups, Transfer


class TrainLoader(Protocol):
    """Gives the training batches of an epoch, from any of them on."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on."""


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Args:
        primary: the score that decides which weights are best, larger is better; None where there is nothing to score,
            and then the newest weights count as the best.
        metrics: all scores of the validation split, by name.
        train_clean: the same on training images that are not augmented.
        loss: loss on the validation split.
    """

    primary: float | None
    metrics: dict[str, float | None]
    train_clean: dict[str, float | None]
    loss: float | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One training.

    Args:
        loader: gives the training batches.
        feed: augments and normalises them.
        loss, schedule, average, transfer: the members that fill these slots.
        groups: parameter names by depth, input first.
        precision: number format, device, layout.
        validate: scores a net on the validation split.
        lr: peak learning rate.
        total_steps: updates of the whole run.
        steps_per_validation: updates between validations; the last update is followed by one in any case.
        patience: validations without improvement before the run stops; None never stops early.
        clip: largest gradient norm; None does not clip.
        class_weights: weight of each class in the loss, (K,); None weighs all alike.
        seed: seed of the run.
        save_every_s: seconds between checkpoints, at least.
    """

    loader: TrainLoader
    feed: Feed
    loss: Loss
    schedule: Schedule
    average: Average
    transfer: Transfer
    groups: Groups
    precision: Precision
    validate: Callable[[nn.Module], Validation]
    lr: float
    total_steps: int
    steps_per_validation: int
    patience: int | None = None
    clip: float | None = None
    class_weights: Tensor | None = None
    seed: int = 0
    save_every_s: float = 60.0

    def is_validation(self, step: int) -> bool:
        """Return whether a validation follows update number `step` (from 1)."""
        return step % self.steps_per_validation == 0 or step == self.total_steps

    def validations_after(self, step: int) -> int:
        """Return how many validations are still to come once update number `step` is validated."""
        whole = self.total_steps // self.steps_per_validation - step // self.steps_per_validation
        return whole + (step < self.total_steps and self.total_steps % self.steps_per_validation > 0)


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        stopped: "budget" or "patience".
        steps: updates done.
    """

    stopped: str
    steps: int
