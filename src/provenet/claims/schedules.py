"""Claim 5: step, exponential, plateau and cosine schedules: their curves, when they drop, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from statistics import fmean

import torch
from torch.optim import lr_scheduler

from provenet.claims.arms import late_loss, loss_curve, small_view, words
from provenet.claims.claim import Claim, below, within
from provenet.claims.lab import Lab
from provenet.claims.training import Trained, both_goals
from provenet.core.rng import numpy_generator
from provenet.records.claim import Dots, Effect, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.schedule import Constant, Cosine, Exponential, Plateau, Schedule, Step

Arms = list[Trained]
"""One training a seed."""

PLATEAU = Plateau(patience=2)
MEMBERS: dict[str, Schedule] = {
    "constant": Constant(),
    "step": Step(drops=(0.5, 0.75), gamma=0.1),
    "exponential": Exponential(final=0.01),
    "plateau": PLATEAU,
    "cosine": Cosine(),
}
DECAYING = ("step", "exponential", "plateau", "cosine")
PUBLISHED: dict[str, Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]] = {
    "constant": lambda optimizer, last: lr_scheduler.ConstantLR(optimizer, 1.0),
    "step": lambda optimizer, last: lr_scheduler.MultiStepLR(optimizer, [ceil(last / 2), ceil(last * 3 / 4)], 0.1),
    "exponential": lambda optimizer, last: lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / last)),
    "cosine": lambda optimizer, last: lr_scheduler.CosineAnnealingLR(optimizer, last),
}
"""PyTorch's own schedulers with the same settings, `last` being the number of the last update, from 0."""
ROUNDING = 1e-9
"""Room for what PyTorch's recursions lose over thousands of updates."""

RATE, LOOKS = 0.1, 20
IMAGES = {"quick": 2000, "full": 50_000}
SIDE = {"quick": 16, "full": 32}
WORDS = {"quick": "steps=240", "full": "steps=20000 net.depth=20 batch_size=128 augment=flip,shift"}


def published_factors(name: str, total_steps: int) -> list[float]:
    """Return the factors of a run as PyTorch's own scheduler gives them, one an update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = PUBLISHED[name](optimizer, total_steps - 1)
    factors = []
    for _ in range(total_steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return factors


def published_plateau(scores: Sequence[float]) -> list[float]:
    """Return the factors of PyTorch's plateau schedule before the first score and after each."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    gamma, patience, floor = PLATEAU.gamma, PLATEAU.patience, PLATEAU.min_factor
    watcher = lr_scheduler.ReduceLROnPlateau(optimizer, "max", gamma, patience, threshold=0.0, min_lr=floor, eps=0.0)
    factors = [1.0]
    for score in scores:
        watcher.step(score)
        factors.append(float(optimizer.param_groups[0]["lr"]))
    return factors


def plateau_factors(scores: Sequence[float]) -> list[float]:
    """Return the factors of the schedule `plateau` before the first score and after each."""
    states = [PLATEAU.initial_state()]
    for score in scores:
        states.append(PLATEAU.observe(states[-1], score))
    return [PLATEAU.factor(0, 1, state) for state in states]


def largest_deviation(total_steps: int) -> float:
    """Return the largest difference of any factor from PyTorch's, over the schedules that follow a formula."""
    return max(
        abs(ours - theirs)
        for name in PUBLISHED
        for step, theirs in enumerate(published_factors(name, total_steps))
        for ours in (MEMBERS[name].factor(step, total_steps),)
    )


