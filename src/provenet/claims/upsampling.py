"""Claim 19: nearest upsampling is blocky, bilinear smooth, transposed convolution flexible, with a checkerboard."""

# N draws, C channels, H W pixels, s the factor (2), k kernel size; a phase is a place within a block of s x s pixels

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from provenet.claims.arms import words
from provenet.claims.claim import Claim, above, below, within
from provenet.claims.lab import Lab
from provenet.claims.segmenters import HEAD, Arms, Segmenter, effects, gain, row_of, train_arms
from provenet.core.rng import torch_generator
from provenet.nets.initialize import initialize_
from provenet.records.claim import Check, Dots, Finding, Gallery, Grid, Lines
from provenet.run.views import encode_png, fitted
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.init import Constant, He
from provenet.techniques.upsample import Bilinear, Nearest, PixelShuffle, Transposed, Upsample

NEAREST, BILINEAR, SHUFFLE = "nearest", "bilinear", "pixel_shuffle"
KERNEL_2, KERNEL_3, KERNEL_4 = "transposed, kernel 2", "transposed, kernel 3", "transposed, kernel 4"
MEMBERS: dict[str, Upsample] = {
    NEAREST: Nearest(),
    BILINEAR: Bilinear(),
    KERNEL_2: Transposed(kernel_size=2),
    KERNEL_3: Transposed(kernel_size=3),
    KERNEL_4: Transposed(kernel_size=4),
    SHUFFLE: PixelShuffle(),
}
STEPS = {"quick": 150, "full": 10_000}
SETTINGS = {
    NEAREST: "upsample=nearest",
    BILINEAR: "upsample=bilinear",
    KERNEL_2: "upsample=transposed upsample.kernel_size=2",
    KERNEL_3: "upsample=transposed upsample.kernel_size=3",
    SHUFFLE: "upsample=pixel_shuffle",
}
"""Of the trained arms; kernel 4 is measured by itself only."""
FACTOR, SIDE, CHANNELS, DRAWS = 2, 32, 8, 20
BORDER = 4
"""Pixels at each border of an enlarged map that are left out: there kernels reach over the edge."""
SMOOTH_PX = 3.0
"""Standard deviation of the blur that makes smooth maps, pixels."""
PICTURES = 16
"""Test pictures whose maps are looked at in trained nets."""
EXACT = 1e-9
"""What rounding in float64 may leave of a figure that is zero."""


def inner(maps: Tensor) -> Tensor:
    """Return enlarged maps without their border; whole blocks are left."""
    return maps[..., BORDER:-BORDER, BORDER:-BORDER]


