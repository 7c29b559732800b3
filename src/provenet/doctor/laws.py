"""Whether weights are still as an initialisation drew them. Nobody can see training in one weight, but in thousands."""

# O units, I inputs of a unit, k taps of a kernel

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

LEVEL_GAP = 1.63
"""Kolmogorov's distance times sqrt(n) that a sample of its own law exceeds in one of a hundred cases."""
FEWEST, MOST = 64, 20_000
"""Fewer weights tell no law from another; more tell nothing new."""
RARE = 0.01
"""Probability that the largest of n uniform numbers lies below RARE^(1/n) of their bound."""
SIGMAS = 4.0
CUT_STD = 0.8796
"""Standard deviation of a normal law of 1 that is cut off at two."""
_GAINS = (1.0, math.sqrt(2), 5 / 3)
_FIXED_STD = (0.001, 0.01, 0.02, 0.03, 0.05, 0.1, 1.0)
"""Standard deviations that are in use whatever the shape: VGG 0.01, DCGAN and transformers 0.02, `randn` 1."""


def drawn_law(weight: Tensor) -> str:
    """Return the initialisation that a weight is still a sample of; empty where it is of none, or too small to tell.

    The laws are the uniform and normal ones with the bounds that frameworks' initialisations give them, so that a few
    updates, which change every weight a little, are enough to break the fit.

    Args:
        weight: O I k ..., a weight of a linear map or convolution.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> layer = nn.Linear(64, 64)
        >>> drawn_law(layer.weight), drawn_law(layer.weight * 1.1)
        ('uniform(0.125)', '')
    """
    if weight.dim() < 2 or weight.numel() < FEWEST or not weight.is_floating_point():
        return ""
    values = weight.detach().flatten().float().cpu()
    values = values[:: max(1, len(values) // MOST)].sort().values
    for bound in _bounds(weight):
        if bound * 0.9 < float(values[-1]) <= bound * (1 + 1e-6) and _fits(values, (values / bound + 1) / 2):
            return f"uniform({bound:.3g})"
    for std in _deviations(weight):
        if _of_scale(weight, std) and (
            _fits(values, torch.special.ndtr(values / std)) or _fits(values, _cut_normal(values / (std / CUT_STD)))
        ):
            return f"normal({std:.3g})"
    return ""


def is_drawn_bias(bias: Tensor, fan_in: int) -> bool:
    """Return whether a bias can be as an initialisation left it: all one number, or uniform within PyTorch's bounds.

    Args:
        bias: (O,).
        fan_in: numbers that a unit adds up.
    """
    values = bias.detach().float()
    most = float(values.abs().max()) * math.sqrt(fan_in)
    return bool((values == values[0]).all()) or RARE ** (1 / len(values)) <= most <= 1 + 1e-6


def _of_scale(weight: Tensor, std: float) -> bool:
    """Return whether all weights together, and the units beside each other, vary as normal ones would."""
    squares = (weight.detach().float() / std).square().flatten(1)
    num, units = squares.numel(), len(squares)
    # The mean square of n normal numbers differs from 1 by sqrt(2 / n); that of F numbers a unit likewise, with an
    # excess kurtosis of 12 / F, so that the variance over the units differs by sqrt((2 + 12 / F) / units) of itself.
    level = abs(float(squares.mean()) - 1) < SIGMAS * math.sqrt(2 / num)
    uneven = float(squares.mean(1).var(unbiased=False)) * squares.shape[1] / 2
    return level and uneven < 1 + SIGMAS * math.sqrt((2 + 12 / squares.shape[1]) / units)


def _fits(values: Tensor, probabilities: Tensor) -> bool:
    """Return whether sorted values with these probabilities under a law look like a sample of it."""
    num = len(values)
    steps = torch.arange(num + 1) / num
    gap = max(float((probabilities - steps[:-1]).max()), float((steps[1:] - probabilities).max()))
    return gap * math.sqrt(num) < LEVEL_GAP


def _cut_normal(values: Tensor) -> Tensor:
    """Return probabilities under the normal law cut off at two standard deviations."""
    low, high = torch.special.ndtr(torch.tensor([-2.0, 2.0]))
    return ((torch.special.ndtr(values) - low) / (high - low)).clamp(0, 1)


def _fans(weight: Tensor) -> tuple[set[float], float]:
    """Return inputs of a unit, read both ways as transposed convolutions have them, and taps."""
    taps = float(weight[0, 0].numel())
    return {weight.shape[1] * taps, weight.shape[0] * taps}, taps


def _bounds(weight: Tensor) -> Iterator[float]:
    fans, _ = _fans(weight)
    for fan in (*fans, sum(fans) / 2 if len(fans) > 1 else max(fans)):
        for gain in (1 / math.sqrt(3), *_GAINS):
            yield gain * math.sqrt(3 / fan)


def _deviations(weight: Tensor) -> Iterator[float]:
    fans, taps = _fans(weight)
    # Depthwise convolutions: some count the groups when they take the outputs of an input, some do not.
    for fan in {*fans, sum(fans) / 2 if len(fans) > 1 else max(fans), taps}:
        for gain in _GAINS:
            yield gain / math.sqrt(fan)
    yield from _FIXED_STD


def is_touched(module: nn.Module) -> bool | None:
    """Return whether a norm layer has been trained or has seen data; None for what is no norm layer with state."""
    # Weights and biases that are one number are as they were set, whatever that number.
    kept = [getattr(module, name, None) for name in ("running_mean", "running_var", "weight", "bias")]
    mean, var, weight, bias = (value.detach() if isinstance(value, Tensor) else None for value in kept)
    if mean is None and (weight is None or weight.dim() != 1):
        return None
    batches = getattr(module, "num_batches_tracked", None)
    if isinstance(batches, Tensor) and int(batches) > 0:
        return True
    constants = ((mean, 0.0), (var, 1.0), (weight, None), (bias, None))
    return any(value is not None and not _all_are(value, set_to) for value, set_to in constants)


def _all_are(values: Tensor, one: float | None) -> bool:
    """Return whether all values are one number: this one, or any."""
    return bool((values == (values.flatten()[0] if one is None else one)).all())
