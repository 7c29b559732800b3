"""Batches from a data set: order, geometry and pixels are functions of the seed, the epoch and the sample ids alone."""

# N batch, C channels, H W view, K classes

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.data import sampler
from provenet.data.dataset import Dataset
from provenet.data.options import View
from provenet.data.warp import Matrix, Size, center, center_of, place, render, window_corner

Warps = Callable[[Keys, Size], Matrix]

MANY_CORES = 4
"""Below this many cores a second thread competes with the net's own and brings nothing (measured on two)."""


@dataclass(frozen=True, eq=False)
class Loader:
    """Renders the batches of one split.

    Args:
        dataset: where the pictures are.
        ids: sample ids of the split, (N).
        view: what the net sees.
        batch_size: samples a batch.
        seed: seed of the run.
        warps: geometry of the augmentations, (keys, size) -> (N, 3, 3) in centred view coordinates; None: none.
        train: shuffled, random windows, no batch of one; else the given order, middle views, all samples.
        balanced: train with the classes equally often.
        prefetch: render the next batch in a thread while the net works; None: from four cores on.
    """

    dataset: Dataset
    ids: NDArray[np.int64]
    view: View
    batch_size: int
    seed: int
    warps: Warps | None = None
    train: bool = False
    balanced: bool = False
    prefetch: bool | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        if self.train:
            return sampler.steps_per_epoch(len(self.ids), self.batch_size)
        return -(-len(self.ids) // self.batch_size)

    def batch_ids(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the sample ids of each batch of an epoch."""
        if not self.train:
            return [self.ids[i : i + self.batch_size] for i in range(0, len(self.ids), self.batch_size)]
        labels = None if self.dataset.labels is None else self.dataset.labels[self.ids]
        ids = sampler.order(self.seed, epoch, self.ids, labels, self.balanced)
        return sampler.cut(ids, self.batch_size)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on; those before it are not rendered."""
        batches = self.batch_ids(epoch)[start:]
        ahead = (os.cpu_count() or 1) >= MANY_CORES if self.prefetch is None else self.prefetch
        if ahead:
            yield from self._ahead(batches, epoch)
        else:
            for ids in batches:
                yield self.batch(ids, epoch)

    def _ahead(self, batches: list[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        """Yield batches, the next one under way in a thread; leaving the loop early ends the thread."""
        with ThreadPoolExecutor(1, "prefetch") as pool:
            coming: Future[Batch] | None = None
            for ids in batches:
                ready, coming = coming, pool.submit(self.batch, ids, epoch)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()

    def batch(self, ids: NDArray[np.int64], epoch: int = 0) -> Batch:
        """Return some samples as a batch: images N C H W as stored (channels last in memory), targets int64."""
        size = self.view.size
        matrices = self._places(ids, epoch)
        if self.warps is not None:
            matrices = matrices @ self.warps(Keys(self.seed, epoch, ids), size)
        matrices = matrices @ center(size)
        labels = self.dataset.labels
        images, masks = render(self.dataset.store, ids, matrices, size, labels is None, _threads())
        # NumPy's cast: torch's takes 20 times as long on arrays of this size (measured on two cores)
        targets = masks if labels is None else labels[ids]
        assert targets is not None
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets.astype(np.int64)), ids)

    def _places(self, ids: NDArray[np.int64], epoch: int) -> Matrix:
        """Return where each sample's view lies in its stored picture, (N, 3, 3)."""
        store, view = self.dataset.store, self.view
        if self.train and view.resize == "window":
            draws = Keys(self.seed, epoch, ids).uniform("window", 5)
            middles = [self._window(int(i), draw) for i, draw in zip(ids, draws, strict=True)]
            return np.stack([place(store.shape(i), view, at) for i, at in zip(ids, middles, strict=True)])
        if self._same_place is not None:
            return np.broadcast_to(self._same_place, (len(ids), 3, 3))
        return np.stack([place(store.shape(i), view) for i in ids])

    @cached_property
    def _same_place(self) -> Matrix | None:
        """The one place of all samples, (1, 3, 3), where all stored pictures are of one size."""
        shapes = self.dataset.store.arrays["shapes"]
        return place(self.dataset.store.shape(0), self.view)[None] if (shapes == shapes[0]).all() else None

    def _window(self, sample: int, draw: NDArray[np.float64]) -> tuple[float, float]:
        """Return the middle (y, x) of a random window.

        A share `foreground_frac` of the windows holds a random pixel of a random class that the picture has, at a
        random place of the window; the others lie anywhere.
        """
        store, size = self.dataset.store, self.view.size
        shape = store.shape(sample)
        corner = window_corner(shape, size, (draw[3], draw[4]))
        if self.dataset.labels is None and draw[0] < self.view.foreground_frac:
            corner = _around(
                _class_pixel(store.mask(sample), store.arrays["class_pixels"][sample], draw), shape, size, draw
            )
        middle = center_of(size)
        return corner[0] + middle[0], corner[1] + middle[1]


def _class_pixel(mask: NDArray[np.uint8], counts: NDArray[np.int64], draw: NDArray[np.float64]) -> Size | None:
    """Return row and column of a random pixel of a random class that a mask holds; None when it is all void."""
    held = np.flatnonzero(counts)
    if not len(held):
        return None
    label = held[int(draw[1] * len(held))]
    at = np.flatnonzero(mask.ravel() == label)[int(draw[2] * counts[label])]
    row, column = divmod(int(at), mask.shape[1])
    return row, column


def _around(pixel: Size | None, shape: Size, size: Size, draw: NDArray[np.float64]) -> Size:
    """Return the corner of a window that holds a pixel, inside the picture."""
    corner = window_corner(shape, size, (draw[3], draw[4]))
    if pixel is None:
        return corner
    rows, columns = (
        min(max(at - int(where * side), 0), room) if (room := length - side) >= 0 else room // 2
        for at, where, length, side in zip(pixel, draw[3:5], shape, size, strict=True)
    )
    return rows, columns


def _threads() -> int:
    """Return how many threads render: one below four cores, else a quarter of them, at most four."""
    cores = os.cpu_count() or 1
    return 1 if cores < MANY_CORES else min(4, max(1, cores // 4))
