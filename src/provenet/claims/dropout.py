"""Claim 12: dropout zeroes units with probability p, keeps the expectation, is off in evaluation, narrows the gap."""

# N draws, V values that a draw decides about

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import torch

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, below, within
from provenet.claims.lab import Lab
from provenet.claims.training import Trained, both_goals, mean_curve
from provenet.core.rng import derive, torch_generator
from provenet.nets import resnet
from provenet.nets.initialize import initialize_
from provenet.records.claim import Dots, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.block import ResidualBlock
from provenet.techniques.dropout import Dropout, NoDropout, SpatialDropout, StochasticDepth
from provenet.techniques.init import He

Dropping = type[Dropout] | type[SpatialDropout] | type[StochasticDepth]
Scores = dict[str, list[float]]
"""Accuracy by split, one a seed."""

DRAWS = 100_000
PROBABILITIES = (0.1, 0.2, 0.5, 0.8)
SHAPES: dict[Dropping, tuple[int, ...]] = {
    Dropout: (DRAWS, 1),
    SpatialDropout: (DRAWS // 100, 100, 2, 2),
    StochasticDepth: (DRAWS, 3),
}
"""Values with `DRAWS` draws in them: a unit, a channel of a picture, a picture's branch."""
FARTHEST = 4.0
"""Standard errors; of 24 figures that follow the law, one lies farther in one of 660 cases."""

IMAGES = {"quick": 500, "full": 5000}
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "steps=500", "full": "steps=8000 net.depth=20 batch_size=128"}
ARMS = {
    "none": "dropout=none",
    "units, p = 0.5": "dropout=dropout dropout.p=0.5",
    "channels, p = 0.2": "dropout=spatial dropout.p=0.2",
}
"""Units are those in front of the head; channels those at the end of every block."""


@dataclass(frozen=True)
class Law:
    """What a dropout layer did in training mode.

    Args:
        member: its name.
        p: its probability.
        zeros: share of the draws that zeroed.
        zeros_off: distance of it from p, in standard errors.
        mean_off: distance of the output's sum from the input's, in standard errors.
        survivors_off: largest relative distance of a value that was kept from input / (1 - p).
    """

    member: str
    p: float
    zeros: float
    zeros_off: float
    mean_off: float
    survivors_off: float


def law(member: Dropping, p: float) -> Law:
    """Put values of many sizes through a layer in training mode and compare with the definition.

    A draw decides about V values together; m is 0 with probability p, else 1, so that y = m x / (1 - p) has the mean x
    and the variance x^2 p / (1 - p), x being the sum over the V values.
    """
    values = torch.rand(SHAPES[member], generator=torch_generator(0, "claims dropout"), dtype=torch.float64) + 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, f"claims dropout {member.__name__}"))
        dropped = member(p=p).layer().train()(values)
    values, dropped = values.reshape(DRAWS, -1), dropped.reshape(DRAWS, -1)
    zero = dropped == 0
    assert bool((zero.all(1) == zero.any(1)).all()), "a draw decided about some of its values only"
    share, kept = float(zero[:, 0].double().mean()), ~zero
    spread = math.sqrt(float(values.sum(1).square().sum()) * p / (1 - p))
    return Law(
        str(member.model_fields["name"].default),
        p,
        share,
        abs(share - p) / math.sqrt(p * (1 - p) / DRAWS),
        abs(float((dropped - values).sum())) / spread,
        float((dropped[kept] * (1 - p) / values[kept] - 1).abs().max()),
    )


@torch.no_grad()
def evaluation_difference(member: Dropping, p: float = 0.5, training: bool = False) -> float:
    """Return the largest difference between the answers of a net with dropout and of the same net without.

    Its residual branches do not begin at zero: there would be nothing to drop in them.

    Args:
        member: the dropout.
        p: its probability.
        training: compare in training mode.
    """
    images = torch.randn(16, 3, 16, 16, generator=torch_generator(0, "claims dropout images"))
    block = ResidualBlock(zero_gamma=False)
    nets = [resnet(10, depth=8, block=block, dropout=dropout) for dropout in (member(p=p), NoDropout())]
    for net in nets:
        initialize_(net, He(), seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "claims dropout evaluation"))
        one, other = (net.train(training)(images) for net in nets)
    return float((one - other).abs().max())


def score(runs: list[Trained]) -> Scores:
    """Return the accuracy of an arm on every split, one a seed; training images are clean."""
    return {split: [run.score(split) for run in runs] for split in ("train", "val", "test")}


def gaps(scores: Scores) -> list[float]:
    """Return the honest gap of each seed: clean training score less validation score.

    Example:
        >>> gaps({"train": [1.0, 0.75], "val": [0.5, 0.5]})
        [0.5, 0.25]
    """
    return [train - val for train, val in zip(scores["train"], scores["val"], strict=True)]


