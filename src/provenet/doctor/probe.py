"""Instrument P: short trainings of the double with a fix and without, paired by batches, order and random streams."""

# N batch, R repeats, B batches

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.arm import CLEAR, Arm, Comparison, OutOfTime
from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.clock import Clock
from provenet.doctor.double import Double
from provenet.doctor.tree import fresh, map_tensors, num_samples, take
from provenet.doctor.trial import Fix, Trial, held, losses_of, shuffled
from provenet.stats.paired import paired_test

STEPS, FEWEST_STEPS = 30, 8
FEWEST_ARMS = 4
"""Arms of a comparison with two repeats, which is the least that tells."""
LONG_STEPS = 90
"""Updates where a training is looked at as it is: slow starts and late ends take longer than a gain takes to show."""
REPEATS = 3
MOST_BATCHES = 4
UNSEEN = 192
"""Samples of further batches that a trained net is asked for."""
SAMPLES = 16
"""Samples of a batch in a probe: its steps have to be cheap; one can raise it where the batch itself matters."""
SHARE = 0.3
"""Share of the budget that one comparison may take: a net may be under more than one suspicion."""
AMPLE = 10
"""So many times the room for a training is believed unmeasured: recorded passes say little of the optimizer's part."""
BLOWN = 100.0
"""An arm whose loss is this many times what it began with has diverged, and is stopped. Nets with batch norm at a sound
high rate reach several times their first loss, and come back."""
DEFAULT_LR = 1e-3
"""Of Adam, which trains where the caller gave no optimizer: the rate its authors recommend."""


