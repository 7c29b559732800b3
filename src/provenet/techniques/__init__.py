"""Techniques: one module a slot, its members side by side, their union the registry.

`SLOTS` maps each slot to its union; members are found by their class name (`techniques.BatchNorm`). Both are resolved
on first use. A class name that two slots share is reached through its slot (`techniques.init.Constant`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from provenet.core.spec import Technique, members

# The class `Dropout` is a member of its slot, so the union there has the plural.
_UNIONS = {
    "init": "Init",
    "inputs": "Inputs",
    "augment": "Augment",
    "norm": "Norm",
    "activation": "Activation",
    "block": "Block",
    "dropout": "Dropouts",
    "skip": "Skip",
    "upsample": "Upsample",
    "loss": "Loss",
    "optimizer": "Optimizer",
    "schedule": "Schedule",
    "transfer": "Transfer",
    "average": "Average",
}

SLOTS: dict[str, Any]
"""Slot name to the union of its members, in the order of the way of a picture."""


@cache
def _slots() -> dict[str, Any]:
    return {slot: getattr(import_module(f"{__name__}.{slot}"), union) for slot, union in _UNIONS.items()}


@cache
def _members() -> dict[str, list[type[Technique]]]:
    """Return class name to the member, or members, that bear it."""
    found: dict[str, list[type[Technique]]] = {}
    for union in _slots().values():
        for member in members(union):
            found.setdefault(member.__name__, []).append(member)
    return found


def __getattr__(name: str) -> Any:
    if name == "SLOTS":
        return _slots()
    if name in _UNIONS:
        return import_module(f"{__name__}.{name}")
    bearers = [] if name.startswith("_") else _members().get(name, [])
    if len(bearers) == 1:
        return bearers[0]
    homes = ", ".join(f"{bearer.__module__}.{name}" for bearer in bearers)
    raise AttributeError(f"module '{__name__}' has no one attribute '{name}'" + (f"; take {homes}" if homes else ""))


def __dir__() -> list[str]:
    return sorted(["SLOTS", *_UNIONS, *(name for name, bearers in _members().items() if len(bearers) == 1)])
