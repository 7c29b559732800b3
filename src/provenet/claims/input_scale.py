"""Claim 6: raw pixel values make huge activations that slow or break training; scaling the inputs prevents it."""

# N images, C channels, H W pixels

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from provenet.claims.arms import late_loss, small_view, words
from provenet.claims.claim import Claim, above, within
from provenet.claims.lab import Lab
from provenet.claims.training import Trained, both_goals, fit, mean_curve
from provenet.data.store import Store
from provenet.recipe.build import Session, build_session, fit_stats
from provenet.records.claim import Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.inputs import Stats

Arms = list[Trained]
"""One training a seed."""
Floats = NDArray[np.float64]

MEMBERS = ("raw", "scale01", "standardize")
DEEP, BATCH = 20, 128
"""Layers of the net whose activations are measured, and pictures shown to it."""
NET = "block=plain norm=none init=he init.mode=fan_in"
RATE, RAW_RATES = 0.02, (2e-4, 2e-6)
"""The rate of all arms, and rates that raw inputs are also given."""
IMAGES = {"quick": 2000, "full": 50_000}
SIDE = {"quick": 16, "full": 32}
WORDS = {"quick": "steps=240", "full": "steps=10000 batch_size=128"}
ROUNDING = 1e-5
"""Room for the float32 of normalised pictures."""
TINY = 0.01
"""What leaked statistics may move of the test accuracy and still count as nothing."""


def recipe(lab: Lab, member: str, more: str = "") -> str:
    """Return the settings of an arm."""
    return f"{WORDS[lab.scale]} {small_view(lab.classification, SIDE[lab.scale])} {NET} inputs={member} {more}"


def activation_scales(net: nn.Module, images: Tensor) -> list[float]:
    """Return the root mean square of the activations behind each ReLU, input first, in float64."""
    scales: list[float] = []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        scales.append(float(output.square().mean().sqrt()))

    hooks = [module.register_forward_hook(note) for module in net.modules() if isinstance(module, nn.ReLU)]
    with torch.no_grad():
        net.double()(images.double())
    for hook in hooks:
        hook.remove()
    return scales


def scales_of(lab: Lab, member: str, seed: int) -> list[float]:
    """Return the scale of the images themselves and of every layer's activations before training."""
    bench = lab.classification
    session = bench.session(recipe(lab, member, f"net.depth={DEEP}"), seed, BATCH)
    images, _ = bench.images(session, session.dataset.splits["train"])
    return [float(images.double().square().mean().sqrt()), *activation_scales(session.net, images)]


def train(lab: Lab, member: str, rate: float = RATE) -> Arms:
    """Train with an input normalisation, once for each seed."""
    arm = recipe(lab, member, f"optimizer.lr={rate:g}")
    return [lab.classification.train(arm, seed, IMAGES[lab.scale]) for seed in lab.seeds]


def channel_statistics(store: Store, ids: Iterable[int]) -> tuple[Floats, Floats, Floats]:
    """Return mean and standard deviation of each channel over all pixels, and the mean's standard error.

    The error is that of a mean over pictures, which are drawn independently; pixels of one picture are not.
    """
    depth = 257 if store.dtype == np.uint16 else 1
    pictures = [store.image(int(i)).reshape(-1, store.channels) / depth for i in ids]
    count = sum(map(len, pictures))
    mean = np.sum([picture.sum(axis=0) for picture in pictures], axis=0) / count
    variance = np.sum([((picture - mean) ** 2).sum(axis=0) for picture in pictures], axis=0) / count
    means = np.array([picture.mean(axis=0) for picture in pictures])
    return mean, np.sqrt(variance), means.std(axis=0, ddof=1) / math.sqrt(len(means))


def reuse_deviation(lab: Lab) -> float:
    """Return how far validation and test pictures are from (value - mean) / std with NumPy's training statistics."""
    bench, seed = lab.classification, lab.seeds[0]
    session, raw = (bench.session(recipe(lab, member), seed, IMAGES[lab.scale]) for member in ("standardize", "raw"))
    found = channel_statistics(session.dataset.store, session.dataset.splits["train"])
    mean, std = (torch.from_numpy(values).view(1, -1, 1, 1) for values in found[:2])
    largest = 0.0
    for split in ("val", "test"):
        ids = session.dataset.splits[split][:BATCH]
        seen, values = (bench.images(one, ids)[0].double().cpu() for one in (session, raw))
        largest = max(largest, float((seen - (values - mean) / std).abs().max()))
    return largest


