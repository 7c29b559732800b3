"""Checks of initial weights: each finds nets made ill in several ways, before all else, and no mended one."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.doctor.layers import (
    CHECKS,
    Pairs,
    Sum,
    conv,
    conv_bn,
    each,
    given,
    he,
    normal,
    perceptron,
    pooled,
    seeded,
    small,
    stack,
    weight_normed,
)
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.clock import Clock
from provenet.doctor.double import doubled
from provenet.doctor.examination import Examination
from provenet.doctor.travel import lost_in


class Own(nn.Module):
    """A linear layer of one's own: a matrix on the right, or one on the left that is turned."""

    def __init__(self, inside: int, outside: int, scale: float, turned: bool = False) -> None:
        super().__init__()
        self.turned = turned
        self.kernel = nn.Parameter(scale * (torch.randn(outside, inside) if turned else torch.randn(inside, outside)))
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.kernel.t() if self.turned else self.kernel) + self.bias


def own(scale: Callable[[int], float], turned: bool = False) -> nn.Module:
    layers = [(Own(a, b, scale(a), turned), nn.ReLU()) for a, b in pairwise((192, 48, 48, 48))]
    flat = [layer for one in layers for layer in one]
    return nn.Sequential(nn.Flatten(), *flat, Own(48, 4, 48**-0.5, turned))


def constant(net: nn.Module, value: float) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, value)
            nn.init.zeros_(module.bias)
    return net


def copied(net: nn.Module) -> nn.Module:
    """Give all units of a layer the weights of the first; but for the head, whose rows are apart."""
    *hidden, head = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for module in hidden:
        module.weight.data[:] = module.weight.data[:1].clone()
        module.bias.data[:] = module.bias.data[:1].clone()
    head.weight.data[:] = head.weight.data[:, :1].clone()
    return net


def biased(net: nn.Module, value: float, kind: type[nn.Module]) -> nn.Module:
    for module in net.modules():
        if isinstance(module, kind):
            nn.init.constant_(module.bias, value)
    return net


def enlarged(net: nn.Module, factor: float) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= factor
    return net


def headed(net: Any, factor: float) -> nn.Module:
    net[-1].weight.data *= factor
    return net


def headed_by_dropout(net: Any) -> nn.Module:
    """Put dropout and one more layer before the head; it tells samples apart where nothing of them is left."""
    return nn.Sequential(*net[:-1], nn.Dropout(0.5), nn.Linear(48, 48), nn.ReLU(), nn.Dropout(0.5), net[-1])


def negative(net: Any) -> nn.Module:
    """Give the second layer negative weights alone: what it is given is positive."""
    net[3].weight.data = -net[3].weight.data.abs()
    return net


def normed() -> nn.Module:
    return pooled(*conv_bn(3, 16), *conv_bn(16, 16), *conv_bn(16, 16))


def deep(act: Callable[[], nn.Module], std: float) -> Any:
    return normal(perceptron([48] * 5, act), std)


def told_apart() -> nn.Module:
    """Return a net with one constant layer between others that were drawn."""
    net = perceptron([32, 32, 32])
    constant(net[3], 0.05)
    return net


def tiny(scale: float) -> nn.Module:
    """Return residual blocks behind a stem that scales nearly everything away."""
    net = he(pooled(conv(3, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), Sum(conv(16, 16), nn.ReLU(), conv(16, 16))))
    net[0].weight.data *= scale
    net[2].weight.data *= scale
    return net


