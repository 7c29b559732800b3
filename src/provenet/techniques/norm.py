"""Slot `norm`: the normalisation layer behind a convolution.

All members compute gamma (x - mean) / sqrt(var + eps) + beta, with one gamma and beta a channel and the biased
variance; they differ in the values that mean and var are taken over.
"""

# N batch, C channels, H W pixels, G groups

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Field
from torch import Tensor, nn

from provenet.core.errors import Fault, ShapeError
from provenet.core.spec import Source, Technique

Eps = Annotated[float, Gt(0)]


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is at most `most`.

    Example:
        >>> largest_divisor(64, 8), largest_divisor(12, 8), largest_divisor(7, 4)
        (8, 6, 1)
    """
    return max(divisor for divisor in range(1, min(number, most) + 1) if number % divisor == 0)


def _refuse_lone_values(images: Tensor, num_values: int) -> None:
    """Refuse to normalise one value by itself: all that would be left of it is zero."""
    if num_values < 2:
        raise ShapeError(
            Fault(
                "the normalisation has a single value a channel to take a mean and a variance from",
                f"{tuple(images.shape)} (N C H W)",
                "at least two values",
                "use larger images, a larger batch, a net with fewer levels, or norm=group",
            )
        )


class _BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's layer with an error that says what to do."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            _refuse_lone_values(images, images.numel() // images.shape[1])
        return super().forward(images)


class _InstanceNorm2d(nn.InstanceNorm2d):
    """PyTorch's layer with an error that says what to do."""

    def forward(self, images: Tensor) -> Tensor:
        _refuse_lone_values(images, images.shape[-2] * images.shape[-1])
        return super().forward(images)


class NoNorm(Technique):
    """No normalisation.

    Definition  f(x) = x.
    Default and why  Nothing to choose. The arm that shows what normalisation buys; convolutions then have a bias.
    Cost  None.
    Fails when  The net is deep and the initialisation does not fit the activation, or the learning rate is high.
    """

    source: ClassVar[Source] = Source(
        "Simonyan and Zisserman",
        2014,
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        "https://arxiv.org/abs/1409.1556",
        "section 2.1",
    )
    name: Literal["none"] = "none"

    def layer(self, num_channels: int) -> nn.Module:
        """Return a layer that changes nothing."""
        return nn.Identity()


class BatchNorm(Technique):
    """Normalises each channel over the batch and all pixels.

    Definition  Training: mean and var of the batch, over N H W. Evaluation: their running averages,
        running = (1 - momentum) running + momentum batch (there the variance is the unbiased one).
    Default and why  momentum = 0.1 and eps = 1e-5, PyTorch's; runs of few steps want 0.2 to 0.4.
    Cost  Two passes over the activations in training; nothing to speak of once folded for prediction.
    Fails when  Batches are small (below about 8) or unlike what is predicted on; frozen layers go on learning
        statistics unless they are in evaluation mode.
    """

    source: ClassVar[Source] = Source(
        "Ioffe and Szegedy",
        2015,
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        "https://arxiv.org/abs/1502.03167",
        "section 3",
    )
    name: Literal["batch"] = "batch"
    momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    """Weight of the new batch in the running statistics, in (0, 1]."""
    eps: Eps = 1e-5
    """Added to the variance, above 0."""

    def layer(self, num_channels: int) -> nn.Module:
        """Return a layer for N C H W with C = num_channels."""
        return _BatchNorm2d(num_channels, eps=self.eps, momentum=self.momentum)


class GroupNorm(Technique):
    """Normalises groups of channels within each image.

    Definition  mean and var over H W and the C / G channels of a group, each image apart; the same in training and
        evaluation. G is the largest divisor of C that is at most num_groups.
    Default and why  num_groups = 8: the source finds 4 to 64 nearly alike, and 8 leaves more than one channel a group
        in nets as narrow as 16.
    Cost  As batch norm in training; it cannot be folded for prediction.
    Fails when  The number of channels has no divisor near num_groups, or a group is one channel of one pixel.
    """

    source: ClassVar[Source] = Source(
        "Wu and He", 2018, "Group Normalization", "https://arxiv.org/abs/1803.08494", "section 3.1"
    )
    name: Literal["group"] = "group"
    num_groups: Annotated[int, Ge(1)] = 8
    """Most groups that the channels are split into, at least 1."""
    eps: Eps = 1e-5
    """Added to the variance, above 0."""

    def layer(self, num_channels: int) -> nn.Module:
        """Return a layer for N C H W with C = num_channels."""
        return nn.GroupNorm(largest_divisor(num_channels, self.num_groups), num_channels, eps=self.eps)


class LayerNorm(Technique):
    """Normalises each image over all its channels and pixels.

    Definition  mean and var over C H W, each image apart; gamma and beta a channel: group norm with one group.
    Default and why  eps = 1e-5. For batches of one or two, where batch norm fails.
    Cost  As group norm.
    Fails when  Channels differ much in scale: the largest sets the variance of all.
    """

    source: ClassVar[Source] = Source(
        "Ba, Kiros and Hinton", 2016, "Layer Normalization", "https://arxiv.org/abs/1607.06450", "section 3"
    )
    name: Literal["layer"] = "layer"
    eps: Eps = 1e-5
    """Added to the variance, above 0."""

    def layer(self, num_channels: int) -> nn.Module:
        """Return a layer for N C H W with C = num_channels."""
        return nn.GroupNorm(1, num_channels, eps=self.eps)


class InstanceNorm(Technique):
    """Normalises each channel of each image over its pixels.

    Definition  mean and var over H W, each image and channel apart; the same in training and evaluation.
    Default and why  eps = 1e-5. The choice of nnU-Net for small batches of large images.
    Cost  More than group norm on a CPU: PyTorch's layer gives up the channels-last layout.
    Fails when  The mean of a channel carries the answer (brightness, how much of something there is): it is removed;
        and deep down, where few pixels are left.
    """

    source: ClassVar[Source] = Source(
        "Ulyanov, Vedaldi and Lempitsky",
        2016,
        "Instance Normalization: The Missing Ingredient for Fast Stylization",
        "https://arxiv.org/abs/1607.08022",
    )
    name: Literal["instance"] = "instance"
    eps: Eps = 1e-5
    """Added to the variance, above 0."""

    def layer(self, num_channels: int) -> nn.Module:
        """Return a layer for N C H W with C = num_channels."""
        return _InstanceNorm2d(num_channels, eps=self.eps, affine=True)


Norm = Annotated[NoNorm | BatchNorm | GroupNorm | LayerNorm | InstanceNorm, Field(discriminator="name")]
"""The members of the slot."""