def leaked_stats(session: Session) -> Stats:
    """Return the statistics that follow from training, validation and test pictures together."""
    everything = np.concatenate([session.dataset.splits[split] for split in ("train", "val", "test")])
    return fit_stats(session.recipe, replace(session.dataset, splits={"train": everything}))


def leak_in_errors(session: Session) -> float:
    """Return the largest difference of a channel's mean with and without leak, in standard errors of the latter."""
    mean, _, error = channel_statistics(session.dataset.store, session.dataset.splits["train"])
    return float(np.max(np.abs(np.array(leaked_stats(session).mean) - mean) / error))


def leak_at_test(arm: Trained) -> float:
    """Return by how much the test score of a trained net changes when pictures come with leaked statistics."""
    session = arm.session
    scorer = replace(session.scorer, feed=replace(session.feed, stats=leaked_stats(session)))
    tally, _ = scorer.score(arm.net, session.dataset.splits["test"], False)
    return tally.quick()[tally.primary] - arm.score("test")


def retrained(arm: Trained) -> Trained:
    """Return the training of an arm made again with leaked statistics."""
    session = arm.session
    return fit(build_session(session.recipe, session.dataset, leaked_stats(session)))


Scales = dict[str, list[list[float]]]
"""Root mean square of the images and of every layer's activations: member, seed, layer."""


@dataclass(frozen=True)
class Leak:
    """What it changes to take statistics from validation and test pictures too.

    Args:
        errors: largest shift of a channel's mean, in its standard errors, a value a seed.
        at_test: change of the test accuracy of trained nets that then see pictures normalised so.
        retrained: change of the test accuracy when the net is also trained so.
    """

    errors: Figure
    at_test: Figure
    retrained: Figure


def leak_of(arms: Arms) -> Leak:
    """Return what leaking would change for trained arms; each is trained once more."""
    again = [retrained(arm).score("test") - arm.score("test") for arm in arms]
    return Leak(
        mean_interval([leak_in_errors(arm.session) for arm in arms]),
        mean_interval([leak_at_test(arm) for arm in arms]),
        mean_interval(again),
    )


def cascade(scales: Scales) -> Figure:
    """Return log10 of the last layer's activations with raw inputs over those with standardised ones."""
    pairs = zip(scales["raw"], scales["standardize"], strict=True)
    return mean_interval([math.log10(raw[-1] / standardized[-1]) for raw, standardized in pairs])


def homogeneity(scales: Scales) -> Figure:
    """Return how far raw activations are from 255 times those of inputs in 0..1: the largest share at any layer.

    A ReLU net whose biases are zero is positively homogeneous: its activations are scaled as its inputs are.
    """
    pairs = zip(scales["raw"], scales["scale01"], strict=True)
    return Figure(max(abs(a / b / 255 - 1) for one, other in pairs for a, b in zip(one, other, strict=True)))


def area_gain(these: Arms, those: Arms) -> Figure:
    """Return the paired difference of the areas under the validation curve."""
    return paired_difference([arm.area for arm in these], [arm.area for arm in those])


def test_gain(these: Arms, those: Arms) -> Figure:
    """Return the paired difference of the test accuracies."""
    return paired_difference([arm.score("test") for arm in these], [arm.score("test") for arm in those])


def measure(lab: Lab) -> Finding:
    """Measure activations before training, train, and look at where the statistics come from."""
    n = len(lab.seeds)
    scales = {member: [scales_of(lab, member, seed) for seed in lab.seeds] for member in MEMBERS}
    arms = {member: train(lab, member) for member in MEMBERS}
    slow = {f"raw, rate {rate:g}": train(lab, "raw", rate) for rate in RAW_RATES}
    best_raw = max([arms["raw"], *slow.values()], key=lambda trained: fmean(arm.area for arm in trained))
    leak, layers = leak_of(arms["standardize"]), f"behind {DEEP - 1} layers"
    early, reuse = area_gain(arms["standardize"], best_raw), Figure(reuse_deviation(lab))
    z_score, by_255 = (test_gain(arms[member], arms["raw"]) for member in ("standardize", "scale01"))
    return Finding(
        checks=(
            within("share by which raw activations miss 255 times those of / 255", homogeneity(scales), 0, ROUNDING, n),
            above(f"log10 of raw over standardised activations {layers}", cascade(scales), 1, n),
            above("test accuracy at the same rate: z-score less raw", z_score, 0, n),
            above("test accuracy at the same rate: / 255 less raw", by_255, 0, n),
            above("area under the validation curve: z-score less raw at its best rate", early, 0, n),
            within("validation and test pictures against NumPy's training statistics", reuse, 0, ROUNDING, 2 * BATCH),
            within("change of a trained net's test accuracy when statistics leak", leak.at_test, -TINY, TINY, n),
        ),
        said=_said(arms, (z_score, by_255, early), cascade(scales), leak),
        charts=(_layers(scales), _curves({**arms, "raw at its best rate": best_raw})),
        tables=(_table({**arms, **slow}), _leaks(leak)),
        effects=(
            *both_goals("inputs.standardize against inputs.raw", arms["standardize"], arms["raw"]),
            *both_goals("inputs.scale01 against inputs.raw", arms["scale01"], arms["raw"]),
        ),
        trainings=n * (len(MEMBERS) + len(RAW_RATES) + 1),
    )


