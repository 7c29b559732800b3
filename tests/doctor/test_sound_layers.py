"""Sound nets of unusual build: checks of initialisation, structure, norms and modes say nothing loud of them."""

# N batch, C channels

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.layers import BCE, CHECKS, Sum, blobs, conv, given, he, pooled, stack, weight_normed
from torch import Tensor, nn

from provenet import nets
from provenet.techniques.upsample import Transposed


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class Dense(nn.Module):
    """Features are added side by side, with dropout before the next batch norm."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.layers = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv(c, 8)) for c in (8, 16, 24))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.dropout(layer(x), self.p, self.training)], 1)
        return x


class Context(nn.Module):
    """Dilated branches and a pooled one, each with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            for d in (1, 2, 4, 6)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(80, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = self.pool(x).expand(-1, -1, *x.shape[2:])
        return self.head(torch.cat([*(branch(x) for branch in self.branches), context], 1))


class Standardized(nn.Conv2d):
    """Standardises its weight by the function of batch norm, as timm does."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.weight.reshape(1, len(self.weight), -1), None, None, training=True, momentum=0.0)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, self.stride, self.padding)


class Latent(nn.Module):
    """Samples what lies between its halves, also in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(3 * 256, 16), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mean, log_std = self.into(x.flatten(1)).chunk(2, 1)
        return self.out(torch.relu(mean + torch.randn_like(mean) * log_std.exp()))


class Modern(nn.Module):
    """Depthwise convolution, norm over channels and a pointwise net, with a small scale on the branch."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.norm = nn.Conv2d(16, 16, 7, padding=3, groups=16), nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(torch.full((16,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.narrow(F.gelu(self.wide(self.norm(self.depth(x).permute(0, 2, 3, 1)))))
        return x + (self.scale * inner).permute(0, 3, 1, 2)


def inverted(width: int) -> nn.Module:
    """Return a block with a linear bottleneck."""
    wide = 4 * width
    parts = [nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6(), conv(wide, wide, groups=wide)]
    return Sum(*parts, nn.BatchNorm2d(wide), nn.ReLU6(), nn.Conv2d(wide, width, 1), nn.BatchNorm2d(width))


def basic() -> nn.Module:
    """Return the block of a residual net whose last norm can be set to zero."""
    return Sum(conv(16, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 16), nn.BatchNorm2d(16))


def zeroed(block: nn.Module) -> nn.Module:
    nn.init.zeros_(list(block.modules())[-1].weight)
    return block


def fixup() -> nn.Module:
    net = he(pooled(conv(3, 16), *(Sum(conv(16, 16), nn.ReLU(), conv(16, 16)) for _ in range(4))))
    for module in net:
        if isinstance(module, Sum):
            nn.init.zeros_(module.branch[2].weight)
    nn.init.zeros_(net[-1].weight)
    return net


def pretrained(body_training: bool, trainable: bool) -> nn.Module:
    """Return a net whose norms have seen data, with a new head."""
    net = stack(4, nn.ReLU, nn.BatchNorm2d)
    for _ in range(5):
        net(2 * torch.randn(16, 3, 16, 16) + 1)
    for part in net[:-1]:
        part.requires_grad_(trainable).train(body_training)
    return net


def wide_residual() -> nn.Module:
    parts = [nn.BatchNorm2d(16), nn.ReLU(), conv(16, 16), nn.Dropout(0.3), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 16)]
    return pooled(conv(3, 16), Sum(*parts), nn.BatchNorm2d(16), nn.ReLU())


def fast_head() -> nn.Module:
    head = [nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.25), nn.Linear(16, 32), nn.ReLU(), nn.BatchNorm1d(32)]
    body = [conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, *head, nn.Dropout(0.5), nn.Linear(32, 4))


def lenet(act: Callable[[], nn.Module]) -> nn.Module:
    body = [nn.Conv2d(3, 6, 5), act(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 3), act(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(64, 32), act(), nn.Linear(32, 4))


def narrow_vgg() -> nn.Module:
    parts: list[nn.Module] = []
    width = 3
    for wanted in (8, 8, 0, 16, 16, 0, 16, 16, 16, 16, 0, 16, 16, 16, 16, 0):
        parts += [conv(width, wanted), nn.BatchNorm2d(wanted), nn.ReLU()] if wanted else [nn.MaxPool2d(2)]
        width = wanted or width
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 4))


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "he, no norm": lambda: he(stack(10, nn.ReLU)),
    "selu": lambda: he(stack(12, nn.SELU), "linear"),
    "five default layers": lambda: stack(4, nn.ReLU),
    "tanh": lambda: lenet(nn.Tanh),
    "sigmoid behind norm": lambda: stack(5, nn.Sigmoid, nn.BatchNorm2d),
    "zero branches and head": fixup,
    "zero scales": lambda: pooled(conv(3, 16), *(zeroed(basic()) for _ in range(3))),
    "small scale on branches": lambda: pooled(nn.Conv2d(3, 16, 4, 4), Modern(), Modern(), Modern()),
    "linear bottlenecks": lambda: pooled(conv(3, 16, 2), *(inverted(16) for _ in range(4))),
    "gates": lambda: pooled(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), Gate(16), conv(16, 16), nn.ReLU(), Gate(16)),
    "dense, dropout 0.2": lambda: pooled(conv(3, 8), Dense(0.2), nn.BatchNorm2d(32), nn.ReLU(), width=32),
    "wide residual, dropout 0.3": wide_residual,
    "batch norm in the head": fast_head,
    "vgg-13": narrow_vgg,
    "weight norm": lambda: weight_normed(he(stack(10, nn.ReLU))),
    "standardised weights": lambda: pooled(Standardized(3, 16, 3), nn.ReLU(), Standardized(16, 16, 3), nn.ReLU()),
    "sampling": Latent,
    "masked inputs": lambda: nn.Sequential(nn.Dropout(0.8), *stack(3, nn.ReLU, nn.BatchNorm2d)),
    "leaky, momentum 0.01": lambda: stack(5, nn.LeakyReLU, lambda c: nn.BatchNorm2d(c, momentum=0.01)),
    "mean of all batches": lambda: stack(3, nn.ReLU, lambda c: nn.BatchNorm2d(c, momentum=None)),
    "instance norm": lambda: stack(3, nn.ReLU, nn.InstanceNorm2d),
    "frozen body": lambda: pretrained(body_training=False, trainable=False),
    "norms held while tuning": lambda: pretrained(body_training=False, trainable=True),
    "all tuned": lambda: pretrained(body_training=True, trainable=True),
    "one linear layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4)),
    "zero linear layer": lambda: zeroed(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4))),
    "own residual net": lambda: nets.resnet(4, depth=8),
}
SEGMENTERS: dict[str, Callable[[], nn.Module]] = {
    "own u-net": lambda: nets.unet(1, depth=3, width=8),
    "own u-net, transposed": lambda: nets.unet(1, depth=2, width=8, upsample=Transposed()),
    "context": lambda: nn.Sequential(conv(3, 16), nn.ReLU(), Context()),
    "upsampling by 4 / 2": lambda: nn.Sequential(conv(3, 8, 2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)),
    "upsampling by 2 / 2": lambda: nn.Sequential(conv(3, 8, 2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, 2)),
}


def made(name: str) -> Any:
    torch.manual_seed(0)
    if name in CLASSIFIERS:
        return given(CLASSIFIERS[name]())
    return given(SEGMENTERS[name](), blobs, BCE)


@pytest.mark.parametrize("name", [*CLASSIFIERS, *SEGMENTERS])
def test_nothing_loud_is_said_of_an_unusual_build(look, name):
    found = look(CHECKS, made(name))
    assert found.healthy, str(found)


def test_nothing_loud_is_said_of_a_sound_net(look, sound):
    found = look(CHECKS, sound)
    assert found.healthy, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSIFIERS, *SEGMENTERS])
def test_the_probe_finds_nothing_in_an_unusual_build(look, name):
    found = look(CHECKS, made(name), ("static", "passes", "probe"))
    assert found.healthy, str(found)


@pytest.mark.slow
def test_the_probe_finds_nothing_in_a_sound_net(look, sound):
    found = look(CHECKS, sound, ("static", "passes", "probe"))
    assert found.healthy, str(found)