def grid_power(maps: Tensor) -> Tensor:
    """Return the power of maps at the frequencies of the stride, N C: the checkerboard.

    Definition: the variance between the means of the s x s phases. By Parseval it is the power of the discrete Fourier
    transform at all multiples of 1 / s cycles a pixel but the constant.

    Args:
        maps: N C H W, sides multiples of s.
    """
    n, c, h, w = maps.shape
    phases = maps.reshape(n, c, h // FACTOR, FACTOR, w // FACTOR, FACTOR).mean((2, 4))
    return phases.flatten(2).var(2, correction=0)


def grid_share(maps: Tensor) -> float:
    """Return which share of the variance of maps lies at the stride's frequencies, all channels together."""
    return float(grid_power(maps).sum() / maps.flatten(2).var(2, correction=0).sum())


def blockiness(maps: Tensor) -> float:
    """Return 1 - a / b: a the mean squared step between neighbours of one block, b between neighbours of two blocks.

    1: pixels of a block are equal. 0: steps are alike inside and across, as on a plane that is enlarged exactly.

    Args:
        maps: N C H W, the first column begins a block.
    """
    steps = (maps[..., 1:] - maps[..., :-1]).square()
    return float(1 - steps[..., 0::FACTOR].mean() / steps[..., 1::FACTOR].mean())


def new_power(maps: Tensor) -> float:
    """Return which share of the variance of maps lies at frequencies that the small map cannot hold: above 1 / (2 s).

    Args:
        maps: N C H W.
    """
    power = torch.fft.fft2(maps).abs().square().mean((0, 1))
    power[0, 0] = 0
    limit = torch.tensor(1 / (2 * FACTOR), dtype=maps.dtype)
    # the frequency at the limit belongs to both sides
    rows, columns = (
        torch.heaviside(limit - torch.fft.fftfreq(length, dtype=maps.dtype).abs(), limit.new_tensor(0.5))
        for length in power.shape
    )
    return float(1 - (power * rows[:, None] * columns).sum() / power.sum())


def expected_new_power(order: int) -> float:
    """Return `new_power` of white noise enlarged by 2, in closed form.

    The filters are 2 cos^order(pi f): order 1 for nearest, 3 for bilinear. A side keeps
    a = integral of cos^(2 order) over [0, 1/4] / integral over [0, 1/2]; the share is 1 - a^2.

    Example:
        >>> round(expected_new_power(1), 4), round(1 - (0.5 + 1 / torch.pi) ** 2, 4)
        (0.3304, 0.3304)
    """
    places = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096 / 2
    power = torch.cos(torch.pi * places) ** (2 * order)
    return float(1 - (power[:2048].sum() / power.sum()) ** 2)


def noise(seed: int) -> Tensor:
    """Return white maps, 1 C H W, float64."""
    return torch.randn(1, CHANNELS, SIDE, SIDE, dtype=torch.float64, generator=torch_generator(seed, "upsampling"))


def smooth(seed: int) -> Tensor:
    """Return smooth maps without negative values, as features behind a ReLU are, 1 C H W, float64."""
    rows, columns = (torch.fft.fftfreq(SIDE, dtype=torch.float64) for _ in range(2))
    blur = torch.exp(-2 * (torch.pi * SMOOTH_PX) ** 2 * (rows[:, None] ** 2 + columns**2))
    maps = torch.fft.ifft2(torch.fft.fft2(noise(seed)) * blur).real
    return torch.relu(maps / maps.std() + 1)


def plane() -> Tensor:
    """Return maps that rise evenly from left to right, 1 C H W, float64."""
    return torch.arange(SIDE, dtype=torch.float64).expand(1, CHANNELS, SIDE, SIDE).contiguous()


def equal_taps(member: Upsample) -> nn.Module:
    """Return a member's layer with all weights equal, in float64."""
    layer = member.layer(CHANNELS, CHANNELS, FACTOR)
    initialize_(layer, Constant(value=1 / CHANNELS), seed=0)
    return layer.double()


def random_taps(member: Upsample, seed: int) -> nn.Module:
    """Return a member's layer with random weights (He), in float64."""
    layer = member.layer(CHANNELS, CHANNELS, FACTOR)
    initialize_(layer, He(), seed)
    return layer.double()


@dataclass(frozen=True)
class Bare:
    """What the layers do outside any net, by member.

    Args:
        grid: power at the stride's frequencies over all power, equal taps on a constant map.
        drawn: share of the variance at the stride's frequencies, random taps on smooth maps, one figure a draw.
        blocky: blockiness on a plane, equal taps.
        new: share of the variance at frequencies that the small map cannot hold, equal taps on noise, one a draw.
    """

    grid: dict[str, float]
    drawn: dict[str, list[float]]
    blocky: dict[str, float]
    new: dict[str, list[float]]


@torch.inference_mode()
def bare() -> Bare:
    """Measure the layers by themselves."""
    even = {name: equal_taps(member) for name, member in MEMBERS.items()}
    flat = {
        name: inner(layer(torch.ones(1, CHANNELS, SIDE, SIDE, dtype=torch.float64))) for name, layer in even.items()
    }
    return Bare(
        {name: float(grid_power(maps).sum() / maps.square().mean((2, 3)).sum()) for name, maps in flat.items()},
        {
            name: [grid_share(inner(random_taps(member, draw)(smooth(draw)))) for draw in range(DRAWS)]
            for name, member in MEMBERS.items()
        },
        {name: blockiness(inner(layer(plane()))) for name, layer in even.items()},
        {name: [new_power(inner(layer(noise(draw)))) for draw in range(DRAWS)] for name, layer in even.items()},
    )


@torch.inference_mode()
def largest_difference() -> float:
    """Return how far transposed convolutions with chosen weights are from nearest and bilinear upsampling."""
    maps, one = noise(0), torch.ones(2, dtype=torch.float64)
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=torch.float64)
    worst = 0.0
    for name, kernel, mode in ((KERNEL_2, one, "nearest"), (KERNEL_4, tent, "bilinear")):
        layer: Any = MEMBERS[name].layer(CHANNELS, CHANNELS, FACTOR).double()
        layer.weight.copy_(torch.eye(CHANNELS, dtype=torch.float64)[..., None, None] * kernel[:, None] * kernel)
        layer.bias.zero_()
        wanted = nn.Upsample(scale_factor=FACTOR, mode=mode)(maps)
        worst = max(worst, float((inner(layer(maps)) - inner(wanted)).abs().max()))
    return worst


