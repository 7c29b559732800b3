"""Claim 15: feature extraction against fine-tuning: trainable parameters, seconds per epoch, score by images."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean, median

import torch

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above, below, within
from provenet.claims.donor import FINE_RATES, among, bench_of, fine_tuned, first_layers, halve, transplanted
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, both_goals, fit, mean_curve
from provenet.data.dataset import Ids
from provenet.engine.step import train_step
from provenet.nets import count_parameters
from provenet.nets.net import Net
from provenet.recipe.build import Session
from provenet.records.claim import Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.transfer import FeatureExtraction, FineTune, NoTransfer, Transfer

Scores = dict[str, dict[str, list[float]]]
"""Test accuracy for few and for more images, by arm, one a seed."""

SIZES = {"quick": (100, 2000, 4000), "full": (500, 10_000, 10_000)}
"""Images of the learnt classes: few, more, and those that the donor is trained on."""
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "steps=300", "full": "steps=6000 net.depth=20 batch_size=128"}
ROUNDS = 5
"""Epochs that are timed of each arm, in turns, after one that is not."""
ARMS: dict[str, Transfer] = {
    "from scratch": NoTransfer(),
    "fine-tuning": FineTune(),
    "feature extraction": FeatureExtraction(),
}
UNFROZEN = FineTune(head_first_frac=0)
"""Fine-tuning as it is once its head has been trained first, which is what an epoch of it costs."""


@dataclass
class Seed:
    """What one seed gave.

    Args:
        few: the arms on few images.
        more: the arms on more.
        head: parameters of the head.
        parameters: trained ones of each arm.
        changed: largest change of a number of the frozen body, its buffers included.
        seconds: median of an epoch of each arm.
        images: how many few and more are.
    """

    few: dict[str, Trained] = field(default_factory=dict)
    more: dict[str, Trained] = field(default_factory=dict)
    head: int = 0
    parameters: dict[str, int] = field(default_factory=dict)
    changed: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    images: tuple[int, int] = (0, 0)


def head_size(net: Net) -> int:
    """Return the parameters of a linear head over C features and K classes: C K weights and K biases."""
    weight = net.head.get_parameter("weight")
    return int(weight.shape[0] * weight.shape[1] + weight.shape[0])


def change(net: Net, layers: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference between a net's numbers, buffers included, and those that it was given."""
    now = net.state_dict()
    return max(float((now[name].double() - values.double()).abs().max()) for name, values in layers.items())


def epoch_seconds(sessions: Mapping[str, Session], rounds: int) -> dict[str, float]:
    """Return the median seconds of an epoch of each session, taken in turns so that a slow moment meets all.

    Args:
        sessions: nets and trainings, by name; their nets are trained on.
        rounds: epochs that are timed; one more comes first and is not.
    """
    states = {name: session.new_state() for name, session in sessions.items()}
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(rounds + 1):
        for name, session in sessions.items():
            begun = time.perf_counter()
            for batch in session.job.loader.batches(turn):
                train_step(session.job, states[name], session.job.feed.train(batch, turn))
            found[name].append(time.perf_counter() - begun)
    return {name: median(seconds[1:]) for name, seconds in found.items()}


def measure(lab: Lab) -> Finding:
    """Train the arms on few and on more images, count and time them."""
    bench, n = bench_of(lab), len(lab.seeds)
    seeds = [_seed(lab, bench, seed) for seed in lab.seeds]
    extra = Figure(float(max(abs(one.parameters["feature extraction"] - one.head) for one in seeds)))
    ratio = mean_interval([one.seconds["feature extraction"] / one.seconds["fine-tuning"] for one in seeds])
    scores = {
        kind: {arm: [getattr(one, kind)[arm].score("test") for one in seeds] for arm in ARMS}
        for kind in ("few", "more")
    }
    tuned = {kind: _over(scores[kind], "fine-tuning", "feature extraction") for kind in scores}
    return Finding(
        checks=(
            within("extraction: trained parameters less those of a linear head", extra, 0, 0, n),
            within(
                "extraction: largest change of a number in the body", Figure(max(o.changed for o in seeds)), 0, 0, n
            ),
            below("seconds of an epoch: extraction over fine-tuning", ratio, 1, n),
            above("more images: test accuracy, fine-tuning less extraction", mean_interval(tuned["more"]), 0, n),
            above("that difference, more images less few", paired_difference(tuned["more"], tuned["few"]), 0, n),
        ),
        said=_said(seeds, scores, ratio),
        charts=(_curves(scores, seeds[0].images), _course(seeds)),
        tables=(_table(seeds, scores),),
        effects=tuple(
            found
            for arm, technique in (("feature extraction", "feature_extraction"), ("fine-tuning", "fine_tune"))
            for kind in ("few", "more")
            for found in both_goals(
                f"transfer.{technique} ({kind} images) against scratch",
                [getattr(one, kind)[arm] for one in seeds],
                [getattr(one, kind)["from scratch"] for one in seeds],
            )
        ),
        trainings=n * (2 * (len(ARMS) - 1 + len(FINE_RATES)) + 1),
    )


