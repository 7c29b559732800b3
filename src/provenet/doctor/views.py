"""What a training sees of its pictures: batches before augmentation, and the augmentation as a function of them."""

# N batch, C channels, H W view

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from provenet.core.batch import Batch
from provenet.core.files import sha256
from provenet.core.rng import Keys
from provenet.data.loader import Loader
from provenet.doctor.case import Pair
from provenet.recipe.build import Session

BATCHES = {"train": 4, "val": 2}


class Views:
    """Renders batches of a session, and augments what it has rendered.

    Augmentation begins with the stored picture (geometry and colours are one map each), so a sample that is to be
    augmented is found again by its values.

    Args:
        session: a training.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._feed = session.job.feed
        self._loaders = {"train": self._loader("train"), "val": self._loader("val")}
        self._ids: dict[str, int] = {}
        self._draws = 0

    def _loader(self, split: str) -> Loader:
        recipe, dataset = self._session.recipe, self._session.dataset
        train = split == "train"
        return Loader(
            dataset,
            dataset.splits[split],
            recipe.view,
            recipe.batch_size,
            seed=recipe.seed,
            train=train,
            balanced=train and recipe.imbalance == "sampler",
        )

    def pairs(self, split: str, most_values: int | None = None) -> list[Pair]:
        """Return the first batches of a split, normalised and not augmented.

        Args:
            split: "train" or "val".
            most_values: numbers of inputs from which on no further batch is taken; None: the usual number of batches.
        """
        loader = self._loaders[split]
        found: list[Pair] = []
        for ids in loader.batch_ids(0)[: BATCHES[split]]:
            if most_values is not None and sum(images.numel() for images, _ in found) >= most_values:
                break
            batch = self._feed.clean(loader.batch(ids))
            if split == "train":
                self._ids |= {_values(image): int(id) for image, id in zip(batch.images, ids, strict=True)}
            found.append((batch.images, batch.targets))
        return found

    @property
    def transform(self) -> Callable[..., Tensor] | Callable[..., Pair] | None:
        """The augmentation, of images or of images and masks; None where the recipe has none."""
        if not self._session.recipe.augment:
            return None
        return self._classified if self._session.dataset.labels is not None else self._segmented

    def _classified(self, images: Tensor) -> Tensor:
        return self._augmented(images).images

    def _segmented(self, images: Tensor, masks: Tensor) -> Pair:
        batch = self._augmented(images)
        return batch.images, batch.targets

    def _augmented(self, images: Tensor) -> Batch:
        """Return samples augmented, drawn anew at every call; windows stay where they are in the pictures."""
        self._draws += 1
        draw, feed = self._draws, self._feed
        loader = replace(
            self._loaders["train"], warps=lambda keys, size: feed.warps(Keys(keys.seed, draw, keys.ids), size)
        )
        ids = np.array([self._ids[_values(image)] for image in images], dtype=np.int64)
        return feed.train(loader.batch(ids), draw)


def _values(image: Tensor) -> str:
    return sha256(image.cpu().numpy().tobytes())
