"""Claim 13: two views of dropout: an average over thinned nets, and units that do not lean on single partners."""

# N images, C units in front of the head, K classes, T thinned nets

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above, below, within
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained
from provenet.core.rng import derive, numpy_generator
from provenet.records.claim import Finding, Grid, Lines
from provenet.run.thinned import droppers
from provenet.stats.paired import mean_interval, paired_difference

IMAGES = {"quick": 1000, "full": 5000}
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "steps=400", "full": "steps=8000 net.depth=20 batch_size=128"}
ARMS = {
    "none": "dropout=none",
    "units": "dropout=dropout dropout.p=0.5",
    "channels": "dropout=spatial dropout.p=0.2",
}
THINNED = {"quick": 20, "full": 100}
CLOSE = 0.02
"""Accuracy by which the evaluated net may differ from the average and still be close to it."""
TESTED = 4000
"""Test images, if there are as many: how far two answers differ in accuracy is a matter of few of them."""
REMOVED = (0.125, 0.25, 0.5, 0.75)
"""Shares of the units that are removed together."""
CHOICES = 20
"""Random choices of units for each share."""
SEEDS = 5
"""At least: the views differ by a hundredth."""


@dataclass(frozen=True)
class Views:
    """What the evaluated net and thinned nets answer, on the same images.

    Args:
        evaluated: accuracy and log loss of the evaluated net.
        average: of the mean of the thinned nets' probabilities.
        typical: of the thinned nets, the mean over them.
    """

    evaluated: tuple[float, float]
    average: tuple[float, float]
    typical: tuple[float, float]


@contextmanager
def one_thinned(net: nn.Module, seed: int) -> Iterator[None]:
    """Turn a net with dropout into one thinned net for a while: every image meets the same mask.

    Each dropout layer draws its own mask, by its own rule, from an input of ones; a layer that drops at random for each
    image would else make another net of every image.

    Args:
        net: in evaluation mode.
        seed: of the masks.
    """
    masks: dict[nn.Module, Tensor] = {}

    def masked(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if layer not in masks:
            layer.train()
            masks[layer] = layer.forward(torch.ones_like(inputs[0][:1]))
            layer.eval()
        return output * masks[layer]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hooks = [layer.register_forward_hook(masked) for layer in droppers(net)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@torch.no_grad()
def views(net: nn.Module, images: Tensor, targets: Tensor, num: int) -> Views:
    """Return what a net and `num` of its thinned nets answer.

    Args:
        net: with dropout, in evaluation mode.
        images: N C H W, ready for the net.
        targets: N.
        num: thinned nets T.
    """
    probs = []
    for number in range(num):
        with one_thinned(net, derive(0, "claims thinned", number)):
            probs.append(_probs(net, images))
    scores = [_score(one, targets) for one in probs]
    return Views(
        evaluated=_score(_probs(net, images), targets),
        average=_score(torch.stack(probs).mean(0), targets),
        typical=(fmean(hit for hit, _ in scores), fmean(loss for _, loss in scores)),
    )


def _probs(net: nn.Module, images: Tensor) -> Tensor:
    """Return class probabilities N K, float64."""
    return torch.cat([net(part) for part in images.split(250)]).double().softmax(1)


def _score(probs: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return accuracy and log loss."""
    true = probs.gather(1, targets[:, None])[:, 0]
    return float((probs.argmax(1) == targets).double().mean()), float(-true.clamp_min(1e-300).log().mean())


@torch.no_grad()
def features_of(net: nn.Module, images: Tensor) -> Tensor:
    """Return what a classifier's head gets, N C."""
    seen: list[Tensor] = []
    hook = net.get_submodule("head").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        _probs(net, images)
    finally:
        hook.remove()
    return torch.cat(seen)


@torch.no_grad()
def damage(head: nn.Module, features: Tensor, targets: Tensor, removed: Sequence[Sequence[int]]) -> float:
    """Return the share of right answers that turn wrong when units are removed, the mean over choices of units.

    Args:
        head: from features to logits.
        features: N C.
        targets: N.
        removed: the units of each choice; they are set to zero together.
    """
    right = head(features).argmax(1) == targets
    features, targets = features[right], targets[right]
    shares = []
    for units in removed:
        thinned = features.clone()
        thinned[:, list(units)] = 0
        shares.append(float((head(thinned).argmax(1) != targets).double().mean()))
    return fmean(shares)


def damages(bench: Bench, trained: Trained) -> list[float]:
    """Return the damage of removing one unit, and of removing each of the shares in `REMOVED`."""
    images, targets = bench.images(trained.session, bench.part("test", TESTED))
    features, head = features_of(trained.net, images), trained.net.get_submodule("head")
    units = features.shape[1]
    found = [damage(head, features, targets, [[unit] for unit in range(units)])]
    for share in REMOVED:
        draw = numpy_generator(0, "claims removed", round(1000 * share))
        choices = [draw.choice(units, max(1, round(share * units)), replace=False).tolist() for _ in range(CHOICES)]
        found.append(damage(head, features, targets, choices))
    return found


def measure(lab: Lab) -> Finding:
    """Train with and without dropout, thin the nets and remove units."""
    bench, seeds = lab.classification, lab.seeds_at_least(SEEDS)
    n = len(seeds)
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])}"
    arms = {
        name: [bench.train(f"{shared} {setting}", seed, IMAGES[lab.scale], looks=1) for seed in seeds]
        for name, setting in ARMS.items()
    }
    seen = {name: [_views(lab, run) for run in runs] for name, runs in arms.items() if name != "none"}
    hurt = {name: [damages(bench, run) for run in runs] for name, runs in arms.items()}
    checks = []
    for name, found in seen.items():
        evaluated, average, typical = (
            [getattr(one, kind)[0] for one in found] for kind in ("evaluated", "average", "typical")
        )
        near, better = paired_difference(evaluated, average), paired_difference(evaluated, typical)
        checks += [
            within(f"dropped {name}: accuracy, evaluated net less average of thinned nets", near, -CLOSE, CLOSE, n),
            above(f"dropped {name}: accuracy, evaluated net less a typical thinned net", better, 0, n),
        ]
    leans = paired_difference(_one(hurt["units"]), _one(hurt["none"]))
    checks.append(below("right answers lost with one unit removed: dropout-trained less not", leans, 0, n))
    return Finding(
        checks=tuple(checks),
        said=_said(lab, seen, hurt),
        charts=(_damage_chart(hurt),),
        tables=(_view_table(seen), _damage_table(hurt)),
        trainings=n * len(arms),
    )


