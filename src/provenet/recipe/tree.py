"""Trees of recipe values: what the user set and where, and how one layer lies over another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from provenet.core.errors import Fault

Tree = dict[str, Any]
BUDGETS = ("epochs", "steps", "minutes")


def merge(base: Tree, overlay: Tree) -> Tree:
    """Return `base` changed by `overlay`.

    Blocks are merged key by key. A block whose name changes is emptied first, so that the old technique's fields do
    not stay behind; a budget takes the place of another budget; a list of named members is replaced by a list, and
    changed by a block of names (None takes a member out).

    Example:
        >>> merge({"norm": {"name": "batch", "momentum": 0.2}}, {"norm": {"name": "group"}})
        {'norm': {'name': 'group'}}
        >>> merge({"augment": [{"name": "flip"}]}, {"augment": {"flip": None, "rotate": {"max_deg": 20}}})
        {'augment': [{'name': 'rotate', 'max_deg': 20}]}
        >>> merge({"epochs": 30}, {"minutes": 5})
        {'minutes': 5}
    """
    if any(overlay.get(budget) is not None for budget in BUDGETS):
        base = {key: value for key, value in base.items() if key not in BUDGETS}
    return lay_over(base, overlay)


def lay_over(base: Tree, overlay: Tree) -> Tree:
    """Return one block changed by another; see `merge`, which also knows that budgets exclude each other."""
    if base.get("name") is not None and overlay.get("name", base["name"]) != base["name"]:
        return dict(overlay)
    changed = {key: _laid_over(base.get(key), value) for key, value in overlay.items()}
    return {**base, **changed}


def _laid_over(old: Any, new: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        return lay_over(old, new)
    if isinstance(new, dict) and isinstance(old, list):
        return _changed_members(old, new)
    return new


def _changed_members(members: list[Any], changes: Tree) -> list[Any]:
    """Return a list of named members with some changed, taken out or added."""
    names = [_name(member) for member in members]
    kept = [
        _laid_over(member, changes[name]) if name in changes else member
        for name, member in zip(names, members, strict=True)
        if name not in changes or changes[name] is not None
    ]
    added = [(name, fields) for name, fields in changes.items() if name not in names and fields is not None]
    return kept + [{"name": name, **fields} if isinstance(fields, dict) else fields for name, fields in added]


def _name(member: Any) -> str | None:
    name = member.get("name") if isinstance(member, dict) else None
    return name if isinstance(name, str) else None


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every leaf; an empty block is a leaf.

    Example:
        >>> list(leaves({"net": {"name": "unet", "width": 16}, "seed": 0}))
        [('net.name', 'unet'), ('net.width', 16), ('seed', 0)]
    """
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def value_at(tree: Any, path: str) -> Any:
    """Return what lies at a dotted path, members of a list being found by name; None where there is nothing."""
    for key in path.split("."):
        if isinstance(tree, list):
            tree = {_name(member): member for member in tree}
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


@dataclass(frozen=True)
class Overrides:
    """What a user set, before any automatic choice.

    Args:
        tree: nested values, every slot in its long form (`{"norm": {"name": "group"}}`).
        where: dotted path to the place it was set: "recipe.yaml:4", "override" or "argument".
        faults: what is wrong with the form of it; `load` raises them together with all others.
    """

    tree: Tree = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @property
    def explicit(self) -> set[str]:
        """The dotted paths of the leaves that the user set."""
        return {path for path, _ in leaves(self.tree)}

    def sets(self, path: str) -> bool:
        """Whether the user set this path or anything below it."""
        return any(leaf == path or leaf.startswith(path + ".") for leaf in self.explicit)

    def get(self, path: str) -> Any:
        """Return the value that the user set at a path; None where nothing was set."""
        return value_at(self.tree, path)

    def then(self, later: Overrides) -> Overrides:
        """Return these overrides with later ones laid over them."""
        return Overrides(merge(self.tree, later.tree), {**self.where, **later.where}, self.faults + later.faults)

    def place(self, path: str) -> str:
        """Return where a path was set: its own place, or that of the nearest value around or inside; else nothing."""
        while path:
            found = self.where.get(path) or next((p for k, p in self.where.items() if k.startswith(path + ".")), "")
            if found:
                return found
            path = path.rpartition(".")[0]
        return ""
