"""Averages of the weights over the run, used for evaluation in place of the last ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from provenet.core.spec import Source, Technique


def ema_decay(step: int, decay: float) -> float:
    """Return the decay at a step: small at first, so that the random start is soon forgotten.

    Args:
        step: in 0, 1, ...
        decay: final decay, in [0, 1).

    Example:
        >>> ema_decay(0, 0.99), ema_decay(10_000, 0.99)
        (0.1, 0.99)
    """
    return min(decay, (1 + step) / (10 + step))


def _tensors(net: nn.Module, floating: bool) -> list[Tensor]:
    """Return the parameters and buffers that are (not) floating-point, in the order of the net."""
    found = [*net.parameters(), *net.buffers()]
    return [tensor.detach() for tensor in found if tensor.is_floating_point() == floating]


@torch.no_grad()
def lerp_(averaged: nn.Module, net: nn.Module, weight: float) -> None:
    """Move one net's parameters and floating-point buffers towards another's; other buffers are copied.

    Args:
        averaged: the net that is changed.
        net: a net of the same form.
        weight: share of the way, in [0, 1].
    """
    torch._foreach_lerp_(_tensors(averaged, True), _tensors(net, True), weight)
    counts = _tensors(averaged, False)
    if counts:
        torch._foreach_copy_(counts, _tensors(net, False))


class NoAverage(Technique):
    """Evaluate the last weights.

    Definition  averaged = net.
    Default and why  no settings: right for short runs whose rate ends at 0, which averages already.
    Cost  none; the engine need not keep a second net.
    Fails when  the rate stays high to the end: the last weights are then a noisy sample.
    """

    name: Literal["none"] = "none"
    source: ClassVar[Source] = Source(
        "Robbins and Monro",
        1951,
        "A stochastic approximation method",
        "https://doi.org/10.1214/aoms/1177729586",
    )
    keeps_net: ClassVar[bool] = False

    def update_(self, averaged: nn.Module, net: nn.Module, step: int, total_steps: int) -> None:
        """Copy the net."""
        lerp_(averaged, net, 1.0)


class EMA(Technique):
    """Evaluate an exponential moving average of the weights.

    Definition  averaged <- d averaged + (1 - d) net after every step, d = min(decay, (1 + step) / (10 + step)); decay
        is 0.5 ^ (1 / (half_life_frac * total_steps)) unless given. Floating-point buffers (batch-norm statistics) are
        averaged alike, whole-number ones copied.
    Default and why  half_life_frac = 0.05: tied to the length of the run, so that short runs are not dragged behind.
    Cost  a second copy of the weights and one pass over them a step (a few per cent of a step on a CPU).
    Fails when  the half-life is longer than the time in which the weights still move: the average lags behind.
    """

    name: Literal["ema"] = "ema"
    source: ClassVar[Source] = Source(
        "Polyak and Juditsky",
        1992,
        "Acceleration of stochastic approximation by averaging",
        "https://doi.org/10.1137/0330046",
    )
    keeps_net: ClassVar[bool] = True
    half_life_frac: float | None = Field(default=0.05, gt=0, le=1)
    """Share of the run after which a weight counts half, in (0, 1]; typical 0.02 to 0.1."""
    decay: float | None = Field(default=None, ge=0, lt=1)
    """Decay per step, in [0, 1); takes the place of half_life_frac; typical 0.99 to 0.9999."""

    @model_validator(mode="before")
    @classmethod
    def _decay_replaces_half_life(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("decay") is not None and "half_life_frac" not in fields:
            return {**fields, "half_life_frac": None}
        return fields

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.decay is None) == (self.half_life_frac is None):
            raise ValueError("give exactly one of half_life_frac and decay")
        return self

    def update_(self, averaged: nn.Module, net: nn.Module, step: int, total_steps: int) -> None:
        """Move the average towards the net after step `step` (from 0) of `total_steps`."""
        decay = self.decay
        if decay is None:
            decay = 0.5 ** (1 / ((self.half_life_frac or 1.0) * total_steps))
        lerp_(averaged, net, 1 - ema_decay(step, decay))


Average = Annotated[NoAverage | EMA, Field(discriminator="name")]
