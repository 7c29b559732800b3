"""Smaller pictures for short trainings: shapes, what is kept, and nets that do not take them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import provenet as pn
from provenet.doctor.case import read_case
from provenet.doctor.double import Double, doubled
from provenet.doctor.smaller import FEW, MULTIPLE, SIDE, smaller

CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def segmenter() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


def pictures(height: int, width: int, num: int = 8) -> Tensor:
    return torch.randn(num, 3, height, width, generator=torch.Generator().manual_seed(0))


@contextmanager
def copied(net: nn.Module, batches: list[Any], loss: Any) -> Iterator[Double]:
    with doubled(read_case(net, batches, loss, None)) as double:
        yield double


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.floats(0.1, 100))
def test_sides_fall_to_the_least_and_no_further(height: int, width: int, times: float) -> None:
    batches = [(pictures(height, width), torch.arange(8) % 3)]
    with copied(classifier(), batches, CE) as double:
        inputs, targets = smaller(double, batches, times)[0]
    if times <= 1 or min(height, width) <= SIDE:
        assert inputs.shape == (8, 3, height, width)
        return
    assert FEW <= len(inputs) == len(targets) <= 8
    side = min(inputs.shape[-2:])
    assert side == min(height, width) or (side % MULTIPLE == 0 and SIDE <= side < min(height, width))
    # The shape of the picture is kept, to half a multiple.
    assert inputs.shape[-2] / side == pytest.approx(height / min(height, width), abs=MULTIPLE / side)


def test_pictures_of_classes_are_averaged() -> None:
    images = pictures(128, 128)
    batches = [(images, torch.arange(8) % 3)]
    with copied(classifier(), batches, CE) as double:
        inputs, targets = smaller(double, batches, 4.0)[0]
    torch.testing.assert_close(inputs, images.view(8, 3, 64, 2, 64, 2).mean((3, 5)))
    assert torch.equal(targets, batches[0][1])


def test_of_masks_the_liveliest_part_is_taken_with_its_picture() -> None:
    images, masks = pictures(160, 224), torch.zeros(8, 1, 160, 224)
    masks[:, :, 100:140, 170:200] = 1
    batches = [(images, masks)]
    with copied(segmenter(), batches, BCE) as double:
        inputs, targets = smaller(double, batches, 100.0)[0]
    assert inputs.shape[-2:] == targets.shape[-2:]
    assert float(targets[0].sum()) == 40 * 30
    rows, columns = targets[0, 0].nonzero()[0].tolist()
    top, left = 100 - rows, 170 - columns
    assert torch.equal(inputs, images[: len(inputs), :, top : top + inputs.shape[2], left : left + inputs.shape[3]])


def test_nets_of_one_size_get_fewer_samples() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 3))
    batches = [(pictures(96, 96, 32), torch.arange(32) % 3)]
    with copied(net, batches, CE) as double:
        inputs, _ = smaller(double, batches, 4.0)[0]
    assert inputs.shape == (8, 3, 96, 96)


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "id"), [(300.0, "lr-too-high"), (1e-9, "lr-too-low"), (0.05, "")])
def test_rates_are_judged_on_large_pictures_too(lr: float, id: str) -> None:
    torch.manual_seed(0)
    steps = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    for _ in range(5):
        steps += [nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    net = nn.Sequential(*steps, nn.Conv2d(32, 1, 1))
    images = pictures(256, 256)
    masks = torch.zeros(8, 1, 256, 256)
    masks[:, :, 60:150, 80:200] = 1
    others = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    batches = [(images + masks, masks), (others + masks, masks)]
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9)
    found = pn.diagnose(net, batches, BCE, optimizer)
    assert [one.id for one in found.findings if one.loud] == ([id] if id else []), str(found)