def measure(lab: Lab) -> Finding:
    """Check the layers against their definition, and train with and without them."""
    bench, n = lab.classification, len(lab.seeds)
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])}"
    arms = {
        name: [bench.train(f"{shared} {setting}", seed, IMAGES[lab.scale]) for seed in lab.seeds]
        for name, setting in ARMS.items()
    }
    scores = {name: score(runs) for name, runs in arms.items()}
    laws = [law(member, p) for member in SHAPES for p in PROBABILITIES]
    zeros, means = Figure(max(found.zeros_off for found in laws)), Figure(max(found.mean_off for found in laws))
    off = Figure(max(evaluation_difference(member) for member in SHAPES))
    none, units, channels = ARMS
    narrower = paired_difference(gaps(scores[units]), gaps(scores[none]))
    draws = DRAWS * len(laws)
    return Finding(
        checks=(
            below("share of zeroed draws: farthest from p, standard errors", zeros, FARTHEST, draws),
            below("mean of the output: farthest from the input's, standard errors", means, FARTHEST, draws),
            within("evaluation: largest difference from the net without dropout", off, 0, 0, len(SHAPES)),
            below("gap between training and validation accuracy: with dropout less without", narrower, 0, n),
        ),
        said=_said(scores, len(arms[none][0].session.dataset.splits["train"])),
        charts=(_curves(arms), _gap_dots(scores)),
        tables=(_score_table(scores), _law_table(laws)),
        effects=(
            *both_goals("dropout.dropout (p = 0.5) against dropout.none", arms[units], arms[none]),
            *both_goals("dropout.spatial (p = 0.2) against dropout.none", arms[channels], arms[none]),
        ),
        trainings=n * len(arms),
    )


def _said(scores: dict[str, Scores], images: int) -> str:
    """Return what came out, in words."""
    none, *others = scores.values()
    narrower = [words(paired_difference(gaps(other), gaps(none))) for other in others]
    train, test = (
        [words(paired_difference(other[split], none[split])) for other in others] for split in ("train", "test")
    )
    return (
        f"After {images:,} training images the gap is {fmean(gaps(none)):.3f} without dropout; dropping units in front "
        f"of the head changes it by {narrower[0]}, dropping channels in every block by {narrower[1]}. A gap can narrow "
        f"from above: the training accuracy changes by {train[0]} and {train[1]}, the test accuracy by {test[0]} and "
        f"{test[1]}, and only the last two say whether the net became better."
    )


def _curves(arms: dict[str, list[Trained]]) -> Lines:
    """Return the validation curves of the arms."""
    lines = {name: mean_curve(runs) for name, runs in arms.items()}
    return Lines(title="Few images", x="update", y="validation accuracy, mean of the seeds", lines=lines)


def _gap_dots(scores: dict[str, Scores]) -> Dots:
    """Return the gap of each arm with its interval."""
    figures = {name: mean_interval(gaps(arm)) for name, arm in scores.items()}
    rows = tuple((name, figure.value, figure.low, figure.high) for name, figure in figures.items())
    return Dots(title="Training less validation accuracy", rows=rows, note="Clean images in evaluation mode.")


def _law_table(laws: list[Law]) -> Grid:
    """Return what the layers did as a table."""
    head = ("layer", "p", "share zeroed", "off p, standard errors", "mean off, standard errors", "survivors off")
    rows = tuple(
        (one.member, f"{one.p:g}", f"{one.zeros:.4f}", f"{one.zeros_off:.2f}", f"{one.mean_off:.2f}")
        + (f"{one.survivors_off:.0e}",)
        for one in laws
    )
    return Grid(title=f"Layers in training mode, {DRAWS:,} draws each", head=head, rows=rows)


def _score_table(scores: dict[str, Scores]) -> Grid:
    """Return the scores of the arms as a table."""
    rows = tuple((name, *(words(mean_interval(values)) for values in arm.values())) for name, arm in scores.items())
    return Grid(title="Accuracy", head=("dropout", "train", "validation", "test"), rows=rows)


CLAIM = Claim(
    statement=(
        "Dropout zeroes each unit with probability p in training and keeps its expected value; it is off in "
        "evaluation; and it narrows the gap between training and validation on a small training set."
    ),
    experiment=(
        "Many draws of every dropout layer are compared with its definition, and a net with dropout in evaluation "
        "mode with the same net without. Then a small residual net is trained on few images, long enough to overfit: "
        "without dropout, with half of the units in front of the head dropped, and, for comparison, with a fifth of "
        "the channels dropped at the end of every block. Images, order, weights and number of updates are the same "
        "for a seed. The claim is decided by the units; the gap is clean training accuracy less validation accuracy."
    ),
    task="classification",
    measure=measure,
)
