"""Input normalisation against NumPy over all pixels at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from torchvision.transforms import v2

from provenet.core.errors import DataError
from provenet.techniques import inputs
from provenet.techniques.inputs import PerImage, Pretrained, Raw, Scale01, Standardize, Stats, measure

RNG = np.random.default_rng(11)
IMAGES = [RNG.integers(0, 256, size=(h, w, 3), dtype=np.uint8) for h, w in [(5, 7), (1, 1), (9, 2)]]


def sized(channels: int, dtype: type[np.unsignedinteger]) -> st.SearchStrategy[np.ndarray]:
    sides = st.tuples(st.integers(1, 6), st.integers(1, 6))
    return sides.flatmap(lambda side: arrays(dtype, (*side, channels)))


@pytest.mark.parametrize(("dtype", "levels"), [(np.uint8, 255), (np.uint16, 65535)])
@given(data=st.data())
def test_measure_is_numpy_over_all_pixels(dtype: type[np.unsignedinteger], levels: int, data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from([1, 3]))
    images = data.draw(st.lists(sized(channels, dtype), min_size=1, max_size=4))
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]).astype(np.float64) * 255 / levels
    stats = measure(images, levels)
    np.testing.assert_allclose(stats.mean, pixels.mean(axis=0), rtol=1e-12, atol=1e-12)
    std = np.where(pixels.min(axis=0) == pixels.max(axis=0), 1.0, pixels.std(axis=0))
    np.testing.assert_allclose(stats.std, std, rtol=1e-9)
    assert measure(images[::-1], levels) == stats


def test_measure_reads_long_pictures_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(IMAGES, 255)
    monkeypatch.setattr(inputs, "_BLOCK", 4)
    assert measure(IMAGES, 255) == whole


def test_sums_do_not_overflow() -> None:
    white = np.full((1000, 1000, 1), 65535, dtype=np.uint16)
    black = np.zeros_like(white)
    stats = measure([white, black], 65535)
    assert stats.mean == pytest.approx((127.5,), rel=1e-12)
    assert stats.std == pytest.approx((127.5,), rel=1e-12)


def test_standardized_training_pixels_have_mean_zero_and_std_one() -> None:
    stats = Standardize().fit(IMAGES, 255)
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in IMAGES])).double()
    normalized = Standardize().apply(pixels.T[None, :, :, None], stats)
    torch.testing.assert_close(normalized.mean(dim=(0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(normalized.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), rtol=1e-6, atol=0)


def test_a_constant_channel_becomes_zero() -> None:
    image = np.stack([np.full((4, 4), 200), np.arange(16).reshape(4, 4)], axis=-1).astype(np.uint8)
    stats = Standardize().fit([image], 255)
    normalized = Standardize().apply(torch.from_numpy(image).permute(2, 0, 1)[None].float(), stats)
    torch.testing.assert_close(normalized[:, 0], torch.zeros(1, 4, 4), rtol=0, atol=1e-4)
    assert bool(normalized.isfinite().all())


@pytest.mark.parametrize("technique", [Raw(), Scale01(), Standardize(), Pretrained()], ids=lambda part: part.name)
def test_affine_and_apply_agree(technique: Standardize) -> None:
    stats = technique.fit(IMAGES, 255)
    found = technique.affine(stats)
    assert found is not None
    images = torch.rand(2, 3, 4, 5) * 255
    scale, shift = (values[:, None, None] for values in found)
    torch.testing.assert_close(technique.apply(images, stats), images * scale + shift)


def test_raw_and_scale01() -> None:
    images = torch.rand(2, 3, 4, 5) * 255
    assert torch.equal(Raw().apply(images, Raw().fit(IMAGES, 255)), images)
    torch.testing.assert_close(Scale01().apply(images, Scale01().fit(IMAGES, 255)), images / 255)


def test_pretrained_is_torchvisions_normalize() -> None:
    technique = Pretrained()
    images = torch.rand(2, 3, 4, 5)
    expected = v2.functional.normalize(images, list(technique.mean), list(technique.std))
    torch.testing.assert_close(
        technique.apply(255 * images, technique.fit(IMAGES, 255)), expected, rtol=1e-4, atol=1e-5
    )


def test_pretrained_on_grey_images_uses_the_mean_over_channels() -> None:
    stats = Pretrained().fit([IMAGES[0][..., :1]], 255)
    assert stats.mean == pytest.approx((255 * (0.485 + 0.456 + 0.406) / 3,))


def test_pretrained_refuses_other_channels_and_uneven_lengths() -> None:
    with pytest.raises(DataError, match="another number of channels"):
        Pretrained(mean=(0.5, 0.5), std=(0.2, 0.2)).fit(IMAGES, 255)
    with pytest.raises(ValidationError, match="as many of each"):
        Pretrained(mean=(0.5,))


@given(arrays(np.uint8, (2, 3, 4, 5)))
def test_per_image_is_numpy(values: np.ndarray) -> None:
    expected = []
    for image in values.astype(np.float64):
        expected.append((image - image.mean()) / max(image.std(), 255 / 65535))
    technique = PerImage()
    stats = technique.fit(IMAGES, 255)
    assert technique.affine(stats) is None
    found = technique.apply(torch.from_numpy(values).float(), stats).numpy()
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4, atol=1e-2 if (values == values[0]).all() else 1e-3)


@pytest.mark.parametrize("technique", [Raw(), Scale01(), Standardize(), Pretrained(), PerImage()])
def test_no_image_is_a_clear_error(technique: Standardize) -> None:
    with pytest.raises(DataError, match="no training image"):
        technique.fit([], 255)


@pytest.mark.parametrize(
    "odd", [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.int16)]
)
def test_images_of_another_form_are_refused(odd: np.ndarray) -> None:
    with pytest.raises(DataError, match="form of the first"):
        Standardize().fit([*IMAGES, odd], 255)


@pytest.mark.parametrize("technique", [Raw(), Scale01(), Pretrained(), PerImage()], ids=lambda part: part.name)
def test_only_standardize_reads_more_than_one_image(technique: Raw) -> None:
    images = iter(IMAGES)
    technique.fit(images, 255)
    assert len(list(images)) == len(IMAGES) - 1


def test_stats_survive_json() -> None:
    stats = Standardize().fit(IMAGES, 255)
    assert Stats.model_validate_json(stats.model_dump_json()) == stats
