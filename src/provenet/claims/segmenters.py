"""Segmentation nets trained side by side, and what their masks are worth on test pictures."""

# H W pixels

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from provenet.claims.arms import words
from provenet.claims.claim import effect
from provenet.claims.lab import Lab
from provenet.claims.training import Trained
from provenet.data.dataset import Ids
from provenet.engine.evaluate import same_shape
from provenet.metrics.segmentation import SegmentationTally
from provenet.nets.count import count_flops, count_parameters
from provenet.records.claim import Effect
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference

SIZE = {"quick": "net.levels=3 net.width=8 norm=group", "full": "net.levels=4 net.width=32 norm=group"}
"""Of every arm's net; said with every arm, as a change of the net begins with that net's own size. Group norm, as
pictures of unlike stains make the statistics of small batches unlike those of a whole picture: with batch norm the
U-Nets of three seeds differed more than any two arms."""
LOOKS = 3

Masks = dict[int, NDArray[np.uint8]]
"""Class indices H x W by sample id."""


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained net with its masks of the test pictures.

    Args:
        trained: the net.
        masks: its answers.
        scores: what they are worth, boundaries among it; see `SegmentationTally.quick`.
    """

    trained: Trained
    masks: Masks
    scores: dict[str, float]

    @property
    def iou(self) -> float:
        """IoU of the foreground; the mean over classes where there are more than two."""
        return self.scores.get("iou", self.scores["miou"])

    @property
    def boundary_f1(self) -> float:
        """Boundary F1, the mean over classes."""
        return self.scores["boundary_f1"]

    @property
    def primary(self) -> float:
        """The score that decides in a run: Dice of the foreground, or the mean IoU."""
        return self.scores.get("dice", self.scores["miou"])


Arms = dict[str, list[Segmenter]]
"""One net a seed for each arm."""


def train_arms(lab: Lab, settings: Mapping[str, str], steps: int) -> Arms:
    """Train the arms on all training pictures, once for each seed, and score them on test pictures.

    Args:
        lab: the data, the seeds, the scale.
        settings: of each arm, by its name.
        steps: updates of every arm.
    """
    bench = lab.segmentation
    return {
        name: [segmenter(bench.train(f"{sized(lab, arm)} steps={steps}", seed, looks=LOOKS)) for seed in lab.seeds]
        for name, arm in settings.items()
    }


def sized(lab: Lab, arm: str) -> str:
    """Return an arm's settings with the size that all arms have."""
    return f"{arm} {SIZE[lab.scale]}"


def segmenter(trained: Trained) -> Segmenter:
    """Return a trained net with its masks of the test pictures and their scores."""
    dataset = trained.session.dataset
    masks = masks_of(trained, dataset.splits["test"])
    tally = SegmentationTally(dataset.classes)
    for sample, mask in masks.items():
        tally.update(mask, dataset.store.truth(sample), sample)
    return Segmenter(trained, masks, tally.quick())


def masks_of(trained: Trained, ids: Ids) -> Masks:
    """Return a trained net's answers at the pictures' own size."""
    session, net = trained.session, trained.net
    found: Masks = {}
    for group in same_shape(session.dataset.store, ids):
        for sample, logits in zip(group, session.scorer.logits(net, group), strict=True):
            found[int(sample)] = logits.argmax(0).cpu().numpy().astype(np.uint8)
    return found


def gain(these: Sequence[Segmenter], those: Sequence[Segmenter], measure: str) -> Figure:
    """Return how much better the first arm is than the second, seed by seed.

    Args:
        these: one net a seed.
        those: the other arm's, of the same seeds.
        measure: "iou", "boundary_f1" or "primary".
    """
    first, second = ([getattr(one, measure) for one in arm] for arm in (these, those))
    return paired_difference(first, second)


def effects(technique: str, these: Sequence[Segmenter], those: Sequence[Segmenter]) -> tuple[Effect, Effect]:
    """Return what a technique bought for each of the two goals.

    Args:
        technique: SLOT.NAME, with what it stands against.
        these: the arm with it.
        those: the arm without, of the same seeds.
    """
    score = "Dice" if "dice" in these[0].scores else "mean IoU"
    area = paired_difference([one.trained.area for one in these], [one.trained.area for one in those])
    test = gain(these, those, "primary")
    return (
        effect(technique, "convergence", f"area under the validation curve, {score}", area, len(these)),
        effect(technique, "generalisation", f"{score} on test pictures", test, len(these)),
    )


HEAD = ("parameters", "million multiply-adds a view", "IoU", "boundary F1", "seconds")


def row_of(arm: Sequence[Segmenter]) -> tuple[str, ...]:
    """Return an arm's cost and scores as a table's cells under `HEAD`."""
    net, session = arm[0].trained.net, arm[0].trained.session
    view = (1, session.dataset.store.channels, *session.recipe.view.size)
    iou, f1 = (mean_interval([getattr(one, measure) for one in arm]) for measure in ("iou", "boundary_f1"))
    return (
        f"{count_parameters(net):,}",
        f"{count_flops(net, view) / 1e6:.1f}",
        words(iou),
        words(f1),
        f"{fmean(one.trained.seconds for one in arm):.1f}",
    )
