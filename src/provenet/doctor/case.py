"""What the doctor is given, checked: a net, batches, a loss, perhaps an optimizer and more."""

# N batch

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from provenet.core.errors import Fault, RecipeError
from provenet.doctor.tree import main_tensor, num_samples, tensors

Loss = Callable[[Any, Any], Tensor]
Pair = tuple[Any, Any]
"""Inputs and targets, each a tensor or a nest of them; a tuple of inputs is spread over `forward`'s arguments."""


@dataclass(frozen=True, eq=False)
class Case:
    """A net with what it is to be trained with.

    Args:
        model: the net itself, taken out of `torch.compile` and of wrappers for several devices.
        batches: pairs (inputs, targets), at least one.
        loss_fn: (outputs, targets) -> scalar.
        optimizer: as it was given.
        val_batches: pairs of validation batches; empty where none were given.
        transform: the augmentation, inputs -> inputs or (inputs, targets) -> the same.
        schedule: a learning-rate scheduler, or step -> factor.
    """

    model: nn.Module
    batches: tuple[Pair, ...]
    loss_fn: Loss
    optimizer: torch.optim.Optimizer | None = None
    val_batches: tuple[Pair, ...] = ()
    transform: Callable[..., Any] | None = None
    schedule: Any = None

    @property
    def device(self) -> torch.device:
        """Where the net is: the device of its first parameter or buffer."""
        first = next(self.model.parameters(), next(self.model.buffers(), None))
        return torch.device("cpu") if first is None else first.device

    @property
    def own(self) -> bool:
        """Whether the net is one of provenet's, so that a fix can be said as words of a recipe."""
        return type(self.model).__module__.startswith("provenet.nets")

    @property
    def batch_size(self) -> int:
        """N of the first batch."""
        return num_samples(self.batches[0][0])


def read_case(
    model: nn.Module, batches: Sequence[Pair], loss_fn: Loss, optimizer: torch.optim.Optimizer | None, **more: Any
) -> Case:
    """Return the case that arguments describe.

    Raises:
        RecipeError: an argument cannot be used; all faults at once.
    """
    val_batches = more.pop("val_batches", None)
    faults = [*_faults_of_parts(model, loss_fn, optimizer), *_faults_of_batches("batches", batches)]
    if val_batches is not None:
        faults += _faults_of_batches("val_batches", val_batches)
    if faults:
        raise RecipeError(faults)
    return Case(unwrapped(model), _pairs(batches), loss_fn, optimizer, _pairs(val_batches or ()), **more)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the net inside of `torch.compile` and of wrappers for several devices."""
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        else:
            return model


def forward(model: nn.Module, inputs: Any) -> Any:
    """Return what a net gives for one batch of inputs."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def loss_of(loss_fn: Loss, outputs: Any, targets: Any) -> Tensor:
    """Return the loss; of a dict or tuple of outputs the main tensor, where the loss refuses the whole.

    A loop may unpack what the net gives before the loss sees it: `loss_fn(model(x)["out"], y)`.
    """
    if isinstance(outputs, Tensor):
        return loss_fn(outputs, targets)
    try:
        return loss_fn(outputs, targets)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError):
        main = main_tensor(outputs)
        if main is None:
            raise
        return loss_fn(main, targets)


def _pairs(batches: Sequence[Pair]) -> tuple[Pair, ...]:
    return tuple((batch[0], batch[1]) for batch in batches)


def _faults_of_parts(model: Any, loss_fn: Any, optimizer: Any) -> Iterator[Fault]:
    if isinstance(model, type):
        yield Fault("model is a class", model.__name__, "an nn.Module object", f"give {model.__name__}(...)")
    elif not isinstance(model, nn.Module):
        yield Fault("model is no net", _said(model), "an nn.Module", "give the object whose forward is trained")
    elif lazy := [name for name, tensor in model.named_parameters() if is_lazy(tensor)]:
        shown = ", ".join(lazy[:3]) + (", ..." if len(lazy) > 3 else "")
        yield Fault("the model has no shapes yet", f"lazy {shown}", "weights that are there", "call model(inputs) once")
    if isinstance(loss_fn, type):
        yield Fault("loss_fn is a class", loss_fn.__name__, "a function or module", f"give {loss_fn.__name__}()")
    elif not callable(loss_fn):
        yield Fault(
            "loss_fn cannot be called", _said(loss_fn), "(outputs, targets) -> scalar", "give nn.CrossEntropyLoss()"
        )
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        remedy = "give torch.optim.SGD(model.parameters(), lr=0.1), or leave it out"
        yield Fault("optimizer is no optimizer", _said(optimizer), "a torch.optim.Optimizer, or nothing", remedy)


def _faults_of_batches(name: str, batches: Any) -> Iterator[Fault]:
    allowed = "a list of pairs (inputs, targets) of tensors"
    if not isinstance(batches, list | tuple):
        remedy = "give list(itertools.islice(loader, 4))"
        yield Fault(f"{name} is no list", _said(batches), allowed, remedy)
    elif not batches:
        yield Fault(f"{name} is empty", "[]", allowed, "give two to four batches; one will do")
    elif isinstance(batches[0], Tensor) and isinstance(batches, tuple | list) and len(batches) == 2:
        yield Fault(f"{name} is one pair", _said(batches), allowed, f"put it into a list: {name}=[(inputs, targets)]")
    else:
        for number, batch in enumerate(batches):
            yield from _faults_of_pair(f"{name}[{number}]", batch)


def _faults_of_pair(name: str, batch: Any) -> Iterator[Fault]:
    allowed = "a pair (inputs, targets) of tensors"
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        yield Fault(f"{name} is no pair", _said(batch), allowed, "make a pair of it: (batch['image'], batch['mask'])")
        return
    for part, value in zip(("inputs", "targets"), batch, strict=True):
        if next(tensors(value), None) is None:
            yield Fault(f"the {part} of {name} hold no tensor", _said(value), allowed, "torch.as_tensor makes one")
    sizes = [num_samples(value) for value in batch]
    if 0 in sizes and all(next(tensors(value), None) is not None for value in batch):
        yield Fault(f"{name} holds no sample", f"{sizes[0]} inputs and {sizes[1]} targets", allowed, "leave it out")


def _said(value: Any) -> str:
    """Return a value in a few words: class, and shape or length."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    size = f" of {len(value)}" if isinstance(value, list | tuple | dict) else ""
    return f"{type(value).__name__}{size}"
