"""The form of a case: what `provenet.diagnose` is given, which causes it has, and the same with the fault repaired."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

import torch
from benchmarks.doctor.vocabulary import SYMPTOMS
from torch import Tensor, nn
from torch.optim import Optimizer

Batch = tuple[Tensor, Tensor]
LossFn = Callable[[Any, Tensor], Tensor]
Score = Callable[[nn.Module, Batch], float]
Harm = Literal["training", "raises", "static"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode without gradients, and every layer back into its own mode afterwards."""
    modes = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, training in modes.items():
            layer.training = training


def accuracy(model: nn.Module, test: Batch) -> float:
    """Return the share of samples, or of pixels, whose largest output is that of their class."""
    inputs, targets = test
    with evaluating(model):
        return float((model(inputs).argmax(1) == targets).float().mean())


@dataclass(frozen=True, eq=False)
class Given:
    """What somebody hands to `diagnose`, and how well it has learnt once trained.

    Args:
        model: in the mode in which it is to be trained.
        batches: inputs and targets as the training loop sees them.
        loss_fn: of outputs and targets.
        optimizer: of the model.
        val_batches: of the validation loader, where the case is about it.
        transform: the augmentation, from inputs to inputs; `batches` are those before it.
        schedule: the learning-rate scheduler that wraps `optimizer`, stepped after every update.
        test: held-out inputs, prepared as this code prepares them, with their true targets; `diagnose` never sees it.
        score: of the trained model on `test`; more is better.
    """

    model: nn.Module
    batches: list[Batch]
    loss_fn: LossFn
    optimizer: Optimizer | None = None
    val_batches: list[Batch] | None = None
    transform: Callable[[Tensor], Tensor] | None = None
    schedule: Any = None
    test: Batch | None = None
    score: Score = accuracy


@dataclass(frozen=True)
class Case:
    """A fault.

    Args:
        name: in words with dashes.
        source: an issue, repository or thread that shows the pattern, or "common pattern: ...".
        make: from a seed to the faulty code's own arguments of `diagnose`.
        causes: ids of the vocabulary; one of each set must be named, as several repairs may be right.
        allowed: ids that are true of this net too, and no false alarms; its symptoms among them.
        repaired: the same without the fault; nothing loud may be said of it.
        harm: "training": the repaired net scores better; "raises": the faulty one raises an exception; "static":
            harmless, a matter of taste, or not to be shown by a short training, so that an info names it as well.
        updates: of a training that shows the harm.
        about: what is done wrong; of a static fault also why no training shows it.
    """

    name: str
    source: str
    make: Callable[[int], Given]
    causes: tuple[frozenset[str], ...]
    allowed: frozenset[str]
    repaired: Callable[[int], Given]
    harm: Harm = "training"
    updates: int = 60
    about: str = ""


@dataclass(frozen=True)
class Sound:
    """A net without fault, of which nothing loud may be said.

    Args:
        name: in words with dashes.
        source: where this design comes from.
        make: from a seed to the arguments of `diagnose`.
        allowed: ids that may be said as an info.
        score: the least that a short training must reach, which shows that it is sound.
        updates: of that training.
    """

    name: str
    source: str
    make: Callable[[int], Given]
    allowed: frozenset[str] = frozenset()
    score: float = 0.5
    updates: int = 60


def _seeded(build: Callable[..., Given], *more: bool, seed: int) -> Given:
    torch.manual_seed(seed)
    return build(seed, *more)


def _from_seed(build: Callable[..., Given], *more: bool) -> Callable[[int], Given]:
    seeded = partial(_seeded, build, *more)
    return lambda seed: seeded(seed=seed)


def fault(
    source: str, *causes: str | Collection[str], allowed: Iterable[str] = (), harm: Harm = "training", updates: int = 60
) -> Callable[[Callable[[int, bool], Given]], Case]:
    """Make a `Case` of a function from (seed, whether the fault is in it) to arguments; it is named as the function.

    The function's docstring is `Case.about`.

    Args:
        source: see `Case`.
        causes: an id, or several of which one is enough; each must be named.
        allowed: ids that are true as well. Symptoms are always allowed: a faulty net has them.
        harm: see `Case`.
        updates: see `Case`.
    """
    wanted = tuple(frozenset([cause] if isinstance(cause, str) else cause) for cause in causes)

    def case(build: Callable[[int, bool], Given]) -> Case:
        name = build.__name__.replace("_", "-")
        faulty, repaired = _from_seed(build, True), _from_seed(build, False)
        also, about = frozenset(allowed) | SYMPTOMS, build.__doc__ or ""
        return Case(name, source, faulty, wanted, also, repaired, harm, updates, about)

    return case


def sound(
    source: str, allowed: Iterable[str] = (), score: float = 0.5, updates: int = 60
) -> Callable[[Callable[[int], Given]], Sound]:
    """Make a `Sound` of a function from a seed to arguments; see `fault`."""

    def case(build: Callable[[int], Given]) -> Sound:
        return Sound(build.__name__.replace("_", "-"), source, _from_seed(build), frozenset(allowed), score, updates)

    return case


def collect(part: str) -> tuple[list[Case], list[Sound]]:
    """Return the faults and the sound nets that the modules of a part define, by module and place.

    Args:
        part: a folder beside this file, "seen", "unseen" or "fresh".

    Raises:
        ValueError: two of them have one name.
    """
    found: list[Case | Sound] = []
    for module in sorted(iter_modules([str(Path(__file__).parent / part)]), key=lambda info: info.name):
        members = vars(import_module(f"benchmarks.doctor.{part}.{module.name}")).values()
        flat = [one for member in members for one in (member if isinstance(member, list | tuple) else [member])]
        found += [one for one in flat if isinstance(one, Case | Sound) and not any(one is other for other in found)]
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names of cases must differ; there are several called {', '.join(twice)}. Rename them.")
    return [one for one in found if isinstance(one, Case)], [one for one in found if isinstance(one, Sound)]


def batched(inputs: Tensor, targets: Tensor, batch_size: int = 32) -> list[Batch]:
    """Return whole batches in the order that is given; a last smaller one is left out."""
    whole = len(inputs) // batch_size * batch_size
    parts = zip(inputs[:whole].split(batch_size), targets[:whole].split(batch_size), strict=True)
    return list(parts)
