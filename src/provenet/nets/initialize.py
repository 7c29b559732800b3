"""Random weights of a whole net, each parameter from a stream of its own name."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from provenet.core.rng import torch_generator
from provenet.nets.backbone import TimmClassifier, TimmEncoder

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)  # batch and instance norms are of the first kind

_WISHES = ("zero_gamma_", "icnr_")
"""Methods by which a layer changes the numbers that it was given; each does nothing where its technique has it off."""


class Init(Protocol):
    """What the `init` slot gives: a law for the weights of one layer."""

    def fill_(self, weight: Tensor, generator: Generator) -> None:
        """Fill a weight, out channels first, in place."""


def initialize_(net: nn.Module, init: Init, seed: int, head_init: Init | None = None) -> None:
    """Draw all weights of a net anew, in place.

    Weights of convolutions and linear layers by `init`, biases 0, norms 1 and 0, then the layers' own wishes (a
    residual branch that starts at zero, filters that start equal). Every weight has its own stream, keyed by the seed
    and its name: nets that share names and shapes share numbers, whatever else they are made of. Frozen whitening
    filters are data and stay; timm's networks draw their weights again by timm's own rules from the same seed, and
    keep pretrained ones.

    Args:
        net: any module.
        init: the law.
        seed: of the run.
        head_init: another law for `net.head`; None: `init`, with fan_in in place of fan_out: over so few classes,
            fan_out would start the logits far from zero.

    Example:
        >>> from provenet.techniques.init import He
        >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> initialize_(a, He(), seed=0), initialize_(b, He(), seed=0)
        (None, None)
        >>> bool((a.weight == b.weight).all())
        True
    """
    head = set(getattr(net, "head", nn.Identity()).modules())
    head_init = head_init or _by_fan_in(init)
    foreign = _redraw_(net, seed)
    with torch.no_grad():
        for name, module in net.named_modules():
            if module not in foreign:
                generator = torch_generator(seed, f"init/{name}.weight")
                _fill_(module, head_init if module in head else init, generator)
        for module in net.modules():
            for wish in _WISHES:
                if hasattr(module, wish):
                    getattr(module, wish)()


def _redraw_(net: nn.Module, seed: int) -> set[nn.Module]:
    """Let timm's networks draw themselves; return all their modules."""
    foreign: set[nn.Module] = set()
    for module in net.modules():
        if isinstance(module, TimmClassifier | TimmEncoder):
            module.redraw_(seed)
            foreign |= set(module.modules())
    return foreign


def _fill_(module: nn.Module, init: Init, generator: Generator) -> None:
    """Initialise one module's own parameters."""
    if isinstance(module, _NORMS):
        module.reset_parameters()
    elif isinstance(module, nn.ConvTranspose2d):
        init.fill_(module.weight.transpose(0, 1), generator)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        init.fill_(module.weight, generator)
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        bias.zero_()


def _by_fan_in(init: Any) -> Any:
    """Return the same law with its variance divided by the inputs."""
    return init.model_copy(update={"mode": "fan_in"}) if getattr(init, "mode", "") == "fan_out" else init
