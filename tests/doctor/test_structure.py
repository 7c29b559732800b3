"""Checks of structure: each finds nets made ill in several ways, before all else, and no mended one."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.layers import (
    BCE,
    CHECKS,
    Pairs,
    Sum,
    blobs,
    conv,
    conv_bn,
    each,
    given,
    he,
    perceptron,
    pictures,
    pooled,
    seeded,
    small,
    stack,
)
from torch import Tensor, nn

from provenet.doctor.chains import weight_of
from provenet.doctor.recorder import Recorder


class Unet(nn.Module):
    """One level down and up; something happens to the skip, and to what comes up, before they meet."""

    def __init__(
        self,
        skip: Callable[[Tensor], Tensor] = lambda x: x,
        up: nn.Module | None = None,
        act: Callable[[], nn.Module] = nn.ReLU,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.skip = skip
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=padding, bias=False), nn.BatchNorm2d(8), act())
        self.deep = nn.Sequential(
            *(nn.Conv2d(8, 16, 3, padding=padding, bias=False), nn.BatchNorm2d(16), act()),
            *(nn.Conv2d(16, 16, 3, padding=padding, bias=False), nn.BatchNorm2d(16), act()),
        )
        self.up = up or nn.Upsample(scale_factor=2, mode="bilinear")
        self.join = nn.Sequential(conv(24, 8, bias=False), nn.BatchNorm2d(8), act(), nn.Conv2d(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        up = self.up(self.deep(F.max_pool2d(skip, 2)))
        skip = self.skip(skip)[..., : up.shape[2], : up.shape[3]]
        up = F.pad(up, (0, skip.shape[3] - up.shape[3], 0, skip.shape[2] - up.shape[2]))
        return F.interpolate(self.join(torch.cat([skip, up], 1)), size=x.shape[2:], mode="bilinear")


class Thrown(nn.Module):
    """Layers whose activations are computed, and kept or thrown away."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.kept = kept
        self.layers = nn.ModuleList(conv(a, 16) for a in (3, 16, 16, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            positive = F.relu(x)
            x = positive if self.kept else x
        return self.head(x.mean((2, 3)))


def middle(x: Tensor) -> Tensor:
    """Cut a map to what two unpadded convolutions at half its size leave of it, around its middle."""
    return x[..., 4:-4, 4:-4]


def segmented(net: nn.Module, size: int = 32) -> object:
    return given(net, blobs, BCE, images=[pictures(8, size) for _ in range(2)])


def plain(depth: int, width: int = 4) -> nn.Module:
    parts = [layer for _ in range(depth) for layer in conv_bn(width, width)]
    return pooled(*conv_bn(3, width), *parts, width=width)


def residual(depth: int, width: int = 4) -> nn.Module:
    blocks = [Sum(*conv_bn(width, width), *conv_bn(width, width)) for _ in range(depth // 2)]
    return pooled(*conv_bn(3, width), *blocks, width=width)


def deep_perceptron(depth: int, skips: bool) -> nn.Module:
    layers = [[nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU()] for _ in range(depth)]
    blocks = [Sum(*layer) if skips else nn.Sequential(*layer) for layer in layers]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), *blocks, nn.Linear(16, 4))


def stages(act: Callable[[], nn.Module]) -> nn.Module:
    """Return a net whose activations are all within branches, as in ConvNeXt: its stem, steps and head have none."""
    parts = [conv(3, 16)]
    for _ in range(2):
        parts += [Sum(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 32, 1), act(), nn.Conv2d(32, 16, 1))]
        parts += [conv(16, 16, 2)]
    return pooled(*parts)


def shrinking(steps: int, depth: int) -> nn.Module:
    """Return a net whose first layers halve the map, as many as it is told."""
    parts = [layer for index in range(depth) for layer in conv_bn(16 if index else 3, 16, 1 + (index < steps))]
    return pooled(*parts)


def upsampled(up: nn.Module) -> nn.Module:
    return nn.Sequential(*conv_bn(3, 8, 2), *conv_bn(8, 8), up, nn.ReLU(), nn.Conv2d(8, 1, 1))


def double(between: Callable[[], nn.Module]) -> nn.Module:
    """Return blocks of two convolutions with something between them, and ReLU behind."""
    parts: list[nn.Module] = []
    for size in (3, 16, 16):
        parts += [conv(size, 16), nn.BatchNorm2d(16), between(), conv(16, 16), nn.BatchNorm2d(16), nn.ReLU()]
    return pooled(*parts)


def mlp(between: Callable[[], nn.Module]) -> nn.Module:
    """Return the second half of a transformer's block, on places of a map."""
    return Sum(nn.BatchNorm2d(16), nn.Conv2d(16, 64, 1), between(), nn.Dropout(0.1), nn.Conv2d(64, 16, 1))


def split_in_two() -> nn.Module:
    """Return layers that are split on purpose: a row and a column of one kernel, a narrow middle."""
    parts: list[nn.Module] = []
    for size in (3, 16):
        parts += [nn.Conv2d(size, 16, (1, 3), padding=(0, 1)), nn.Conv2d(16, 16, (3, 1), padding=(1, 0)), nn.ReLU()]
    return pooled(*parts, nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(4, 16, 3, padding=1), nn.ReLU())


PAIRS: Pairs = {
    "missing-nonlinearity": {
        "convolutions alone": (lambda: given(he(stack(4, nn.Identity))), lambda: given(he(stack(4, nn.ReLU)))),
        "linear layers alone": (
            lambda: small(perceptron([32, 32], nn.Identity)),
            lambda: small(perceptron([32, 32])),
        ),
        "norms in between": (
            lambda: given(stack(4, nn.Identity, nn.BatchNorm2d)),
            lambda: given(stack(4, nn.ReLU, nn.BatchNorm2d)),
        ),
        "thrown away": (lambda: given(he(Thrown(False))), lambda: given(he(Thrown(True)))),
        "u-net": (lambda: segmented(Unet(act=nn.Identity)), lambda: segmented(Unet())),
        "an mlp of a transformer": (
            lambda: given(pooled(conv(3, 16), *(mlp(nn.Identity) for _ in range(2)))),
            lambda: given(pooled(conv(3, 16), *(mlp(nn.GELU) for _ in range(2)))),
        ),
        "one in two forgotten": (lambda: given(double(nn.Identity)), lambda: given(double(nn.ReLU))),
        "residual": (
            lambda: given(pooled(conv(3, 16), *(Sum(conv(16, 16), nn.BatchNorm2d(16)) for _ in range(3)))),
            lambda: given(pooled(conv(3, 16), *(Sum(*conv_bn(16, 16), conv(16, 16)) for _ in range(3)))),
        ),
        "steps down between residual blocks": (
            lambda: given(stages(nn.Identity)),
            lambda: given(stages(nn.GELU)),
        ),
    },
    "spatial-collapse": {
        "strides": (lambda: given(shrinking(4, 7)), lambda: given(shrinking(2, 7))),
        "poolings": (
            lambda: given(pooled(*conv_bn(3, 16), *[nn.MaxPool2d(2)] * 4, *conv_bn(16, 16), *conv_bn(16, 16))),
            lambda: given(pooled(*conv_bn(3, 16), nn.MaxPool2d(2), *conv_bn(16, 16), *conv_bn(16, 16))),
        ),
        "nothing left": (
            lambda: given(pooled(*conv_bn(3, 16), *[nn.MaxPool2d(2)] * 5, *conv_bn(16, 16))),
            lambda: given(pooled(*conv_bn(3, 16), *[nn.MaxPool2d(2)] * 2, *conv_bn(16, 16))),
        ),
        "kernel larger than what is left": (
            lambda: given(pooled(*conv_bn(3, 16, 2), nn.MaxPool2d(4), nn.Conv2d(16, 16, 5), nn.ReLU())),
            lambda: given(pooled(*conv_bn(3, 16, 2), nn.MaxPool2d(4), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU())),
        ),
    },
    "checkerboard-upsampling": {
        "3 at stride 2": (
            lambda: segmented(upsampled(nn.ConvTranspose2d(8, 8, 3, 2, 1, 1))),
            lambda: segmented(upsampled(nn.ConvTranspose2d(8, 8, 4, 2, 1))),
        ),
        "5 at stride 2": (
            lambda: segmented(upsampled(nn.ConvTranspose2d(8, 8, 5, 2, 2, 1))),
            lambda: segmented(upsampled(nn.ConvTranspose2d(8, 8, 6, 2, 2))),
        ),
        "in a u-net": (
            lambda: segmented(Unet(up=nn.ConvTranspose2d(16, 16, 3, 2, 1, 1))),
            lambda: segmented(Unet(up=nn.ConvTranspose2d(16, 16, 2, 2))),
        ),
    },
    "skip-misaligned": {
        "cut in a corner": (
            lambda: segmented(Unet(lambda x: x[..., :-8, :-8], padding=0)),
            lambda: segmented(Unet(middle, padding=0)),
        ),
        "mirrored": (lambda: segmented(Unet(lambda x: x.flip(3))), lambda: segmented(Unet())),
        "rows and columns exchanged": (
            lambda: segmented(Unet(lambda x: x.transpose(2, 3))),
            lambda: segmented(Unet()),
        ),
        "rolled": (lambda: segmented(Unet(lambda x: x.roll(6, 2))), lambda: segmented(Unet())),
    },
}
BY_PROBE: Pairs = {
    "deep-plain-net": {
        "convolutions": (lambda: small(plain(28, 8)), lambda: small(residual(28, 8))),
        "linear layers": (
            lambda: small(deep_perceptron(44, False), 0.02),
            lambda: small(deep_perceptron(44, True), 0.02),
        ),
    },
}


@pytest.mark.parametrize(("id", "ill", "mended"), each(PAIRS))
def test_a_cause_is_named_first_and_is_gone_when_mended(look, id, ill, mended):
    found, after = look(CHECKS, seeded(ill)), look(CHECKS, seeded(mended))
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert after.healthy, str(after)


def test_a_map_that_is_split_in_two_on_purpose_is_left_alone(look):
    assert not look(CHECKS, seeded(lambda: given(he(split_in_two())))).findings


def test_a_run_that_is_the_exception_is_an_info(look):
    def net(*between: nn.Module) -> nn.Module:
        layers = [nn.Linear(32, 32), *between, nn.Linear(32, 32), *between, nn.Linear(32, 32), nn.ReLU()]
        return nn.Sequential(*perceptron([32] * 5)[:-1], *layers, nn.Linear(32, 4))

    found, after = (look(CHECKS, small(he(seeded(make)))) for make in (net, lambda: net(nn.ReLU())))
    assert [(one.id, one.severity) for one in found.findings] == [("missing-nonlinearity", "info")]
    assert not after.findings


@pytest.mark.slow
@pytest.mark.parametrize(("id", "ill", "mended"), each(BY_PROBE))
def test_the_probe_confirms_what_one_batch_does_not_prove(look, id, ill, mended):
    costs = ("static", "passes", "probe")
    found, after = look(CHECKS, seeded(ill), costs), look(CHECKS, seeded(mended), costs)
    assert found.findings and found.findings[0].loud and found.findings[0].id == id, str(found)
    assert after.healthy, str(after)


@pytest.mark.parametrize(
    ("layer", "values", "axis", "fan_in"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8), 0, 18),
        (nn.ConvTranspose2d(4, 6, 4, 2), (2, 4, 8, 8), 1, 16),
        (nn.ConvTranspose1d(4, 6, 4, 2, groups=2), (2, 4, 8), 1, 4),
        (nn.Linear(5, 7), (2, 5), 0, 5),
    ],
    ids=["groups", "transposed", "transposed, groups", "linear"],
)
def test_the_fan_in_is_what_a_unit_adds_up(layer, values, axis, fan_in):
    recorder, inputs = Recorder(layer), torch.randn(values)
    with recorder.recording() as trace:
        layer(inputs)
    found = weight_of(trace, trace.ops[0])
    assert (found.name, found.made, found.axis, found.fan_in) == ("weight", False, axis, fan_in)
