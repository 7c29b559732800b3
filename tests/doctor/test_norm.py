"""Checks of norm layers: each finds nets made ill in several ways, before all else, and no mended one."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.layers import (
    BCE,
    CHECKS,
    Pairs,
    Sum,
    Then,
    blobs,
    conv,
    conv_bn,
    each,
    given,
    he,
    pictures,
    pooled,
    seeded,
    small,
    stack,
)
from torch import Tensor, nn


def batch_norm(**more: Any) -> Callable[[int], nn.Module]:
    return lambda channels: nn.BatchNorm2d(channels, **more)


def vectors(norm: Callable[[int], nn.Module], *before: nn.Module) -> nn.Module:
    """Return a perceptron with a norm behind its hidden layer."""
    return nn.Sequential(nn.Flatten(), *before, nn.Linear(192, 32), norm(32), nn.ReLU(), nn.Linear(32, 4))


def eights(num: int) -> list[Tensor]:
    return [pictures(num, 8) for _ in range(3)]


class Context(nn.Module):
    """Features beside their mean over the picture, which has a norm of its own."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(conv(3, 8), norm(8), nn.ReLU()), nn.Conv2d(16, 1, 1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), norm(8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(torch.cat([x, self.pool(x).expand_as(x)], 1))


def group(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


def by_the_batch(x: Tensor, training: bool) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def ends(dropout: nn.Module, before: bool) -> nn.Module:
    """Return a head with a norm, and dropout before or behind it."""
    norm = [nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()]
    head = [dropout, *norm] if before else [*norm, dropout]
    return nn.Sequential(*conv_bn(3, 16, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), *head, nn.Linear(32, 4))


def dropped(p: float) -> nn.Module:
    layers = [(conv(inside, 16), nn.Dropout(p), nn.BatchNorm2d(16), nn.ReLU()) for inside in (3, 16, 16)]
    return pooled(*(part for layer in layers for part in layer))


PAIRS: Pairs = {
    "bn-small-batch": {
        "two vectors": (
            lambda: given(vectors(nn.BatchNorm1d), images=eights(2)),
            lambda: given(vectors(nn.LayerNorm), images=eights(2)),
        ),
        "one picture": (
            lambda: given(stack(2, nn.ReLU, nn.BatchNorm2d), images=eights(1)),
            lambda: given(stack(2, nn.ReLU, group), images=eights(1)),
        ),
        "one value, which raises": (
            lambda: given(Context(nn.BatchNorm2d), blobs, BCE, images=eights(1)),
            lambda: given(Context(group), blobs, BCE, images=eights(1)),
        ),
        "a last batch of one": (
            lambda: given(vectors(nn.BatchNorm1d), images=[*eights(8), pictures(1, 8)]),
            lambda: given(vectors(nn.BatchNorm1d), images=eights(8)),
        ),
    },
    "bn-no-running-stats": {
        "not tracked": (
            lambda: given(stack(3, nn.ReLU, batch_norm(track_running_stats=False))),
            lambda: given(stack(3, nn.ReLU, batch_norm())),
        ),
        "as a function": (
            lambda: given(stack(3, nn.ReLU, lambda channels: Then(by_the_batch))),
            lambda: given(stack(3, nn.ReLU, batch_norm())),
        ),
    },
    "bn-bad-momentum": {
        "0.99": (
            lambda: given(stack(3, nn.ReLU, batch_norm(momentum=0.99))),
            lambda: given(stack(3, nn.ReLU, batch_norm(momentum=0.01))),
        ),
        "0": (
            lambda: given(stack(3, nn.ReLU, batch_norm(momentum=0.0))),
            lambda: given(stack(3, nn.ReLU, batch_norm(momentum=0.1))),
        ),
        "1, vectors": (
            lambda: small(vectors(lambda width: nn.BatchNorm1d(width, momentum=1.0))),
            lambda: small(vectors(lambda width: nn.BatchNorm1d(width, momentum=None))),
        ),
    },
    "dropout-before-bn": {
        "through a linear layer": (
            lambda: given(ends(nn.Dropout(0.5), True)),
            lambda: given(ends(nn.Dropout(0.5), False)),
        ),
        "directly": (
            lambda: small(vectors(lambda width: nn.Sequential(nn.Dropout(0.6), nn.BatchNorm1d(width)))),
            lambda: small(vectors(lambda width: nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.6)))),
        ),
        "maps": (lambda: given(dropped(0.5)), lambda: given(dropped(0.0))),
    },
}


def residual(norm: Callable[[int], nn.Module]) -> nn.Module:
    blocks = [Sum(nn.ReLU(), conv(8, 8), norm(8), nn.ReLU(), conv(8, 8), norm(8)) for _ in range(10)]
    return he(nn.Sequential(conv(3, 8), *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)))


def shrunken(net: nn.Module, factor: float) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= factor
    return net


BY_PROBE: Pairs = {
    "missing-normalization": {
        "a sum that grows": (lambda: small(residual(nn.Identity), 0.02), lambda: small(residual(nn.BatchNorm2d), 0.02)),
        "a signal that fades": (
            lambda: small(shrunken(he(stack(10, nn.ReLU)), 0.8)),
            lambda: small(shrunken(he(stack(10, nn.ReLU)), 1.0)),
        ),
    }
}


@pytest.mark.parametrize(("id", "ill", "mended"), each(PAIRS))
def test_a_cause_is_named_first_and_is_gone_when_mended(look, id, ill, mended):
    found, after = look(CHECKS, seeded(ill)), look(CHECKS, seeded(mended))
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert after.healthy, str(after)


@pytest.mark.parametrize(
    "net", [lambda: stack(3, nn.ReLU, nn.BatchNorm2d), lambda: vectors(nn.BatchNorm1d)], ids=["maps", "vectors"]
)
def test_a_bias_that_a_norm_takes_away_is_an_info(look, net):
    make = given if isinstance(seeded(net)[0], nn.Conv2d) else small
    (said,) = [one for one in look(CHECKS, make(seeded(net))).findings if one.id == "bias-before-bn"]
    assert said.severity == "info"


def test_layers_without_bias_before_a_norm_are_not_mentioned(look):
    found = look(CHECKS, given(seeded(lambda: pooled(*conv_bn(3, 16), *conv_bn(16, 16)))))
    assert "bias-before-bn" not in [one.id for one in found.findings]


@pytest.mark.parametrize(("id", "ill", "mended"), each(BY_PROBE))
def test_the_probe_confirms_what_one_batch_does_not_prove(look, id, ill, mended):
    costs = ("static", "passes", "probe")
    found, after = look(CHECKS, seeded(ill), costs), look(CHECKS, seeded(mended), costs)
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert found.findings[0].gain is not None and found.findings[0].gain > 0.2
    assert after.healthy, str(after)


def test_dropout_before_one_of_many_norms_is_an_info(look):
    """As in DeepLabV3, which drops half of what goes into the last of its batch norms."""
    body = [*conv_bn(3, 16), *conv_bn(16, 16), *conv_bn(16, 16)]
    found = look(CHECKS, given(seeded(lambda: pooled(*body, nn.Dropout(0.5), *conv_bn(16, 16)))))
    (said,) = [one for one in found.findings if one.id == "dropout-before-bn"]
    assert said.severity == "info" and said.evidence["variance_ratio"] > said.evidence["limit"]
