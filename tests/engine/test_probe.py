"""Measurements leave no trace, and the range test finds the edge of stability where theory has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from provenet.core.batch import Batch
from provenet.engine.job import Job
from provenet.engine.probe import LrRange, lr_range, prepared, step_seconds
from provenet.techniques.optimizer import SGD


@dataclass
class OneBatch:
    """A loader of one picture, over and over."""

    steps_per_epoch: int = 4

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for _ in range(start, self.steps_per_epoch):
            yield Batch(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), np.arange(2))


class Bowl(nn.Module):
    """A net whose answer is its one weight, whatever it sees."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([[start]]))

    def forward(self, images: Tensor) -> Tensor:
        return self.x.expand(len(images), 1)


@dataclass
class Quadratic:
    """floor + curvature / 2 * x^2."""

    curvature: float
    floor: float = 0.0

    def compute(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
        return self.floor + self.curvature / 2 * logits.mean() ** 2


def plain_sgd(net: nn.Module) -> torch.optim.Optimizer:
    return SGD(momentum=0.0, weight_decay=0.0).build(net.named_parameters())


def expected(curvature: float, floor: float, start: float, lrs: list[float]) -> float | None:
    """Return the rate at which the smoothed loss passes twice the first, from x <- (1 - lr curvature) x alone."""
    x, average, first = start, 0.0, 0.0
    for i, lr in enumerate(lrs):
        average = 0.8 * average + 0.2 * (floor + curvature / 2 * x**2)
        smoothed = average / (1 - 0.8 ** (i + 1))
        first = first or smoothed
        if smoothed > 2 * first:
            return lr
        x *= 1 - lr * curvature
    return None


@pytest.mark.parametrize("curvature", [0.1, 3.0, 200.0])
def test_range_test_finds_the_edge_of_a_quadratic(curvature: float, make_job: Any) -> None:
    edge = 2 / curvature
    job = make_job(loader=OneBatch(), loss=Quadratic(curvature, floor=0.01))
    found = lr_range(job, Bowl(1.0), plain_sgd, edge / 1000, edge * 100, updates=60)
    ratio = (100 * 1000) ** (1 / 59)
    lrs = [edge / 1000 * ratio**i for i in range(60)]
    assert found.limit == pytest.approx(expected(curvature, 0.01, 1.0, lrs), rel=1e-6)
    assert found.limit is not None and edge < found.limit < 15 * edge, "beyond the edge it takes some steps to show"
    np.testing.assert_allclose(found.lrs, lrs[: len(found.lrs)], rtol=1e-9)
    assert found.suggestion is not None and found.suggestion < edge


def test_no_limit_where_all_rates_are_stable(make_job: Any) -> None:
    found = lr_range(make_job(loader=OneBatch(), loss=Quadratic(1.0)), Bowl(1.0), plain_sgd, 1e-3, 1.0)
    assert found.limit is None and len(found.lrs) == 30 and found.suggestion is not None
    assert list(found.losses) == sorted(found.losses, reverse=True)


def test_a_loss_that_is_never_finite_suggests_nothing(make_job: Any) -> None:
    found = lr_range(make_job(loader=OneBatch(), loss=Quadratic(math.nan)), Bowl(1.0), plain_sgd, 1e-3, 1.0)
    assert found == LrRange((), (), None, 1e-3)


def traces(net: nn.Module) -> tuple[Any, ...]:
    state = {name: value.numpy().tobytes() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    grads = [parameter.grad for parameter in net.parameters()]
    needs = [parameter.requires_grad for parameter in net.parameters()]
    return state, modes, grads, needs, torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()


def _measure_range(job: Job, net: nn.Module) -> object:
    return lr_range(job, net, lambda n: SGD().build(n.named_parameters()), 1e-4, 100.0)


def _measure_seconds(job: Job, net: nn.Module) -> object:
    return step_seconds(job, net, lambda n: SGD().build(n.named_parameters()), updates=5)


@pytest.mark.parametrize("measure", [_measure_range, _measure_seconds])
@pytest.mark.parametrize("training", [True, False])
def test_no_trace(measure: Callable[[Job, nn.Module], object], training: bool, make_job: Any, make_state: Any) -> None:
    job = make_job()
    net = make_state(job).net.train(training)
    order = [batch.ids.tolist() for batch in job.loader.batches(0)]
    before = traces(net)
    measure(job, net)
    assert traces(net) == before
    assert [batch.ids.tolist() for batch in job.loader.batches(0)] == order


def test_seconds_are_those_of_an_update(make_job: Any, make_state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that says 1, 2, 3 ... seconds for the updates: the two that warm up do not count."""
    ticks = iter(np.cumsum([0, 100, 100, 1, 2, 3, 4, 50]).tolist())
    monkeypatch.setattr("provenet.engine.probe.time.perf_counter", lambda: next(ticks))
    job = make_job()
    assert step_seconds(job, make_state(job).net, lambda n: SGD().build(n.named_parameters()), updates=5) == 3


def test_prepared_is_no_longer_than_an_epoch(make_job: Any) -> None:
    job = replace(make_job(), loader=OneBatch(3))
    assert [len(prepared(job, count)) for count in (1, 3, 9)] == [1, 3, 3]
