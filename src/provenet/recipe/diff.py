"""Where two recipes differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provenet.recipe.schema import Recipe
from provenet.recipe.tree import leaves

ABSENT = "(absent)"
"""Stands for a value that one of the recipes does not have."""


def differences(a: Recipe | Mapping[str, Any], b: Recipe | Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return path, value in a and value in b of every field that differs, in the order of a.

    Members of `augment` are matched by name; another order of the same members is one difference, of `augment`.

    Example:
        >>> differences(Recipe(), Recipe(seed=1))
        [('seed', 0, 1)]
    """
    first, second = _flat(a), _flat(b)
    return [
        (path, first.get(path, ABSENT), second.get(path, ABSENT))
        for path in dict.fromkeys([*first, *second])
        if first.get(path, ABSENT) != second.get(path, ABSENT)
    ]


def _flat(recipe: Recipe | Mapping[str, Any]) -> dict[str, Any]:
    tree = dict(recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe)
    members = tree.get("augment")
    if isinstance(members, list | tuple):
        named = {member["name"]: {k: v for k, v in member.items() if k != "name"} for member in members}
        tree["augment"] = {"": list(named), **named}
    return {path.rstrip("."): value for path, value in leaves(tree)}
