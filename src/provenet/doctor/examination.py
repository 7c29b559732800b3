"""One examination: every instrument is read once, when a check first asks for it, within the budget."""

from __future__ import annotations

import math
import time
from functools import cached_property

import torch
from torch import nn

from provenet.doctor.attempt import Attempt
from provenet.doctor.augmented import Augmented, augment
from provenet.doctor.battery import Battery, try_loss
from provenet.doctor.case import Case, Pair, forward
from provenet.doctor.chains import Chains, read_chains
from provenet.doctor.clock import Clock
from provenet.doctor.course import Course, course
from provenet.doctor.dependence import Dependence, depend
from provenet.doctor.double import Double
from provenet.doctor.gaze import Gaze, look_around
from provenet.doctor.intake import Intake, drops, take_in, without_dropout
from provenet.doctor.inventory import modules_of
from provenet.doctor.lost import Lost, lost
from provenet.doctor.passes import Passes, make_passes
from provenet.doctor.probe import REPEATS, SAMPLES, SHARE, STEPS, Probe
from provenet.doctor.pull import Pull, pull
from provenet.doctor.reading import Reading, read
from provenet.doctor.samples import Entry, Samples, enter, pool
from provenet.doctor.smaller import num_values, smaller
from provenet.doctor.stride import Stride, stride
from provenet.doctor.travel import Travel, spread_of, travel
from provenet.doctor.tree import fresh, num_samples, take
from provenet.doctor.walk import Walk, walk

PASS_SHARE = 0.03
"""Share of the budget that one pass may take; larger batches are cut."""
PASSES_SHARE = 0.04
"""Share of the budget that recorded passes may take; two are made in any case where there is time."""
GAZE_SHARE = 0.15
"""Share of the budget for tracing what merges see; those that are left over by then are not looked at."""
QUICK_S = 0.01
STRIDE_SAMPLES = 16
"""Samples of the update that is measured: as many as a short training has."""
CALM_SAMPLES = 16
"""Samples of the pass without dropout: enough for a spread across samples."""
STEP = 4.0
"""A step of a training costs about four times one forward pass."""
TRAINED_SAMPLES = 2 * REPEATS * STEPS * SAMPLES
"""Samples that a comparison of usual length trains on in all; where they take too long, pictures are made smaller."""
COMPARED = 3
"""Passes forward that are compared with each other to see what outputs depend on."""
BACKWARD = 3.0
"""A pass forward and backward costs about three times one forward."""


class Unavailable(Exception):
    """An instrument cannot be read: a pass failed, or the time is over. The check that asked is left out."""


