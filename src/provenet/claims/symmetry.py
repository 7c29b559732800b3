"""Claim 1: weights that begin equal stay equal, and a wide layer of equal units is worth one unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from provenet.claims.claim import Claim, above, below, within
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, both_goals, fit, mean_curve
from provenet.nets.initialize import initialize_
from provenet.nets.net import Net
from provenet.records.claim import Check, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.activation import Activation, ReLU, Sigmoid
from provenet.techniques.init import Constant, He, Init, LeCun, Normal, Orthogonal, Xavier, Zero

WIDTH = 64
STEPS = {"quick": 300, "full": 5000}
IMAGES = {"quick": 2000, "full": 50_000}
SETTINGS = "optimizer.lr=0.02 optimizer.weight_decay=0"
SAME = 1e-6
"""Share of the largest below which a singular value or a distance between units counts as rounding."""
RANDOM: dict[str, Init] = {
    "he": He(mode="fan_in"),
    "xavier": Xavier(),
    "lecun": LeCun(),
    "orthogonal": Orthogonal(),
    "normal": Normal(),
}
EQUAL = ("one value", "zero, sigmoid", "zero, ReLU")
RELU = ReLU()

Runs = dict[str, list[Trained]]
Scores = dict[str, list[float]]


@dataclass(frozen=True)
class Arm:
    """How a net begins, how wide its hidden layer is, and what stands behind it."""

    init: Init
    width: int = WIDTH
    activation: Activation = RELU


class OneHidden(Net):
    """Pixels, one hidden layer, logits; in float64, so that rounding does not tell equal units apart.

    Args:
        num_inputs: values of an image.
        num_classes: K.
        arm: width and activation.
    """

    def __init__(self, num_inputs: int, num_classes: int, arm: Arm) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = nn.Linear(num_inputs, arm.width, dtype=torch.float64)
        self.activation = arm.activation.layer()
        self.head = nn.Linear(arm.width, num_classes, dtype=torch.float64)

    def sections(self) -> list[tuple[str, nn.Module]]:
        return [("hidden", self.hidden)]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K of normalised images N C H W."""
        logits: Tensor = self.head(self.activation(self.hidden(images.flatten(1).double())))
        return logits


def rank(weight: Tensor) -> int:
    """Return the number of singular values above `SAME` times the largest; 0 for zeros.

    Example:
        >>> rank(torch.ones(3, 5)), rank(torch.eye(3)), rank(torch.zeros(3, 5))
        (1, 3, 0)
    """
    values = torch.linalg.svdvals(weight)
    return int((values > SAME * values[0]).sum())


def distance(weight: Tensor) -> float:
    """Return the largest distance between two units over the length of the longest one; 0 for zeros.

    Args:
        weight: a unit a row.

    Example:
        >>> distance(torch.ones(3, 4)), distance(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        (0.0, 1.25)
    """
    longest = weight.norm(dim=1).max()
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist").max()
    return float(apart / longest) if longest > 0 else 0.0


def arms(inputs: int) -> dict[str, Arm]:
    """Return all arms, for images of so many values.

    The one value is 1 / inputs: a unit begins as the mean of its image. `n` equal ReLU units of weights w and v that
    learn by SGD are, at every update, one unit of weights sqrt(n) w and sqrt(n) v at the same rate; so the net of one
    unit begins at sqrt(n) times the value.
    """
    value = 1 / inputs
    return {
        "one value": Arm(Constant(value=value)),
        "one unit": Arm(Constant(value=math.sqrt(WIDTH) * value), width=1),
        "zero, sigmoid": Arm(Zero(), activation=Sigmoid()),
        "zero, ReLU": Arm(Zero()),
        **{name: Arm(init) for name, init in RANDOM.items()},
    }


def num_inputs(bench: Bench) -> int:
    """Return how many values an image has."""
    return math.prod(bench.recipe("steps=1").view.size) * bench.dataset.store.channels


def train(bench: Bench, arm: Arm, seed: int) -> Trained:
    """Train a net with one hidden layer, as any other net of a claim is trained."""
    pick = bench.lab.pick
    session = bench.session(f"{SETTINGS} steps={pick(*STEPS.values())}", seed, pick(*IMAGES.values()))
    net = OneHidden(num_inputs(bench), session.net.num_classes, arm)
    initialize_(net, arm.init, seed)
    session.feed.precision.place(net)
    return fit(replace(session, net=net, job=replace(session.job, groups=net.groups())))


def hidden(runs: Sequence[Trained]) -> list[Tensor]:
    """Return the hidden layers' weights, a unit a row."""
    return [run.net.get_parameter("hidden.weight").detach() for run in runs]


