"""Provenet: train image networks from a folder, and prove what each technique bought.

Public names are resolved on first use, so that `import provenet` is quick and `provenet --help` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "train": "provenet.api",
    "resume": "provenet.api",
    "evaluate": "provenet.api",
    "predict": "provenet.api",
    "inspect": "provenet.api",
    "ablate": "provenet.api",
    "diagnose": "provenet.doctor.doctor",
    "watch": "provenet.doctor.watch",
    "Run": "provenet.api",
    "Study": "provenet.api",
    "Recipe": "provenet.recipe.schema",
    "ProvenetError": "provenet.core.errors",
}
_MODULES = ("nets", "techniques", "metrics", "stats", "records")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"provenet.{name}")
    raise AttributeError(f"module 'provenet' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
