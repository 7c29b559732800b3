"""Slot `activation`: the non-linearity between layers."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import Field
from torch import nn

from provenet.core.spec import Source, Technique


def second_moment(layer: nn.Module) -> float:
    """Return the mean of f(z)^2 over standard normal z, for an activation layer f.

    By the trapezoid rule with a node at 0, where rectifiers have their kink: exact to about 1e-6.

    Example:
        >>> round(second_moment(nn.ReLU()), 6)
        0.5
    """
    z = torch.linspace(-12.0, 12.0, 24_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(layer(z) ** 2 * density, z))


class _Activation(Technique):
    """Base of the members: they differ in `layer`."""

    def layer(self) -> nn.Module:
        """Return a new activation layer; input and output have the same shape."""
        raise NotImplementedError

    def gain(self) -> float:
        """Return the factor on a layer's weights that keeps the forward scale: 1 / sqrt(mean of f(z)^2), z ~ N(0, 1).

        Source: He et al. (2015), section 2.2, for any activation; sqrt(2) for the ReLU.

        Example:
            >>> round(ReLU().gain(), 4), round(Tanh().gain(), 4)
            (1.4142, 1.5925)
        """
        return 1 / math.sqrt(second_moment(self.layer()))


class ReLU(_Activation):
    """The rectifier: negative values become zero.

    Definition  f(z) = max(z, 0).
    Default and why  The default of the slot: cheapest, its gradient does not fade where it is on, and He's
        initialisation is made for it.
    Cost  One comparison a value.
    Fails when  A unit's inputs are all negative: it has no gradient and stays dead (rates too high, biases too low).
    """

    source: ClassVar[Source] = Source(
        "Nair and Hinton",
        2010,
        "Rectified Linear Units Improve Restricted Boltzmann Machines",
        "https://icml.cc/Conferences/2010/papers/432.pdf",
    )
    name: Literal["relu"] = "relu"

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.ReLU()


class LeakyReLU(_Activation):
    """A rectifier with a small slope for negative values.

    Definition  f(z) = z for z >= 0, slope z below.
    Default and why  slope = 0.01, as in the source and in nnU-Net.
    Cost  As the ReLU.
    Fails when  Nothing in particular; against the ReLU the gain is usually small.
    """

    source: ClassVar[Source] = Source(
        "Maas, Hannun and Ng",
        2013,
        "Rectifier Nonlinearities Improve Neural Network Acoustic Models",
        "https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf",
    )
    name: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Ge(0), Lt(1)] = 0.01
    """Slope for negative values, in [0, 1)."""

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.LeakyReLU(self.slope)


class Tanh(_Activation):
    """The hyperbolic tangent: values in (-1, 1), zero-centred.

    Definition  f(z) = (e^z - e^-z) / (e^z + e^-z).
    Default and why  Nothing to choose. With xavier; a teaching arm in deep image nets.
    Cost  An exponential a value.
    Fails when  Inputs are large: it saturates and the gradient fades, the more the deeper the net.
    """

    source: ClassVar[Source] = Source(
        "LeCun, Bottou, Orr and Müller",
        1998,
        "Efficient BackProp",
        "https://doi.org/10.1007/3-540-49430-8_2",
        "section 4.4",
    )
    name: Literal["tanh"] = "tanh"

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.Tanh()


class Sigmoid(_Activation):
    """The logistic function: values in (0, 1).

    Definition  f(z) = 1 / (1 + e^-z).
    Default and why  Nothing to choose. A teaching arm.
    Cost  An exponential a value.
    Fails when  The net is deep: the slope is at most 1/4 and the outputs are not centred, so the gradient fades.
    """

    source: ClassVar[Source] = Source(
        "Rumelhart, Hinton and Williams",
        1986,
        "Learning representations by back-propagating errors",
        "https://doi.org/10.1038/323533a0",
    )
    name: Literal["sigmoid"] = "sigmoid"

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.Sigmoid()


class GELU(_Activation):
    """A smooth rectifier: the value times the chance that a normal draw lies below it.

    Definition  f(z) = z Phi(z), with Phi the distribution function of N(0, 1); exact, not the tanh approximation.
    Default and why  Nothing to choose. The choice of fast small-image nets and of transformers.
    Cost  An error function a value: slower than the ReLU on a CPU.
    Fails when  Nothing in particular.
    """

    source: ClassVar[Source] = Source(
        "Hendrycks and Gimpel",
        2016,
        "Gaussian Error Linear Units (GELUs)",
        "https://arxiv.org/abs/1606.08415",
        "section 2",
    )
    name: Literal["gelu"] = "gelu"

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.GELU()


class SiLU(_Activation):
    """A smooth rectifier: the value times its sigmoid (also called swish).

    Definition  f(z) = z / (1 + e^-z).
    Default and why  Nothing to choose. The choice of EfficientNets and of YOLO.
    Cost  An exponential a value.
    Fails when  Nothing in particular.
    """

    source: ClassVar[Source] = Source(
        "Elfwing, Uchibe and Doya",
        2017,
        "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement Learning",
        "https://arxiv.org/abs/1702.03118",
    )
    name: Literal["silu"] = "silu"

    def layer(self) -> nn.Module:
        """Return a new layer."""
        return nn.SiLU()


Activation = Annotated[ReLU | LeakyReLU | Tanh | Sigmoid | GELU | SiLU, Field(discriminator="name")]
"""The members of the slot."""
