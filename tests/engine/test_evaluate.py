"""Scores over every sample once, at the size of the files, equal to a slow loop."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from provenet.core.batch import VOID
from provenet.core.log import Silent
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions, View
from provenet.engine.evaluate import Scorer, same_shape, seen
from provenet.engine.feed import Feed
from provenet.engine.precision import Precision
from provenet.techniques.augment import Brightness, Noise
from provenet.techniques.inputs import Scale01, Stats
from provenet.techniques.loss import CrossEntropy

PRECISION = Precision("fp32", torch.device("cpu"))
FEED = Feed(Scale01(), Stats(mean=(0.0,) * 3, std=(255.0,) * 3), PRECISION, 2, augment=(Brightness(), Noise()))
SIZES = [(20, 30), (20, 30), (31, 17), (64, 48), (64, 48), (20, 30), (5, 90), (64, 48), (31, 17), (20, 30)]


class ByMean(nn.Module):
    """Class 1 where the picture (or the pixel) is bright; dropout shows whether it is in evaluation mode."""

    def __init__(self, pixels: bool) -> None:
        super().__init__()
        self.pixels, self.seen, self.dropout = pixels, 0, nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        bright = self.dropout(images).mean(1 if self.pixels else (1, 2, 3))
        return torch.stack([0.5 - bright, bright - 0.5], 1)


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    (folder / name).write_bytes(data.getvalue())


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)


@pytest.fixture
def labelled(tmp_path: Path, inline: None) -> Dataset:
    rng = np.random.default_rng(0)
    for i in range(23):
        save(tmp_path / "data" / "ab"[i % 2], f"{i:02}.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    return prepare(read_index(str(tmp_path / "data")), DataOptions(val_frac=0.4), tmp_path / "store", Silent())


@pytest.fixture
def masked(tmp_path: Path, inline: None) -> Dataset:
    """Pictures of several sizes, stored reduced to 32 pixels; the mask is where red is bright, with some void."""
    rng = np.random.default_rng(1)
    for i, size in enumerate(SIZES):
        pixels = np.kron(rng.integers(0, 256, (1 + size[0] // 8, 1 + size[1] // 8, 3)), np.ones((8, 8, 1)))
        pixels = pixels[: size[0], : size[1]].astype(np.uint8)
        mask = (pixels[..., 0] > 128).astype(np.uint8)
        mask[0, :3] = VOID
        save(tmp_path / "data" / "images", f"{i:02}.png", pixels)
        save(tmp_path / "data" / "masks", f"{i:02}.png", mask)
    options = DataOptions(max_side=32, val_frac=0.4)
    return prepare(read_index(str(tmp_path / "data")), options, tmp_path / "store", Silent())


def test_classification_against_a_slow_loop(labelled: Dataset) -> None:
    ids = np.sort(np.concatenate(list(labelled.splits.values())))
    assert len(ids) == 23 and labelled.labels is not None
    net = ByMean(pixels=False).train()
    loss = CrossEntropy(label_smoothing=0.1)
    tally, mean_loss = Scorer(labelled, View(size=(8, 8)), FEED, batch_size=5, loss=loss).score(net, ids)
    assert net.seen == 23 and not net.training
    bright = np.array([labelled.store.image(int(i)).astype(np.float64).mean() / 255 for i in ids])
    targets = labelled.labels[ids]
    assert tally.quick()["accuracy"] == pytest.approx(((bright > 0.5) == targets).mean())
    margins = np.where(targets == 1, 2 * bright - 1, 1 - 2 * bright)  # right logit minus wrong
    slow = 0.95 * np.log1p(np.exp(-margins)) + 0.05 * np.log1p(np.exp(margins))
    assert mean_loss == pytest.approx(slow.mean(), rel=1e-5)
    assert tally.rows().ids.tolist() == ids.tolist()


def test_segmentation_is_scored_at_the_size_of_the_files(masked: Dataset) -> None:
    ids = np.arange(len(SIZES))
    assert max(max(masked.store.shape(i)) for i in ids) == 32, "stored reduced"
    net = ByMean(pixels=True).train()
    scorer = Scorer(masked, View(size=(16, 16), resize="window"), FEED, loss=CrossEntropy())
    tally, mean_loss = scorer.score(net, ids, boundaries=False)
    assert net.seen == len(SIZES) and not net.training
    right = total = 0
    losses = []
    for i in ids:
        picture = torch.from_numpy(masked.store.image(int(i)).astype(np.float64) / 255).mean(-1)
        bright = nn.functional.interpolate(picture[None, None], SIZES[i], mode="bilinear", align_corners=False)[0, 0]
        truth = masked.store.truth(int(i))
        assert truth.shape == SIZES[i] and (truth == VOID).sum() == 3
        known = truth != VOID
        right += ((bright.numpy() > 0.5) == truth)[known].sum()
        total += known.sum()
        margins = np.where(truth == 1, 2 * bright - 1, 1 - 2 * bright)[known]
        losses.append(np.log1p(np.exp(-margins)).mean())
    assert tally.quick()["pixel_accuracy"] == pytest.approx(right / total, abs=2e-3)
    assert mean_loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_view_that_is_no_window_is_seen_squashed(masked: Dataset) -> None:
    ids = np.arange(len(SIZES))
    net, shapes = ByMean(pixels=True), set()
    net.register_forward_pre_hook(lambda module, inputs: shapes.add(tuple(inputs[0].shape[-2:])))
    tally, loss = Scorer(masked, View(size=(16, 24), resize="squash"), FEED).score(net, ids, boundaries=False)
    assert shapes == {(16, 24)} and loss is None and net.seen == len(SIZES)
    assert tally.quick()["pixel_accuracy"] > 0.5


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_seen_keeps_channels_and_depth(depth: type, channels: int) -> None:
    picture = np.full((10, 20, channels), np.iinfo(depth).max, depth)
    squashed = seen(picture, View(size=(8, 8)))
    assert squashed.shape == (8, 8, channels) and squashed.dtype == depth and (squashed == np.iinfo(depth).max).all()
    assert seen(picture, View(size=(8, 8), resize="window")) is picture


@pytest.mark.parametrize("most", [1, 32 * 24, 10**6])
def test_groups_hold_each_sample_once(most: int, masked: Dataset) -> None:
    groups = list(same_shape(masked.store, np.arange(len(SIZES)), most))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(SIZES)))
    for group in groups:
        assert len({(masked.store.shape(int(i)), masked.store.original_size(int(i))) for i in group}) == 1
        assert len(group) == 1 or sum(np.prod(masked.store.shape(int(i))) for i in group) <= most


def test_scores_do_not_depend_on_the_batch(labelled: Dataset) -> None:
    ids, found = labelled.splits["train"], []
    for batch_size in (1, 4, 256):
        scorer = Scorer(labelled, View(size=(8, 8)), FEED, batch_size, CrossEntropy())
        tally, loss = scorer.score(ByMean(pixels=False), ids)
        found.append(pytest.approx({**tally.quick(), "loss": loss}, rel=1e-6, nan_ok=True))
    assert found[0].expected == found[1] and found[0].expected == found[2]
