"""Claim 11: augmentation works by invariance, not by more data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above, below
from provenet.claims.lab import CLASSIFICATION, Bench, Lab
from provenet.claims.training import Trained, both_goals, fit, mean_curve
from provenet.data.dataset import Ids
from provenet.data.loader import Loader
from provenet.engine.segment import logits_of
from provenet.records.claim import Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.augment import Augmentation

Arms = dict[str, list[Trained]]
"""One training a seed for each arm."""
Scores = dict[str, list[float]]
"""One score a seed for each arm."""

IMAGES = {"quick": 1000, "full": 5000}
DIGITS = {"quick": 500, "full": 1000}
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "steps=400", "full": "steps=8000 net.depth=20 batch_size=128"}
DIGITS_SHARED = "steps=200"
SEEDS = 5
"""At least: what augmentation gains differs much between choices of few images."""
DIGITS_SEEDS = 9
"""Trainings on digits take a second or two."""
COPIES = 8
"""How often an image stands among the training images in the arm of copies."""
TURNED = "augment=flip augment.flip.axis=both"
"""Mirrors left and right, top and bottom: a 6 becomes a 9 and a 2 resembles a 5."""
TOGETHER = "all, as in training"
DRAWN, EVALUATED = 1000, 256
"""Test images whose answers are compared under transformation, and how many are answered at a time."""


@dataclass(frozen=True)
class Kind:
    """What leaves the labels of a kind of images alone.

    Args:
        trained: the transformations of the augmented arm, as settings.
        parts: each of them alone and always at work, by name, as settings.
        other: one that no arm is trained with, by name, as settings.
    """

    trained: str
    parts: dict[str, str]
    other: tuple[str, str]


PHOTOGRAPHS = Kind(
    "augment=flip,shift",
    {"mirroring": "augment=flip augment.flip.p=1", "shift": "augment=shift"},
    ("rotation, never trained with", "augment=rotate"),
)
WRITING = Kind(
    "augment=shift,rotate",
    {"shift": "augment=shift", "rotation": "augment=rotate"},
    ("scaling, never trained with", "augment=scale"),
)
"""For grey images: they may be letters, digits or clothes, whose sides mean something."""


def kind_of(bench: Bench) -> Kind:
    """Return which transformations leave the labels of a bench's images alone, by their number of channels."""
    return PHOTOGRAPHS if bench.dataset.store.channels == 3 else WRITING


@torch.no_grad()
def answers(trained: Trained, ids: Ids, augment: Sequence[Augmentation] = ()) -> Ids:
    """Return the classes that a trained net gives to samples that were moved first, (N,).

    Args:
        trained: the net.
        ids: samples, (N,).
        augment: how they are moved; the draws are those of the training's seed in its first epoch.
    """
    session, net = trained.session, trained.net
    feed = replace(session.feed, augment=tuple(augment))
    loader = Loader(session.dataset, ids, session.recipe.view, EVALUATED, session.recipe.seed, feed.warps)
    logits = [logits_of(net, feed.clean(batch).images, feed).cpu() for batch in loader.batches()]
    return torch.cat(logits).argmax(1).numpy()


def consistency(bench: Bench, trained: Trained, transformation: str) -> float:
    """Return the share of test images whose answer is the same before and after a transformation.

    Args:
        bench: the data.
        trained: the net.
        transformation: settings of the slot `augment`.
    """
    ids = bench.part("test", DRAWN)
    moved = answers(trained, ids, bench.recipe(transformation).augment)
    return float(np.mean(answers(trained, ids) == moved))


def train(lab: Lab, bench: Bench) -> Arms:
    """Train without augmentation, with it, and with copies in its place, once for each seed."""
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])}"
    arms: Arms = {"none": [], "augmented": [], "copies": []}
    for seed in lab.seeds_at_least(SEEDS):
        ids = bench.part("train", min(IMAGES[lab.scale], bench.num_train), seed)
        arms["none"].append(fit(bench.session_on(shared, seed, ids)))
        arms["augmented"].append(fit(bench.session_on(f"{shared} {kind_of(bench).trained}", seed, ids)))
        arms["copies"].append(fit(bench.session_on(shared, seed, np.repeat(ids, COPIES))))
    return arms


def train_digits(lab: Lab) -> Arms:
    """Train on digits with and without mirroring them."""
    bench = lab.classification if lab.sources["classification"] == "digits" else Bench(lab, "digits", CLASSIFICATION)
    images = min(DIGITS[lab.scale], bench.num_train)
    return {
        "none": [bench.train(DIGITS_SHARED, seed, images) for seed in range(DIGITS_SEEDS)],
        "mirrored": [bench.train(f"{DIGITS_SHARED} {TURNED}", seed, images) for seed in range(DIGITS_SEEDS)],
    }


def scores_of(arms: Arms) -> Scores:
    """Return each arm's score on test images, one a seed."""
    return {name: [run.score("test") for run in runs] for name, runs in arms.items()}


