"""Every augmentation on masks with void, by the loader and the feed of a training: what moves, moves together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.core.batch import VOID, Batch
from provenet.core.spec import members
from provenet.data.loader import Loader
from provenet.data.options import View
from provenet.engine.feed import Feed
from provenet.engine.precision import Precision
from provenet.techniques.augment import Augment, Augmentation
from provenet.techniques.inputs import Standardize, Stats

NUM, HEIGHT, WIDTH = 5, 14, 18
UNIT = 1000
"""What a pixel's place counts in its colour: 16 bits hold it to a small part of a pixel."""
MEMBERS = [member(p=1.0) if "p" in member.model_fields else member() for member in members(Augment)]
RECIPES = {member.name: (member,) for member in MEMBERS} | {"all together": tuple(MEMBERS)}
each = pytest.mark.parametrize("augment", RECIPES.values(), ids=RECIPES)
seeds, epochs = st.integers(0, 2**31), st.integers(0, 9)


class Charts:
    """A store of charts: red is the column, green the row, so that an image tells where it was taken from.

    Labels are drawn for every pixel anew, so that a mask which lies a pixel beside its image cannot pass.
    """

    channels, dtype = 3, np.dtype(np.uint16)

    def __init__(self) -> None:
        rng, shape = np.random.default_rng(0), (NUM, HEIGHT, WIDTH)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] * UNIT
        blue = rng.integers(0, 2**16, shape)
        self.images = np.stack([np.broadcast_to(columns, shape), np.broadcast_to(rows, shape), blue], -1)
        self.images = np.ascontiguousarray(self.images.astype(np.uint16))
        self.masks = rng.choice([0, 1, 2, VOID], shape).astype(np.uint8)
        self.masks[0][self.masks[0] == 1] = 2  # a picture without class 1, one without void, one all void
        self.masks[1][self.masks[1] == VOID] = 0
        self.masks[2] = VOID
        self.arrays = {"shapes": np.full((NUM, 2), (HEIGHT, WIDTH)), "class_pixels": None}

    def shape(self, i: int) -> tuple[int, int]:
        return HEIGHT, WIDTH

    def image(self, i: int) -> np.ndarray:
        return self.images[i]

    def mask(self, i: int) -> np.ndarray:
        return self.masks[i]


CHARTS, IDS = Charts(), np.arange(NUM)


def seen(augment: tuple[Augmentation, ...], seed: int, epoch: int, masks: bool = True) -> tuple[Batch, Batch]:
    """Return a training batch before and after what happens to its pixels."""
    stats = Stats(mean=(120.0, 110.0, 100.0), std=(60.0, 70.0, 80.0))
    feed = Feed(Standardize(), stats, Precision("fp32", torch.device("cpu")), 3, seed, augment)
    dataset: Any = SimpleNamespace(store=CHARTS, labels=None if masks else IDS % 3)
    loader = Loader(dataset, IDS, View(size=(HEIGHT, WIDTH)), NUM, seed=seed, warps=feed.warps)
    moved = loader.batch(IDS, epoch)
    return moved, feed.train(moved, epoch)


def agrees(moved: Batch) -> np.ndarray:
    """Return for each pixel whether its label is that of the place which its image tells, N H W.

    Half a pixel to each side may be the nearest one; the warp's own rounding is a few hundredths.
    """
    x, y = (moved.images[:, channel].numpy().astype(np.float64) / UNIT for channel in (0, 1))
    columns = [np.clip(edge, 0, WIDTH - 1).astype(int) for edge in (np.ceil(x - 0.55), np.floor(x + 0.55))]
    rows = [np.clip(edge, 0, HEIGHT - 1).astype(int) for edge in (np.ceil(y - 0.55), np.floor(y + 0.55))]
    sample = np.arange(NUM)[:, None, None]
    candidates = [CHARTS.masks[sample, row, column] for row in rows for column in columns]
    return np.any([candidate == moved.targets.numpy() for candidate in candidates], axis=0)


@each
@settings(max_examples=8)
@given(seed=seeds, epoch=epochs)
def test_masks_move_with_images_and_gain_no_new_label(augment: tuple[Augmentation, ...], seed: int, epoch: int) -> None:
    moved, prepared = seen(augment, seed, epoch)
    assert agrees(moved).all()
    for before, after in zip(CHARTS.masks, prepared.targets.numpy(), strict=True):
        assert set(np.unique(after)) <= set(np.unique(before))
    assert prepared.targets.dtype == torch.int64
    assert torch.equal(prepared.targets, moved.targets), "what changes pixels moves none, so it leaves masks alone"
    assert bool(prepared.images.isfinite().all())


def test_a_mask_beside_its_image_would_be_noticed() -> None:
    """Guards the property: one pixel is enough, in any direction."""
    for dims, shift in ((1, 1), (1, -1), (2, 1), (2, -1)):
        moved, _ = seen((), 0, 0)
        assert agrees(moved).all()
        assert not agrees(moved.with_(targets=moved.targets.roll(shift, dims)))[[0, 1, 3, 4]].all(axis=(1, 2)).any()


@each
@pytest.mark.parametrize("masks", [True, False])
def test_same_keys_give_same_bytes_and_leave_the_global_generators_alone(
    augment: tuple[Augmentation, ...], masks: bool
) -> None:
    found = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        np.random.seed(noise)
        before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
        moved, prepared = seen(augment, 3, 2, masks)
        after = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
        assert torch.equal(before[0], after[0]) and before[1] == after[1]
        found.append([part.contiguous().numpy().tobytes() for part in (moved.images, moved.targets, prepared.images)])
        found[-1].append(prepared.targets.numpy().tobytes())
        seen(augment, 4, 2, masks)
    assert found[0] == found[1]