PAIRS: Pairs = {
    "symmetric-init": {
        "zeros": (lambda: small(constant(perceptron([32, 32]), 0.0)), lambda: small(perceptron([32, 32]))),
        "a constant": (lambda: given(constant(stack(3, nn.ReLU), 0.05)), lambda: given(stack(3, nn.ReLU))),
        "one unit copied": (lambda: given(copied(he(stack(3, nn.ReLU)))), lambda: given(he(stack(3, nn.ReLU)))),
        "zeros, tanh": (
            lambda: small(constant(perceptron([32, 32], nn.Tanh), 0.0)),
            lambda: small(perceptron([32, 32], nn.Tanh)),
        ),
    },
    "init-too-large": {
        "normal of 1": (lambda: given(normal(stack(4, nn.ReLU), 1.0)), lambda: given(he(stack(4, nn.ReLU)))),
        "own layers": (lambda: small(own(lambda inside: 1.0), 0.01), lambda: small(own(lambda a: (2 / a) ** 0.5))),
        "own layers, turned": (
            lambda: small(own(lambda inside: 1.0, True), 0.01),
            lambda: small(own(lambda a: (2 / a) ** 0.5, True)),
        ),
        "head": (lambda: given(headed(he(stack(2, nn.ReLU)), 200.0)), lambda: given(he(stack(2, nn.ReLU)))),
    },
    "init-too-small": {
        "normal of 0.01": (lambda: small(deep(nn.ReLU, 0.01)), lambda: small(he(perceptron([48] * 5)))),
        "normal of 0.01, tanh": (
            lambda: small(deep(nn.Tanh, 0.01)),
            lambda: small(deep(nn.Tanh, 0.14)),
        ),
        "ten default layers": (lambda: given(stack(10, nn.ReLU)), lambda: given(he(stack(10, nn.ReLU)))),
        "ten default layers, weight norm": (
            lambda: given(weight_normed(stack(10, nn.ReLU))),
            lambda: given(weight_normed(he(stack(10, nn.ReLU)))),
        ),
        "behind dropout": (
            lambda: small(headed_by_dropout(perceptron([48] * 10))),
            lambda: small(headed_by_dropout(he(perceptron([48] * 10)))),
        ),
        "small first layers": (lambda: given(tiny(0.001)), lambda: given(tiny(1.0))),
    },
    "saturating-activations": {
        "sigmoids": (lambda: small(perceptron([48] * 6, nn.Sigmoid)), lambda: small(he(perceptron([48] * 6)))),
        "tanh at its ends": (lambda: small(deep(nn.Tanh, 1.0)), lambda: small(deep(nn.Tanh, 0.14))),
        "sigmoids in wide layers": (
            lambda: given(he(stack(7, nn.Sigmoid))),
            lambda: given(he(stack(7, nn.ReLU))),
        ),
        "sigmoids at their ends": (
            lambda: given(normal(stack(3, nn.Sigmoid), 3.0)),
            lambda: given(stack(3, nn.Sigmoid, nn.BatchNorm2d)),
        ),
    },
    "dead-relu": {
        "biases": (
            lambda: given(biased(he(stack(3, nn.ReLU)), -20.0, nn.Conv2d)),
            lambda: given(biased(he(stack(3, nn.ReLU)), 0.0, nn.Conv2d)),
        ),
        "biases of norms": (
            lambda: given(biased(normed(), -5.0, nn.BatchNorm2d)),
            lambda: given(biased(normed(), 0.0, nn.BatchNorm2d)),
        ),
        "negative weights": (
            lambda: small(negative(he(perceptron([32, 32])))),
            lambda: small(he(perceptron([32, 32]))),
        ),
    },
}
BY_PROBE: Pairs = {
    "init-too-large": {"behind norms": (lambda: small(enlarged(normed(), 60.0)), lambda: small(normed()))},
    "symmetric-init": {
        "told apart by the head": (
            lambda: small(told_apart()),
            lambda: small(perceptron([32, 32, 32])),
        )
    },
}


@pytest.mark.parametrize(("id", "ill", "mended"), each(PAIRS))
def test_a_cause_is_named_first_and_is_gone_when_mended(look, id, ill, mended):
    found, after = look(CHECKS, seeded(ill)), look(CHECKS, seeded(mended))
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert after.healthy, str(after)


@pytest.mark.parametrize(("id", "ill", "mended"), each(BY_PROBE))
def test_the_probe_confirms_what_one_batch_does_not_prove(look, id, ill, mended):
    costs = ("static", "passes", "probe")
    found, after = look(CHECKS, seeded(ill), costs), look(CHECKS, seeded(mended), costs)
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert found.findings[0].gain is not None and found.findings[0].gain > 0.2
    assert after.healthy, str(after)


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (lambda: small(he(perceptron([256] * 3))), 0.0, 0.5),
        (lambda: small(normal(perceptron([256] * 3), 0.01)), 0.0, 0.5),
        (lambda: small(biased(he(perceptron([256])), -3.0, nn.Linear)), 2.0, 6.0),
        (lambda: small(normal(perceptron([256] * 3, nn.Sigmoid), 0.01)), 6.0, 6.1),
    ],
    ids=["normal", "small weights", "low biases", "sigmoids"],
)
def test_what_activations_take_is_told_from_what_weights_take(make, least, most):
    case = read_case(*seeded(make))
    with doubled(case) as double:
        examination = Examination(case, double, Clock(30.0))
        lost = lost_in({"relu", "sigmoid"}, examination.passes, examination.walk.trace, examination.chains)
    assert least <= lost <= most
