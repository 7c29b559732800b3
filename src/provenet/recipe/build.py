"""From a recipe's names to parts: the only place that knows both."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from provenet.core.errors import Fault, RecipeError
from provenet.data.dataset import Dataset
from provenet.data.loader import Loader
from provenet.engine.evaluate import Scorer
from provenet.engine.feed import Feed
from provenet.engine.job import Job, Validation
from provenet.engine.precision import Precision, PrecisionName
from provenet.engine.state import Counters, TrainState
from provenet.nets.initialize import initialize_
from provenet.nets.net import NeedsImages, Net
from provenet.nets.weights import LoadReport, load_weights
from provenet.recipe.network import build_net
from provenet.recipe.schema import Recipe
from provenet.techniques.inputs import Stats

CLEAN_IMAGES = {"classification": 1000, "segmentation": 24}
"""How many training images a validation scores clean, to follow the honest gap."""


def build_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        RecipeError: it is not there.
    """
    device = torch.device(name)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= found:
        got = f"torch finds {found} CUDA devices" if found else "torch finds no CUDA device"
        allowed = ", ".join(["cpu", *(f"cuda:{index}" for index in range(found))])
        raise RecipeError(Fault(f"device={name} is not there", got, allowed, "leave `device` out, or say device=cpu"))
    return device


def build_precision(recipe: Recipe) -> Precision:
    """Return number format, device and layout of a recipe."""
    name: PrecisionName = recipe.precision
    return Precision(name, build_device(recipe.device), recipe.channels_last)


@dataclass(eq=False)
class Session:
    """A recipe made real on a data set: the net and its training.

    Args:
        recipe: what was asked for.
        dataset: the samples.
        stats: input statistics of the training split.
        feed: augments and normalises.
        scorer: scores a net on samples.
        net: the initialised net.
        loaded: what pretrained weights gave; None without.
        job: the training.
    """

    recipe: Recipe
    dataset: Dataset
    stats: Stats
    feed: Feed
    scorer: Scorer
    net: Net
    loaded: LoadReport | None
    job: Job

    def optimizer_for(self, net: nn.Module) -> torch.optim.Optimizer:
        """Return a new optimizer over a net's parameters, with the transfer technique's multipliers."""
        multipliers = self.recipe.transfer.multipliers(self.net.groups())
        return self.recipe.optimizer.build(net.named_parameters(), lambda name: multipliers.get(name, 1.0))

    def new_state(self) -> TrainState:
        """Return the state before the first update."""
        averaged = None if self.recipe.average.name == "none" else copy.deepcopy(self.net).requires_grad_(False)
        counters = Counters(schedule=self.recipe.schedule.initial_state())
        return TrainState(self.net, averaged, self.optimizer_for(self.net), counters)


def fit_stats(recipe: Recipe, dataset: Dataset) -> Stats:
    """Return the input statistics of the training split, and of nothing else."""
    store = dataset.store
    levels = 65535 if store.dtype == np.uint16 else 255
    return recipe.inputs.fit((store.image(int(i)) for i in dataset.splits["train"]), levels)


def build_feed(recipe: Recipe, num_classes: int, stats: Stats) -> Feed:
    """Return what augments and normalises batches."""
    return Feed(recipe.inputs, stats, build_precision(recipe), num_classes, recipe.seed, recipe.augment)


def build_session(recipe: Recipe, dataset: Dataset, stats: Stats) -> Session:
    """Return net and training of a recipe on a data set.

    Args:
        recipe: the resolved recipe; where it says minutes, the training has one update until they are settled.
        dataset: the samples.
        stats: input statistics.
    """
    precision = build_precision(recipe)
    feed = build_feed(recipe, len(dataset.classes), stats)
    scorer = Scorer(dataset, recipe.view, feed, loss=recipe.loss)
    net = build_net(recipe, len(dataset.classes), dataset.store.channels)
    initialize_(net, recipe.init, recipe.seed)
    loader = _loader(recipe, dataset, feed)
    prepare_net_(net, loader, feed)
    loaded = load_weights(net, Path(recipe.pretrained)) if isinstance(recipe.pretrained, str) else None
    precision.place(net)
    job = _job(recipe, loader, scorer, net)
    return Session(recipe, dataset, stats, feed, scorer, net, loaded, job)


