"""One training of a claim: the engine's updates, watched at a few points, nothing written to disk."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from provenet.claims.claim import effect
from provenet.core.errors import Fault, RecipeError
from provenet.engine.evaluate import Tally
from provenet.engine.state import TrainState
from provenet.engine.step import train_step
from provenet.recipe.build import Session, clean_ids
from provenet.records.claim import Effect
from provenet.stats.paired import paired_difference

MOST_BAD_STEPS = 3


@dataclass(frozen=True)
class Look:
    """What was seen after some updates.

    Args:
        step: updates done.
        loss: mean training loss since the look before; NaN where no update was finite.
        val: primary score on the validation images.
        val_loss: loss there.
    """

    step: int
    loss: float
    val: float
    val_loss: float


@dataclass(eq=False)
class Trained:
    """A trained arm.

    Args:
        session: net and training.
        state: what training changed.
        looks: what was seen on the way.
        losses: training loss of every update; NaN where it was not finite.
        diverged: whether training broke off because losses or gradients were not finite.
        seconds: seconds of the updates, looks left out.
    """

    session: Session
    state: TrainState
    looks: list[Look] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    diverged: bool = False
    seconds: float = 0.0

    @property
    def net(self) -> nn.Module:
        """The trained net, in evaluation mode."""
        return self.state.evaluated.eval()

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Validation score over updates."""
        return [(float(look.step), look.val) for look in self.looks]

    @property
    def area(self) -> float:
        """Mean validation score over the looks: how early the net was good (convergence)."""
        return sum(look.val for look in self.looks) / len(self.looks)

    def score(self, split: str) -> float:
        """Return the primary score of the trained net on a split; of training images at most 2,000, not augmented."""
        tally = self.tally(split)
        return tally.quick()[tally.primary]

    def tally(self, split: str, boundaries: bool = False) -> Tally:
        """Return all that the trained net's answers on a split add up to."""
        dataset = self.session.dataset
        ids = clean_ids(dataset, 2000) if split == "train" else dataset.splits[split]
        return self.session.scorer.score(self.net, ids, boundaries)[0]


def mean_curve(runs: Sequence[Trained]) -> tuple[tuple[float, float], ...]:
    """Return the validation score over updates, the mean of one arm's seeds."""
    return tuple(
        (points[0][0], sum(score for _, score in points) / len(points))
        for points in zip(*(run.curve for run in runs), strict=True)
    )


def both_goals(technique: str, treated: Sequence[Trained], control: Sequence[Trained]) -> tuple[Effect, Effect]:
    """Return what a technique bought for convergence and for generalisation.

    Args:
        technique: SLOT.NAME, with what it stands against.
        treated: the arm with it, a training a seed.
        control: the arm without, the same seeds.
    """
    first, second = ([run.tally("test") for run in runs] for runs in (treated, control))
    n, score = len(treated), first[0].primary
    area = paired_difference([run.area for run in treated], [run.area for run in control])
    test = paired_difference([one.quick()[score] for one in first], [other.quick()[score] for other in second])
    return (
        effect(technique, "convergence", f"area under the validation curve, {score}", area, n),
        effect(technique, "generalisation", f"{score} on test images", test, n),
    )


def fit(session: Session, looks: int = 5) -> Trained:
    """Train a session to the end of its budget, or until it diverges.

    Unlike a run, nothing is rolled back and no rate is lowered: that a training breaks is a result here. The looks that
    were still to come then see the last finite weights.

    Args:
        session: net and training; its budget is in steps or epochs.
        looks: validations, evenly spaced, the last one at the end.
    """
    job, trained = session.job, Trained(session, session.new_state())
    if session.recipe.minutes is not None:
        raise RecipeError(Fault("a claim's training has no budget in minutes", remedy="say steps= or epochs="))
    when = [math.ceil(job.total_steps * (look + 1) / looks) for look in range(looks)]
    for step in when:
        begun = time.monotonic()
        if not trained.diverged:
            _advance(trained, step)
        trained.seconds += time.monotonic() - begun
        trained.looks.append(_look(trained, step))
    return trained


def _advance(trained: Trained, until: int) -> None:
    """Make updates up to number `until`."""
    job, state = trained.session.job, trained.state
    counters, bad = state.counters, 0
    while counters.step < until:
        epoch, position = divmod(counters.step, job.loader.steps_per_epoch)
        for batch in job.loader.batches(epoch, position):
            result = train_step(job, state, job.feed.train(batch, epoch))
            counters.step += 1
            bad = 0 if result.made else bad + 1
            trained.losses.append(result.loss if result.made else math.nan)
            if bad >= MOST_BAD_STEPS:
                trained.diverged = True
                return
            if counters.step >= until:
                return


def _look(trained: Trained, step: int) -> Look:
    """Validate, and let a schedule that follows the score see it."""
    job, counters = trained.session.job, trained.state.counters
    tally, loss = trained.session.scorer.score(trained.state.evaluated, trained.session.dataset.splits["val"], False)
    score = tally.quick()[tally.primary]
    if counters.schedule is not None and math.isfinite(score):
        counters.schedule = job.schedule.observe(counters.schedule, score)
    since = trained.looks[-1].step if trained.looks else 0
    made = [loss for loss in trained.losses[since:] if math.isfinite(loss)]
    return Look(step, sum(made) / len(made) if made else math.nan, score, math.nan if loss is None else loss)
