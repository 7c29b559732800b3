"""Slot `init`: how the weights of convolutions and linear layers begin.

Weights are O I kH kW (convolution) or O I (linear); who fills a transposed convolution passes the weight viewed that
way round. All draws are made on the CPU in float32 and in the order of the indices, so that one generator gives the
same numbers whatever the device, the memory format and the type of the weight.
"""

# O output channels, I input channels, kH kW kernel

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from pydantic import Field
from torch import Generator, Tensor

from provenet.core.spec import Source, Technique

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["normal", "uniform"]


def fans(weight: Tensor) -> tuple[int, int]:
    """Return the number of inputs that one output sums over, and of outputs that one input reaches.

    Definition: fan_in = I kH kW, fan_out = O kH kW (strides, groups and borders are not counted, as is usual).

    Args:
        weight: O I kH kW or O I.

    Returns:
        fan_in and fan_out.

    Example:
        >>> fans(torch.empty(64, 3, 7, 7))
        (147, 3136)
    """
    out_channels, in_channels = weight.shape[:2]
    taps = math.prod(weight.shape[2:])
    return in_channels * taps, out_channels * taps


def draw_(weight: Tensor, std: float, distribution: Distribution, generator: Generator) -> None:
    """Fill a weight with independent draws of mean 0.

    Args:
        weight: any shape; filled in place.
        std: standard deviation of the draws, above 0.
        distribution: normal, or uniform in (-b, b) with b = sqrt(3) std.
        generator: a CPU generator.
    """
    draws = torch.empty(weight.shape, dtype=torch.float32)
    if distribution == "normal":
        draws.normal_(0.0, std, generator=generator)
    else:
        bound = math.sqrt(3.0) * std
        draws.uniform_(-bound, bound, generator=generator)
    with torch.no_grad():
        weight.copy_(draws)


def variance_scaling_(
    weight: Tensor, scale: float, mode: Mode, distribution: Distribution, generator: Generator
) -> None:
    """Fill a weight with draws of variance scale / fan: the formula behind xavier, he and lecun.

    Args:
        weight: O I kH kW or O I; filled in place.
        scale: numerator of the variance, above 0.
        mode: the fan that divides it: of the inputs, of the outputs, or the mean of both.
        distribution: normal or uniform.
        generator: a CPU generator.

    Example:
        >>> weight = torch.empty(256, 128, 3, 3)
        >>> variance_scaling_(weight, 2.0, "fan_in", "normal", torch.Generator().manual_seed(0))
        >>> abs(float(weight.std()) - (2 / (128 * 9)) ** 0.5) < 1e-3
        True
    """
    fan_in, fan_out = fans(weight)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    draw_(weight, math.sqrt(scale / max(1.0, fan)), distribution, generator)


