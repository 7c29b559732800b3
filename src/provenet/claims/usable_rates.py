"""Claim 8: with batch norm larger learning rates are usable, and less depends on the scale of the first weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, both_goals
from provenet.records.claim import Finding, Grid, Heat
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference

DEPTH = 8
SIDE = {"quick": 12, "full": 32}
STEPS = {"quick": 100, "full": 4000}
IMAGES = {"quick": 2000, "full": 50_000}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
GAINS = (0.5, 1.0, 2.0)
"""Factors on He's standard deviation of every weight."""
NORMS = ("batch", "none")
USABLE = 0.9
"""Share of a net's best validation accuracy, over all rates, that makes a rate usable."""

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Net:
    """A net with or without batch norm and one seed, trained at every rate from every scale.

    Args:
        runs: trainings by gain and rate.
    """

    runs: dict[tuple[float, float], Trained]

    @property
    def scores(self) -> Scores:
        """Validation accuracy at the end, gains x rates."""
        return np.array([[self.runs[gain, rate].looks[-1].val for rate in RATES] for gain in GAINS])

    @property
    def best_rate(self) -> float:
        """The rate of the highest validation accuracy at He's own scale; the smallest of equals."""
        return RATES[int(self.scores[GAINS.index(1.0)].argmax())]

    @property
    def best(self) -> Trained:
        """The training at that rate, from He's own scale."""
        return self.runs[1.0, self.best_rate]

    @property
    def spread(self) -> float:
        """Highest less lowest validation accuracy over the gains, at the rate that is best for He's own scale."""
        column = self.scores[:, RATES.index(self.best_rate)]
        return float(column.max() - column.min())


def usable(scores: Scores) -> NDArray[np.bool_]:
    """Return which trainings reach `USABLE` of the best accuracy of the whole grid, gains x rates."""
    return scores >= USABLE * scores.max()


def largest_rate(scores: Scores) -> float:
    """Return the largest usable rate at He's own scale; a step below the grid where none is.

    Args:
        scores: gains x rates.
    """
    found = np.flatnonzero(usable(scores)[GAINS.index(1.0)])
    return RATES[int(found[-1])] if len(found) else RATES[0] ** 2 / RATES[1]


def train(bench: Bench, norm: str, seed: int) -> Net:
    """Train a grid."""
    pick = bench.lab.pick
    view, steps = small_view(bench, pick(*SIDE.values())), pick(*STEPS.values())
    shared = f"net=plain block=plain net.depth={DEPTH} norm={norm} {view} steps={steps} init=he init.mode=fan_in"
    images = pick(*IMAGES.values())
    return Net(
        {
            (gain, rate): bench.train(f"{shared} init.gain={gain} optimizer.lr={rate}", seed, images, looks=3)
            for gain in GAINS
            for rate in RATES
        }
    )


def measure(lab: Lab) -> Finding:
    """Train a grid of rates and scales with and without batch norm, for every seed."""
    bench = lab.classification
    nets = {norm: [train(bench, norm, seed) for seed in lab.seeds] for norm in NORMS}
    ratio = compare(nets, lambda net: math.log10(largest_rate(net.scores)))
    steadier = compare(nets, lambda net: -net.spread)
    more = compare(nets, lambda net: float(usable(net.scores).mean()))
    best = {norm: [net.best for net in nets[norm]] for norm in NORMS}
    n = len(lab.seeds)
    checks = (
        above("the largest usable rate is higher with batch norm: log10 of the ratio", ratio, 0, n),
        above("accuracy spreads less over the init scales with batch norm: spread without less with", steadier, 0, n),
        above("more of the grid is usable with batch norm: share with less without", more, 0, n),
    )
    return Finding(
        checks=checks,
        said=_said(nets, ratio, more),
        charts=tuple(_chart(norm, nets[norm]) for norm in NORMS),
        tables=(_table(nets),),
        effects=both_goals("norm.batch against norm.none", best["batch"], best["none"]),
        trainings=sum(len(net.runs) for arm in nets.values() for net in arm),
    )


def compare(nets: dict[str, list[Net]], figure: Callable[[Net], float]) -> Figure:
    """Return the paired difference of a figure, with batch norm less without."""
    batch, none = ([figure(net) for net in nets[norm]] for norm in NORMS)
    return paired_difference(batch, none)


def _said(nets: dict[str, list[Net]], ratio: Figure, more: Figure) -> str:
    """Return what came out, in words."""
    spread = {norm: float(np.mean([net.spread for net in nets[norm]])) for norm in NORMS}
    edge = sum(largest_rate(net.scores) == RATES[-1] for net in nets["batch"])
    times = 10 ** (ratio.value or 0.0)
    return (
        f"The largest usable rate with batch norm is {times:.1f} times that without (geometric mean over the seeds); "
        f"between half and twice He's scale, at the rate best for He's own, the accuracy spreads by "
        f"{spread['batch']:.3f} with it and {spread['none']:.3f} without. The share of usable settings differs by "
        f"{words(more)}. Rates go in steps of about three, {edge} of {len(nets['batch'])} seeds with batch norm are at "
        f"the end of the grid, and the trainings are short: what is usable in a long one may differ."
    )


def _chart(norm: str, nets: list[Net]) -> Heat:
    mean = np.mean([net.scores for net in nets], axis=0)
    return Heat(
        title=f"Validation accuracy, norm {norm}",
        x="learning rate",
        y="gain on He's scale",
        columns=tuple(f"{rate:g}" for rate in RATES),
        rows=tuple(f"{gain:g}" for gain in GAINS),
        values=tuple(tuple(map(float, row)) for row in mean),
        note=f"Mean over {len(nets)} seeds.",
    )


def _table(nets: dict[str, list[Net]]) -> Grid:
    rows = []
    for norm, arm in nets.items():
        usable_rates = " ".join(f"{largest_rate(net.scores):.3g}" for net in arm)
        shares, spreads = (mean_interval(list(values)) for values in zip(*map(_figures, arm), strict=True))
        broken = sum(run.diverged for net in arm for run in net.runs.values())
        rows.append(
            (norm, usable_rates, words(shares), words(spreads), f"{broken} of {sum(len(net.runs) for net in arm)}")
        )
    head = (
        "norm",
        "largest usable rate, by seed",
        "usable share of the grid",
        "spread over scales",
        "trainings that broke",
    )
    return Grid(title="What can be used", head=head, rows=tuple(rows))


def _figures(net: Net) -> tuple[float, float]:
    return float(usable(net.scores).mean()), net.spread


CLAIM = Claim(
    statement=(
        "With batch normalisation larger learning rates can be used, and the result depends less on the scale that the "
        "weights begin with."
    ),
    experiment=(
        f"A plain net of {DEPTH} layers is trained with and without batch norm at {len(RATES)} learning rates from "
        f"{len(GAINS)} scales of the first weights (He's times {', '.join(f'{gain:g}' for gain in GAINS)}), all else "
        f"equal, every seed paired. A rate is usable when the validation accuracy reaches {USABLE:.0%} of the best "
        f"that the same net reached anywhere in the grid; the largest usable one is taken at He's own scale. The "
        f"spread over scales is taken at the rate that is best at He's own. On two cores the images are shrunk."
    ),
    task="classification",
    measure=measure,
)
