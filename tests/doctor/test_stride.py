"""One update, measured: against sums written out, and with nothing left behind."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.double import doubled
from provenet.doctor.stride import Stride, memory_of, stride


def measured(net: nn.Module, optimizer: torch.optim.Optimizer, loss_fn=F.mse_loss) -> Stride:
    batch = torch.linspace(-1, 1, 12).view(4, 3), torch.tensor([[1.0], [0.0], [2.0], [-1.0]])
    with doubled(read_case(net, [batch], loss_fn, optimizer)) as double:
        return stride(double, batch)


def line() -> tuple[nn.Linear, Tensor, Tensor]:
    """Return a line, its weight, and the gradient of its mean squared error, written out."""
    torch.manual_seed(0)
    net = nn.Linear(3, 1, bias=False)
    x, y = torch.linspace(-1, 1, 12).view(4, 3), torch.tensor([[1.0], [0.0], [2.0], [-1.0]])
    weight = net.weight.detach().clone()
    return net, weight, 2 * (x @ weight.t() - y).t() @ x / 4


def loss_at(weight: Tensor) -> float:
    x, y = torch.linspace(-1, 1, 12).view(4, 3), torch.tensor([[1.0], [0.0], [2.0], [-1.0]])
    return float(((x @ weight.t() - y) ** 2).mean())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_update_is_as_long_as_rate_and_gradient_say(momentum: float) -> None:
    net, weight, gradient = line()
    found = measured(net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=momentum))
    lr = 0.01 / (1 - momentum)
    assert found.ratio == pytest.approx(lr * float(gradient.norm() / weight.norm()), rel=1e-4)
    assert found.promised == pytest.approx(lr * float(gradient.square().sum()), rel=1e-4)
    assert found.loss == pytest.approx(loss_at(weight), rel=1e-5)
    assert found.got == pytest.approx(loss_at(weight) - loss_at(weight - lr * gradient), rel=1e-3)
    assert torch.equal(net.weight, weight)
    assert net.weight.grad is None


def test_a_short_update_follows_the_slope_and_a_long_one_does_not() -> None:
    for lr, straight in ((1e-3, True), (10.0, False)):
        net, _, _ = line()
        assert measured(net, torch.optim.SGD(net.parameters(), lr=lr)).straight() is straight


def test_weights_behind_a_gate_of_zero_say_nothing() -> None:
    """Decay alone moves them in the first update; what the loss moves counts."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line, self.inner = nn.Linear(3, 1), nn.Linear(3, 3)
            self.gate = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.line(x + self.gate * self.inner(x))

    net = Gated()
    found = measured(net, torch.optim.AdamW(net.parameters(), lr=0.5))
    assert set(found.steps) == {"line.weight"}


def test_another_nets_optimizer_moves_nothing() -> None:
    net, _, _ = line()
    found = measured(net, torch.optim.SGD(nn.Linear(3, 1).parameters(), lr=0.1))
    assert (found.steps, found.promised, found.failure) == ({}, 0.0, None)


def test_decay_alone_points_to_zero() -> None:
    net, _, _ = line()
    found = measured(net, torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.5), lambda out, y: (out * 0).sum())
    assert found.pull == pytest.approx(1.0, abs=1e-5)
    assert found.lost == pytest.approx(0.05, rel=1e-4)


def test_gradients_that_are_averaged_do_not_add_up() -> None:
    weights = [torch.zeros(1)]
    assert memory_of(torch.optim.SGD(weights, lr=1, momentum=0.75)) == pytest.approx(4)
    assert memory_of(torch.optim.SGD(weights, lr=1, momentum=0.9, dampening=0.9)) == 1
    assert memory_of(torch.optim.Adam(weights, lr=1)) == 1
    assert math.isfinite(memory_of(torch.optim.SGD(weights, lr=1, momentum=1.0)))


def test_an_optimizer_that_wants_more_is_noted() -> None:
    net, _, _ = line()
    failure = measured(net, torch.optim.LBFGS(net.parameters())).failure
    assert failure is not None
    assert failure.kind == "TypeError"


def test_weights_of_zeros_and_of_no_optimizer_are_left_out() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    nn.init.zeros_(net[1].weight)
    found = measured(net, torch.optim.SGD(net[1].parameters(), lr=0.1))
    assert found.steps == {}
    assert found.ratio == 0