def gap(bench: Bench, first: Trained, second: Trained) -> float:
    """Return the largest difference of two nets' logits on validation images, as a share of the largest logit."""
    images, _ = bench.images(first.session, first.session.dataset.splits["val"])
    with torch.no_grad():
        one, other = first.net(images), second.net(images)
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def measure(lab: Lab) -> Finding:
    """Train from equal and from random weights, and look at the units."""
    bench = lab.classification
    runs = {name: [train(bench, arm, seed) for seed in lab.seeds] for name, arm in arms(num_inputs(bench)).items()}
    scores = {name: [run.score("test") for run in arm] for name, arm in runs.items()}
    checks = (*_equal(runs, scores), _as_one(bench, runs), *_random(runs, scores, min(WIDTH, num_inputs(bench))))
    return Finding(
        checks=checks,
        said=_said(checks, {name: float(np.mean(values)) for name, values in scores.items()}),
        charts=(_chart(runs),),
        tables=(_table(runs, scores),),
        effects=both_goals("init.he against init.constant", runs["he"], runs["one value"]),
        trainings=sum(map(len, runs.values())),
    )


def _equal(runs: Runs, scores: Scores) -> tuple[Check, ...]:
    """Return what must be so of units that begin equal."""
    layers = [weight for name in EQUAL for weight in hidden(runs[name])]
    moved = max(float(weight.abs().max()) for weight in hidden(runs["zero, ReLU"]))
    n, wide = len(layers), paired_difference(scores["one value"], scores["one unit"])
    says = f"{WIDTH} equal units score no better than one: test accuracy, wide less single"
    return (
        within("from equal weights the hidden layer keeps rank 0 or 1", Figure(max(map(rank, layers))), 0, 1, n),
        below("its units stay equal: largest distance over length", Figure(max(map(distance, layers))), SAME, n),
        within("zero weights behind a ReLU never move: largest weight", Figure(moved), 0, 0, n // len(EQUAL)),
        below(says, wide, 0.01, len(scores["one value"])),
    )


def _as_one(bench: Bench, runs: Runs) -> Check:
    """Return the check that equal units are one unit, answer by answer."""
    apart = [gap(bench, *pair) for pair in zip(runs["one value"], runs["one unit"], strict=True)]
    says = f"{WIDTH} equal units answer as the one unit they amount to: largest difference over the largest logit"
    return below(says, Figure(max(apart)), 1e-3, len(apart))


def _random(runs: Runs, scores: Scores, full: int) -> tuple[Check, ...]:
    """Return what must be so of units that begin at random."""
    layers = [weight for name in RANDOM for weight in hidden(runs[name])]
    lead = paired_difference(scores["he"], scores["one value"])
    says = f"{WIDTH} units from random weights score better than equal ones: test accuracy, he less constant"
    return (
        within(
            f"from every random start the layer has full rank, {full}",
            Figure(min(map(rank, layers))),
            full,
            full,
            len(layers),
        ),
        above(says, lead, 0, len(scores["he"])),
    )


def _said(checks: Sequence[Check], scores: dict[str, float]) -> str:
    """Return what came out, in words."""
    highest, furthest, moved, _, apart, lowest, _ = (check.value for check in checks)
    dead = "no gradient passes" if moved == 0 else "so some gradient does pass"
    return (
        f"After training from one value or from zeros the rank of the hidden layer is at most {highest:g} and its "
        f"units lie {furthest:.1e} of their length apart; from random weights the rank is at least {lowest:g}. "
        f"{WIDTH} units that began equal score {scores['one value']:.3f}, the one unit that they amount to "
        f"{scores['one unit']:.3f} (logits differ by {apart:.1e}), he {scores['he']:.3f}, and zeros behind a ReLU "
        f"{scores['zero, ReLU']:.3f}: their largest weight after training is {moved:g}, {dead}. All in float64 and "
        f"without dropout, which would tell units apart."
    )


def _chart(runs: Runs) -> Lines:
    named = {"one value": f"{WIDTH} equal units"}
    shown = ("he", "one value", "one unit", "zero, ReLU")
    return Lines(
        title="A wide layer of equal units learns what one unit learns",
        x="updates",
        y="validation accuracy",
        lines={named.get(name, name): mean_curve(runs[name]) for name in shown},
        note="Means over the seeds; where two curves are one, the later one covers the other.",
    )


def _table(runs: Runs, scores: Scores) -> Grid:
    rows = []
    for name, arm in runs.items():
        layers, score = hidden(arm), mean_interval(scores[name])
        rows.append(
            (
                name,
                str(len(layers[0])),
                " ".join(str(rank(weight)) for weight in layers),
                f"{max(map(distance, layers)):.1e}",
                f"{score.value:.3f}",
            )
        )
    head = ("start", "hidden units", "rank after training, by seed", "largest distance over length", "test accuracy")
    return Grid(title="The hidden layer after training", head=head, rows=tuple(rows))


CLAIM = Claim(
    statement=(
        "If all weights begin at zero, or at any one value, the units of a layer compute the same, get the same "
        "gradient and stay identical for ever: a wide layer is then worth one unit. Any random start breaks this."
    ),
    experiment=(
        f"A net with one hidden layer of {WIDTH} units is trained on the pixels from one value, from zeros (behind a "
        f"ReLU and a sigmoid) and from five random starts, by the same updates (SGD with momentum, cosine); arms of a "
        f"seed share images and order. Then the singular values of the hidden layer and the distances of its units are "
        f"taken. The wide layer of equal units is set against a net of one unit that begins at sqrt({WIDTH}) times the "
        f"value, to which it is equal in exact arithmetic."
    ),
    task="classification",
    measure=measure,
)
