"""Fixes that the probe can try on a net that others built: weights drawn anew, layers wrapped, functions exchanged.

All change the trial only: the double is put back behind every arm, hooks included.
"""

# N batch, U units

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from provenet.core.rng import torch_generator
from provenet.doctor.kinds import DROPOUT, function_name
from provenet.doctor.trial import Fix, Trial

RELU_GAIN = math.sqrt(2)
TANH_GAIN = 5 / 3


def redraw(weights: Mapping[str, int], gain: float = RELU_GAIN) -> Fix:
    """Return the fix that draws weights from He's law, with the biases beside them 0.

    Args:
        weights: their paths, and how many numbers a unit of each adds up.
        gain: standard deviation of a weight times the root of that number.
    """

    def fix(trial: Trial) -> None:
        generator, modules = torch_generator(0, "redraw"), dict(trial.model.named_modules())
        with torch.no_grad():
            for path, fan_in in weights.items():
                owner, _, name = path.rpartition(".")
                weight = getattr(modules.get(owner), name, None)
                if isinstance(weight, Tensor):
                    drawn = torch.randn(weight.shape, generator=generator) * gain / math.sqrt(fan_in)
                    _set(modules[owner], name, drawn.to(weight))
                    _fill(modules[owner], "bias", 0.0)

    return fix


def plain_norms(norms: Collection[str]) -> Fix:
    """Return the fix that sets the weights of norm layers to 1 and their biases to 0.

    Args:
        norms: their paths.
    """

    def fix(trial: Trial) -> None:
        for name, module in trial.model.named_modules():
            if name in norms:
                _fill(module, "weight", 1.0)
                _fill(module, "bias", 0.0)

    return fix


def _fill(module: nn.Module, name: str, value: float) -> None:
    held = getattr(module, name, None)
    if isinstance(held, nn.Parameter):
        nn.init.constant_(held, value)


def _set(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a module other weights, also where they are made of others: weight norm, old and new."""
    length, direction = (getattr(module, f"{name}_{part}", None) for part in "gv")
    if is_parametrized(module, name):
        setattr(module, name, values)
    elif isinstance(length, Tensor) and isinstance(direction, Tensor):
        direction.copy_(values)
        length.copy_(values.norm(dim=[d for d in range(values.dim()) if length.shape[d] == 1], keepdim=True))
    else:
        getattr(module, name).copy_(values)


def wrap(layers: Collection[str], change: Callable[[Tensor, Tensor], Tensor]) -> Fix:
    """Return the fix that changes what some layers give.

    Args:
        layers: paths of modules.
        change: (input, output) -> output.
    """

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        return change(inputs[0], output) if inputs and isinstance(output, Tensor) else output

    def fix(trial: Trial) -> None:
        for name, module in trial.model.named_modules():
            if name in layers:
                module.register_forward_hook(hook)

    return fix


def with_relu(before: Tensor, after: Tensor) -> Tensor:
    """Return what a layer gives, rectified."""
    return F.relu(after)


def with_norm(before: Tensor, after: Tensor) -> Tensor:
    """Return what a layer gives, normalised over the batch as batch norm does in training."""
    return F.batch_norm(after, None, None, training=True) if after.dim() > 1 and len(after) > 1 else after


def skip_around(ends: Mapping[str, str]) -> Fix:
    """Return the fix that adds what goes into a layer to what comes out behind it, where shapes agree.

    Args:
        ends: paths of layers, with those of the norms behind them; where a layer has none, its own: the sum is then
            divided by the root of two, so that the scale stays.
    """

    def fix(trial: Trial) -> None:
        modules, kept = dict(trial.model.named_modules()), dict[str, Tensor]()

        def add(layer: str, end: str) -> None:
            def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
                kept[layer] = inputs[0]

            def join(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
                before = kept.pop(layer)
                if before.shape != output.shape:
                    return output
                return (before + output) / (RELU_GAIN if layer == end else 1.0)

            modules[layer].register_forward_pre_hook(keep)
            modules[end].register_forward_hook(join)

        for layer, end in ends.items():
            if layer in modules and end in modules:
                add(layer, end)

    return fix


class _Exchange(TorchFunctionMode):
    """Runs another function in place of some."""

    def __init__(self, others: dict[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._others = others

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        other = self._others.get(function_name(func))
        return func(*args, **(kwargs or {})) if other is None else other(*args, **(kwargs or {}))


class _Exchanged(nn.Module):
    """A net that runs with some functions exchanged."""

    def __init__(self, net: nn.Module, others: dict[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.net = net
        self._others = others

    def forward(self, *inputs: Any, **named: Any) -> Any:
        with _Exchange(self._others):
            return self.net(*inputs, **named)


def exchange(others: dict[str, Callable[..., Any]]) -> Fix:
    """Return the fix that calls other functions than the net does, whether modules call them or its forward.

    Args:
        others: by name (see `kinds.function_name`), what is called in its place, with the same arguments.
    """

    def fix(trial: Trial) -> None:
        trial.model = _Exchanged(trial.model, others)

    return fix


def lighter_dropout(most: float, p: float) -> Fix:
    """Return the fix that lets dropouts of more than `most` drop a share of `p`."""

    def lighter(name: str) -> Callable[..., Tensor]:
        function: Callable[..., Tensor] = getattr(F, name)

        def dropped(values: Tensor, *args: Any, **named: Any) -> Tensor:
            given = args[0] if args else named.pop("p", 0.5)
            return function(values, p if given > most else given, *args[1:], **named)

        return dropped

    return exchange({name: lighter(name) for name in DROPOUT if hasattr(F, name)})


def together(*fixes: Fix) -> Fix:
    """Return several fixes as one."""

    def fix(trial: Trial) -> None:
        for one in fixes:
            one(trial)

    return fix