@torch.inference_mode()
def trained_share(lab: Lab, segmenter: Segmenter) -> float:
    """Return `grid_share` of what the last upsampling of a trained U-Net makes of test pictures."""
    trained = segmenter.trained
    ids = trained.session.dataset.splits["test"][:PICTURES]
    images, _ = lab.segmentation.images(trained.session, ids)
    caught: list[Tensor] = []
    net: Any = trained.net
    handle = net.decoder[-1].up.register_forward_hook(lambda module, given, made: caught.append(made))
    net(images)
    handle.remove()
    maps = inner(caught[0]).double()
    return grid_share(maps[..., : maps.shape[2] // FACTOR * FACTOR, : maps.shape[3] // FACTOR * FACTOR])


def measure(lab: Lab) -> Finding:
    """Measure the layers by themselves, then in U-Nets that differ in nothing else."""
    alone, arms = bare(), train_arms(lab, SETTINGS, STEPS[lab.scale])
    grids = {name: [trained_share(lab, net) for net in arm] for name, arm in arms.items()}
    gains = {name: gain(arm, arms[BILINEAR], "iou") for name, arm in arms.items() if name != BILINEAR}
    return Finding(
        checks=_checks(alone, grids, len(lab.seeds)),
        said=_said(alone, grids, gains),
        charts=(_spectra("equal weights"), _spectra("random weights"), _gallery(), _grids(grids), _scores(gains)),
        tables=(_layers(alone, grids), _nets(arms)),
        effects=tuple(
            one
            for name in gains
            for one in effects(f"upsample.{name} against upsample.bilinear", arms[name], arms[BILINEAR])
        ),
        trainings=sum(map(len, arms.values())),
    )


def uneven(grids: dict[str, list[float]]) -> Figure:
    """Return how much more grid kernel 3 prints in trained nets than kernel 2, seed by seed."""
    return paired_difference(grids[KERNEL_3], grids[KERNEL_2])


def _checks(alone: Bare, grids: dict[str, list[float]], n: int) -> tuple[Check, ...]:
    smoother = paired_difference(alone.new[BILINEAR], alone.new[NEAREST])
    others = max(power for name, power in alone.grid.items() if name != KERNEL_3)
    contributions = np.outer([1, 2], [1, 2])
    expected = float(contributions.var() / np.square(contributions).mean())
    grid = Figure(alone.grid[KERNEL_3])
    return (
        within("nearest: blockiness (1: pixels of a block are equal)", Figure(alone.blocky[NEAREST]), 1, 1, 1),
        within("bilinear: blockiness on a plane", Figure(alone.blocky[BILINEAR]), -EXACT, EXACT, 1),
        below("new high frequencies of bilinear less nearest's, on noise", smoother, 0, DRAWS),
        within("transposed: distance from nearest and bilinear", Figure(largest_difference()), 0, EXACT, 1),
        within("kernel 3, equal weights: grid power (0.19)", grid, expected - EXACT, expected + EXACT, 1),
        within("all others, equal weights: largest grid power", Figure(others), 0, EXACT, 1),
        above("trained: grid share of kernel 3 less that of kernel 2", uneven(grids), 0, n),
    )


def tells(figure: Figure) -> bool:
    """Return whether an interval leaves zero out."""
    return figure.low is not None and figure.high is not None and not figure.low <= 0 <= figure.high


def _said(alone: Bare, grids: dict[str, list[float]], gains: dict[str, Figure]) -> str:
    """Return what came out, in words."""
    grid = {name: fmean(shares) for name, shares in grids.items()}
    drawn = {name: fmean(alone.drawn[name]) for name in (KERNEL_2, KERNEL_3, KERNEL_4)}
    told = [name for name, figure in gains.items() if tells(figure)]
    scores = (
        f"its score is told apart from bilinear's for {', '.join(told)}"
        if told
        else ("no member's score is told apart from bilinear's")
    )
    return (
        f"With equal weights kernel 3 puts {alone.grid[KERNEL_3]:.0%} of its power on the stride's frequencies, "
        f"kernels 2 and 4 put {alone.grid[KERNEL_2]:.0%} and {alone.grid[KERNEL_4]:.0%} there. With random weights "
        f"(He) kernels 2, 3 and 4 have {drawn[KERNEL_2]:.0%}, {drawn[KERNEL_3]:.0%} and {drawn[KERNEL_4]:.0%} of their "
        "variance there: taps that differ weigh the pixels of a block differently, so a kernel that the stride divides "
        "can be free of the grid and need not be. In trained U-Nets the last upsampling has "
        f"{grid[KERNEL_2]:.2%} there with kernel 2, {grid[KERNEL_3]:.2%} with kernel 3, {grid[BILINEAR]:.2%} as "
        f"bilinear and {grid[SHUFFLE]:.2%} as pixel_shuffle, which starts with equal taps. On segmentation {scores}."
    )


@torch.inference_mode()
def spectrum(layers: Sequence[nn.Module]) -> tuple[tuple[float, float], ...]:
    """Return the power of enlarged smooth maps by horizontal frequency: cycles a pixel, log10 of the share.

    Args:
        layers: one for each draw of the maps.
    """
    total = torch.zeros(())
    for draw, layer in enumerate(layers):
        maps = inner(layer(smooth(draw)))
        maps = (maps - maps.mean((2, 3), keepdim=True)) * torch.hann_window(maps.shape[3], dtype=maps.dtype)
        total = total + torch.fft.rfft(maps).abs().square().mean((0, 1, 2))
    shares = (total / total.sum()).clamp_min(1e-12).log10()
    frequencies = torch.fft.rfftfreq(2 * (len(shares) - 1))
    return tuple(zip(frequencies.tolist(), shares.tolist(), strict=True))


def _spectra(weights: str) -> Lines:
    """Return the spectra of four members with equal or with random weights."""
    lines = {}
    for name in (NEAREST, BILINEAR, KERNEL_2, KERNEL_3):
        member = MEMBERS[name]
        equal = weights == "equal weights"
        lines[name] = spectrum([equal_taps(member) if equal else random_taps(member, draw) for draw in range(DRAWS)])
    return Lines(
        title=f"Spectrum of enlarged smooth maps, {weights}",
        x="cycles a pixel, horizontally",
        y="log10 of the share of power",
        lines=lines,
        note=f"Mean of {DRAWS} draws. The stride's frequency is 0.5: a peak there is a checkerboard.",
    )


@torch.inference_mode()
def _gallery() -> Gallery:
    """Return one soft spot as each member enlarges it with equal weights."""
    places = torch.arange(16, dtype=torch.float64) - 7.5
    spot = torch.exp(-(places[:, None] ** 2 + places**2) / 32)
    pictures = [("before", _png(spot))]
    for name, member in MEMBERS.items():
        pictures.append((name, _png(equal_taps(member)(spot.expand(1, CHANNELS, 16, 16))[0, 0])))
    note = "All weights of a layer are equal, so that only the form of the layer shows."
    return Gallery(title="A soft spot, enlarged", pictures=tuple(pictures), note=note)


def _png(values: Tensor) -> str:
    levels = (255 * values / values.max()).round().to(torch.uint8).numpy()
    return base64.b64encode(encode_png(fitted(levels, 160))).decode()


def _grids(grids: dict[str, list[float]]) -> Dots:
    figures = {name: mean_interval(shares) for name, shares in grids.items()}
    rows = tuple((name, figure.value, figure.low, figure.high) for name, figure in figures.items())
    note = "Share of the variance at the stride's frequencies: last upsampling of trained U-Nets, test pictures."
    return Dots(title="What is left of the grid after training", rows=rows, note=note)


def _scores(gains: dict[str, Figure]) -> Dots:
    rows = tuple((f"{name} less bilinear", figure.value, figure.low, figure.high) for name, figure in gains.items())
    return Dots(title="Differences of test IoU, paired over seeds", rows=rows, note="95 % intervals.")


def _layers(alone: Bare, grids: dict[str, list[float]]) -> Grid:
    """Return what was measured on the layers."""
    closed = {NEAREST: f" ({expected_new_power(1):.3f})", BILINEAR: f" ({expected_new_power(3):.3f})"}
    rows = tuple(
        (
            name,
            f"{alone.grid[name]:.3f}",
            words(mean_interval(alone.drawn[name])),
            words(mean_interval(grids[name])) if name in grids else "not trained",
            f"{alone.blocky[name]:.2f}",
            words(mean_interval(alone.new[name])) + closed.get(name, ""),
        )
        for name in MEMBERS
    )
    head = ("layer", "grid power, equal weights", "grid share, random weights", "grid share, trained")
    measures = ("blockiness on a plane", "new high frequencies (closed form)")
    return Grid(title="The layers by themselves, and the last one of trained nets", head=(*head, *measures), rows=rows)


def _nets(arms: Arms) -> Grid:
    rows = tuple((name, *row_of(arm)) for name, arm in arms.items())
    return Grid(title="Cost and test scores of the U-Nets, mean over seeds", head=("upsampling", *HEAD), rows=rows)


CLAIM = Claim(
    statement=(
        "Nearest upsampling is blocky and bilinear smooth; a transposed convolution is flexible, it can be either, but "
        "prints a checkerboard where the stride does not divide its kernel."
    ),
    experiment=(
        "provenet's layers enlarge planes, noise and smooth maps by 2, with equal and with random weights; the "
        "checkerboard is the power at the stride's frequencies, blockiness compares steps within blocks and across. "
        "Then U-Nets that differ in the upsampling alone are trained on the same pictures in the same order with the "
        "same number of updates, and the checkerboard is measured in what their last "
        "upsampling makes of test pictures."
    ),
    task="segmentation",
    measure=measure,
)
