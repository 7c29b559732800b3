"""The same keys give the same bytes, whatever the batch size, the start or the threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from provenet.core.batch import VOID
from provenet.core.log import Silent
from provenet.core.rng import Keys
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import Index
from provenet.data.loader import Loader
from provenet.data.options import DataOptions, View

pytestmark = pytest.mark.usefixtures("inline")
MakeIndex = Callable[..., Index]
WINDOW = View(size=(8, 12), resize="window", foreground_frac=0.5)


def turn(keys: Keys, size: tuple[int, int]) -> np.ndarray:
    """Return a random rotation and shift a sample."""
    assert len(size) == 2
    angle, x, y = keys.between("turn", -1, 1, 3).T
    matrices = np.tile(np.eye(3), (len(keys), 1, 1))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0], matrices[:, 0, 1] = np.sin(angle), -np.sin(angle)
    matrices[:, 0, 2], matrices[:, 1, 2] = 3 * x, 3 * y
    return matrices


@pytest.fixture(scope="module")
def shapes() -> list[tuple[int, int]]:
    return [(20, 30), (9, 40), (6, 10), (33, 7)] * 6


@pytest.fixture
def masked(make_index: MakeIndex, shapes: list[tuple[int, int]], tmp_path: Path) -> Dataset:
    """Return pictures of many sizes whose masks hold 0, 1, 2 (rare) and void; the picture shows its mask times 50."""
    rng = np.random.default_rng(0)
    masks = {f"{i:02d}.png": rng.choice([0, 1, 2, 255], s, p=[0.6, 0.37, 0.01, 0.02]) for i, s in enumerate(shapes)}
    masks = {name: mask.astype(np.uint8) for name, mask in masks.items()}
    images = {name: np.repeat(np.where(mask == 255, 4, mask)[..., None] * 50, 3, 2).astype(np.uint8)
              for name, mask in masks.items()}  # fmt: skip
    return prepare(make_index(images, masks=masks), DataOptions(), tmp_path, Silent())


@pytest.fixture
def labelled(make_index: MakeIndex, pictures: Callable, tmp_path: Path) -> Dataset:
    images = pictures(30)
    return prepare(
        make_index(images, {n: "abc"[i % 3] for i, n in enumerate(images)}), DataOptions(), tmp_path, Silent()
    )


def loaded(loader: Loader, epoch: int = 0, start: int = 0) -> dict[int, tuple[bytes, bytes]]:
    """Return the bytes of image and target of each sample."""
    found = {}
    for batch in loader.batches(epoch, start):
        for i, sample in enumerate(batch.ids):
            found[int(sample)] = batch.images[i].numpy().tobytes(), batch.targets[i].numpy().tobytes()
    return found


@pytest.mark.parametrize("resize", ["squash", "letterbox", "crop", "window"])
def test_bytes_depend_on_keys_alone(resize: str, masked: Dataset) -> None:
    view = View(size=(8, 12), resize=resize, foreground_frac=0.5)  # type: ignore[arg-type]
    loader = Loader(masked, masked.splits["train"], view, 4, seed=3, warps=turn, train=True)
    once = loaded(loader, epoch=2)
    assert loaded(replace(loader, batch_size=7), epoch=2) == once
    assert loaded(replace(loader, prefetch=True), epoch=2) == once
    assert loaded(replace(loader, ids=loader.ids[::-1]), epoch=2) == once
    late = loaded(loader, epoch=2, start=3)
    assert late == {sample: once[sample] for sample in late}
    assert len(late) == len(once) - 12
    assert loaded(loader, epoch=3) != once
    assert loaded(replace(loader, seed=4), epoch=2) != once


def test_image_and_mask_move_together(masked: Dataset) -> None:
    """Windows lie on whole pixels, so the picture shows its own mask exactly."""
    loader = Loader(masked, masked.splits["train"], WINDOW, 4, seed=3, train=True)
    for batch in loader.batches():
        targets = torch.where(batch.targets == VOID, 4, batch.targets)
        assert (batch.images == targets[:, None] * 50).all()


def test_windows_find_the_rare_class(masked: Dataset) -> None:
    """Windows placed on a class hold a rare one more often than windows anywhere, and are parts of the mask."""
    held = masked.store.arrays["class_pixels"][:, 2] > 0
    ids = np.array([i for i in masked.splits["train"] if held[i]])
    aimed, blind = (Loader(masked, ids, replace_view(frac), 4, seed=0, train=True) for frac in (1.0, 0.0))

    def share(loader: Loader) -> float:
        found = [
            bool((target == 2).any())
            for epoch in range(20)
            for batch in loader.batches(epoch)
            for target in batch.targets
        ]
        return float(np.mean(found))

    assert share(aimed) > share(blind)
    shape = masked.store.shape
    for epoch in range(5):
        for batch in Loader(masked, ids, replace_view(1.0), 4, seed=0, train=True).batches(epoch):
            for sample, target in zip(batch.ids, batch.targets, strict=True):
                if min(shape(int(sample))) >= 12:  # not mirrored: what is seen is a part of the mask
                    assert contains(masked.store.mask(int(sample)), target.numpy())


def replace_view(frac: float) -> View:
    return WINDOW.model_copy(update={"foreground_frac": frac})


def contains(mask: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(mask, part.shape)
    return bool((windows == part).all((2, 3)).any())


def test_evaluation_keeps_order_and_every_sample(labelled: Dataset) -> None:
    ids = labelled.splits["train"][::-1]
    loader = Loader(labelled, ids, View(size=(8, 10)), 4, seed=0)
    batches = list(loader.batches())
    assert np.concatenate([batch.ids for batch in batches]).tolist() == ids.tolist()
    assert len(batches) == loader.steps_per_epoch == -(-len(ids) // 4)
    for batch in batches:
        for i, sample in enumerate(batch.ids):
            # a view of the stored size is the stored picture
            assert (batch.images[i].permute(1, 2, 0).numpy() == labelled.store.image(int(sample))).all()
            assert batch.targets[i] == labelled.labels[sample]  # type: ignore[index]


def test_evaluation_looks_at_the_middle(masked: Dataset) -> None:
    loader = Loader(masked, np.flatnonzero((masked.store.arrays["shapes"] == (20, 30)).all(1)), WINDOW, 4, seed=0)
    for batch in loader.batches():
        for sample, target in zip(batch.ids, batch.targets, strict=True):
            assert (target.numpy() == masked.store.mask(int(sample))[6:14, 9:21]).all()


def test_training_batches_are_what_the_sampler_says(labelled: Dataset) -> None:
    ids = labelled.splits["train"]
    loader = Loader(labelled, ids, View(size=(8, 10)), 5, seed=0, train=True)
    batches = list(loader.batches(1))
    assert len(batches) == loader.steps_per_epoch
    assert sorted(np.concatenate([batch.ids for batch in batches])) == sorted(ids)
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in batches)
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].targets.dtype == torch.int64


def test_balanced_batches(labelled: Dataset) -> None:
    assert labelled.labels is not None
    few = np.concatenate([np.flatnonzero(labelled.labels == 0)[:2], np.flatnonzero(labelled.labels == 1)[:8]])
    loader = Loader(labelled, few, View(size=(8, 10)), 5, seed=0, train=True, balanced=True)
    drawn = torch.cat([batch.targets for batch in loader.batches()])
    assert torch.bincount(drawn).tolist() == [5, 5]


def test_leaving_early_ends_the_thread(labelled: Dataset) -> None:
    loader = Loader(labelled, labelled.splits["train"], View(size=(8, 10)), 2, seed=0, train=True, prefetch=True)
    batches = loader.batches()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not any("prefetch" in thread.name for thread in threading.enumerate())


def test_an_error_in_the_thread_reaches_the_loop(labelled: Dataset) -> None:
    def broken(keys: Keys, size: tuple[int, int]) -> np.ndarray:
        raise ZeroDivisionError

    loader = Loader(labelled, labelled.splits["train"], View(), 2, seed=0, warps=broken, train=True, prefetch=True)
    with pytest.raises(ZeroDivisionError):
        list(loader.batches())


def test_deep_pictures_stay_deep(make_index: MakeIndex, tmp_path: Path) -> None:
    images = {f"{i}.png": np.random.default_rng(i).integers(0, 65536, (6, 6)).astype(np.uint16) for i in range(8)}
    dataset = prepare(
        make_index(images, {n: "ab"[i % 2] for i, n in enumerate(images)}), DataOptions(), tmp_path, Silent()
    )
    batch = next(iter(Loader(dataset, np.arange(8), View(size=(6, 6)), 8, seed=0).batches()))
    assert batch.images.dtype == torch.uint16
    assert (batch.images[3, 0].numpy() == images["3.png"]).all()
