"""Instrument S: what the net is made of, what runs in which order, and what the loss hangs on. One forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.graph import leaves
from provenet.doctor.inventory import Slot, modules_of, slots_of
from provenet.doctor.isolation import modules_behind
from provenet.doctor.recorder import Recorder, Trace
from provenet.doctor.tree import fresh, main_tensor, map_tensors


@dataclass(frozen=True, eq=False)
class Group:
    """A parameter group of the optimizer.

    Args:
        names: paths of the net's parameters in it.
        strangers: shapes of its parameters that do not belong to the net (nor to the loss).
        settings: its numbers and flags: lr, weight_decay, momentum, betas ...
    """

    names: tuple[str, ...]
    strangers: tuple[tuple[int, ...], ...]
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Repeat:
    """A container that holds one module several times.

    Args:
        layer: path of the container.
        kind: class of the module, as in "Conv2d".
        times: how often it is held.
        module: the module.
    """

    layer: str
    kind: str
    times: int
    module: nn.Module


@dataclass(frozen=True, eq=False)
class Walk:
    """What one forward pass and the structure of the net show.

    Args:
        trace: every call and op of the net and, as layer "loss", of the loss.
        slots: every tensor that hangs on the net, unregistered ones among them.
        loss: value before training; None where there is none.
        loss_shape: its shape; () for a scalar.
        output: the main tensor of the outputs, without graph.
        outputs: all that the net gave, without graph.
        reached: paths of the tensors that the loss hangs on.
        foreign: shapes of leaves that it hangs on and that neither net, loss nor inputs hold.
        groups: the optimizer's groups; empty without one.
        repeats: containers that hold one module with weights more than once.
        failure: what forward or loss raised.
        warned: what they warned of.
    """

    trace: Trace
    slots: tuple[Slot, ...]
    loss: float | None
    loss_shape: tuple[int, ...]
    output: Tensor | None
    outputs: Any
    reached: frozenset[str]
    foreign: tuple[tuple[int, ...], ...]
    groups: tuple[Group, ...]
    repeats: tuple[Repeat, ...]
    failure: Failure | None
    warned: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Registered parameters of the net by path, shared ones once."""
        return {slot.name: slot.tensor for slot in self.slots if slot.kind == "parameter" and slot.registered}

    @property
    def trainable(self) -> dict[str, Tensor]:
        """Those of them that ask for a gradient."""
        return {name: tensor for name, tensor in self.parameters.items() if tensor.requires_grad}

    @property
    def held(self) -> set[str]:
        """Paths of the parameters that stand in a group of the optimizer."""
        return {name for group in self.groups for name in group.names}

    def share(self, names: Iterable[str]) -> float:
        """Return how much of the trainable parameters some of them are, by numbers."""
        parameters = self.parameters
        every = sum(tensor.numel() for tensor in self.trainable.values())
        return sum(parameters[name].numel() for name in names if name in parameters) / max(every, 1)


def walk(double: Double, batch: Pair) -> Walk:
    """Run the double once, in the mode in which it was given, and record.

    Args:
        double: the net; its state is reset afterwards.
        batch: inputs and targets.
    """
    slots = tuple(slots_of(double.model))
    recorder = Recorder(double.model)
    inputs, targets = fresh(batch[0], double.case.device), fresh(batch[1], double.case.device)
    outputs, loss = None, None
    with Attempt("forward") as attempt, recorder.recording():
        torch.manual_seed(0)
        outputs = forward(double.model, inputs)
    failure = named(attempt.failure, recorder.trace.running)
    warned = attempt.warned
    if failure is None:
        with Attempt("loss") as attempt, recorder.recording(), recorder.loss():
            loss = loss_of(double.loss_fn, outputs, targets)
            loss = loss if isinstance(loss, Tensor) else torch.as_tensor(loss)
        failure, warned = attempt.failure, (*warned, *attempt.warned)
    found = [] if loss is None else [leaf for leaf in leaves(loss) if leaf is not loss]
    reached, foreign = _reached(double, slots, found)
    main = main_tensor(outputs)
    double.reset()
    return Walk(
        trace=recorder.trace,
        slots=slots,
        loss=float(loss.detach().mean()) if loss is not None and loss.numel() else None,
        loss_shape=() if loss is None else tuple(loss.shape),
        output=None if main is None else main.detach(),
        outputs=map_tensors(Tensor.detach, outputs),
        reached=reached,
        foreign=foreign,
        groups=tuple(_groups(double, {id(leaf) for leaf in found})),
        repeats=tuple(_repeats(double.model)),
        failure=failure,
        warned=warned,
    )


def named(failure: Failure | None, layer: str) -> Failure | None:
    """Return a failure with the module in which it happened."""
    return None if failure is None else Failure(failure.stage, failure.kind, failure.text, layer)


def _reached(
    double: Double, slots: tuple[Slot, ...], found: list[Tensor]
) -> tuple[frozenset[str], tuple[tuple[int, ...], ...]]:
    """Return the paths of leaves that hang on the net, and the shapes of those that hang on nothing."""
    names = {id(slot.tensor): slot.name for slot in slots}
    # Tensors made before the copy, a graph in an attribute say, lead to the caller's own parameters.
    names |= {id(slot.tensor): slot.name for slot in slots_of(double.case.model)}
    held = _behind_loss(double)
    foreign = tuple(tuple(leaf.shape) for leaf in found if id(leaf) not in names and id(leaf) not in held)
    return frozenset(names[id(leaf)] for leaf in found if id(leaf) in names), foreign


def _behind_loss(double: Double) -> set[int]:
    """Return the identities of tensors that hang on nets which the loss can reach, and of their copies."""
    nets = [net for loss in (double.case.loss_fn, double.loss_fn) for net in modules_behind(loss)]
    return {id(slot.tensor) for net in nets for slot in slots_of(net)}


def _groups(double: Double, used: set[int]) -> Iterator[Group]:
    case = double.case
    if case.optimizer is None:
        return
    names = {id(slot.tensor): slot.name for slot in slots_of(case.model)}
    known = _behind_loss(double) | used
    for group in case.optimizer.param_groups:
        mine = tuple(names[id(tensor)] for tensor in group["params"] if id(tensor) in names)
        others = [tensor for tensor in group["params"] if id(tensor) not in names and id(tensor) not in known]
        settings = {name: value for name, value in group.items() if name != "params"}
        yield Group(mine, tuple(tuple(tensor.shape) for tensor in others), settings)


def _repeats(model: nn.Module) -> Iterator[Repeat]:
    for held in modules_of(model):
        inner = [module for module in held.module._modules.values() if module is not None]
        for module in dict.fromkeys(inner):
            times = sum(other is module for other in inner)
            if times > 1 and next(module.parameters(), None) is not None:
                yield Repeat(held.name, type(module).__name__, times, module)
