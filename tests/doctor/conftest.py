"""The benchmarks are scripts beside the package; tests of the doctor's cases import them from the root."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.check import Check, Cost
from provenet.doctor.consult import examine
from provenet.records.finding import Diagnosis

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

Given = tuple[nn.Module, list[tuple[Any, Any]], Callable[[Any, Any], Tensor], torch.optim.Optimizer | None]
"""Net, batches, loss and optimizer."""


@pytest.fixture
def look() -> Callable[..., Diagnosis]:
    """Return a function: checks and what `diagnose` takes -> diagnosis; a check that breaks breaks the test."""

    def look_with(checks: Sequence[Check], given: Given, costs: Sequence[Cost] = ("static", "passes")) -> Diagnosis:
        found = examine(read_case(*given), 30.0, checks, costs)
        assert not [why for why in found.left_out.values() if "itself failed" in why]
        return found

    return look_with


def images(size: int = 8, num: int = 16) -> Tensor:
    return torch.randn(num, 3, size, size)


def labels(pictures: Tensor, num_classes: int = 4) -> Tensor:
    """Return classes that can be learned: the quarter of the picture that is brightest."""
    quarters = F.adaptive_avg_pool2d(pictures.mean(1, keepdim=True), 2).flatten(1)
    return quarters.argmax(1) % num_classes


def masks(pictures: Tensor) -> Tensor:
    return (F.avg_pool2d(pictures.mean(1, keepdim=True), 3, 1, 1) > 0.05).float()


def pairs(target: Callable[[Tensor], Any], size: int = 8, num: int = 16) -> list[tuple[Tensor, Any]]:
    return [(pictures, target(pictures)) for pictures in (images(size, num) for _ in range(2))]


def sgd(model: nn.Module, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, momentum=0.9)


def mlp(outputs: int = 4, *tail: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, outputs), *tail)


def convnet(norm: Callable[[int], nn.Module], *tail: nn.Module) -> nn.Sequential:
    parts = [nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), norm(8), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4), *tail)


def soft_dice(probs: Tensor, target: Tensor) -> Tensor:
    inter = (probs * target).sum((1, 2, 3))
    return 1 - ((2 * inter + 1) / (probs.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)).mean()


class UNet(nn.Module):
    """Two levels, one skip."""

    def __init__(self, *tail: nn.Module) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), *tail)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        return self.head(torch.cat([skip, self.up(self.deep(F.max_pool2d(skip, 2)))], 1))


class Residual(nn.Module):
    """Blocks whose branches begin at zero, with dropped paths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)) for _ in range(3))
        self.head = nn.Linear(8, 4)
        for block in self.blocks:
            nn.init.zeros_(block[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            keep = (torch.rand(len(x), 1, 1, 1) < 0.8).float() / 0.8 if self.training else 1.0
            x = x + F.relu(block(x)) * keep
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """Patches, one layer of self-attention, a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.layer(torch.cat([self.token.expand(len(x), -1, -1), patches], 1))[:, 0])


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 192) / 14)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(F.linear(x.flatten(1), self.weight)), self.weight.t()).view_as(x)


class Recurrent(nn.Module):
    """One layer, used five times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(192, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        for _ in range(5):
            x = x + F.relu(self.again(x))
        return self.head(x)


class Named(nn.Module):
    """Gives a dict with an auxiliary head, as torchvision's segmentation nets do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out, self.aux = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.body(x))
        return {"out": self.out(x), "aux": self.aux(x)}


class Siamese(nn.Module):
    """One branch teaches the other through a stopped gradient; a frozen teacher hides in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.predictor, self.head = nn.Linear(192, 32), nn.Linear(32, 32), nn.Linear(32, 4)
        self.teacher = [nn.Linear(192, 32).requires_grad_(False)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.relu(self.body(x.flatten(1)))
        goal = (features.detach() + self.teacher[0](x.flatten(1))) / 2
        return self.head(features), (self.predictor(features) - goal).pow(2).mean()


def _frozen_body() -> Given:
    """Return a body that was trained a little and is frozen, with a head to train."""
    net = convnet(nn.BatchNorm2d)
    optimizer = sgd(net)
    for pictures, classes in 3 * pairs(labels):
        optimizer.zero_grad()
        F.cross_entropy(net(pictures), classes).backward()
        optimizer.step()
    optimizer.zero_grad()
    for part in net[:-1]:
        part.requires_grad_(False).eval()
    return net, pairs(labels), nn.CrossEntropyLoss(), sgd(net)


def _made(net: nn.Module, loss: Callable[[Any, Any], Tensor], target: Callable[[Tensor], Any] = labels) -> Given:
    return net, pairs(target), loss, sgd(net)


def one_hot(pictures: Tensor) -> Tensor:
    return F.one_hot(labels(pictures), 4).float()


def several(pictures: Tensor) -> Tensor:
    return (pictures.mean((2, 3)) > 0).float()


def soft(pictures: Tensor) -> Tensor:
    return (4 * one_hot(pictures)).softmax(1)


def weighted(out: Tensor, target: Tensor) -> Tensor:
    weight = 1 + target
    return (F.binary_cross_entropy_with_logits(out, target, reduction="none") * weight).sum() / weight.sum()


CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
SOUND: dict[str, Callable[[], Given]] = {
    "mlp": lambda: _made(mlp(), CE),
    "batch norm": lambda: _made(convnet(nn.BatchNorm2d), CE),
    "group norm, smoothing, weights": lambda: _made(
        convnet(lambda num: nn.GroupNorm(2, num)), nn.CrossEntropyLoss(torch.rand(4) + 0.5, label_smoothing=0.1)
    ),
    "dropout": lambda: _made(mlp(4, nn.Dropout(0.5)), CE),
    "residual": lambda: _made(Residual(), CE),
    "attention": lambda: _made(Attention(), CE),
    "tied": lambda: _made(Tied(), nn.MSELoss(), lambda pictures: pictures),
    "recurrent": lambda: _made(Recurrent(), CE),
    "frozen body": _frozen_body,
    "log-softmax and nll": lambda: _made(mlp(4, nn.LogSoftmax(1)), nn.NLLLoss()),
    "log of softmax": lambda: _made(mlp(4, nn.Softmax(1)), lambda out, y: F.nll_loss((out + 1e-8).log(), y)),
    "focal": lambda: _made(mlp(), lambda out, y: F.nll_loss((1 - out.softmax(1)) ** 2 * out.log_softmax(1), y)),
    "divergence": lambda: _made(mlp(4, nn.LogSoftmax(1)), nn.KLDivLoss(reduction="batchmean"), soft),
    "soft targets": lambda: _made(mlp(), CE, soft),
    "several labels": lambda: _made(mlp(3), BCE, several),
    "one-hot and binary": lambda: _made(mlp(), BCE, one_hot),
    "yes or no": lambda: _made(mlp(1), BCE, lambda x: several(x)[:, :1]),
    "amount": lambda: _made(mlp(1), nn.SmoothL1Loss(), lambda x: x.mean((1, 2, 3))[:, None] * 5),
    "u-net": lambda: _made(UNet(), BCE, masks),
    "u-net, sigmoid, bce": lambda: _made(UNet(nn.Sigmoid()), nn.BCELoss(), masks),
    "u-net, dice": lambda: _made(UNet(), lambda out, y: BCE(out, y) + soft_dice(out.sigmoid(), y), masks),
    "u-net, sigmoid, minus dice": lambda: _made(UNet(nn.Sigmoid()), lambda out, y: soft_dice(out, y) - 1, masks),
    "weighted mean": lambda: _made(UNet(), weighted, masks),
    "dict": lambda: _made(
        Named(), lambda out, y: CE(out["out"], y) + 0.4 * CE(out["aux"], y), lambda x: masks(x)[:, 0].long()
    ),
    "siamese": lambda: _made(Siamese(), lambda out, y: CE(out[0], y) + out[1]),
    "void": lambda: _made(
        nn.Conv2d(3, 2, 3, padding=1),
        nn.CrossEntropyLoss(ignore_index=255),
        lambda x: torch.where(x[:, 0] > 1.5, 255, masks(x)[:, 0].long()),
    ),
}
"""Sound nets, some of them unusual: every check is silent on them."""


@pytest.fixture(params=SOUND)
def sound(request: pytest.FixtureRequest) -> Given:
    """Net, batches, loss and optimizer of one of the sound nets."""
    torch.manual_seed(0)
    return SOUND[request.param]()
