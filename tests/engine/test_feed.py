"""Colour and normalisation as one map give what the slow way gives, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provenet.core.batch import Batch
from provenet.core.rng import Keys
from provenet.engine.feed import Feed, levels_255, normalize
from provenet.engine.precision import Precision
from provenet.techniques.augment import Augmentation, Brightness, Color, Contrast, Flip, Mixup, Noise
from provenet.techniques.inputs import Inputs, PerImage, Pretrained, Raw, Scale01, Standardize, Stats

MEMBERS: tuple[Inputs, ...] = (Raw(), Scale01(), Standardize(), Pretrained(), PerImage())
PRECISION = Precision("fp32", torch.device("cpu"))


def slowly(images: np.ndarray, colors: np.ndarray | None, inputs: Inputs, stats: Stats) -> np.ndarray:
    """Return images N H W C pixel by pixel: recolour, then normalise."""
    values = images.astype(np.float64) * (255 / 65535 if images.dtype == np.uint16 else 1)
    if colors is not None:
        c = values.shape[-1]
        values = np.stack(
            [
                image @ color[:, :c].T + color[:, c]
                for image, color in zip(values, colors.astype(np.float64), strict=True)
            ]
        )
    if inputs.name == "per_image":
        flat = values.reshape(len(values), -1)
        mean, std = flat.mean(1), np.maximum(flat.std(1), 255 / 65535)
        return (values - mean[:, None, None, None]) / std[:, None, None, None]
    return (values - np.array(stats.mean)) / np.array(stats.std)


@given(
    inputs=st.sampled_from(MEMBERS),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    channels=st.sampled_from([1, 3]),
    recolor=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_map_equals_the_slow_way(inputs: Inputs, dtype: type, channels: int, recolor: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, np.iinfo(dtype).max, (3, 5, 4, channels), dtype, endpoint=True)
    stats = inputs.fit(iter(images), int(np.iinfo(dtype).max))
    colors = rng.normal(0.5, 0.5, (3, channels, channels + 1)).astype(np.float32) if recolor else None
    found = normalize(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        None if colors is None else torch.from_numpy(colors),
        inputs,
        stats,
    )
    expected = slowly(images, colors, inputs, stats)
    assert found.dtype == torch.float32 and found.shape == (3, channels, 5, 4)
    np.testing.assert_allclose(
        found.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-3, atol=2e-4 * np.abs(expected).max()
    )


def test_every_level_of_16_bits_is_kept() -> None:
    levels = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    values = levels_255(levels)
    assert len(values.unique()) == 65536 and values[-1] == 255 and values[0] == 0
    assert torch.equal(levels_255(torch.arange(256, dtype=torch.uint8)), torch.arange(256.0))


@pytest.fixture
def feed() -> Callable[..., Feed]:
    def make(*augment: Augmentation) -> Feed:
        return Feed(Standardize(), Stats(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)), PRECISION, 4, 7, augment)

    return make


@pytest.fixture
def batch() -> Batch:
    images = torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(6) % 4, np.array([5, 3, 11, 2, 9, 40]))


def test_training_composes_all_colours(feed: Callable[..., Feed], batch: Batch) -> None:
    members = (Brightness(), Contrast(), Color())
    made, keys = feed(*members), Keys(7, 2, batch.ids)
    values = batch.images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    for member in members:  # one after another, which is what a recipe says
        colors = member.colors(keys, 3)
        values = np.einsum("ncd,nhwd->nhwc", colors[:, :, :3], values) + colors[:, None, None, :, 3]
    expected = (values - np.array([1, 2, 3])) / np.array([4, 5, 6])
    found = made.train(batch, epoch=2)
    np.testing.assert_allclose(found.images.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-4, atol=1e-3)
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert not np.allclose(made.train(batch, epoch=3).images, found.images), "other epochs, other colours"


def test_clean_batches_are_never_augmented(feed: Callable[..., Feed], batch: Batch) -> None:
    plain, busy = feed().clean(batch), feed(Brightness(), Noise(), Mixup()).clean(batch)
    assert torch.equal(plain.images, busy.images) and torch.equal(busy.targets, batch.targets)


def test_samples_do_not_depend_on_their_batch(feed: Callable[..., Feed], batch: Batch) -> None:
    made = feed(Brightness(), Noise())
    whole = made.train(batch, 1)
    part = made.train(Batch(batch.images[2:4], batch.targets[2:4], batch.ids[2:4]), 1)
    torch.testing.assert_close(part.images, whole.images[2:4], rtol=1e-5, atol=1e-5)


def test_targets_become_probabilities_where_pictures_are_mixed(feed: Callable[..., Feed], batch: Batch) -> None:
    mixed = feed(Mixup()).train(batch, 0)
    assert mixed.targets.shape == (6, 4)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(6))


def test_warps_are_those_of_the_augmentations(feed: Callable[..., Feed], batch: Batch) -> None:
    moved = feed(Flip(p=1), Brightness()).warps(Keys(0, 0, batch.ids), (8, 8))
    assert moved.shape == (6, 3, 3) and (moved[:, 0, 0] == -1).all()
    assert (feed().warps(Keys(0, 0, batch.ids), (8, 8)) == np.eye(3)).all()
