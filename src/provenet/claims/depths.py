"""Plain and residual nets of several depths, trained alike: what the claims of degradation and of its cure share."""

from __future__ import annotations

from typing import Literal

from provenet.claims.arms import late_loss, small_view, words
from provenet.claims.lab import Lab, Scale
from provenet.claims.training import Trained
from provenet.records.claim import Grid
from provenet.stats.paired import mean_interval

Arms = list[Trained]
"""One training a seed."""

Kind = Literal["plain", "residual"]

DEPTHS: dict[Scale, tuple[int, ...]] = {"quick": (20, 56), "full": (20, 32, 44, 56)}
IMAGES = {"quick": 1000, "full": 50_000}
SIDE = {"quick": 16, "full": 32}
WORDS = {
    "quick": "steps=160 schedule=step schedule.warmup_frac=0.1",
    "full": "steps=64000 batch_size=128 augment=flip,shift schedule=step",
}
PUBLISHED = "optimizer.lr=0.1 optimizer.nesterov=false optimizer.weight_decay=1e-4 norm=batch init=he"
"""Settings of the published comparison that both scales keep, with its schedule: a tenth after a half and three
quarters of the updates."""
BLOCKS: dict[Scale, dict[Kind, str]] = {
    "quick": {"plain": "block=plain", "residual": "block=residual block.zero_gamma=true"},
    "full": {"plain": "block=plain", "residual": "block=residual block.zero_gamma=false"},
}
"""Branches do not begin at zero in the publication. At a rate of 0.1 its 56 layers then stay at chance for the few
updates of the quick scale, with and without warm-up (tried on CIFAR-10)."""
PUBLISHED_ERRORS = {
    "plain": {20: "about 0.095", 32: "about 0.10", 44: "about 0.12", 56: "about 0.135"},
    "residual": {20: "0.0875", 32: "0.0751", 44: "0.0717", 56: "0.0697"},
}
"""Test errors on CIFAR-10 (He et al. 2015; those of plain nets are read from figure 6)."""


def train(lab: Lab, kind: Kind, depth: int) -> Arms:
    """Train a net of a depth, once for each seed."""
    bench = lab.classification
    shared = f"{WORDS[lab.scale]} {PUBLISHED} {small_view(bench, SIDE[lab.scale])}"
    arm = f"{shared} net.depth={depth} {BLOCKS[lab.scale][kind]}"
    return [bench.train(arm, seed, IMAGES[lab.scale]) for seed in lab.seeds]


def errors(arms: Arms, split: str) -> list[float]:
    """Return the share of pictures of a split that each net gets wrong; training pictures are not augmented."""
    return [1 - arm.score(split) for arm in arms]


def table(lab: Lab, nets: dict[tuple[Kind, int], Arms]) -> Grid:
    """Return losses and errors by depth, beside the published errors where the scale is the published one."""
    rows = []
    for (kind, depth), arms in nets.items():
        figures = [late_loss(arm) for arm in arms], *(errors(arms, split) for split in ("train", "val", "test"))
        seconds = f"{sum(arm.seconds for arm in arms) / len(arms):.1f}"
        published = lab.pick((), (PUBLISHED_ERRORS[kind].get(depth, ""),))
        rows.append((f"{kind} {depth}", *(words(mean_interval(values)) for values in figures), seconds, *published))
    head = ("net", "training loss", "training error", "validation error", "test error", "seconds")
    return Grid(title="By depth", head=(*head, *lab.pick((), ("published test error, CIFAR-10",))), rows=tuple(rows))
