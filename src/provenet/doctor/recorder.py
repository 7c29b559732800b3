"""What happens in a pass: every module call and every torch function with the module that it happens in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from provenet.doctor.inventory import modules_of, slots_of
from provenet.doctor.kinds import CUTS, SHAPE, function_name
from provenet.doctor.tree import map_tensors, tensors

_PROPERTIES = ("data.get", "T.get", "mT.get", "H.get", "real.get", "imag.get")
"""Properties that give a tensor; the others (shape, device ...) are no step of a computation."""


@dataclass(frozen=True, eq=False)
class Ref:
    """A tensor in a trace.

    Args:
        token: number of this value; an in-place function gives its tensor a new one.
        shape: its shape.
        dtype: its dtype.
        requires_grad: whether a gradient flows to it.
        value: the tensor without its graph, where the recorder was told to keep it.
    """

    token: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool
    value: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Op:
    """A torch function that was called.

    Args:
        index: its place in the trace.
        function: one name for function, method, operator and in-place form; see `kinds.function_name`.
        layer: path of the innermost module that was running; "loss" within the loss.
        args: positional arguments with `Ref` for tensors.
        kwargs: arguments by name, likewise.
        outputs: the tensors that it gave.
        grad: whether gradients were recorded while it ran.
    """

    index: int
    function: str
    layer: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Ref, ...]
    grad: bool

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """The tensors that it was given, in order."""
        return tuple(_refs((*self.args, *self.kwargs.values())))

    @property
    def cut(self) -> bool:
        """Whether a gradient reaches what it was given, and nothing of what it gives."""
        given = any(ref.requires_grad for ref in self.inputs)
        floats = [ref for ref in self.outputs if ref.dtype.is_floating_point]
        ends = not any(ref.requires_grad for ref in floats) if floats else self.function in CUTS
        return given and ends

    def argument(self, name: str, position: int, default: Any = None) -> Any:
        """Return an argument by its name, or by its position."""
        return self.kwargs.get(name, self.args[position] if position < len(self.args) else default)


@dataclass(frozen=True, eq=False)
class Call:
    """A module that was called.

    Args:
        index: order by the beginning of the call.
        layer: path of the module; unregistered ones have the path at which they hang, or their class in brackets.
        module: itself.
        registered: whether the net knows its parameters.
        parent: index of the call within which it happened; None for the net itself.
        first: index of the first op within it.
        last: index behind the last one.
        inputs: shapes of the tensors that it was given.
        outputs: shapes of the tensors that it gave.
    """

    index: int
    layer: str
    module: nn.Module
    registered: bool
    parent: int | None
    first: int
    last: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]

    @property
    def leaf(self) -> bool:
        """Whether the module holds no others."""
        return next(self.module.children(), None) is None


@dataclass(eq=False)
class Trace:
    """The ops and calls of a pass, in order, with who made and who used which value."""

    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    running: str = ""
    """Path of the innermost module when the pass ended: where an exception was raised."""
    failed: Op | None = None
    """The op that raised, where one did; it is not among `ops`."""
    names: dict[int, str] = field(default_factory=dict)
    """Paths of the net's own tensors by token, as they were before the pass."""

    def __post_init__(self) -> None:
        self.makers: dict[int, Op] = {}
        self.users: dict[int, list[Op]] = {}

    def add(self, op: Op) -> None:
        """Append an op."""
        self.ops.append(op)
        for ref in op.inputs:
            self.users.setdefault(ref.token, []).append(op)
        for ref in op.outputs:
            self.makers[ref.token] = op

    def before(self, op: Op) -> list[Op]:
        """Return the ops that made what an op was given."""
        return [self.makers[ref.token] for ref in op.inputs if ref.token in self.makers]

    def after(self, op: Op) -> list[Op]:
        """Return the ops that use what an op gave."""
        return [user for ref in op.outputs for user in self.users.get(ref.token, [])]

    def maker(self, ref: Ref, through: Iterable[str] = SHAPE) -> Op | None:
        """Return the op that made a value, looking through functions that only move numbers about."""
        passing, op = frozenset(through), self.makers.get(ref.token)
        while op is not None and op.function in passing and op.inputs:
            op = self.makers.get(op.inputs[0].token)
        return op

    def upstream(self, op: Op) -> Iterator[Op]:
        """Yield every op that an op depends on, the latest first."""
        queue, seen = [op], {op.index}
        while queue:
            queue.sort(key=lambda one: one.index)
            for earlier in self.before(queue.pop()):
                if earlier.index not in seen:
                    seen.add(earlier.index)
                    queue.append(earlier)
                    yield earlier

    def of_layer(self, layer: str) -> list[Op]:
        """Return the ops that ran directly in a module."""
        return [op for op in self.ops if op.layer == layer]


