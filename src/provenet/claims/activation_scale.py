"""Claim 2: the scale of weights decides whether signals survive depth, forward and backward."""

# L layers, D draws of weights, N inputs, W units a layer

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provenet.claims.claim import Claim, above, below, within
from provenet.claims.lab import Lab
from provenet.core.rng import torch_generator
from provenet.records.claim import Check, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval
from provenet.techniques.activation import Activation, ReLU, Tanh
from provenet.techniques.init import He, Init, Normal, Xavier

DEPTH = 50
WIDTH = {"quick": 256, "full": 1024}
DRAWS = {"quick": 8, "full": 32}
INPUTS = 64
STEADY = (0.95, 1.05)
"""Factors a layer that count as keeping the scale: at most 5 % up or down."""
SMALL, LARGE = 0.02, 0.2
"""Standard deviations of weights that are too small and too large for these widths."""
DECADES = 3.0
"""Powers of ten over all layers from which on a signal has vanished or blown up."""

WAYS = {False: "forward", True: "backward"}

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """An activation and the law of the weights in front of it."""

    activation: Activation
    init: Init


ARMS = {
    "tanh, xavier": Arm(Tanh(), Xavier(distribution="normal")),
    "tanh, too small": Arm(Tanh(), Normal(std=SMALL)),
    "tanh, too large": Arm(Tanh(), Normal(std=LARGE)),
    "relu, he": Arm(ReLU(), He(mode="fan_in")),
    "relu, xavier": Arm(ReLU(), Xavier(distribution="normal")),
    "relu, too small": Arm(ReLU(), Normal(std=SMALL)),
    "relu, too large": Arm(ReLU(), Normal(std=LARGE)),
}


@dataclass(frozen=True)
class Scales:
    """Standard deviation of each layer's output, and of the gradient that reaches it, from layer 1 on; L, or D L."""

    forward: Curve
    backward: Curve

    def factor(self, backward: bool) -> Curve:
        """Return the factor a layer from the first layer to the last, or from the last to the first."""
        way = self.backward[..., ::-1] if backward else self.forward
        factor: Curve = (way[..., -1] / way[..., 0]) ** (1 / (way.shape[-1] - 1))
        return factor


Found = dict[str, Scales]


