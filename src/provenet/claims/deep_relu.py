"""Claim 3: a deep ReLU net without normalisation trains from He's weights and stalls from Xavier's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from provenet.claims.arms import late_loss, loss_curve, small_view, words
from provenet.claims.claim import Claim, above, below
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, both_goals
from provenet.records.claim import Check, Finding, Grid, Lines
from provenet.stats.paired import mean_interval, paired_difference

DEPTH = {"quick": 20, "full": 32}
SIDE = {"quick": 8, "full": 32}
STEPS = {"quick": 600, "full": 8000}
IMAGES = {"quick": 2000, "full": 50_000}
RATES = (0.01, 0.03, 0.1)
SEEDS = 5
"""At least: seeds leave the first plateau at very different times."""
INITS = {"he": "init=he init.mode=fan_in", "xavier": "init=xavier init.distribution=normal"}
STALLED = 0.1
"""Nats below the loss of guessing by class shares: less is a stall, more is learning."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One initialisation at its best learning rate.

    Args:
        tried: late training loss of the first seed at each rate; NaN where it broke.
        rate: the rate of the smallest.
        runs: trainings at that rate, one a seed.
    """

    tried: dict[float, float]
    rate: float
    runs: list[Trained]

    @property
    def losses(self) -> list[float]:
        """Training loss at the end, by seed."""
        return [late_loss(run) for run in self.runs]


def settings(bench: Bench, init: str, rate: float) -> str:
    """Return an arm's settings, in words."""
    pick = bench.lab.pick
    view = small_view(bench, pick(*SIDE.values()))
    steps = pick(*STEPS.values())
    depth = pick(*DEPTH.values())
    return f"net=plain block=plain net.depth={depth} norm=none {INITS[init]} {view} steps={steps} optimizer.lr={rate}"


def train(bench: Bench, init: str) -> Arm:
    """Train the first seed at every rate, and the others at the one that was best for it."""
    images, (first, *others) = bench.lab.pick(*IMAGES.values()), bench.lab.seeds_at_least(SEEDS)
    trials = {rate: bench.train(settings(bench, init, rate), first, images) for rate in RATES}
    tried = {rate: late_loss(run) for rate, run in trials.items()}
    best = min(RATES, key=lambda rate: math.inf if math.isnan(tried[rate]) else tried[rate])
    rest = [bench.train(settings(bench, init, best), seed, images) for seed in others]
    return Arm(tried, best, [trials[best], *rest])


def guessing_loss(run: Trained) -> float:
    """Return the loss of answering every image with the class shares of the training images: their entropy."""
    dataset = run.session.dataset
    assert dataset.labels is not None
    counts = np.bincount(dataset.labels[dataset.splits["train"]])
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def gradients(bench: Bench, init: str) -> tuple[tuple[float, float], ...]:
    """Return log10 of the root mean square of each convolution's gradient before the first update, input first."""
    session = bench.session(settings(bench, init, RATES[0]), bench.lab.seeds[0], 256)
    images, targets = bench.images(session, session.dataset.splits["train"])
    session.recipe.loss.compute(session.net.train()(images), targets).backward()
    convs = [module.weight.grad for module in session.net.modules() if isinstance(module, nn.Conv2d)]
    sizes = [float(grad.double().square().mean().sqrt()) for grad in convs if grad is not None]
    return tuple((float(layer), math.log10(size)) for layer, size in enumerate(sizes, start=1) if size > 0)


def measure(lab: Lab) -> Finding:
    """Train a deep plain net from both initialisations, each at its best rate."""
    bench = lab.classification
    arms = {init: train(bench, init) for init in INITS}
    gained = {init: [guessing_loss(run) - late_loss(run) for run in arm.runs] for init, arm in arms.items()}
    return Finding(
        checks=_checks(arms, gained),
        said=_said(arms, gained, lab.pick(*DEPTH.values())),
        charts=(_curves(arms), _gradients(bench)),
        tables=(_rates(arms), _table(arms)),
        effects=both_goals("init.he against init.xavier (plain, no norm)", arms["he"].runs, arms["xavier"].runs),
        trainings=sum(len(RATES) + len(arm.runs) - 1 for arm in arms.values()),
    )