class Examination:
    """What checks read. Instruments raise `Unavailable` where they cannot be had; a check need not care.

    Args:
        case: what the caller gave.
        double: the net to work on.
        clock: the budget.
    """

    def __init__(self, case: Case, double: Double, clock: Clock) -> None:
        self.case = case
        self.double = double
        self.clock = clock
        self.loud: dict[str, float | None] = {}
        """Ids of the errors and warnings that were found so far, with their gains where fixes were tried."""

    @cached_property
    def batches(self) -> tuple[Pair, ...]:
        """The batches that instruments run: the caller's, cut where one pass would take too much of the budget."""
        most = self._most_samples()
        return tuple(take(batch, slice(most)) if most < num_samples(batch[0]) else batch for batch in self.case.batches)

    @cached_property
    def walk(self) -> Walk:
        """Structure, execution order, and what the loss hangs on; see its `failure`."""
        return walk(self.double, self.batches[0])

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """Modules of the double by path, also those that it does not know of."""
        return {held.name: held.module for held in modules_of(self.double.model)}

    @cached_property
    def chains(self) -> Chains:
        """Runs of layers in the walk: without activation, without merge, on single pixels."""
        return read_chains(self.walk.trace)

    @cached_property
    def intakes(self) -> dict[int, Intake]:
        """What batch norms are given, by index of their op in the walk; empty where that cannot be told."""
        ops = [op for op in self.walk.trace.ops if op.function == "batch_norm" and op.layer != "loss"]
        self._need(2 * self.pass_s)
        found = take_in(self.double, self.batches[0])
        return {op.index: one for op, one in zip(ops, found, strict=True)} if len(ops) == len(found) else {}

    @cached_property
    def reading(self) -> Reading:
        """How outputs, targets and loss go together."""
        return read(self.walk, self.batches[0][1], self.case.loss_fn)

    @cached_property
    def battery(self) -> Battery:
        """The loss on made-up outputs.

        Raises:
            Unavailable: the net gave no output.
        """
        if self.walk.output is None:
            raise Unavailable(str(self.walk.failure or "the net gives no tensor"))
        targets = fresh(self.batches[0][1], self.case.device)
        return try_loss(self.double.loss_fn, self.reading, targets, self.walk.outputs)

    @cached_property
    def pull(self) -> Pull | None:
        """How hard the loss pulls at each target of the first batch; None where targets are no classes."""
        targets = fresh(self.batches[0][1], self.case.device)
        return pull(self.double.loss_fn, self.reading, targets, self.walk.outputs)

    @cached_property
    def samples(self) -> Samples | None:
        """All samples as the caller gave them; None where inputs are no numbers of a kind with pictures."""
        return pool(self.case.batches, self.reading)

    @cached_property
    def entry(self) -> Entry | None:
        """What reaches the first weights."""
        samples = self.samples
        return None if samples is None else enter(self.double, self.walk, samples, self.batches[0])

    @cached_property
    def augmented(self) -> Augmented | None:
        """Samples after the caller's transform; None without one."""
        samples, transform = self.samples, self.case.transform
        return None if samples is None or transform is None else augment(transform, samples, self.case.device)

    @cached_property
    def passes(self) -> Passes:
        """A few batches forward and backward.

        Raises:
            Unavailable: not even one pass went through.
        """
        if self.walk.failure is not None:
            raise Unavailable(str(self.walk.failure))
        self._need(self.pass_s * BACKWARD)
        return make_passes(self.double, self.batches, self._another)

    @cached_property
    def lost(self) -> Lost | None:
        """Where the first batch whose loss is not finite loses its numbers; None where none does."""
        bad = [number for number, loss in enumerate(self.passes.losses) if not math.isfinite(loss)]
        return lost(self.double, self.batches[bad[0]]) if bad else None

    @cached_property
    def travel(self) -> Travel | None:
        """How far the signal grows or shrinks from the first weights to the last; None where that cannot be told.

        Raises:
            Unavailable: not even one pass went through.
        """
        passes, entry = self.passes, self.entry
        if entry is None or len(entry.values) < 2:
            return None
        if drops(self.walk.trace):
            # Dropout tells samples apart where nothing of them is left.
            self._need(self.pass_s * BACKWARD)
            with without_dropout():
                passes = make_passes(self.double, [take(self.batches[0], slice(CALM_SAMPLES))], lambda *done: False)
        return travel(passes, self.walk.trace, self.chains, spread_of(entry.values))

    @cached_property
    def stride(self) -> Stride:
        """One update of the caller's optimizer.

        Raises:
            Unavailable: there is no optimizer, a pass fails, or the optimizer cannot be used in this way.
        """
        if self.case.optimizer is None or self.passes.failure is not None:
            raise Unavailable(str(self.passes.failure or "no optimizer was given"))
        few = take(self.batches[0], slice(STRIDE_SAMPLES))
        self._need(self.pass_s * BACKWARD * num_samples(few[0]) / max(num_samples(self.batches[0][0]), 1))
        found = stride(self.double, few)
        if found.failure is not None:
            raise Unavailable(str(found.failure))
        return found

    @cached_property
    def course(self) -> Course | None:
        """Where the schedule goes; None without one, or where it cannot be told."""
        return course(self.case.schedule, self.case.optimizer)

    @cached_property
    def dependence(self) -> Dependence:
        """What outputs depend on in evaluation mode.

        Raises:
            Unavailable: forward fails, or gives no numbers.
        """
        if self.walk.failure is not None and self.walk.failure.stage == "forward":
            raise Unavailable(str(self.walk.failure))
        self._need(COMPARED * self.pass_s)
        found = depend(self.double, self.batches[0][0])
        if found.failure is not None:
            raise Unavailable(f"in evaluation mode {found.failure}")
        if not all(math.isfinite(one.amount) for one in (found.chance, found.others, found.own)):
            raise Unavailable("outputs in evaluation mode are not finite")
        return found

    @cached_property
    def gaze(self) -> Gaze:
        """Where in the picture the branches of merges, and the output, look.

        Raises:
            Unavailable: forward fails.
        """
        if self.walk.failure is not None and self.walk.failure.stage == "forward":
            raise Unavailable(str(self.walk.failure))
        self._need(self.pass_s)
        until = self.clock.spent + GAZE_SHARE * self.clock.budget_s
        found = look_around(self.double, self.batches[0][0], lambda: self.clock.spent + self.pass_s < until)
        if found.failure is not None:
            raise Unavailable(f"in evaluation mode {found.failure}")
        return found

    @cached_property
    def probe(self) -> Probe:
        """Short trainings with a fix and without.

        Raises:
            Unavailable: a pass fails.
        """
        passes = self.passes
        if passes.failure is not None:
            raise Unavailable(str(passes.failure))
        step_s = 1.2 * passes.seconds / max(num_samples(self.batches[0][0]), 1)
        times = STEP * self._sample_s * TRAINED_SAMPLES / (SHARE * self.clock.budget_s)
        batches = smaller(self.double, self.case.batches, times)
        cheaper = num_values(self.case.batches[0][0]) / max(num_values(batches[0][0]), 1.0)
        return Probe(self.double, batches, self.clock, self.battery.floor, step_s / max(cheaper, 1.0))

    @cached_property
    def pass_s(self) -> float:
        """Seconds of a forward pass of a batch as it is run, about."""
        return self._sample_s * num_samples(self.batches[0][0])

    @cached_property
    def _sample_s(self) -> float:
        """Seconds of a forward pass a sample, of two samples in evaluation mode; 0 where it cannot be measured.

        The first pass of a process makes ready what later ones find made: a slow one is timed once more.
        """
        seconds = self._timed_s()
        return min(seconds, self._timed_s()) if seconds > QUICK_S else seconds

    def _timed_s(self) -> float:
        double, few = self.double, take(self.case.batches[0][0], slice(2))
        double.model.eval()
        started = time.monotonic()
        with Attempt("forward") as attempt, torch.no_grad():
            forward(double.model, fresh(few, self.case.device))
        seconds = time.monotonic() - started
        double.reset()
        return 0.0 if attempt.failure is not None else seconds / max(num_samples(few), 1)

    def _most_samples(self) -> int:
        """Return how many samples of a batch are run."""
        num = max(num_samples(self.case.batches[0][0]), 1)
        if self._sample_s <= 0:
            return num
        return max(2, min(num, int(PASS_SHARE * self.clock.budget_s / (BACKWARD * self._sample_s))))

    def _another(self, done: int, seconds: float) -> bool:
        """Return whether another recorded pass is worth its time: two tell most, more only where they are cheap."""
        cheap = done < 2 or done * seconds < PASSES_SHARE * self.clock.budget_s
        return cheap and self.clock.allows(4 * seconds)

    def _need(self, seconds: float) -> None:
        if not self.clock.allows(seconds):
            raise Unavailable("no time left")
