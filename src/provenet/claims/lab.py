"""Where claims are measured: data sets made ready once, and trainings that share everything but what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from provenet.claims.training import Trained, fit
from provenet.core.log import Reporter, Silent
from provenet.core.rng import numpy_generator
from provenet.data.dataset import Dataset, Ids, prepare
from provenet.data.index import read_index
from provenet.data.loader import Loader
from provenet.data.options import DataOptions
from provenet.data.survey import survey
from provenet.engine.precision import fast_bf16
from provenet.recipe.build import Session, build_session, fit_stats
from provenet.recipe.choose import choose
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import from_kwargs, parse_words
from provenet.records.claim import ClaimRecord
from provenet.run.planning import facts_of

Scale = Literal["quick", "full"]
T = TypeVar("T")

CLASSIFICATION = (
    "net=resnet net.depth=8 block=residual norm=batch init=he inputs=standardize augment=none dropout=none "
    "loss=cross_entropy loss.label_smoothing=0 optimizer=sgd optimizer.lr=0.1 optimizer.momentum=0.9 "
    "optimizer.weight_decay=5e-4 schedule=cosine schedule.warmup_frac=0.1 average=none batch_size=64 precision=fp32"
)
SEGMENTATION = (
    "net=unet net.levels=3 net.width=8 norm=batch init=he inputs=standardize augment=none dropout=none "
    "loss=cross_entropy loss.label_smoothing=0 optimizer=adamw optimizer.lr=2e-3 optimizer.weight_decay=0.01 "
    "skip=concat upsample=bilinear schedule=cosine schedule.warmup_frac=0.05 average=none batch_size=8 precision=fp32"
)
"""What every arm has unless it says otherwise: plain settings without the techniques that claims are about."""
FITTED = ("task", "view.size", "view.resize", "data.max_side")
"""What is chosen for the data, as `train` does."""


@dataclass(eq=False)
class Lab:
    """What a claim's experiment is given.

    Args:
        scale: "quick" (two CPU cores, minutes) or "full" (the published scale, a GPU).
        seeds: seeds of the trainings that are compared, paired over arms.
        sources: data by task.
        folder: where stores of decoded pictures go.
        device: where to train.
        reporter: hears progress.
        earlier: what the claims before found.
    """

    scale: Scale
    seeds: tuple[int, ...]
    sources: Mapping[str, str]
    folder: Path
    device: str = "cpu"
    reporter: Reporter = field(default_factory=Silent)
    earlier: list[ClaimRecord] = field(default_factory=list)

    @cached_property
    def classification(self) -> Bench:
        """The classification data."""
        return Bench(self, self.sources["classification"], CLASSIFICATION)

    @cached_property
    def segmentation(self) -> Bench:
        """The segmentation data."""
        return Bench(self, self.sources["segmentation"], SEGMENTATION)

    def seeds_at_least(self, least: int) -> tuple[int, ...]:
        """Return the seeds, more of them where a claim's figures scatter too much for so few."""
        return tuple(range(max(least, len(self.seeds))))

    def pick(self, quick: T, full: T) -> T:
        """Return the one that goes with the scale."""
        return quick if self.scale == "quick" else full


class Bench:
    """A data set made ready, with the settings that all arms share.

    Args:
        lab: the scale, the device, the folder.
        source: path or name of the data.
        shared: settings of every arm, as words.
    """

    def __init__(self, lab: Lab, source: str, shared: str) -> None:
        self.lab, self.source = lab, source
        index = read_index(source)
        self._facts = facts_of(survey(index, DataOptions()), parse_words([f"device={lab.device}"]))
        choices = choose(self._facts, {"device": lab.device})
        kept: dict[str, Any] = {choice.key: choice.value for choice in choices if choice.key in FITTED}
        most = lab.pick(32, 64) if self._facts.task == "classification" else lab.pick(96, 256)
        kept["view.size"] = tuple(min(side, most) for side in kept["view.size"])
        self._automatic = parse_words(shared.split()).then(from_kwargs({**kept, "device": lab.device})).tree
        options = DataOptions(max_side=kept.get("data.max_side"))
        self.dataset: Dataset = prepare(index, options, lab.folder / ".store", lab.reporter)
        # whole pictures are segmented at full size: a look at 24 of them costs what 20 updates cost
        looked, tested = (1000, 2000) if self._facts.task == "classification" else (24, 48)
        self._val = self.part("val", lab.pick(looked, 10_000))
        self._test = self.part("test", lab.pick(tested, 10_000))

    @property
    def side(self) -> int:
        """Side of the net's view, pixels."""
        return max(self._automatic["view"]["size"])

    @property
    def num_train(self) -> int:
        """Training images that there are."""
        return len(self.dataset.splits["train"])

    def recipe(self, words: str = "") -> Recipe:
        """Return the recipe of an arm: the shared settings with the arm's own over them."""
        return load(parse_words(words.split()), self._automatic)

    def part(self, split: str, most: int, seed: int = 0) -> Ids:
        """Return at most `most` samples of a split, the classes in proportion; fewer are a subset of more."""
        ids = self.dataset.splits[split]
        shuffled = numpy_generator(seed, f"claims {split}").permutation(ids)
        if self.dataset.labels is not None:
            labels = self.dataset.labels[shuffled]
            rank = np.empty(len(ids), np.float64)
            for label in np.unique(labels):
                members = np.flatnonzero(labels == label)
                rank[members] = (np.arange(len(members)) + 0.5) / len(members)
            shuffled = shuffled[np.argsort(rank, kind="stable")]
        return np.sort(shuffled[:most])

    def session(self, words: str, seed: int, images: int | None = None) -> Session:
        """Return net and training of an arm.

        Args:
            words: settings of the arm, as on the command line.
            seed: seed of weights, order and draws, and of the choice of images; arms of one seed share all of them.
            images: training images; None: all.
        """
        return self.session_on(words, seed, self.part("train", images or self.num_train, seed))

    def session_on(self, words: str, seed: int, train: Ids) -> Session:
        """Return net and training of an arm on chosen training samples, which may repeat."""
        recipe = self.recipe(f"{words} seed={seed}")
        dataset = replace(self.dataset, splits={"train": train, "val": self._val, "test": self._test})
        return build_session(recipe, dataset, fit_stats(recipe, replace(dataset, splits={"train": np.unique(train)})))

    def train(self, words: str, seed: int, images: int | None = None, looks: int = 5) -> Trained:
        """Train an arm.

        Args:
            words: settings of the arm, a budget among them.
            seed: see `session`.
            images: training images; None: all.
            looks: validations on the way, evenly spaced, the last one at the end.
        """
        return fit(self.session(words, seed, images), looks)

    def images(self, session: Session, ids: Ids) -> tuple[Tensor, Tensor]:
        """Return clean images as a session's net wants them, and their targets."""
        loader = Loader(session.dataset, ids, session.recipe.view, max(1, len(ids)), seed=0)
        batch = session.feed.clean(loader.batch(ids))
        return batch.images, batch.targets

    def described(self) -> str:
        """Return the data in words."""
        sizes = ", ".join(f"{name} {len(ids):,}" for name, ids in self.dataset.splits.items())
        return f"{Path(self.source).name} ({sizes}; views of {self.side} pixels)"

    @property
    def precision(self) -> str:
        """The fastest number format of the device, as a setting."""
        return "bf16" if fast_bf16(torch.device(self.lab.device)) else "fp32"