def prepare_net_(net: Net, loader: Loader, feed: Feed) -> None:
    """Give the first training images to a net whose first layer is fitted to them (whitening)."""
    if not isinstance(net, NeedsImages):
        return
    images: list[Tensor] = []
    for batch in loader.batches(0):
        images.append(feed.clean(batch).images.cpu())
        if sum(len(part) for part in images) >= 5000:
            break
    net.prepare_(torch.cat(images)[:5000])


def _loader(recipe: Recipe, dataset: Dataset, feed: Feed) -> Loader:
    return Loader(
        dataset,
        dataset.splits["train"],
        recipe.view,
        recipe.batch_size,
        seed=recipe.seed,
        warps=feed.warps,
        train=True,
        balanced=recipe.imbalance == "sampler",
    )


def _job(recipe: Recipe, loader: Loader, scorer: Scorer, net: Net) -> Job:
    per_epoch = loader.steps_per_epoch
    return Job(
        loader=loader,
        feed=scorer.feed,
        loss=recipe.loss,
        schedule=recipe.schedule,
        average=recipe.average,
        transfer=recipe.transfer,
        groups=net.groups(),
        precision=scorer.feed.precision,
        validate=_validator(scorer),
        lr=recipe.optimizer.lr,
        total_steps=recipe.steps or max(1, round((recipe.epochs or 0) * per_epoch)),
        steps_per_validation=max(1, round(recipe.val_every * per_epoch)),
        patience=recipe.patience,
        clip=recipe.clip,
        class_weights=_class_weights(recipe, scorer.dataset),
        seed=recipe.seed,
    )


def _class_weights(recipe: Recipe, dataset: Dataset) -> Tensor | None:
    """Return weights in inverse proportion to the classes' counts in the training split, with mean 1 a sample.

    A class that the split does not have weighs 0: label smoothing and Dice would else see it at an absurd weight.
    """
    if recipe.imbalance != "weights":
        return None
    counts = class_counts(dataset)
    weights = np.where(counts > 0, counts.sum() / (np.maximum(counts, 1) * np.count_nonzero(counts)), 0.0)
    return torch.tensor(weights, dtype=torch.float32, device=recipe.device)


def class_counts(dataset: Dataset) -> np.ndarray:
    """Return how many images (classification) or pixels (segmentation) each class has in the training split."""
    ids, k = dataset.splits["train"], len(dataset.classes)
    if dataset.labels is not None:
        return np.bincount(dataset.labels[ids], minlength=k)[:k]
    pixels = (np.bincount(dataset.store.mask(int(i)).ravel(), minlength=256)[:k] for i in ids)
    return np.sum(list(pixels), axis=0)


def _validator(scorer: Scorer) -> Callable[[nn.Module], Validation]:
    dataset, clean = scorer.dataset, clean_ids(scorer.dataset)

    def validate(net: nn.Module) -> Validation:
        val, loss = scorer.score(net, dataset.splits["val"], boundaries=False)
        train, _ = scorer.score(net, clean, boundaries=False)
        scores = defined(val.quick())
        return Validation(scores[val.primary], scores, defined(train.quick()), loss)

    return validate


def defined(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores with None where one is not defined."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def clean_ids(dataset: Dataset, most: int | None = None) -> np.ndarray:
    """Return the training samples that are scored clean: all, or a fixed even choice of `most`."""
    ids = dataset.splits["train"]
    most = most or CLEAN_IMAGES[dataset.task]
    if len(ids) <= most:
        return ids
    return ids[np.linspace(0, len(ids) - 1, most).astype(np.int64)]