def _views(lab: Lab, trained: Trained) -> Views:
    """Return the views of a trained net on test images."""
    bench = lab.classification
    images, targets = bench.images(trained.session, bench.part("test", TESTED))
    return views(trained.net, images, targets, THINNED[lab.scale])


def _one(found: list[list[float]]) -> list[float]:
    """Return the damage of removing one unit, one a seed."""
    return [shares[0] for shares in found]


def _said(lab: Lab, seen: dict[str, list[Views]], hurt: dict[str, list[list[float]]]) -> str:
    """Return what came out, in words."""
    units, channels = (
        [fmean(getattr(one, kind)[0] for one in found) for kind in ("evaluated", "average", "typical")]
        for found in seen.values()
    )
    half = 1 + REMOVED.index(0.5)
    lost = {name: [fmean(_one(found)), fmean(shares[half] for shares in found)] for name, found in hurt.items()}
    return (
        f"With units dropped in front of the head, the evaluated net scores {units[0]:.3f}, the average of "
        f"{THINNED[lab.scale]} thinned nets {units[1]:.3f}, one of them {units[2]:.3f}; there, before one linear "
        f"layer, the evaluated net is the geometric mean of all thinned nets by algebra. With channels dropped in "
        f"every block, where it is not, the three are {channels[0]:.3f}, {channels[1]:.3f} and {channels[2]:.3f}. "
        f"Removing one unit turns {lost['none'][0]:.2%} of the right answers wrong without dropout, "
        f"{lost['units'][0]:.2%} after dropping units and {lost['channels'][0]:.2%} after dropping channels; removing "
        f"half of them {lost['none'][1]:.0%}, {lost['units'][1]:.0%} and {lost['channels'][1]:.0%}."
    )


def _damage_chart(hurt: dict[str, list[list[float]]]) -> Lines:
    """Return how damage grows with the units removed."""
    lines = {}
    for name, found in hurt.items():
        means = np.mean(found, axis=0)[1:]
        lines[f"dropped in training: {name}"] = ((0.0, 0.0), *zip(REMOVED, map(float, means), strict=True))
    return Lines(
        title="Removing units in front of the head",
        x="share of the units removed",
        y="share of right answers that turn wrong",
        lines=lines,
        note=f"Means over {CHOICES} random choices of units and over the seeds.",
    )


def _view_table(seen: dict[str, list[Views]]) -> Grid:
    """Return accuracy and log loss of the views as a table."""
    rows = tuple(
        (f"{name}, {kind}", *(words(mean_interval([getattr(one, kind)[part] for one in found])) for part in (0, 1)))
        for name, found in seen.items()
        for kind in ("evaluated", "average", "typical")
    )
    return Grid(title="Test images", head=("dropped, answered by", "accuracy", "log loss, nats"), rows=rows)


def _damage_table(hurt: dict[str, list[list[float]]]) -> Grid:
    """Return the damages as a table."""
    head = ("dropped in training", "one unit", *(f"{share:.1%} of the units" for share in REMOVED))
    rows = tuple(
        (name, *(words(mean_interval(list(shares)), 4) for shares in zip(*found, strict=True)))
        for name, found in hurt.items()
    )
    return Grid(title="Right answers that turn wrong when units are removed", head=head, rows=rows)


CLAIM = Claim(
    statement=(
        "Dropout can be seen in two ways: the evaluated net stands for the average of very many thinned nets, and is "
        "better than a typical one of them; and units learn not to lean on single partners, so that removing one does "
        "less damage."
    ),
    experiment=(
        "A small residual net is trained on few images without dropout, with half of the units in front of the head "
        "dropped, and with a fifth of the channels dropped at the end of every block; images, order, weights and "
        "updates are the same for a seed. Thinned nets are drawn by switching the dropout layers on with one mask for "
        "all images, everything else in evaluation mode; close means within two points of accuracy. Then units in "
        "front of the head are set to zero, each alone and many together, and the right answers that turn wrong are "
        "counted; the claim is decided by single units."
    ),
    task="classification",
    measure=measure,
)
