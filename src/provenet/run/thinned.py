"""Monte-Carlo dropout: several answers for one picture, each by a thinned net, and how far they lie apart.

With dropout left on, a pass through the net is an answer drawn from an approximate posterior over nets. Of T passes
with class probabilities p_t, in nats:

    probabilities       p = mean_t p_t
    predictive entropy  H(p) = -sum_k p_k ln p_k, from 0 (certain) to ln K (nothing known)
    mutual information  H(p) - mean_t H(p_t), from 0 (the nets agree) to H(p): the part of the entropy that comes from
                        not knowing the net, which more training data would take away; the rest is in the picture

Sources: Gal and Ghahramani 2016, Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning
(arXiv 1506.02142), section 3; for the mutual information (BALD) Houlsby et al. 2011, Bayesian Active Learning for
Classification and Preference Learning (arXiv 1112.5745), section 2.
"""

# T passes, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from provenet.core.errors import Fault, RecipeError
from provenet.core.rng import derive
from provenet.core.spec import members, name_of
from provenet.recipe.schema import Recipe
from provenet.techniques.dropout import Dropouts

_MEMBERS: tuple[Any, ...] = members(Dropouts)
DROPPING = {name_of(member): type(member().layer()) for member in _MEMBERS if member.place != "none"}
"""The members of the slot that drop something, with the layer that each makes."""
FEWEST, USUAL = 2, 20


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the thinned nets said together, float64.

    Args:
        probs: mean probabilities, K ...
        entropy: predictive entropy, ...; nats.
        mutual_information: between answer and net, ...; nats.
    """

    probs: Tensor
    entropy: Tensor
    mutual_information: Tensor


def pool(net: nn.Module, answer: Callable[[int], Tensor], num: int, at_once: int, seed: int) -> Pooled:
    """Return what `num` thinned nets say together.

    The nets are a function of the seed, the shape of what goes through them, `num` and `at_once`: the same for every
    picture of a size, so that neither what was answered before nor what is answered beside it makes a difference.

    Args:
        net: a net with dropout layers, in evaluation mode.
        answer: number of passes -> their class probabilities, passes x K ..., for copies of one picture.
        num: passes T.
        at_once: most passes in one batch.
        seed: seed of the draws.
    """
    probs, entropies = torch.zeros(()), torch.zeros(())
    for first in range(0, num, at_once):
        with thinned(net, derive(seed, "thinned", first)):
            passes = answer(min(at_once, num - first)).double()
        probs, entropies = probs.to(passes) + passes.sum(0), entropies.to(passes) + entropy(passes, 1).sum(0)
    mean = probs / num
    total = entropy(mean, 0)
    return Pooled(mean, total, (total - entropies / num).clamp(min=0))


def entropy(probs: Tensor, dim: int) -> Tensor:
    """Return the entropy of probabilities along a dimension, in nats.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), 1)
        tensor([0.6931, 0.0000])
    """
    return torch.special.entr(probs).sum(dim)


@contextmanager
def thinned(net: nn.Module, seed: int) -> Iterator[None]:
    """Switch on the dropout layers of a net, and nothing else, for a while.

    Every forward pass begins with the same draws, so that all tiles of a picture are seen by the same thinned nets.
    Afterwards the modes and the generator's state are what they were before.
    """
    generator = _generator(next(net.parameters()).device)
    modes, drawn = {module: module.training for module in net.modules()}, generator.get_state()

    def begin(*_: object) -> None:
        generator.manual_seed(seed)

    hook = net.register_forward_pre_hook(begin)
    try:
        for layer in droppers(net):
            layer.train()
        yield
    finally:
        hook.remove()
        generator.set_state(drawn)
        for module, training in modes.items():
            module.training = training


def _generator(device: torch.device) -> torch.Generator:
    """Return the generator from which dropout draws on a device."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def droppers(net: nn.Module) -> list[nn.Module]:
    """Return the dropout layers of a net that ever drop anything."""
    layers = tuple(DROPPING.values())
    return [module for module in net.modules() if isinstance(module, layers) and getattr(module, "p", 1) > 0]


def demand_dropout(net: nn.Module, recipe: Recipe) -> None:
    """Refuse a net that has no dropout.

    Raises:
        RecipeError: says how to train one that has.
    """
    if droppers(net):
        return
    p = getattr(recipe.dropout, "p", None)
    got = f"net={recipe.net.name} dropout={recipe.dropout.name}" + (f" dropout.p={p:g}" if p is not None else "")
    allowed = f"nets trained with dropout={' or '.join(DROPPING)}, p above 0"
    other = "" if "dropout" in recipe.net.used() else "another net "
    remedy = f"train {other}with dropout=dropout, or answer without dropout samples"
    raise RecipeError(Fault("dropout samples need a net with dropout, and this one has none", got, allowed, remedy))


def demand_samples(num: int | None) -> None:
    """Refuse a number of passes that has no spread.

    Raises:
        RecipeError: it is below two.
    """
    if num is not None and num < FEWEST:
        remedy = f"take {USUAL}, or leave it out for one answer without dropout"
        raise RecipeError(Fault("dropout samples are compared with each other", str(num), f"{FEWEST} or more", remedy))