def moments(activation: Activation, std: float) -> tuple[float, float, float]:
    """Return the means of f(z), f(z)^2 and f'(z)^2 over z ~ N(0, std^2), for an activation f.

    By the trapezoid rule with nodes on either side of 0, where the slope of rectifiers jumps.

    Example:
        >>> [round(moment, 4) for moment in moments(ReLU(), 2.0)]
        [0.7979, 2.0, 0.5]
    """
    z = torch.linspace(-12.0, 12.0, 24_000, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        values = activation.layer()(std * z)
        (slopes,) = torch.autograd.grad(values.sum(), z)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    kinds = (values, values**2, (slopes / std) ** 2)
    first, second, slope = (float(torch.trapezoid(kind * density, z).detach()) for kind in kinds)
    return first, second, slope


def closed_form(activation: Activation, weight_std: float, width: int, depth: int) -> Scales:
    """Return what wide layers do on average.

    With q the mean square of a layer's output, the next layer's sums z are normal of variance s^2 = W var(w) q, its
    output has mean square E f(z)^2 and variance E f(z)^2 - (E f(z))^2; a gradient's mean square is multiplied by
    W var(w) E f'(z)^2 on its way back through the layer. For a ReLU both factors are W var(w) / 2.

    Args:
        activation: f.
        weight_std: sqrt(var(w)).
        width: W.
        depth: L.

    Returns:
        For inputs and output gradients of mean 0 and variance 1.

    Source: Glorot and Bengio (2010), section 4.2; He et al. (2015), section 2.2; for tanh beyond its linear range
        Schoenholz et al. (2016), Deep Information Propagation (arXiv 1611.01232), section 3.
    """
    gain, square = weight_std**2 * width, 1.0
    forward, slopes = np.empty(depth), np.empty(depth)
    for layer in range(depth):
        first, square, slopes[layer] = moments(activation, math.sqrt(gain * square))
        forward[layer] = math.sqrt(square - first**2)
    back = np.append(np.cumprod((gain * slopes)[:0:-1])[::-1], 1.0)
    return Scales(forward, np.sqrt(back))


def measured(arm: Arm, width: int, draws: int) -> Scales:
    """Return the scales in nets of square layers, D L, for normal inputs and output gradients."""
    scales = [_draw(arm, width, draw) for draw in range(draws)]
    return Scales(*(np.array([getattr(one, way) for one in scales]) for way in ("forward", "backward")))


def _draw(arm: Arm, width: int, draw: int) -> Scales:
    """Return the scales of one net."""
    layer, generator = arm.activation.layer(), torch_generator(draw, "claims/activation_scale")
    signal = torch.randn(INPUTS, width, generator=generator, dtype=torch.float64, requires_grad=True)
    outputs: list[Tensor] = []
    weight = torch.empty(width, width, dtype=torch.float64)
    for _ in range(DEPTH):
        arm.init.fill_(weight, generator)
        signal = layer(signal @ weight.T.clone())
        outputs.append(signal)
    arriving = torch.randn(INPUTS, width, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(signal, outputs, arriving)
    return Scales(*(np.array([float(part.detach().std()) for part in parts]) for parts in (outputs, gradients)))


def spread(init: Init, width: int) -> float:
    """Return sqrt(var(w)) of a square layer by the definition of its law."""
    match init:
        case Xavier():
            return math.sqrt(1 / width)
        case He():
            return math.sqrt(2 / width)
    assert isinstance(init, Normal)
    return init.std


def measure(lab: Lab) -> Finding:
    """Send signals forward and gradients back through nets of `DEPTH` layers, and set them against the closed form."""
    width, draws = lab.pick(*WIDTH.values()), lab.pick(*DRAWS.values())
    found = {name: measured(arm, width, draws) for name, arm in ARMS.items()}
    formula = {name: closed_form(arm.activation, spread(arm.init, width), width, DEPTH) for name, arm in ARMS.items()}
    checks = (*_steady(found), *_lossy(found), *_extreme(found), _as_computed(found, formula))
    return Finding(
        checks=checks,
        said=_said(found, checks[-1]),
        charts=tuple(_chart(found, name, backward) for name in ("tanh", "relu") for backward in (False, True)),
        tables=tuple(_table(found, formula, backward) for backward in (False, True)),
    )


def _steady(found: Found) -> list[Check]:
    """Return the checks that the fitting laws keep the scale."""
    return [
        within(f"{name} keeps the scale {way}: factor a layer", _factor(found[name], back), *STEADY, _draws(found))
        for name in ("tanh, xavier", "relu, he")
        for back, way in WAYS.items()
    ]


def _lossy(found: Found) -> list[Check]:
    """Return the checks that xavier loses sqrt(2) a layer behind a ReLU."""
    scales, n = found["relu, xavier"], _draws(found)
    return [
        within(
            f"relu, xavier loses sqrt(2) a layer {way}: factor times sqrt(2)",
            _factor(scales, back, math.sqrt(2)),
            0.97,
            1.03,
            n,
        )
        for back, way in WAYS.items()
    ]


def _extreme(found: Found) -> list[Check]:
    """Return the checks that too small weights vanish and too large ones blow up."""
    small = [decades(found[f"{name}, too small"], back) for name in ("tanh", "relu") for back in WAYS]
    large = [decades(found["relu, too large"], back) for back in WAYS] + [decades(found["tanh, too large"], True)]
    vanish, explode = mean_interval(np.max(small, axis=0).tolist()), mean_interval(np.min(large, axis=0).tolist())
    n, over = _draws(found), f"powers of ten over {DEPTH} layers"
    return [
        below(f"too small weights vanish, forward and backward alike: {over}, the least of them", vanish, -DECADES, n),
        above(f"too large weights blow up (tanh: the gradient): {over}, the least of them", explode, DECADES, n),
    ]


def _as_computed(found: Found, formula: Found) -> Check:
    """Return the check that all factors are those of the closed form."""
    off = [
        abs(float(np.mean(found[name].factor(back)) / formula[name].factor(back)) - 1)
        for name in found
        for back in WAYS
    ]
    says = "every factor a layer is the closed form's: largest relative difference over all arms, both ways"
    return below(says, Figure(max(off)), 0.03, len(off))


def decades(scales: Scales, backward: bool) -> Curve:
    """Return the powers of ten that a signal gains from its first layer to its last, D."""
    change: Curve = np.log10(scales.factor(backward)) * (DEPTH - 1)
    return change


def _factor(scales: Scales, backward: bool, times: float = 1.0) -> Figure:
    return mean_interval((times * scales.factor(backward)).tolist())


def _draws(found: Found) -> int:
    return len(found["relu, he"].forward)


def _typical(curve: Curve) -> Curve:
    """Return log10 of the geometric mean over draws, L; a closed form as it is."""
    logs: Curve = np.log10(np.atleast_2d(curve)).mean(axis=0)
    return logs


def _said(found: Found, agreement: Check) -> str:
    """Return what came out, in words."""
    first, last = (float(10 ** _typical(found["tanh, xavier"].forward)[layer]) for layer in (0, -1))
    he, lossy = (_factor(found[name], False).value for name in ("relu, he", "relu, xavier"))
    return (
        f"Through {DEPTH} ReLU layers he multiplies the standard deviation by {he:.3f} a layer and xavier by "
        f"{lossy:.3f} (1/sqrt(2) = {1 / math.sqrt(2):.3f}). Xavier with tanh keeps it only nearly: it is {first:.2f} "
        f"behind the first layer and {last:.2f} behind the last, since tanh shrinks what is not small; in the closed "
        f"form it falls like a power of the depth, not by a factor a layer. The largest difference from it is "
        f"{agreement.value:.1%} a layer. Measured before training, on square fully connected layers and normal "
        f"inputs, not on images."
    )


def _chart(found: Found, activation: str, backward: bool) -> Lines:
    kind, way = ("gradient", "backward") if backward else ("output", "forward")
    lines = {
        name.split(", ")[1]: tuple(enumerate(map(float, _typical(getattr(scales, way))), start=1))
        for name, scales in found.items()
        if name.startswith(activation)
    }
    note = f"Geometric mean over {_draws(found)} draws of the weights."
    return Lines(title=f"{activation}, {way}", x="layer", y=f"log10 std of the layer's {kind}", lines=lines, note=note)


def _table(found: Found, formula: Found, backward: bool) -> Grid:
    way, layers = WAYS[backward], sorted({1, DEPTH // 5, DEPTH // 2, DEPTH})
    rows = []
    for name in found:
        ours, theirs = (_typical(getattr(scales[name], way)) for scales in (found, formula))
        factor, exact = (float(np.mean(scales[name].factor(backward))) for scales in (found, formula))
        cells = (f"{ours[layer - 1]:z.2f} ({theirs[layer - 1]:z.2f})" for layer in layers)
        rows.append((name, f"{factor:.3f} ({exact:.3f})", *cells))
    title = f"{way.capitalize()}: factor a layer and log10 of the standard deviation, measured (closed form)"
    return Grid(title=title, head=("arm", "factor", *(f"layer {layer}" for layer in layers)), rows=tuple(rows))


CLAIM = Claim(
    statement=(
        "Xavier's initialisation keeps the scale of signals and gradients through tanh layers, He's through ReLU "
        "layers; Xavier's loses a factor of sqrt(2) at each ReLU layer. Weights that are too small make both vanish "
        "with depth, too large ones make them blow up."
    ),
    experiment=(
        f"Nothing is trained. Normal inputs go forward and normal gradients back through {DEPTH} square layers, in "
        f"float64, for many draws of the weights: by xavier, by he, and by normal draws of standard deviation {SMALL} "
        f"and {LARGE}. The standard deviation behind each layer is set against the closed form of wide layers. A law "
        f"keeps the scale if it changes by at most 5 % a layer."
    ),
    task=None,
    measure=measure,
)
