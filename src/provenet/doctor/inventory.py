"""All modules and tensors that hang on a net, also those that it holds in plain lists and dicts, unregistered."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

CONTAINERS = (list, tuple, dict, OrderedDict, set, deque)
_OWN = ("_parameters", "_buffers", "_modules")
_DEEPEST, _LONGEST = 4, 10_000
_MOST_NAMES = 4


def holder(name: str) -> str:
    """Return the path of the module that holds a tensor.

    Example:
        >>> holder("body.0.weight")
        'body.0'
    """
    return name.rpartition(".")[0]


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence, a few of many.

    Example:
        >>> listed(["a", "b", "c", "d", "e", "f"])
        'a, b, c, d and 2 more'
    """
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"


@dataclass(frozen=True, eq=False)
class Held:
    """A module that hangs on a net.

    Args:
        name: its path; "blocks[2]" for the third of an unregistered list.
        module: itself.
        registered: whether the net knows it: its parameters are in `parameters()`.
    """

    name: str
    module: nn.Module
    registered: bool


@dataclass(frozen=True, eq=False)
class Slot:
    """A tensor that hangs on a net.

    Args:
        name: its path.
        tensor: itself.
        kind: "parameter", "buffer" or "attribute"; the last is unknown to `parameters()` and `state_dict()`.
        registered: whether its module is registered.
    """

    name: str
    tensor: Tensor
    kind: str
    registered: bool


def modules_of(root: nn.Module) -> list[Held]:
    """Return every module once, registered ones first and by their registered names."""
    found = {id(module): Held(name, module, True) for name, module in root.named_modules()}
    queue = list(found.values())
    for held in queue:
        for name, value in _attributes(held.module):
            for path, thing in _within(value, _joined(held.name, name)):
                if isinstance(thing, nn.Module):
                    for inner, module in thing.named_modules(prefix=path):
                        if id(module) not in found:
                            found[id(module)] = Held(inner, module, False)
                            queue.append(found[id(module)])
    return queue


def slots_of(root: nn.Module) -> list[Slot]:
    """Return every tensor once, in the order of the modules; the same for a net and its deep copy."""
    found: dict[int, Slot] = {}
    for held in modules_of(root):
        own = (("parameter", held.module._parameters), ("buffer", held.module._buffers))
        for kind, tensors in own:
            for name, tensor in tensors.items():
                if tensor is not None:
                    found.setdefault(id(tensor), Slot(_joined(held.name, name), tensor, kind, held.registered))
        for name, value in _attributes(held.module):
            for path, thing in _within(value, _joined(held.name, name)):
                if isinstance(thing, Tensor):
                    found.setdefault(id(thing), Slot(path, thing, "attribute", held.registered))
    return list(found.values())


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the plain attributes of a module, hooks and registered parts left out."""
    for name, value in vars(module).items():
        if name not in _OWN and "_hooks" not in name and name != "_compiled_call_impl":
            yield name, value


def _within(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield modules and tensors inside of plain containers, with their paths."""
    if isinstance(value, nn.Module | Tensor):
        yield path, value
    elif depth < _DEEPEST and type(value) in CONTAINERS and len(value) <= _LONGEST:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            yield from _within(part, f"{path}[{key!r}]", depth + 1)


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