def _said(arms: dict[str, Arms], gains: tuple[Figure, Figure, Figure], grown: Figure, leak: Leak) -> str:
    z_score, by_255, early = (words(gain) for gain in gains)
    broken = sum(arm.diverged for arm in arms["raw"])
    return (
        f"Before training, raw inputs make the last activations larger by {words(grown, 1)} powers of ten than "
        f"z-scores do: without norms a ReLU net hands on the scale that it is given. At the same rate {broken} of "
        f"{len(arms['raw'])} raw trainings broke off; in test accuracy z-scores are {z_score} and / 255 is {by_255} "
        f"ahead of raw. Of {len(RAW_RATES) + 1} rates raw's best leaves it {early} behind z-scores in the area under "
        f"the validation curve. Leaking validation and test pictures into the statistics moves a channel's mean by "
        f"{words(leak.errors, 2)} of its standard errors and a trained net's test accuracy by "
        f"{words(leak.at_test, 4)}; trained again so, {words(leak.retrained)}, with the noise of a new training in it. "
        f"These splits are random; where they come from different sources a leak can weigh more."
    )


def _layers(scales: Scales) -> Lines:
    lines = {
        member: tuple((float(at), fmean(map(math.log10, layer))) for at, layer in enumerate(zip(*found, strict=True)))
        for member, found in scales.items()
    }
    note = "Layer 0 is the images. A plain net without normalisation layers, initialised to keep the forward scale."
    return Lines(
        title="Before training: scale of the activations",
        x="layer",
        y="log10 of their root mean square",
        lines=lines,
        note=note,
    )


def _curves(arms: dict[str, Arms]) -> Lines:
    lines = {name: mean_curve(trained) for name, trained in arms.items()}
    return Lines(title="Validation accuracy", x="update", y="accuracy, mean of the seeds", lines=lines)


def _table(arms: dict[str, Arms]) -> Grid:
    rows = []
    for name, trained in arms.items():
        first, late = (
            mean_interval(values)
            for values in ([arm.losses[0] for arm in trained], [late_loss(arm) for arm in trained])
        )
        area, test = ([arm.area for arm in trained], [arm.score("test") for arm in trained])
        broken = f"{sum(arm.diverged for arm in trained)} of {len(trained)}"
        rows.append((name, words(first, 2), words(late), *(words(mean_interval(v)) for v in (area, test)), broken))
    head = (
        "inputs",
        "first loss",
        "training loss at the end",
        "area under validation curve",
        "test accuracy",
        "broke off",
    )
    return Grid(title="Trained without normalisation layers", head=head, rows=tuple(rows))


def _leaks(leak: Leak) -> Grid:
    rows = (
        ("shift of a channel's mean, in its standard errors", words(leak.errors, 2)),
        ("change of a trained net's test accuracy", words(leak.at_test, 4)),
        ("change of the test accuracy when also trained so", words(leak.retrained, 4)),
    )
    return Grid(title="Statistics from all pictures in place of the training pictures", head=("", "figure"), rows=rows)


CLAIM = Claim(
    statement=(
        "Pixel values of 0 to 255 cascade into huge activations, which slow or break training; dividing by 255 or "
        "taking z-scores prevents it. The statistics come from the training split and serve validation and test too."
    ),
    experiment=(
        "A plain net without normalisation layers and with He's initialisation gets raw values, values / 255 and "
        "z-scores: the activations of 20 layers before training, then trainings of 8 layers at the same rate, with the "
        "same images, order and weights for a seed; raw inputs also get a hundredth and a ten-thousandth of the rate. "
        "Validation and test pictures are held against z-scores by NumPy. A leak takes the statistics from all three "
        "splits."
    ),
    task="classification",
    measure=measure,
)
