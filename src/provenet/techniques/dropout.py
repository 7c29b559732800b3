"""Slot `dropout`: what is switched off at random in training. In evaluation every layer here is the identity."""

# N batch, C channels, H W pixels

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from pydantic import Field
from torch import Tensor, nn

from provenet.core.spec import Source, Technique

Place = Literal["none", "head", "body"]
Probability = Annotated[float, Ge(0), Lt(1)]


def drop_samples(values: Tensor, p: float) -> Tensor:
    """Return the values with whole samples set to zero with probability p, the others divided by 1 - p.

    Args:
        values: N x anything; a residual branch.
        p: probability in [0, 1).

    Returns:
        a tensor of the same shape and, in expectation, the same values.

    Example:
        >>> sorted(set(drop_samples(torch.ones(200, 3), 0.5).flatten().tolist()))
        [0.0, 2.0]
    """
    shape = (len(values),) + (1,) * (values.ndim - 1)
    kept = torch.empty(shape, dtype=values.dtype, device=values.device).bernoulli_(1 - p)
    return values * kept.div_(1 - p)


class SampleDropout(nn.Module):
    """`drop_samples` in training, the identity in evaluation.

    Args:
        p: probability in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        return drop_samples(values, self.p) if self.training and self.p > 0 else values

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class NoDropout(Technique):
    """Nothing is dropped.

    Definition  f(x) = x.
    Default and why  The default in the body of convolutional nets: normalisation and augmentation do its work.
    Cost  None.
    Fails when  A wide head is trained on few images.
    """

    source: ClassVar[Source] = Source(
        "He, Zhang, Ren and Sun",
        2015,
        "Deep Residual Learning for Image Recognition",
        "https://arxiv.org/abs/1512.03385",
        "section 3.4",
    )
    place: ClassVar[Place] = "none"
    name: Literal["none"] = "none"

    def layer(self, depth_frac: float = 1.0) -> nn.Module:
        """Return a layer that changes nothing."""
        return nn.Identity()


class Dropout(Technique):
    """Units of the last features are zeroed at random.

    Definition  y = m x / (1 - p) with m = 0 with probability p, else 1, for each unit apart; y = x in evaluation.
    Default and why  p = 0.2 in the head, for training from scratch; 0.5 for a new head on few images.
    Cost  Next to nothing; training needs a little longer.
    Fails when  The net underfits, or batch norm follows: its running variance is that of the thinned values.
    """

    source: ClassVar[Source] = Source(
        "Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov",
        2014,
        "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        "https://jmlr.org/papers/v15/srivastava14a.html",
        "section 4",
    )
    place: ClassVar[Place] = "head"
    name: Literal["dropout"] = "dropout"
    p: Probability = 0.2
    """Probability that a unit is zeroed, in [0, 1)."""

    def layer(self, depth_frac: float = 1.0) -> nn.Module:
        """Return a layer for any shape; the depth makes no difference."""
        return nn.Dropout(self.p)


class SpatialDropout(Technique):
    """Whole channels are zeroed at random.

    Definition  y = m x / (1 - p) with m = 0 with probability p, else 1, for each channel of each image; y = x in
        evaluation. Acts on the new features of every block, before a shortcut is added.
    Default and why  p = 0.1: neighbouring pixels tell of each other, so single units would be no loss; channels are.
    Cost  Next to nothing.
    Fails when  The net is narrow or underfits.
    """

    source: ClassVar[Source] = Source(
        "Tompson, Goroshin, Jain, LeCun and Bregler",
        2014,
        "Efficient Object Localization Using Convolutional Networks",
        "https://arxiv.org/abs/1411.4280",
    )
    place: ClassVar[Place] = "body"
    name: Literal["spatial"] = "spatial"
    p: Probability = 0.1
    """Probability that a channel is zeroed, in [0, 1)."""

    def layer(self, depth_frac: float = 1.0) -> nn.Module:
        """Return a layer for N C H W; the depth makes no difference."""
        return nn.Dropout2d(self.p)


class StochasticDepth(Technique):
    """Whole residual branches are skipped at random, each image apart.

    Definition  y = m branch / (1 - q) with m = 0 with probability q, else 1, for each image; q = p depth_frac, so that
        it grows evenly from the first block to p in the last; y = branch in evaluation.
    Default and why  p = 0.1: strong recipes use 0.05 to 0.2; the source used 0.5 for 110 layers.
    Cost  None; the branch is computed and thrown away.
    Fails when  Blocks have no shortcut (nothing is left of a dropped block), or the net is shallow.
    """

    source: ClassVar[Source] = Source(
        "Huang, Sun, Liu, Sedra and Weinberger",
        2016,
        "Deep Networks with Stochastic Depth",
        "https://arxiv.org/abs/1603.09382",
        "section 3",
    )
    place: ClassVar[Place] = "body"
    name: Literal["stochastic_depth"] = "stochastic_depth"
    p: Probability = 0.1
    """Probability that the last block's branch is skipped, in [0, 1)."""

    def layer(self, depth_frac: float = 1.0) -> nn.Module:
        """Return a layer for a residual branch, N x anything.

        Args:
            depth_frac: where the block stands, in [0, 1]: its number, from 1, over the number of blocks.

        Example:
            >>> StochasticDepth(p=0.2).layer(depth_frac=0.5)
            SampleDropout(p=0.1)
        """
        return SampleDropout(self.p * depth_frac)


Dropouts = Annotated[NoDropout | Dropout | SpatialDropout | StochasticDepth, Field(discriminator="name")]
"""The members of the slot."""