Watcher = Callable[[Op, Any], None]
"""Told of every op with what it gave, gradients and modes switched off."""


class Recorder(TorchFunctionMode):
    """Writes a trace of what runs inside of it.

    Hooks are those of all modules of the process, so that none has to be hung on the net; they are gone at the end.
    One recorder records one pass: it holds every tensor of it, so that no two have one identity.

    Args:
        model: the net whose modules have names.
        watch: told of every op.
    """

    def __init__(self, model: nn.Module, watch: Watcher | None = None) -> None:
        super().__init__()
        self.trace = Trace()
        self.keep_values = False
        self._held = {id(held.module): held for held in modules_of(model)}
        self._watch = watch
        self._stack: list[tuple[str, int, int, tuple[Any, ...]]] = []
        self._tokens: dict[int, int] = {}
        self._alive: list[Tensor] = []
        self._phase = ""
        for slot in slots_of(model):
            self._name(slot.tensor)
            self.trace.names[self._tokens[id(slot.tensor)]] = slot.name

    @contextmanager
    def recording(self) -> Iterator[Trace]:
        """Record what runs in the block."""
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
            stack.callback(register_module_forward_hook(self._leave_module).remove)
            with self:
                yield self.trace

    @contextmanager
    def loss(self) -> Iterator[None]:
        """Count what runs in the block as the loss's; values are kept."""
        self._phase, self.keep_values = "loss", True
        try:
            yield
        finally:
            self._phase, self.keep_values = "", False

    def ref(self, tensor: Tensor) -> Ref:
        """Return what a tensor is in the trace."""
        if id(tensor) not in self._tokens:
            self._name(tensor)
        value = tensor.detach() if self.keep_values else None
        return Ref(self._tokens[id(tensor)], tuple(tensor.shape), tensor.dtype, tensor.requires_grad, value)

    def _name(self, tensor: Tensor) -> None:
        """Give a tensor a number of its own, and hold it so that no other gets its identity."""
        self._tokens[id(tensor)] = len(self._alive)
        self._alive.append(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if (name.endswith(".get") and name not in _PROPERTIES) or name.endswith(".set"):
            return func(*args, **kwargs)
        described = _described(args, self.ref), _described(kwargs, self.ref)
        op = self.trace.failed = self._op(name, described, ())
        result = func(*args, **kwargs)
        self.trace.failed = None
        given = list(tensors(result))
        if given or name in CUTS:
            for tensor in given:
                self._name(tensor)
            op = self._op(name, described, tuple(self.ref(tensor) for tensor in given))
            self.trace.add(op)
            if self._watch is not None:
                with torch.no_grad():
                    self._watch(op, result)
        return result

    def _op(self, name: str, described: tuple[Any, Any], outputs: tuple[Ref, ...]) -> Op:
        return Op(len(self.trace.ops), name, self.layer, *described, outputs, torch.is_grad_enabled())

    @property
    def layer(self) -> str:
        """Path of the innermost module that is running."""
        return self._phase or (self._stack[-1][0] if self._stack else "")

    def _enter_module(self, module: nn.Module, inputs: Any) -> None:
        held = self._held.get(id(module))
        if self._phase:
            return
        place = f"{self._stack[-1][0]}." if self._stack and self._stack[-1][0] else ""
        name = held.name if held is not None else f"{place}<{type(module).__name__}>"
        index, parent = len(self.trace.calls), self._stack[-1][1] if self._stack else None
        shapes = tuple(tuple(tensor.shape) for tensor in tensors(inputs))
        first = len(self.trace.ops)
        registered = held is not None and held.registered
        self.trace.calls.append(Call(index, name, module, registered, parent, first, first, shapes, ()))
        self._stack.append((name, index, first, shapes))
        self.trace.running = name

    def _leave_module(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if self._phase or not self._stack:
            return
        _, index, first, shapes = self._stack.pop()
        call = self.trace.calls[index]
        given = tuple(tuple(tensor.shape) for tensor in tensors(outputs))
        done = Call(index, call.layer, module, call.registered, call.parent, first, len(self.trace.ops), shapes, given)
        self.trace.calls[index] = done
        self.trace.running = self._stack[-1][0] if self._stack else ""


def _described(tree: Any, ref: Callable[[Tensor], Ref]) -> Any:
    """Return arguments with references in place of tensors."""
    return map_tensors(ref, tree)  # type: ignore[arg-type]


def _refs(tree: Any) -> Iterator[Ref]:
    if isinstance(tree, Ref):
        yield tree
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from _refs(part)
    elif isinstance(tree, dict):
        yield from _refs(tuple(tree.values()))
