"""The recipe that the evidence supports, as a command: recipes compared and put together as plain trees."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from provenet.recipe.text import scalar
from provenet.recipe.tree import Tree, lay_over, leaves
from provenet.records.study import Arm, Design

_PLAIN = re.compile(r"[\w/.~][\w/.~-]*")


def change(before: Any, after: Any) -> Any:
    """Return what laid over `before` gives `after`: a block of the keys that differ.

    A block whose name differs is there as a whole; of a list of named members those that differ, None for what is gone.

    Example:
        >>> change({"lr": 0.1, "norm": {"name": "batch"}}, {"lr": 0.1, "norm": {"name": "none"}})
        {'norm': {'name': 'none'}}
        >>> change([{"name": "flip"}, {"name": "noise"}], [{"name": "flip"}])
        {'noise': None}
    """
    if isinstance(before, dict) and isinstance(after, dict) and before.get("name") == after.get("name"):
        return {key: change(before.get(key), value) for key, value in after.items() if before.get(key) != value}
    if _named(before) and _named(after) and before and after:
        old, new = ({member["name"]: member for member in members} for members in (before, after))
        gone = {name: None for name in old if name not in new}
        return {**gone, **{name: member for name, member in new.items() if old.get(name) != member}}
    return after


def _named(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(member, dict) and "name" in member for member in value)


def supported(baseline: Arm, taken: Sequence[Arm]) -> tuple[Tree, tuple[Arm, ...]]:
    """Return the baseline's recipe with the changes of some arms, and the arms that found room.

    Args:
        baseline: the arm that the others were compared with.
        taken: arms whose changes the evidence supports, the most certain first: where two of them change one
            thing the first has it. The seed of an arm is no change.
    """
    tree: Tree = dict(baseline.recipe)
    changed: set[str] = set()
    found = []
    for arm in taken:
        overlay = {key: value for key, value in change(baseline.recipe, arm.recipe).items() if key != "seed"}
        paths = {path for path, _ in leaves(overlay)}
        if paths and not any(_overlap(a, b) for a in paths for b in changed):
            tree = lay_over(tree, overlay)
            changed |= paths
            found.append(arm)
    return tree, tuple(found)


def _overlap(first: str, second: str) -> bool:
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def recipe_words(recipe: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return a recipe as `key=value` words, not yet quoted for a shell.

    Args:
        recipe: a resolved recipe as a tree.
        beside: a recipe that is known already: of a block that differs from its block all is said, the rest not.

    Example:
        >>> recipe_words({"epochs": 5.0, "norm": {"name": "none"}, "augment": [], "clip": None})
        ('epochs=5.0', 'norm.name=none', 'augment=[]')
        >>> recipe_words({"epochs": 5.0, "norm": {"name": "none"}}, {"epochs": 5.0, "norm": {"name": "batch"}})
        ('norm.name=none',)
    """
    known = dict(leaves(dict(beside or {})))
    differing = {key: value for key, value in recipe.items() if beside is None or beside.get(key) != value}
    said = [(path, value) for path, value in leaves(differing) if value is not None or known.get(path) is not None]
    return tuple(f"{path}={_written(value)}" for path, value in said if value != {})


def _written(value: Any) -> str:
    """Return a value as the right side of a word: what reads as itself stays plain, the rest is YAML's flow form."""
    if value is None:
        return "none"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and (value == "none" or scalar(value) == value):
        return value
    return json.dumps(value, ensure_ascii=False)


def command_of(design: Design, taken: Sequence[Arm]) -> tuple[str, tuple[Arm, ...]]:
    """Return the command that trains the baseline with the changes of some arms, and the arms that found room.

    Args:
        design: the study; of the baseline its `words` are repeated, or all of its recipe where it has none.
        taken: arms whose changes are taken over, the most certain first.
    """
    baseline = design.arms[0]
    tree, found = supported(baseline, taken)
    changed = [key for key, value in tree.items() if baseline.recipe.get(key) != value]
    kept = design.words or recipe_words(baseline.recipe)
    kept = tuple(word for word in kept if re.split(r"[.+=]", word, maxsplit=1)[0] not in changed)
    words = ["provenet", "train", design.source or design.data, *kept, *recipe_words(tree, baseline.recipe)]
    return " ".join(shlex.quote(word) for word in words), found