@dataclass(eq=False)
class Probe:
    """Trains the double briefly. Arms without a fix are trained once and shared by all comparisons.

    Args:
        double: the net.
        batches: the caller's, at most four are used.
        clock: stops arms that the budget has no room for.
        floor: loss of a perfect answer; see `Battery.floor`.
        step_s: seconds of a step and sample, measured before; 0 when unknown.
        refused: trainings that were asked for and not made, for lack of time.
    """

    double: Double
    batches: Sequence[Pair]
    clock: Clock
    floor: float = 0.0
    step_s: float = 0.0
    refused: int = 0
    _arms: dict[tuple[Any, ...], Arm] = field(default_factory=dict)
    _planned: dict[tuple[int, int, int], int] = field(default_factory=dict)
    _timed: bool = False

    @property
    def batch_size(self) -> int:
        """Samples of a batch that trainings may use."""
        return max(num_samples(self.batches[0][0]), 1)

    def compare(
        self, fix: Fix, base: Fix | None = None, steps: int = STEPS, repeats: int = REPEATS, samples: int | None = None
    ) -> Comparison | None:
        """Train with a fix and without, and compare what they closed of the loss gap.

        Args:
            fix: changes the trial of one arm.
            base: changes both arms before.
            steps: updates of an arm; fewer where time is short, at least `FEWEST_STEPS`.
            repeats: orders and random streams, shared by both arms.
            samples: of each batch at most; None: `SAMPLES`.

        Returns:
            None where the time is too short to tell, or where a step of the caller's own arm raises.
        """
        samples = samples or SAMPLES
        steps = self._affordable(steps, 2 * repeats, samples)
        if self._refuses(steps):
            return None
        pairs: list[tuple[Arm, Arm]] = []
        while len(pairs) < repeats and not self._settled(pairs):
            if pairs and not self.clock.allows(sum(arm.seconds for arm in pairs[-1])):
                break
            plain = self._trained((base,), len(pairs), steps, samples)
            if plain.failure is not None:
                return None
            if not self.clock.allows(plain.seconds):
                break
            fixed = self._trained((base, fix), len(pairs), steps, samples)
            if fixed.late:
                break
            pairs.append((plain, fixed))
        told = len(pairs) > 1 or self._settled(pairs)
        self.refused += not told
        return self._compared(pairs) if told else None

    def single(self, *fixes: Fix, steps: int = LONG_STEPS) -> Arm | None:
        """Train once, as the first repeat of `compare` with so many steps does, which then need not do it again.

        Args:
            fixes: one after the other.
            steps: updates; fewer where time is short.

        Returns:
            None where there is no time.
        """
        steps = self._affordable(steps, 2 * REPEATS, SAMPLES)
        return None if self._refuses(steps) else self._trained((None, *fixes), 0, steps, SAMPLES)

    def seconds(self, steps: int) -> float:
        """Return how long an arm of so many updates takes, about."""
        return (steps + len(self.batches[:MOST_BATCHES])) * self.step_s * min(SAMPLES, self.batch_size)

    def room(self, seconds: float, arms: int, samples: int, wanted: int) -> int:
        """Return how many steps each of several arms can make in some seconds.

        A step is timed for it, once, unless there seems to be room for many times as many as are wanted.
        """
        ample = self._room(seconds, arms, samples) >= AMPLE * wanted
        if not ample and not self._timed and self.clock.allows(self.seconds(1)):
            self.arm(_first_batch, steps=1, samples=min(samples, SAMPLES))
        return self._room(seconds, arms, samples)

    def unseen(self, least: int) -> list[Pair]:
        """Return batches that no training here has samples of; none where they hold fewer samples than wanted."""
        found: list[Pair] = []
        num = 0
        for batch in self.batches[MOST_BATCHES:]:
            if num >= UNSEEN:
                break
            found.append(fresh(batch, self.double.case.device))
            num += num_samples(batch[0])
        return found if num >= least else []

    def arm(self, fix: Fix | None = None, repeat: int = 0, steps: int = STEPS, samples: int = SAMPLES) -> Arm:
        """Train once; the double is reset afterwards.

        Args:
            fix: changes the trial before.
            repeat: number of the order and random stream.
            steps: updates.
            samples: of each batch at most.
        """
        started, done = time.monotonic(), _Losses()
        with Attempt("step") as attempt:
            torch.manual_seed(repeat)
            trial = self._trial(repeat, samples)
            if fix is not None:
                fix(trial)
            done.start = losses_of(trial)
            self._train(trial, steps, done)
            done.end = losses_of(trial)
        self.double.reset()
        diverged = done.diverged or any(not math.isfinite(value) for value in done.end)
        seconds = time.monotonic() - started
        if done.losses:
            passes = len(done.losses) + len(done.start)
            self.step_s, self._timed = seconds / (passes * min(samples, self.batch_size)), True
        arm = Arm(tuple(done.losses), done.start, done.end, diverged, attempt.failure, seconds)
        self.refused += arm.late
        return arm

    def _trial(self, repeat: int, samples: int) -> Trial:
        double = self.double
        optimizer = double.new_optimizer()
        if optimizer is None:
            trainable = [tensor for tensor in double.model.parameters() if tensor.requires_grad]
            optimizer = torch.optim.Adam(trainable, lr=DEFAULT_LR)
        optimizer.zero_grad(set_to_none=True)
        batches = [take(batch, slice(samples)) for batch in self.batches[:MOST_BATCHES]]
        device = double.case.device
        mixed = shuffled([fresh(batch, device) for batch in batches], repeat)
        return Trial(double.model, double.loss_fn, optimizer, mixed)

    def _train(self, trial: Trial, steps: int, done: _Losses) -> None:
        gap = fmean(done.start) - self.floor
        enough = -math.inf if trial.until is None else self.floor + trial.until * gap
        for step in range(steps):
            if self.clock.left < 0:
                raise OutOfTime
            inputs, targets = (map_tensors(Tensor.clone, part) for part in trial.batches[step % len(trial.batches)])
            loss = loss_of(trial.loss_fn, forward(trial.model, inputs), targets)
            trial.optimizer.zero_grad(set_to_none=True)
            # Only these: tensors of the caller's that the loss reaches by other ways keep their gradients.
            torch.autograd.backward(loss, inputs=held(trial), retain_graph=True)
            trial.optimizer.step()
            done.losses.append(float(loss.detach()))
            if trial.after_step is not None:
                trial.after_step(step + 1)
            if done.blown():
                done.diverged = True
                return
            if done.losses[-1] < enough:
                return

    def _trained(self, fixes: tuple[Fix | None, ...], repeat: int, steps: int, samples: int) -> Arm:
        """Return the arm with some fixes one after the other; each is trained once."""
        key = (*fixes, repeat, steps, samples)
        if key not in self._arms:
            self._arms[key] = self.arm(_all(fixes), repeat, steps, samples)
        return self._arms[key]

    def _refuses(self, steps: int) -> bool:
        """Return whether there is no time for a training, and count it."""
        self.refused += steps < FEWEST_STEPS
        return steps < FEWEST_STEPS

    def _affordable(self, steps: int, arms: int, samples: int) -> int:
        """Return how many steps each of several arms may have; taking the losses before and after costs some, too.

        Arms are shared, so the number that was planned first holds while there is time for two of them.
        """
        measures = len(self.batches[:MOST_BATCHES])
        share = max(FEWEST_STEPS, self.room(SHARE * self.clock.budget_s, arms, samples, steps + measures) - measures)
        planned = self._planned.setdefault((steps, arms, samples), min(steps, share))
        if self._room(self.clock.left, 2, samples) >= planned + measures:
            return planned
        return min(planned, self._room(self.clock.left, FEWEST_ARMS, samples) - measures)

    def _room(self, seconds: float, arms: int, samples: int) -> int:
        """Return how many steps each of several arms can make in some seconds."""
        step_s = self.step_s * min(samples, self.batch_size)
        return int(min(seconds / (arms * step_s), 1e6)) if step_s > 0 else 10**6

    def _settled(self, pairs: list[tuple[Arm, Arm]]) -> bool:
        """Return whether more repeats would tell nothing new: no gain in the first, or a clear one in two."""
        if not pairs:
            return False
        compared = self._compared(pairs)
        hopeless = compared.gain <= 0.0
        return hopeless or (len(pairs) > 1 and compared.confirms and (compared.p or 0.0) < CLEAR)

    def _compared(self, pairs: list[tuple[Arm, Arm]]) -> Comparison:
        plain = [share for one, _ in pairs for share in one.closed(self.floor)]
        fixed = [share for _, other in pairs for share in other.closed(self.floor)]
        tested = paired_test([a - b for a, b in zip(fixed, plain, strict=True)])
        diverged = (sum(one.diverged for one, _ in pairs), sum(other.diverged for _, other in pairs))
        gain = fmean(fixed) - fmean(plain)
        steps = max(len(arm.losses) for pair in pairs for arm in pair)
        end = math.nan if diverged[0] else fmean(loss for one, _ in pairs for loss in one.end)
        return Comparison(gain, tested.p, fmean(plain), fmean(fixed), end, diverged, len(pairs), steps)


@dataclass(eq=False)
class _Losses:
    """What an arm writes down as it goes, so that it is known also when a step raises."""

    losses: list[float] = field(default_factory=list)
    start: tuple[float, ...] = ()
    end: tuple[float, ...] = ()
    diverged: bool = False

    def blown(self) -> bool:
        """Return whether the last loss is not finite, or has left everything behind."""
        last, first = self.losses[-1], abs(fmean(self.start))
        return not math.isfinite(last) or abs(last) > BLOWN * max(first, 1.0)


def _first_batch(trial: Trial) -> None:
    trial.batches = trial.batches[:1]


def _all(fixes: Sequence[Fix | None]) -> Fix:
    def change(trial: Trial) -> None:
        for fix in fixes:
            if fix is not None:
                fix(trial)

    return change
