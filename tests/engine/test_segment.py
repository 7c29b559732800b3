"""Tiles that are put together give what the whole picture gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from provenet.engine.feed import Feed
from provenet.engine.precision import Precision
from provenet.engine.segment import Tiles, blend, picture_batch, resize_logits, segment, windows
from provenet.techniques.inputs import Scale01, Stats

FEED = Feed(Scale01(), Stats(mean=(0.0,) * 3, std=(255.0,) * 3), Precision("fp32", torch.device("cpu")), 2)


class Pointwise(nn.Module):
    """Logits of a pixel that depend on that pixel alone; keeps the sizes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, int]] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.add((images.shape[-2], images.shape[-1]))
        return torch.stack([images.sum(1), images[:, 0] * 2 - images[:, 2]], 1)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(1, 40),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.99]),
)
def test_windows_cover_every_pixel(height: int, width: int, side: int, overlap: float) -> None:
    seen = np.zeros((height, width), int)
    for rows, columns in windows(height, width, Tiles(side=side, overlap_frac=overlap)):
        part = seen[rows, columns]
        assert part.shape == (min(side, height), min(side, width)), "a tile is whole, or as large as the picture"
        part += 1
    assert seen.min() >= 1


def test_neighbours_share_what_they_should() -> None:
    starts = sorted({rows.start for rows, _ in windows(1000, 10, Tiles(side=100, overlap_frac=0.25))})
    assert starts[0] == 0 and starts[-1] == 900 and max(np.diff(starts)) <= 75
    assert len(starts) == 13, "and no more tiles than that takes: 12 steps of 75 pixels"


@pytest.mark.parametrize("size", [(50, 70), (7, 90), (33, 5), (1, 1), (64, 64)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_a_pointwise_net_sees_no_seams(size: tuple[int, int], overlap: float) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)]
    net = Pointwise()
    whole = segment(net, pictures, FEED)
    assert net.sizes == {size} and whole.shape == (2, 2, *size)
    expected = np.stack(pictures).astype(np.float64) / 255
    np.testing.assert_allclose(whole[:, 0], expected.sum(-1), rtol=1e-5)
    tiled = segment(net, pictures, FEED, Tiles(side=24, overlap_frac=overlap, whole_below=0))
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)
    assert max(max(found) for found in net.sizes - {size}) <= 24 if max(size) > 24 else True


def test_a_tile_counts_most_in_its_middle() -> None:
    """Two tiles that disagree: near the middle of one, its own answer wins; half way between, both count alike."""
    tiles, calls = Tiles(side=20, overlap_frac=0.5), iter((0.0, 1.0))
    blended = blend(lambda part: torch.full((1, 1, *part.shape[-2:]), next(calls)), torch.zeros(1, 3, 20, 30), tiles)[
        0, 0
    ]
    assert (blended[:, :10] == 0).all() and (blended[:, 20:] == 1).all()
    ramp = blended[10, 10:20]
    assert (ramp.diff() > 0).all() and ramp[0] < 0.1 and ramp[-1] > 0.9
    torch.testing.assert_close(ramp + ramp.flip(0), torch.ones(10), rtol=0, atol=1e-5)


def test_picture_batch_and_16_bits() -> None:
    pictures = [np.full((4, 5, 1), value, np.uint16) for value in (0, 65535)]
    batch = picture_batch(pictures)
    assert batch.images.shape == (2, 1, 4, 5) and batch.ids.tolist() == [0, 1] and len(batch) == 2
    feed = Feed(Scale01(), Stats(mean=(0.0,), std=(255.0,)), FEED.precision, 2)
    assert feed.clean(batch).images.unique().tolist() == [0.0, 1.0]


def test_resize_logits() -> None:
    logits = torch.arange(4.0).view(1, 1, 2, 2)
    assert resize_logits(logits, (2, 2)) is logits
    assert resize_logits(logits, (5, 3)).shape == (1, 1, 5, 3)
    constant = torch.full((1, 2, 3, 4), 7.0)
    torch.testing.assert_close(resize_logits(constant, (9, 10)), torch.full((1, 2, 9, 10), 7.0))