def plateau_deviation(runs: Sequence[Sequence[float]]) -> float:
    """Return the largest difference from PyTorch's plateau on runs of scores, and on one that wanders at random."""
    walk = numpy_generator(0, "claims schedules").normal(size=300).cumsum().tolist()
    pairs = [(plateau_factors(scores), published_plateau(scores)) for scores in (*runs, walk)]
    return max(abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def train(lab: Lab, name: str) -> Arms:
    """Train with a schedule, once for each seed."""
    bench = lab.classification
    patience = f"schedule.patience={PLATEAU.patience}" if name == "plateau" else ""
    arm = f"optimizer.lr={RATE} schedule={name} schedule.warmup_frac=0 {patience}"
    recipe = f"{WORDS[lab.scale]} {small_view(bench, SIDE[lab.scale])} {arm}"
    return [bench.train(recipe, seed, IMAGES[lab.scale], LOOKS) for seed in lab.seeds]


def factors_of(name: str, arm: Trained) -> list[float]:
    """Return the factor of every update of a training; those of plateau follow from the scores that it saw."""
    total = arm.looks[-1].step
    if name != "plateau":
        return [MEMBERS[name].factor(step, total) for step in range(total)]
    values = plateau_factors([look.val for look in arm.looks])
    ends = [0, *(look.step for look in arm.looks)]
    return [value for value, (start, end) in zip(values, pairwise(ends), strict=False) for _ in range(start, end)]


def last_deviation(name: str, arm: Trained) -> float:
    """Return how far the rate of the last update was from where PyTorch's scheduler ends."""
    if name == "plateau":
        wanted = published_plateau([look.val for look in arm.looks[:-1]])[-1]
    else:
        wanted = published_factors(name, arm.looks[-1].step)[-1]
    return abs(float(arm.state.optimizer.param_groups[0]["lr"]) / RATE - wanted)


def drops(factors: Sequence[float]) -> str:
    """Return when a rate falls, in words.

    Example:
        >>> drops([1, 1, 0.1, 0.1]), drops([1, 1]), drops([0.9**step for step in range(20)])
        ('update 3', 'never', 'at every update, half is left at update 8')
    """
    falls = [number for number, (before, after) in enumerate(pairwise(factors), start=2) if after < before]
    if len(falls) > len(factors) / 2:
        half = next((number for number, factor in enumerate(factors, start=1) if factor <= 0.5), None)
        return f"at every update, half is left at update {half}" if half else "at every update"
    return "update " + ", ".join(map(str, falls)) if falls else "never"


def measure(lab: Lab) -> Finding:
    """Hold the curves against PyTorch's, and train with each."""
    arms = {name: train(lab, name) for name in MEMBERS}
    n, total = len(lab.seeds), arms["constant"][0].looks[-1].step
    whole = [(name, arm) for name, trained in arms.items() for arm in trained if not arm.diverged]
    scores = [[look.val for look in arm.looks] for arm in arms["plateau"]]
    late = {name: [late_loss(arm) for arm in trained] for name, trained in arms.items()}
    gain = paired_difference([fmean(late[name][seed] for name in DECAYING) for seed in range(n)], late["constant"])
    ends = Figure(max((last_deviation(name, arm) for name, arm in whole), default=None))
    curves = Figure(largest_deviation(total))
    plateau = Figure(plateau_deviation(scores))
    return Finding(
        checks=(
            within("largest difference from PyTorch's schedulers at any update", curves, 0, ROUNDING, total),
            within("the same for plateau, on the validation scores of the trainings", plateau, 0, ROUNDING, n + 1),
            within("largest difference at the last update of the trainings themselves", ends, 0, ROUNDING, len(whole)),
            below("mean training loss (nats) of the four that decay less that of the constant rate", gain, 0, n),
        ),
        said=_said(arms, gain),
        charts=(_curves(arms), _losses(arms), _scores(arms)),
        tables=(_when(lab, arms), _reached(arms)),
        effects=_effects(arms),
        trainings=n * len(MEMBERS),
    )


def _said(arms: dict[str, Arms], gain: Figure) -> str:
    tests = {name: fmean(arm.score("test") for arm in trained) for name, trained in arms.items()}
    order = sorted(tests, key=tests.__getitem__, reverse=True)
    ranked = ", ".join(f"{name} {tests[name]:.3f}" for name in order)
    fitted = fmean(arm.score("train") for arm in arms["constant"])
    waiting = sum(min(factors_of("plateau", arm)) == 1 for arm in arms["plateau"])
    return (
        f"At equal budget the four that decay end {words(gain)} nats from the constant rate in training loss (below "
        f"zero is lower), the constant rate getting {fitted:.3f} of its training images right; near 1 there is hardly "
        f"any noise left for a decay to quieten. Test accuracy, best first: {ranked}; with so few seeds neighbours in "
        f"this order cannot be told apart. Plateau never dropped in {waiting} of {len(arms['plateau'])} trainings: it "
        f"needs {PLATEAU.patience + 1} validations in a row without a new best score, of {LOOKS}."
    )


def _curves(arms: dict[str, Arms]) -> Lines:
    lines = {}
    for name in DECAYING:
        factors = factors_of(name, arms[name][0])
        every = max(1, len(factors) // 120)
        lines[name] = tuple((float(at + 1), factors[at]) for at in range(0, len(factors), every))
    return Lines(
        title="The schedules", x="update", y="factor on the rate", lines=lines, note="Plateau: the first seed's."
    )


def _losses(arms: dict[str, Arms]) -> Lines:
    shown = ("constant", "step", "plateau", "cosine")
    lines = {name: loss_curve(arms[name]) for name in shown}
    return Lines(title="What they reach: training loss", x="update", y="nats, mean of the seeds", lines=lines)


def _scores(arms: dict[str, Arms]) -> Dots:
    baseline = [arm.score("test") for arm in arms["constant"]]
    figures = {name: paired_difference([arm.score("test") for arm in arms[name]], baseline) for name in DECAYING}
    rows = tuple((name, figure.value, figure.low, figure.high) for name, figure in figures.items())
    return Dots(
        title="Test accuracy against the constant rate", rows=rows, note="Above zero: better with the schedule."
    )


def _when(lab: Lab, arms: dict[str, Arms]) -> Grid:
    rows = []
    for name, trained in arms.items():
        for seed, arm in zip(lab.seeds, trained, strict=True):
            factors = factors_of(name, arm)
            shares = tuple(f"{factors[max(0, ceil(share * len(factors)) - 1)]:.3g}" for share in (0.25, 0.5, 0.75, 1))
            rows.append((f"{name}, seed {seed}" if name == "plateau" else name, drops(factors), *shares))
            if name != "plateau":
                break
    head = ("schedule", "drops", "factor after 25 %", "50 %", "75 %", "last")
    return Grid(title="When each drops", head=head, rows=tuple(rows))


def _reached(arms: dict[str, Arms]) -> Grid:
    rows = tuple(
        (
            name,
            words(mean_interval([late_loss(arm) for arm in trained])),
            words(mean_interval([arm.looks[-1].val for arm in trained])),
            words(mean_interval([arm.score("test") for arm in trained])),
        )
        for name, trained in arms.items()
    )
    head = ("schedule", "training loss", "validation accuracy", "test accuracy")
    return Grid(title="What each reaches at equal budget", head=head, rows=rows)


def _effects(arms: dict[str, Arms]) -> tuple[Effect, ...]:
    constant = arms["constant"]
    pairs = (both_goals(f"schedule.{name} against schedule.constant", arms[name], constant) for name in DECAYING)
    return tuple(found for pair in pairs for found in pair)


CLAIM = Claim(
    statement=(
        "A step schedule drops the rate at fixed points, an exponential one by the same ratio at every update, plateau "
        "when the validation score stands still, and cosine along half a wave; each follows its formula to the last "
        "update, and at an equal budget they end lower than the constant rate that they begin with."
    ),
    experiment=(
        "Every factor is held against PyTorch's own scheduler with the same settings. Then a small residual net is "
        "trained with each schedule from the same rate, with the same images, order, weights and number of updates for "
        "a seed; twenty validations on the way give plateau what it looks at. The training loss is that of the last "
        "fifth of the updates. No schedule was tuned."
    ),
    task="classification",
    measure=measure,
)
