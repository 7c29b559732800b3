"""Short trainings that were made, and what comes out when they are compared."""

# R repeats, B batches

from __future__ import annotations

import math
from dataclasses import dataclass

from provenet.doctor.attempt import Failure

GAIN = 0.2
"""Share of the loss gap that a fix must close to confirm a cause; smaller gains are within what orders differ by."""
LEVEL = 0.05
CLEAR = 0.01
"""p below which two repeats are enough, and below which a fix is believed that helps less but many times as much."""
TIMES = 4
"""So many times as much as without the fix, and at least half of `GAIN`: where a task is hard or time is short, neither
training comes far."""


class OutOfTime(Exception):
    """The budget ended in the middle of a training."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One short training.

    Args:
        losses: training loss of every step.
        start: loss of every batch before, in the mode of training, (B,).
        end: the same after, (B,); NaN where it diverged.
        diverged: whether the loss left the finite numbers or grew `BLOWN`-fold.
        failure: what a step raised.
        seconds: that it took.
    """

    losses: tuple[float, ...]
    start: tuple[float, ...]
    end: tuple[float, ...]
    diverged: bool
    failure: Failure | None
    seconds: float

    @property
    def late(self) -> bool:
        """Whether the budget ended in the middle of it."""
        return self.failure is not None and self.failure.kind == OutOfTime.__name__

    def closed(self, floor: float) -> tuple[float, ...]:
        """Return the share of the gap between start and floor that was closed, one a batch, in [-1, 1]."""
        if self.diverged or self.failure is not None:
            return (-1.0,) * len(self.start)
        gaps = [start - floor if start - floor > 1e-6 else max(abs(start), 1e-6) for start in self.start]
        shares = [(a - b) / gap for a, b, gap in zip(self.start, self.end, gaps, strict=True)]
        return tuple(max(-1.0, min(1.0, share)) if math.isfinite(share) else -1.0 for share in shares)


@dataclass(frozen=True, eq=False)
class Comparison:
    """An arm with a fix against the arm without, over repeats.

    Args:
        gain: mean difference of the shares of the loss gap that the arms closed; 1 is the whole gap.
        p: of the two-sided paired t test over repeats and batches; None where it cannot be told.
        plain: mean share that the arm without the fix closed.
        fixed: mean share with it.
        end: mean loss after the training without the fix; NaN where one diverged.
        diverged: repeats in which the arms diverged: without the fix, with it.
        repeats: R.
        steps: updates of the longest arm.
    """

    gain: float
    p: float | None
    plain: float
    fixed: float
    end: float
    diverged: tuple[int, int]
    repeats: int
    steps: int

    @property
    def confirms(self) -> bool:
        """Whether the fix clearly helps."""
        if self.p is None or self.diverged[1] > self.diverged[0]:
            return False
        many_times = self.gain >= GAIN / 2 and self.fixed >= TIMES * self.plain and self.p < CLEAR
        return many_times or (self.gain >= GAIN and self.p < LEVEL)

    @property
    def begins(self) -> bool:
        """Whether the fix helps, surely but little so far, and much is left to learn: longer trainings may tell."""
        slow = 0 < self.gain < GAIN and self.fixed < 2 * GAIN
        return slow and self.p is not None and self.p < LEVEL and not any(self.diverged)

    def evidence(self) -> dict[str, float | int]:
        """Return the figures for a finding."""
        return {
            "probe_steps": self.steps,
            "probe_repeats": self.repeats,
            "probe_share_closed": round(self.plain, 3),
            "probe_share_closed_with_fix": round(self.fixed, 3),
        }