def _seed(lab: Lab, bench: Bench, seed: int) -> Seed:
    """Train the donor and the arms of a seed, and time epochs."""
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])} inputs=scale01"
    half, other = halve(bench, seed, SIZES[lab.scale])
    donor = fit(bench.session_on(shared, seed, other.donor), looks=1).session.net

    def begin(ids: Ids, arm: str, transfer: Transfer, setting: str = "") -> Session:
        session = among(bench.session_on(f"{shared} {setting}", seed, ids), half.classes)
        num_groups = 0 if arm == "from scratch" else len(donor.groups()) - 1
        return transplanted(session, donor, num_groups, transfer)

    found = Seed(head=head_size(donor), images=(len(half.few), len(half.more)))
    for ids, trained in ((half.few, found.few), (half.more, found.more)):
        for arm, transfer in ARMS.items():
            if arm == "fine-tuning":
                trained[arm] = fine_tuned(partial(begin, ids, arm, transfer))
            else:
                trained[arm] = fit(begin(ids, arm, transfer))
            found.parameters[arm] = count_parameters(trained[arm].session.net, trainable_only=True)
        body = first_layers(donor, len(donor.groups()) - 1)
        found.changed = max(found.changed, change(trained["feature extraction"].session.net, body))
    timed = {**ARMS, "fine-tuning": UNFROZEN}
    found.seconds = epoch_seconds({arm: begin(half.more, arm, how) for arm, how in timed.items()}, ROUNDS)
    return found


def _over(scores: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Return by how much one arm lies above another, one figure a seed."""
    return [first - second for first, second in zip(scores[one], scores[other], strict=True)]


def _said(seeds: list[Seed], scores: Scores, ratio: Figure) -> str:
    """Return what came out, in words."""
    few, more = seeds[0].images
    trained = seeds[0].parameters
    over = {kind: mean_interval(_over(scores[kind], "fine-tuning", "feature extraction")) for kind in scores}
    worth = {kind: mean_interval(_over(scores[kind], "feature extraction", "from scratch")) for kind in scores}
    return (
        f"Feature extraction trains {trained['feature extraction']:,} of {trained['fine-tuning']:,} parameters, and an "
        f"epoch takes {words(ratio, 2)} of the time of fine-tuning: the forward pass through the body remains. With "
        f"{few:,} labelled images fine-tuning differs from extraction by {words(over['few'])} of test accuracy, with "
        f"{more:,} by {words(over['more'])}; extraction differs from training from scratch by {words(worth['few'])} "
        f"and {words(worth['more'])}. All arms make as many updates; only fine-tuning had its rate chosen, the better "
        f"of two on validation images, which favours it a little."
    )


def _curves(scores: Scores, images: tuple[int, int]) -> Lines:
    """Return the test score over the number of labelled images."""
    lines = {
        arm: tuple((math.log10(num), fmean(scores[kind][arm])) for num, kind in zip(images, scores, strict=True))
        for arm in ARMS
    }
    title = "Score by labelled images"
    return Lines(title=title, x="log10 of the images", y="test accuracy, mean of the seeds", lines=lines)


def _course(seeds: list[Seed]) -> Lines:
    """Return the validation curves of the arms on few images."""
    lines = {arm: mean_curve([one.few[arm] for one in seeds]) for arm in ARMS}
    title = f"{seeds[0].images[0]:,} labelled images"
    return Lines(title=title, x="update", y="validation accuracy, mean of the seeds", lines=lines)


def _table(seeds: list[Seed], scores: Scores) -> Grid:
    """Return cost and scores of the arms as a table."""
    rows = tuple(
        (
            arm,
            f"{seeds[0].parameters[arm]:,}",
            words(mean_interval([one.seconds[arm] for one in seeds])),
            *(words(mean_interval(scores[kind][arm])) for kind in scores),
        )
        for arm in ARMS
    )
    few, more = seeds[0].images
    head = ("arm", "trained parameters", f"seconds an epoch of {more:,}", f"{few:,} images", f"{more:,} images")
    return Grid(title="Cost, and test accuracy", head=head, rows=rows)


CLAIM = Claim(
    statement=(
        "Feature extraction trains only a new head: few parameters, cheap epochs, enough for few images. Fine-tuning "
        "trains everything: it costs more, and its advantage grows with the labelled images."
    ),
    experiment=(
        "The classes are halved at random, another way for each seed; a donor learns one half, and nets of the same "
        "make learn the other half from few and from more images: with the donor's body frozen, with all of it "
        "fine-tuned (head first, smaller rates towards the input, batch norm as it was, at the better of two rates on "
        "validation images), and from scratch. Images, order, head, input scale and number of updates are the same "
        "for a seed. Trained parameters are counted, epochs timed in turns within one process, and the frozen body is "
        "compared number by number with what it was."
    ),
    task="classification",
    measure=measure,
)
