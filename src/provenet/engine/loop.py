"""The training loop.

    start or resume
    while updates are left:
        batch = loader(epoch, position) -> feed (augment, normalise)
        train_step                                          skipped when not finite; 3 in a row: roll back
        journal.step, observers.step
        at a validation: validate(evaluated net) -> journal.validated, best weights, patience, plateau
        checkpoint                                          when due, when interrupted, at the end

Nothing hooks into this loop: techniques are called at their one place, observers only read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from provenet.core.batch import Batch
from provenet.core.errors import DivergedError, Fault, ProvenetError, StorageError
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.job import Job, Outcome
from provenet.engine.observe import Journal, Observers, StepInfo
from provenet.engine.state import Tensors, TrainState
from provenet.engine.step import StepResult, train_step

MOST_BAD_STEPS = 3
MOST_ROLLBACKS = 3


class Interrupted(ProvenetError):
    """The user or the system asked the run to stop; it can be resumed."""

    exit_code = 130


def never() -> bool:
    """The answer of a run that nobody interrupts."""
    return False


@dataclass(eq=False)
class Loop:
    """One sitting of a training.

    Args:
        job: what is trained.
        state: what training changes.
        checkpoints: where it is saved.
        journal: where rows go.
        observers: who looks on.
        interrupted: asked after each update; true ends the sitting with a checkpoint.
    """

    job: Job
    state: TrainState
    checkpoints: Checkpoints
    journal: Journal
    observers: Observers = field(default_factory=Observers)
    interrupted: Callable[[], bool] = never
    _saved_at: float = 0.0
    _last: float = 0.0
    _pace: float = 0.0
    _validation_s: float = 0.0
    _best: Tensors | None = None

    def run(self) -> Outcome:
        """Train to the end of the budget, or until patience is used up.

        Raises:
            Interrupted: `interrupted` said so; a checkpoint was saved.
            DivergedError: the numbers stayed non-finite through three roll-backs.
            StorageError: the last checkpoint could not be saved.
        """
        self._saved_at = self._last = time.monotonic()
        if self.state.counters.step == 0 and not self.checkpoints.steps():
            self._save()
        while not self._finished():
            for batch in self._batches():
                self._advance(batch)
                if self._finished() or self.state.counters.bad_steps >= MOST_BAD_STEPS:
                    break
            if self.state.counters.bad_steps >= MOST_BAD_STEPS:
                self._roll_back()
        self._save()
        patience = self.state.counters.step < self.job.total_steps
        return Outcome("patience" if patience else "budget", self.state.counters.step)

    def _finished(self) -> bool:
        counters, patience = self.state.counters, self.job.patience
        out_of_patience = patience is not None and counters.waited >= patience
        return counters.step >= self.job.total_steps or out_of_patience

    def _batches(self) -> Iterator[Batch]:
        """Yield the prepared batches from the next one to the end of its epoch."""
        epoch, position = divmod(self.state.counters.step, self.job.loader.steps_per_epoch)
        for batch in self.job.loader.batches(epoch, position):
            yield self.job.feed.train(batch, epoch)

    def _advance(self, batch: Batch) -> None:
        """Make one update and all that follows from it."""
        result = train_step(self.job, self.state, batch)
        self._count(result, len(batch))
        self._report(result, len(batch))
        counters = self.state.counters
        validates = self.job.is_validation(counters.step)
        due = time.monotonic() - self._saved_at >= self.job.save_every_s
        if (validates or due) and not self.state.is_finite():
            counters.bad_steps = MOST_BAD_STEPS
            self._event("overflow", f"weights are not finite after update {counters.step}")
        if validates and counters.bad_steps < MOST_BAD_STEPS:
            self._validate(result.lr)
        if self.interrupted():
            self._stop()
        # Between skipped updates nothing is saved: a roll-back shall go to before the first of them.
        if due and counters.bad_steps == 0:
            self._storing(self._save)
            self._saved_at = time.monotonic()

    def _stop(self) -> None:
        """End the sitting, with a checkpoint unless the numbers are going wrong just now.

        Raises:
            Interrupted: always.
            StorageError: the checkpoint could not be saved.
        """
        step, total = self.state.counters.step, self.job.total_steps
        if self.state.counters.bad_steps == 0 and self.state.is_finite():
            self._save()
        raise Interrupted(Fault(f"interrupted after update {step} of {total}; a checkpoint is saved"))

    def _count(self, result: StepResult, num_images: int) -> None:
        counters = self.state.counters
        counters.step += 1
        counters.images += num_images
        if result.made:
            counters.bad_steps = 0
            counters.loss_sum += result.loss
            counters.loss_count += 1
        else:
            counters.bad_steps += 1
            counters.skipped += 1
            self._event("skipped", f"update {counters.step} skipped: loss or gradient is not finite")

    def _report(self, result: StepResult, num_images: int) -> None:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        counters = self.state.counters
        counters.seconds += seconds
        self._pace = seconds if self._pace == 0 else 0.9 * self._pace + 0.1 * seconds
        left = (self.job.total_steps - counters.step) * self._pace
        left += self.job.validations_after(counters.step) * self._validation_s
        epoch = counters.step / self.job.loader.steps_per_epoch
        info = StepInfo(
            counters.step, self.job.total_steps, epoch, result.loss, result.lr, num_images / self._pace, left
        )
        self.observers.step(info)
        loss, norm = _finite(result.loss), _finite(result.grad_norm)
        self.journal.step({"step": counters.step, "loss": loss, "lr": result.lr, "grad_norm": norm})

    def _validate(self, lr: float) -> None:
        """Score the evaluated net after an update at the rate `lr`; keep it when it is the best so far."""
        counters = self.state.counters
        found = self.job.validate(self.state.evaluated)
        if counters.best is None or found.primary is None or found.primary > counters.best:
            counters.best, counters.best_step, counters.waited = found.primary, counters.step, 0
            self._best = self.state.evaluated.state_dict()
            if not self._storing(self._save_best):
                self._best = {name: value.clone() for name, value in self._best.items()}
        else:
            counters.waited += 1
        if counters.schedule is not None and found.primary is not None:
            counters.schedule = self.job.schedule.observe(counters.schedule, found.primary)
        epoch = counters.step / self.job.loader.steps_per_epoch
        row: dict[str, Any] = {
            "epoch": round(epoch, 4),
            "step": counters.step,
            "lr": lr,
            "train_loss": counters.loss_sum / counters.loss_count if counters.loss_count else None,
            "val_loss": _finite(found.loss),
            "val": found.metrics,
            "train_clean": found.train_clean,
            "best": counters.best_step == counters.step,
            "averaged": self.state.averaged is not None,
            "seconds": round(counters.seconds, 3),
            "images_per_s": round(counters.images / counters.seconds, 1) if counters.seconds else None,
        }
        counters.loss_sum, counters.loss_count = 0.0, 0
        self.journal.validated(row)
        self.observers.validated(row)
        began, self._last = self._last, time.monotonic()
        self._validation_s = self._last - began

    def _event(self, kind: str, text: str) -> None:
        row = {"step": self.state.counters.step, "kind": kind, "text": text}
        self.journal.event(row)
        self.observers.event(row)

    def _save_best(self) -> None:
        """Save the best weights, if there are any that are not yet; the disk may have refused them before."""
        if self._best is not None:
            self.checkpoints.save_best(self._best, self.state.counters.best_step)
            self._best = None

    def _save(self) -> None:
        self._save_best()
        self.state.counters.log_bytes = self.journal.sync()
        self.checkpoints.save(self.state)
        self._saved_at = time.monotonic()

    def _storing(self, save: Callable[[], None]) -> bool:
        """Return whether saving succeeded; a disk that refuses is reported, and tried again at the next occasion."""
        try:
            save()
        except StorageError as error:
            self.observers.event({"step": self.state.counters.step, "kind": "storage", "text": str(error)})
            return False
        return True

    def _roll_back(self) -> None:
        """Go back to the last checkpoint with half the learning rate.

        Raises:
            DivergedError: that was done three times already.
        """
        state = self.state
        if state.rollbacks >= MOST_ROLLBACKS:
            fault = Fault(
                f"training diverged: {MOST_BAD_STEPS} updates in a row not finite, after {MOST_ROLLBACKS} roll-backs",
                f"learning rate {self.job.lr * state.lr_scale:.3g} at update {state.counters.step}",
                remedy="lower optimizer.lr, set clip=1, or check the images and labels with `provenet inspect`",
            )
            raise DivergedError(fault)
        # Written first: killed in between, the run resumes with the lower rate and not into the same wall.
        self.checkpoints.note_rollbacks(state.rollbacks + 1)
        self.checkpoints.load(state)
        self._best = None
        self.journal.cut(state.counters.log_bytes)
        self._event("rollback", f"back to update {state.counters.step} with the learning rate x {state.lr_scale:g}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
