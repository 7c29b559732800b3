"""Layers and nets of usual and unusual build, on pictures of soft noise; see `test_sound_layers`."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.checks import activity, freezing, init, linearity, mode, norm, skips, structure

FAMILIES = (mode, freezing, norm, init, activity, linearity, structure, skips)
CHECKS = tuple(check for family in FAMILIES for check in family.CHECKS)
CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
Make = Callable[[], Any]
"""Makes what `diagnose` takes."""


def conv(inside: int, outside: int, stride: int = 1, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, **more)


def conv_bn(inside: int, outside: int, stride: int = 1) -> list[nn.Module]:
    return [conv(inside, outside, stride, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


def pooled(*parts: nn.Module, width: int = 16) -> nn.Sequential:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def perceptron(sizes: Sequence[int], act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return a perceptron on pictures of 8 x 8."""
    layers = [(nn.Linear(a, b), act()) for a, b in pairwise((192, *sizes))]
    flat = [layer for one in layers for layer in one]
    return nn.Sequential(nn.Flatten(), *flat, nn.Linear(sizes[-1], 4))


def weighted(net: nn.Module) -> Iterator[Any]:
    return (module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear))


def he(net: nn.Module, gain: str = "relu") -> Any:
    for module in weighted(net):
        nn.init.kaiming_normal_(module.weight, nonlinearity=gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return net


def normal(net: nn.Module, std: float) -> Any:
    for module in weighted(net):
        nn.init.normal_(module.weight, 0, std)
    return net


def stack(depth: int, act: Callable[[], nn.Module], norm: Callable[[int], nn.Module] | None = None) -> nn.Sequential:
    parts: list[nn.Module] = [conv(3, 16), act()]
    for _ in range(depth - 1):
        parts += [conv(16, 16), *([norm(16)] if norm else []), act()]
    return pooled(*parts)


def weight_normed(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.utils.parametrizations.weight_norm(module)
    return net


class Sum(nn.Module):
    """A branch beside its input."""

    def __init__(self, *parts: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.branch, self.scale = nn.Sequential(*parts), nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


class Then(nn.Module):
    """A function as a layer; its second argument is whether the net is in training mode."""

    def __init__(self, function: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.training)


def pictures(num: int = 16, size: int = 16) -> Tensor:
    return F.avg_pool2d(3 * torch.randn(num, 3, size + 2, size + 2), 3, 1)


def labels(images: Tensor) -> Tensor:
    """Return the quarter of the picture that is brightest."""
    return F.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1).argmax(1)


def blobs(images: Tensor) -> Tensor:
    return (F.avg_pool2d(images.mean(1, keepdim=True), 5, 1, 2) > 0.03).float()


def given(
    net: nn.Module,
    target: Callable[[Tensor], Tensor] = labels,
    loss: nn.Module = CE,
    lr: float = 0.05,
    images: Sequence[Tensor] | None = None,
    adam: bool = False,
) -> Any:
    """Return what `diagnose` takes, with two batches of 16 pictures of 16 x 16 where no others are given."""
    images = [pictures() for _ in range(2)] if images is None else images
    trainable: Any = [tensor for tensor in net.parameters() if tensor.requires_grad] or net.parameters()
    optimizer = torch.optim.Adam(trainable, lr=lr) if adam else torch.optim.SGD(trainable, lr=lr, momentum=0.9)
    return net, [(x, target(x)) for x in images], loss, optimizer


def small(net: nn.Module, lr: float = 0.05, num: int = 16) -> Any:
    """Return what `diagnose` takes, with two batches of pictures of 8 x 8."""
    return given(net, lr=lr, images=[pictures(num, 8) for _ in range(2)])


Pairs = dict[str, dict[str, tuple[Make, Make]]]
"""By id and name: a net made ill, and the same one mended."""


def each(pairs: Pairs) -> Any:
    """Return the parameters of a test: an id, what makes the ill net, what makes the mended one."""
    return [pytest.param(id, *made, id=f"{id}: {name}") for id, named in pairs.items() for name, made in named.items()]


def seeded(make: Make) -> Any:
    torch.manual_seed(0)
    return make()
