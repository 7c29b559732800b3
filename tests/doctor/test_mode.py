"""Checks of modes, dropout and frozen layers: each finds nets made ill in several ways, and no mended one."""

# N batch, C channels, H W pixels

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.layers import (
    CE,
    CHECKS,
    Pairs,
    Then,
    conv_bn,
    each,
    given,
    he,
    labels,
    perceptron,
    pictures,
    pooled,
    seeded,
    small,
    stack,
)
from torch import Tensor, nn


def normed() -> nn.Module:
    return pooled(*conv_bn(3, 16), *conv_bn(16, 16), *conv_bn(16, 16))


def evaluating(net: nn.Module, kind: type[nn.Module] | None = None) -> nn.Module:
    """Put a net into evaluation mode, or its modules of one kind."""
    for module in net.modules():
        if kind is None or isinstance(module, kind):
            module.training = False
    return net


def dropping(*dropouts: nn.Module) -> Any:
    """Return a perceptron with something behind every hidden layer."""
    parts = [part for dropout in dropouts for part in (nn.Linear(48, 48), nn.ReLU(), dropout)]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 48), nn.ReLU(), *parts, nn.Linear(48, 4))


def masked(x: Tensor, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) > 0.5) * 2


def trained(net: Any, updates: int = 20) -> Any:
    """Train a net briefly, so that it is no longer as it was drawn."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    size = 8 if isinstance(net[0], nn.Flatten) else 16
    for _ in range(updates):
        images = 1.5 * pictures(16, size) + 0.5
        optimizer.zero_grad()
        CE(net(images), labels(images)).backward()
        optimizer.step()
    return net


def frozen(net: Any, norms_run: bool = False) -> Any:
    """Freeze all but a head that is drawn anew, norms in evaluation mode or not."""
    for part in net[:-1]:
        part.requires_grad_(False).train(norms_run)
    net[-1] = nn.Linear(net[-1].in_features, 4)
    return net


class Words(nn.Module):
    """A net on tokens, here grey levels, whose vectors are frozen."""

    def __init__(self, trained: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(32, 16), nn.Linear(16, 4)
        with torch.no_grad():
            if trained:
                self.embed.weight.copy_(torch.linspace(-1, 1, 32)[:, None] ** torch.arange(1, 17))
        self.embed.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = (x.mean(1).flatten(1) * 6 + 16).long().clamp(0, 31)
        return self.head(self.embed(tokens).mean(1))


def thawed(net: Any) -> Any:
    net[-1] = nn.Linear(net[-1].in_features, 4)
    return net


PAIRS: Pairs = {
    "dropout-too-high": {
        "0.95": (lambda: small(dropping(nn.Dropout(0.95))), lambda: small(dropping(nn.Dropout(0.05)))),
        "a function": (
            lambda: small(dropping(Then(lambda x, training: F.dropout(x, 0.9, training)))),
            lambda: small(dropping(Then(lambda x, training: F.dropout(x, 0.1, training)))),
        ),
        "channels": (
            lambda: given(pooled(*conv_bn(3, 16), nn.Dropout2d(0.85), *conv_bn(16, 16)[:1], nn.ReLU())),
            lambda: given(pooled(*conv_bn(3, 16), nn.Dropout2d(0.15), *conv_bn(16, 16)[:1], nn.ReLU())),
        ),
        "all": (lambda: small(dropping(nn.Dropout(1.0))), lambda: small(dropping(nn.Dropout(0.5)))),
    },
    "eval-mode-training": {
        "the net": (lambda: given(normed().eval()), lambda: given(normed())),
        "its norms": (lambda: given(evaluating(normed(), nn.BatchNorm2d)), lambda: given(normed())),
        "norms that have seen data": (lambda: given(trained(normed()).eval()), lambda: given(trained(normed()))),
        "dropout alone": (
            lambda: small(dropping(nn.Dropout(0.5)).eval()),
            lambda: small(dropping(nn.Dropout(0.5))),
        ),
    },
    "dropout-always-on": {
        "a function": (
            lambda: small(dropping(Then(lambda x, training: F.dropout(x, 0.4)))),
            lambda: small(dropping(Then(lambda x, training: F.dropout(x, 0.4, training)))),
        ),
        "a layer made in forward": (
            lambda: small(dropping(Then(lambda x, training: nn.Dropout(0.4)(x)))),
            lambda: small(dropping(nn.Dropout(0.4))),
        ),
        "a mask of one's own": (
            lambda: small(dropping(Then(masked))),
            lambda: small(dropping(Then(lambda x, training: masked(x, True) if training else x))),
        ),
    },
    "frozen-layers": {
        "a drawn body with norms": (lambda: given(frozen(normed())), lambda: given(frozen(trained(normed())))),
        "a drawn body without norms": (
            lambda: small(frozen(perceptron([64, 64]))),
            lambda: small(frozen(trained(perceptron([64, 64])))),
        ),
        "a table of vectors": (lambda: given(Words(False)), lambda: given(Words(True))),
        "a body from He": (
            lambda: given(frozen(he(stack(4, nn.ReLU)))),
            lambda: given(frozen(trained(he(stack(4, nn.ReLU))))),
        ),
        "everything": (
            lambda: given(stack(3, nn.ReLU).requires_grad_(False)),
            lambda: given(stack(3, nn.ReLU)),
        ),
    },
    "bn-not-frozen": {
        "convolutions": (
            lambda: given(frozen(trained(normed()), norms_run=True)),
            lambda: given(frozen(trained(normed()))),
        ),
        "vectors": (
            lambda: small(frozen(trained(vectors()), norms_run=True)),
            lambda: small(frozen(trained(vectors()))),
        ),
    },
}


def vectors() -> nn.Module:
    layers = [nn.Linear(192, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 4))


@pytest.mark.parametrize(("id", "ill", "mended"), each(PAIRS))
def test_a_cause_is_named_first_and_is_gone_when_mended(look, id, ill, mended):
    found, after = look(CHECKS, seeded(ill)), look(CHECKS, seeded(mended))
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert after.healthy, str(after)


def said(look, make) -> dict[str, str]:
    return {one.id: one.severity for one in look(CHECKS, seeded(make)).findings}


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (lambda: given(thawed(trained(normed())), lr=0.05), lambda: given(thawed(trained(normed())), lr=0.001)),
        (
            lambda: small(thawed(trained(vectors())), lr=0.1),
            lambda: small(frozen(trained(vectors())), lr=0.1),
        ),
        (lambda: given(thawed(trained(normed())), lr=2e-3, adam=True), lambda: given(normed(), lr=2e-3, adam=True)),
    ],
    ids=["slower", "body frozen", "from scratch"],
)
def test_a_new_head_and_a_trained_body_at_one_high_rate_is_an_info(look, fast, slow):
    assert said(look, fast).get("nothing-frozen") == "info"
    assert "nothing-frozen" not in said(look, slow)