def _checks(arms: dict[str, Arm], gained: dict[str, list[float]]) -> tuple[Check, ...]:
    he, xavier = arms["he"], arms["xavier"]
    n = len(he.runs)
    tests = {init: [run.score("test") for run in arm.runs] for init, arm in arms.items()}
    scores = paired_difference(tests["he"], tests["xavier"])
    less = "training loss less than that of guessing, nats"
    return (
        above(f"he trains: {less}", mean_interval(gained["he"]), STALLED, n),
        below(f"xavier stalls: {less}", mean_interval(gained["xavier"]), STALLED, n),
        below("he ends at a lower training loss: he less xavier", paired_difference(he.losses, xavier.losses), 0, n),
        above("he ends at a higher test accuracy: he less xavier", scores, 0, n),
    )


def _said(arms: dict[str, Arm], gained: dict[str, list[float]], depth: int) -> str:
    """Return what came out, in words."""
    he, xavier = (mean_interval(gained[init]) for init in ("he", "xavier"))
    rates = " and ".join(f"{arm.rate:g} ({init})" for init, arm in arms.items())
    return (
        f"{depth} layers without normalisation bring the training loss {words(he)} nats below that of guessing from he "
        f"and {words(xavier)} from xavier, each at the best of {len(RATES)} learning rates, {rates}; the rate was "
        f"chosen by the training loss of the first seed, which also counts. The training is short: a stall means that "
        f"nothing was learnt in it, not that nothing ever would be. He et al. saw both learn at 22 layers and only "
        f"theirs at 30."
    )


def _curves(arms: dict[str, Arm]) -> Lines:
    lines = {f"{init}, rate {arm.rate:g}": loss_curve(arm.runs) for init, arm in arms.items()}
    note = "Means over the seeds and over stretches of the training; each arm at its best rate."
    return Lines(title="Plain layers, no norm", x="updates", y="training loss", lines=lines, note=note)


def _gradients(bench: Bench) -> Lines:
    lines = {init: gradients(bench, init) for init in INITS}
    note = "Of the weights' gradients before the first update, one seed; convolutions counted from the input."
    return Lines(title="What reaches the weights", x="layer", y="log10 rms of gradient", lines=lines, note=note)


def _rates(arms: dict[str, Arm]) -> Grid:
    rows = [
        (init, *("broke" if math.isnan(loss) else f"{loss:.3f}" for loss in arm.tried.values()))
        for init, arm in arms.items()
    ]
    head = ("init", *(f"rate {rate:g}" for rate in RATES))
    return Grid(title="Training loss at the end by learning rate, first seed", head=head, rows=tuple(rows))


def _table(arms: dict[str, Arm]) -> Grid:
    rows = []
    for init, arm in arms.items():
        scores = (mean_interval([run.score(split) for run in arm.runs]) for split in ("train", "test"))
        rows.append((init, f"{arm.rate:g}", *map(words, (mean_interval(arm.losses), *scores))))
    head = ("init", "rate", "training loss", "training accuracy", "test accuracy")
    return Grid(title="At the end, each at its best rate", head=head, rows=tuple(rows))


CLAIM = Claim(
    statement=(
        "A deep net of ReLU layers without normalisation layers trains from He's initialisation and stalls from "
        "Xavier's, whose signals and gradients lose a factor of sqrt(2) a layer."
    ),
    experiment=(
        f"A plain net of {DEPTH['quick']} layers ({DEPTH['full']} at full scale; 3 x 3 convolutions, no shortcuts, no "
        f"norm) is trained from both, with SGD, momentum, warm-up and a cosine; arms of a seed share images and order. "
        f"Each initialisation has the best of {len(RATES)} learning rates, found with the first seed. The net trains "
        f"when its loss at the end is {STALLED} nats below that of guessing by class shares, and stalls when it is "
        f"not. On two cores the images are shrunk, and the net is not deeper because at 32 layers he left its first "
        f"plateau within 400 updates for some seeds only."
    ),
    task="classification",
    measure=measure,
)