def copies_over_half(scores: Scores) -> Figure:
    """Return what copies gain on test images less half of what augmentation gains.

    Example:
        >>> copies_over_half({"none": [0.5], "augmented": [0.75], "copies": [0.5]}).value
        -0.125
    """
    halves = [(more + base) / 2 for more, base in zip(scores["augmented"], scores["none"], strict=True)]
    return paired_difference(scores["copies"], halves)


def measure(lab: Lab) -> Finding:
    """Compare the arms on the data at hand, and mirroring on digits."""
    bench = lab.classification
    kind = kind_of(bench)
    arms, digits = train(lab, bench), train_digits(lab)
    n = len(arms["none"])
    scores, of_digits = scores_of(arms), scores_of(digits)
    same = {
        name: {arm: [consistency(bench, run, setting) for run in runs] for arm, runs in arms.items()}
        for name, setting in {TOGETHER: kind.trained, **kind.parts, kind.other[0]: kind.other[1]}.items()
    }
    steadier = paired_difference(same[TOGETHER]["augmented"], same[TOGETHER]["none"])
    gain = paired_difference(scores["augmented"], scores["none"])
    turned = paired_difference(of_digits["mirrored"], of_digits["none"])
    technique = kind.trained.removeprefix("augment=").replace(",", "+")
    return Finding(
        checks=(
            above("answers that stay the same under the transformations: with less without training", steadier, 0, n),
            above("test accuracy with augmentation less without", gain, 0, n),
            below("gain of copies less half the gain of augmentation, test accuracy", copies_over_half(scores), 0, n),
            below("digits: test accuracy with mirroring less without", turned, 0, DIGITS_SEEDS),
        ),
        said=_said(same, scores, gain, turned),
        charts=(_curves(arms, kind), _digits_curves(digits)),
        tables=(_consistencies(same), _scores(scores, of_digits)),
        effects=(
            *both_goals(f"augment.{technique} against none", arms["augmented"], arms["none"]),
            *both_goals("augment.flip of digits against none", digits["mirrored"], digits["none"]),
        ),
        trainings=sum(map(len, [*arms.values(), *digits.values()])),
    )


def _said(same: dict[str, Scores], scores: Scores, gain: Figure, turned: Figure) -> str:
    """Return what came out, in words."""
    other = list(same)[-1]
    none, augmented = (fmean(same[TOGETHER][arm]) for arm in ("none", "augmented"))
    foreign = paired_difference(same[other]["augmented"], same[other]["none"])
    copies = paired_difference(scores["copies"], scores["none"])
    return (
        f"Under the transformations of the training {augmented:.1%} of the answers stay the same, {none:.1%} without "
        f"that training; under {other}, the share differs by {words(foreign)}: a better net is steadier in any case. "
        f"Augmentation changes the test accuracy by {words(gain)}, and {COPIES} copies of every image by "
        f"{words(copies)}, at equal updates, so that a single image is seen as often as its copies together. Mirroring "
        f"digits changes theirs by {words(turned)}."
    )


def _consistencies(same: dict[str, Scores]) -> Grid:
    """Return the shares of equal answers as a table."""
    arms = tuple(next(iter(same.values())))
    rows = tuple((name, *(words(mean_interval(shares[arm])) for arm in arms)) for name, shares in same.items())
    return Grid(title="Test images whose answer stays the same", head=("transformation", *arms), rows=rows)


def _scores(scores: Scores, of_digits: Scores) -> Grid:
    """Return the test scores as a table."""
    named = {**scores, **{f"digits, {name}": values for name, values in of_digits.items()}}
    rows = tuple((name, words(mean_interval(values))) for name, values in named.items())
    return Grid(title="Test accuracy", head=("arm", "mean over seeds"), rows=rows)


def _curves(arms: Arms, kind: Kind) -> Lines:
    """Return the validation curves of the arms."""
    names = {"none": "none", "augmented": kind.trained.removeprefix("augment="), "copies": f"{COPIES} copies"}
    lines = {names[arm]: mean_curve(runs) for arm, runs in arms.items()}
    return Lines(title="Few images", x="update", y="validation accuracy, mean of the seeds", lines=lines)


def _digits_curves(arms: Arms) -> Lines:
    """Return the validation curves on digits."""
    lines = {name: mean_curve(runs) for name, runs in arms.items()}
    return Lines(title="Digits, mirrored or not", x="update", y="validation accuracy, mean of the seeds", lines=lines)


CLAIM = Claim(
    statement=(
        "Augmentation works by invariance, not by more data: the answers of the net stay the same under the "
        "transformations it was trained with, and that raises the test score; as many untransformed copies give "
        "nothing, and a transformation that changes labels hurts."
    ),
    experiment=(
        "A small residual net on few images: without augmentation, with transformations that keep the label (mirroring "
        "and shifts for photographs, shifts and small rotations for grey images), and with every image standing "
        "several times among the training images. Images, weights and number of updates are the same for a seed. "
        "Copies count as giving nothing when they give less than half of what augmentation gives. Mirroring along "
        "both axes is measured on handwritten digits, whatever the data. Both parts take more seeds than other claims, "
        "since what few images gain differs between choices of them."
    ),
    task="classification",
    measure=measure,
)
