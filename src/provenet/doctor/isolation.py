"""No trace: what an examination may touch is put back, byte for byte, whatever happens in between."""

from __future__ import annotations

import copy
import functools
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from provenet.doctor.guard import Guard
from provenet.doctor.inventory import CONTAINERS, modules_of, slots_of

_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (lambda: torch.backends.cudnn.benchmark, lambda value: setattr(torch.backends.cudnn, "benchmark", value)),
    (lambda: torch.backends.cudnn.deterministic, lambda value: setattr(torch.backends.cudnn, "deterministic", value)),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
)
"""Settings of the process that a stranger's forward may change, each with its reader and its writer."""


@contextmanager
def same_process() -> Iterator[None]:
    """Put random streams and settings of the process back at the end; gradients are on inside."""
    before = [read() for read, _ in _SETTINGS]
    streams = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            # Within one autocast block weights are cast once: a training inside of it would never see its own updates.
            torch.set_autocast_cache_enabled(False)
            if torch.cuda.is_initialized():
                stack.enter_context(Guard())
            # Importing the compiler takes seconds: where nothing was compiled it is not there, and is not wanted.
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        for (read, write), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                write(value)
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        torch.set_rng_state(streams[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


class Kept:
    """What a net was, and how to make it so again.

    Gradients are set aside, not copied: meanwhile every `.grad` is None, so that nothing is added to the caller's.

    Args:
        root: the net.
        source: a net with the same tensors from which their values are put back; None: they are copied now.
        weights: whether parameters are put back too; buffers and plain tensors always are.
    """

    def __init__(self, root: nn.Module, source: nn.Module | None = None, weights: bool = True) -> None:
        self.root = root
        self._attributes = [(held.module, _shallow(vars(held.module))) for held in modules_of(root)]
        slots = slots_of(root)
        origins = slots if source is None else slots_of(source)
        self._values: list[tuple[Tensor, Tensor]] = []
        for slot, origin in zip(slots, origins, strict=True):
            if (weights or slot.kind != "parameter") and not is_lazy(slot.tensor):
                value = origin.tensor.detach()
                self._values.append((slot.tensor, value.clone() if source is None else value))
        self._streams = [(stream, stream.get_state()) for module, _ in self._attributes for stream in _streams(module)]
        leaves = [slot.tensor for slot in slots if slot.tensor.is_leaf]
        self._leaves = [(leaf, leaf.requires_grad, leaf.grad) for leaf in leaves]
        self.clear_gradients()

    def clear_gradients(self) -> None:
        """Make every gradient None."""
        for leaf, _, _ in self._leaves:
            leaf.grad = None

    def restore(self, gradients: bool = True) -> None:
        """Make the net what it was.

        Args:
            gradients: whether the gradients that were set aside come back as well.
        """
        for module, (attributes, contents) in self._attributes:
            _refill(vars(module), attributes, contents)
        for leaf, requires_grad, grad in self._leaves:
            if leaf.requires_grad != requires_grad:
                leaf.requires_grad_(requires_grad)
            leaf.grad = grad if gradients else None
        for tensor, value in self._values:
            # `.data` has a version counter of its own: a graph that the caller still holds stays valid.
            tensor.data.copy_(value)
        for stream, before in self._streams:
            stream.set_state(before)


def _streams(module: nn.Module) -> list[torch.Generator]:
    """Return the random streams that a module holds as attributes."""
    return [value for value in vars(module).values() if isinstance(value, torch.Generator)]


def _shallow(attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes, and copies of the plain containers among them."""
    contents = {name: copy.copy(value) for name, value in attributes.items() if type(value) in CONTAINERS}
    return dict(attributes), contents


def _refill(attributes: dict[str, Any], before: dict[str, Any], contents: dict[str, Any]) -> None:
    """Put attributes back, the same objects with the same content."""
    attributes.clear()
    attributes.update(before)
    for name, content in contents.items():
        container = before[name]
        if isinstance(container, dict | set):
            container.clear()
            container.update(content)
        elif isinstance(container, list):
            container[:] = content
        elif not isinstance(container, tuple):
            container.clear()
            container.extend(content)


@contextmanager
def untouched(roots: Iterable[nn.Module], weights: bool) -> Iterator[None]:
    """Put nets and process back at the end, also when the block raises.

    Args:
        roots: the nets.
        weights: whether their parameters may be written to inside.
    """
    with same_process():
        kept = [Kept(root, weights=weights) for root in roots]
        try:
            yield
        finally:
            for one in kept:
                one.restore()


def deep_copy(things: Any, memo: dict[Any, Any]) -> Any:
    """Return a deep copy; tensors inside a graph and generators, which refuse to be copied, are provided for.

    Args:
        things: what to copy.
        memo: filled with what was copied; give it again for more of the same.
    """
    for root in things if isinstance(things, tuple) else (things,):
        if isinstance(root, nn.Module):
            for slot in slots_of(root):
                if not slot.tensor.is_leaf:
                    memo[id(slot.tensor)] = slot.tensor
            for held in modules_of(root):
                memo |= {id(stream): stream.clone_state() for stream in _streams(held.module)}
    return copy.deepcopy(things, memo)


def modules_behind(function: Any) -> list[nn.Module]:
    """Return the nets that a function can reach: itself, its owner, closure, defaults, arguments bound and globals."""
    seen: dict[int, nn.Module] = {}
    for thing in _behind(function, 0):
        if isinstance(thing, nn.Module):
            seen.setdefault(id(thing), thing)
    return list(seen.values())


def _behind(thing: Any, depth: int) -> Iterator[Any]:
    """Yield what a callable refers to, a few steps deep."""
    yield thing
    if depth == 3:
        return
    parts: list[Any] = []
    if isinstance(thing, functools.partial):
        parts = [thing.func, *thing.args, *thing.keywords.values()]
    elif isinstance(thing, types.MethodType):
        parts = [thing.__func__, thing.__self__]
    elif isinstance(thing, types.FunctionType):
        parts = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        for cell in thing.__closure__ or ():
            with suppress(ValueError):  # a cell may still be empty
                parts.append(cell.cell_contents)
        parts += [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__]
    elif type(thing) in (list, tuple):
        parts = list(thing)[:100]
    elif hasattr(thing, "__dict__") and not isinstance(thing, nn.Module | type | types.ModuleType):
        parts = list(vars(thing).values())
    for part in parts:
        yield from _behind(part, depth + 1)