def orthogonal_(weight: Tensor, gain: float, generator: Generator) -> None:
    """Fill a weight, seen as an O x (I kH kW) matrix, with orthonormal rows (or columns, the shorter way) times gain.

    Args:
        weight: O I kH kW or O I; filled in place.
        gain: factor on the matrix, above 0.
        generator: a CPU generator.
    """
    rows = weight.shape[0]
    draws = torch.empty(rows, weight.numel() // rows, dtype=torch.float32).normal_(generator=generator)
    wide = draws.shape[0] < draws.shape[1]
    q, r = torch.linalg.qr(draws.T if wide else draws)
    # QR leaves the signs to the library; making R's diagonal positive gives the uniform (Haar) distribution.
    q = q * torch.sign(torch.diagonal(r))
    with torch.no_grad():
        weight.copy_(gain * (q.T if wide else q).reshape(weight.shape))


class Zero(Technique):
    """All weights zero.

    Definition  w = 0.
    Default and why  Nothing to choose. A teaching arm: it shows why weights must differ.
    Cost  None.
    Fails when  Always with a hidden layer: all units of a layer compute the same and get the same gradient, and with
        zeros that gradient is zero as well.
    """

    source: ClassVar[Source] = Source(
        "Goodfellow, Bengio and Courville", 2016, "Deep Learning", "https://www.deeplearningbook.org", "section 8.4"
    )
    name: Literal["zero"] = "zero"

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place; the generator is not used."""
        torch.nn.init.zeros_(weight)


class Constant(Technique):
    """All weights one value.

    Definition  w = value.
    Default and why  value = 0.01: of the size of a usual weight, so that only the missing difference is at fault.
    Cost  None.
    Fails when  Always with a hidden layer: the units of a layer stay identical for ever, and a wide layer is worth
        one unit.
    """

    source: ClassVar[Source] = Source(
        "Goodfellow, Bengio and Courville", 2016, "Deep Learning", "https://www.deeplearningbook.org", "section 8.4"
    )
    name: Literal["constant"] = "constant"
    value: float = 0.01
    """The value of every weight."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place; the generator is not used."""
        torch.nn.init.constant_(weight, self.value)


class Normal(Technique):
    """Normal draws of one spread for all layers.

    Definition  w ~ N(0, std^2), whatever the size of the layer.
    Default and why  std = 0.01, as in the source.
    Cost  None.
    Fails when  The net is deep: the scale of the activations changes by std sqrt(fan_in / 2) in every ReLU layer, so it
        vanishes or blows up unless normalisation layers repair it.
    """

    source: ClassVar[Source] = Source(
        "Krizhevsky, Sutskever and Hinton",
        2012,
        "ImageNet Classification with Deep Convolutional Neural Networks",
        "https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
        "section 5",
    )
    name: Literal["normal"] = "normal"
    std: Annotated[float, Gt(0)] = 0.01
    """Standard deviation of the weights, above 0."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        draw_(weight, self.std, "normal", generator)


class Xavier(Technique):
    """Keeps the scale through linear and tanh layers, forward and backward alike.

    Definition  var(w) = gain^2 * 2 / (fan_in + fan_out): variance scaling with scale = gain^2 and the mean of the fans.
    Default and why  uniform, as in the source; gain = 1. For tanh, sigmoid and linear layers.
    Cost  None.
    Fails when  The activation is a ReLU: it passes half of the second moment on, so the scale falls by about sqrt(2) a
        layer and a deep net without normalisation stalls.
    """

    source: ClassVar[Source] = Source(
        "Glorot and Bengio",
        2010,
        "Understanding the difficulty of training deep feedforward neural networks",
        "https://proceedings.mlr.press/v9/glorot10a.html",
        "section 4.2.1",
    )
    name: Literal["xavier"] = "xavier"
    distribution: Distribution = "uniform"
    """Shape of the draws: normal or uniform."""
    gain: Annotated[float, Gt(0)] = 1.0
    """Factor on the standard deviation, above 0."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        variance_scaling_(weight, self.gain**2, "fan_avg", self.distribution, generator)


class He(Technique):
    """Keeps the scale through ReLU layers.

    Definition  var(w) = gain^2 * 2 / ((1 + negative_slope^2) fan): variance scaling that makes the ReLU's lost half
        good.
    Default and why  normal and fan_out: what residual nets are trained with (the backward scale is kept); fan_in keeps
        the forward scale and suits plain nets. gain = 1.
    Cost  None.
    Fails when  The activation is no ReLU (tanh saturates), or many residual branches add up without normalisation:
        every sum then doubles the variance.
    """

    source: ClassVar[Source] = Source(
        "He, Zhang, Ren and Sun",
        2015,
        "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
        "https://arxiv.org/abs/1502.01852",
        "section 2.2",
    )
    name: Literal["he"] = "he"
    mode: Literal["fan_in", "fan_out"] = "fan_out"
    """The fan that is counted: fan_in keeps the forward scale, fan_out the backward scale."""
    distribution: Distribution = "normal"
    """Shape of the draws: normal or uniform."""
    negative_slope: Annotated[float, Ge(0)] = 0.0
    """Slope of the leaky ReLU behind the layer, at least 0; 0 is the ReLU."""
    gain: Annotated[float, Gt(0)] = 1.0
    """Factor on the standard deviation, above 0."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        scale = 2 * self.gain**2 / (1 + self.negative_slope**2)
        variance_scaling_(weight, scale, self.mode, self.distribution, generator)


class LeCun(Technique):
    """Keeps the forward scale of a linear layer.

    Definition  var(w) = gain^2 / fan_in: variance scaling with scale = gain^2 and the fan of the inputs.
    Default and why  normal; gain = 1. For linear outputs and self-normalising activations.
    Cost  None.
    Fails when  The activation is a ReLU: as with xavier the scale falls by about sqrt(2) a layer.
    """

    source: ClassVar[Source] = Source(
        "LeCun, Bottou, Orr and Müller",
        1998,
        "Efficient BackProp",
        "https://doi.org/10.1007/3-540-49430-8_2",
        "section 4.6",
    )
    name: Literal["lecun"] = "lecun"
    distribution: Distribution = "normal"
    """Shape of the draws: normal or uniform."""
    gain: Annotated[float, Gt(0)] = 1.0
    """Factor on the standard deviation, above 0."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        variance_scaling_(weight, self.gain**2, "fan_in", self.distribution, generator)


class Orthogonal(Technique):
    """Random rotations: no direction is stretched or lost.

    Definition  The weight as an O x (I kH kW) matrix W has W W^T = gain^2 I, or W^T W = gain^2 I where O is larger.
    Default and why  gain = 1; sqrt(2) suits ReLU layers without normalisation.
    Cost  One QR decomposition a layer, once; under a second for the nets here.
    Fails when  Nothing in particular. The exact dynamics hold for linear nets; a ReLU breaks the isometry.
    """

    source: ClassVar[Source] = Source(
        "Saxe, McClelland and Ganguli",
        2013,
        "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        "https://arxiv.org/abs/1312.6120",
    )
    name: Literal["orthogonal"] = "orthogonal"
    gain: Annotated[float, Gt(0)] = 1.0
    """Factor on the orthonormal matrix, above 0."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        orthogonal_(weight, self.gain, generator)


class Dirac(Technique):
    """Convolutions begin as the identity on their first channels.

    Definition  Filter o of the first min(O, I) passes channel o on (1 at the centre tap, 0 elsewhere); the filters
        beyond are uniform of variance 1 / (3 fan_in), as in the source. A linear weight has no centre: it is filled as
        he does with fan_in, normal.
    Default and why  Nothing to choose. For small plain nets: pictures reach the last layer from the first step on.
    Cost  None.
    Fails when  Blocks have shortcuts (the identity is there already: use zero-gamma) or strides, or most layers change
        their width.
    """

    source: ClassVar[Source] = Source(
        "Jordan",
        2024,
        "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
        "https://arxiv.org/abs/2404.00498",
        "section 3.3",
    )
    name: Literal["dirac"] = "dirac"

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill the weight in place from a CPU generator."""
        if weight.ndim == 2:
            variance_scaling_(weight, 2.0, "fan_in", "normal", generator)
        else:
            variance_scaling_(weight, 1 / 3, "fan_in", "uniform", generator)
            torch.nn.init.dirac_(weight[: weight.shape[1]])


Init = Annotated[
    Zero | Constant | Normal | Xavier | He | LeCun | Orthogonal | Dirac,
    Field(discriminator="name"),
]
"""The members of the slot."""
