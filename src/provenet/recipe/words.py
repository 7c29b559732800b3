"""Recipe values from `key=value` words and from Python arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from provenet.core.errors import Fault, near
from provenet.core.spec import Spec
from provenet.recipe.form import forms, known_paths
from provenet.recipe.schema import Recipe
from provenet.recipe.text import read, scalar, shown
from provenet.recipe.tidy import tidy
from provenet.recipe.tree import Overrides, Tree, lay_over, leaves, value_at

_LOOK = "key=value, as in epochs=10 norm=group optimizer.lr=0.05 augment=flip,rotate"
_MAX_DEPTH = 6


def parse_words(words: Sequence[str]) -> Overrides:
    """Return what `key=value` words set.

    The right side is a number, true, false, none, text, or a list or block in YAML's flow form (`[64, 64]`).
    `norm=group` is short for `norm.name=group`; `augment=flip,rotate` sets the list, `augment+=noise` adds to it,
    `augment.rotate.max_deg=20` changes or adds one member and `augment.rotate=none` takes it out.

    Args:
        words: the words, in any order.

    Returns:
        The values, with the faults of words that cannot be read; `load` raises them.

    Example:
        >>> parse_words(["norm=group", "optimizer.lr=1e-2"]).tree
        {'norm': {'name': 'group'}, 'optimizer': {'lr': 0.01}}
    """
    settings: list[tuple[str, Any]] = []
    faults: list[Fault] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not text.strip():
            faults.append(_not_a_word(word, key, equals))
            continue
        value, more = _right_side(text.strip())
        settings.append((key.strip(), value))
        faults += more
    found = _collect(settings, "override")
    return Overrides(found.tree, found.where, (*faults, *found.faults))


def from_kwargs(arguments: Mapping[str, Any]) -> Overrides:
    """Return what Python arguments set: nested dicts, lists, plain values, specs; keys may be dotted.

    Example:
        >>> from_kwargs({"epochs": 10, "net": {"name": "resnet", "depth": 18}}).tree
        {'epochs': 10, 'net': {'name': 'resnet', 'depth': 18}}
    """
    return _collect([(key, _plain(value)) for key, value in arguments.items()], "argument")


def words_of(tree: dict[str, Any]) -> tuple[str, ...]:
    """Return what a tree of overrides sets, as words; `parse_words` reads them back.

    Example:
        >>> words_of({"norm": {"name": "group"}, "epochs": 3})
        ('norm.name=group', 'epochs=3')
    """
    return tuple(f"{path}={_word(value)}" for path, value in leaves(tree))


def _not_a_word(word: str, key: str, equals: str) -> Fault:
    if equals:
        return Fault(f"{shown(key)}= has no value", shown(word), _LOOK, "write none for nothing", "override")
    known = near(key.lstrip("-"), known_paths(Recipe))
    return Fault("this word sets nothing", shown(word), _LOOK, known, "override")


def _right_side(text: str) -> tuple[Any, list[Fault]]:
    if text[0] not in "[{\"'":
        return scalar(text), []
    reading = read(text, "override")
    return reading.value, [Fault(f.what, shown(text), f.allowed, f.remedy, "override") for f in reading.faults]


def _word(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    """Return an argument as plain values."""
    if isinstance(value, Spec):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, PurePath) else value


def _collect(settings: Sequence[tuple[str, Any]], place: str) -> Overrides:
    """Return settings as one tree, the wider paths first so that their order does not matter."""
    tree: Tree = {}
    where: dict[str, str] = {}
    faults: list[Fault] = []
    for key, value in sorted(settings, key=lambda setting: setting[0].count(".") + setting[0].endswith("+")):
        block = _block(key, value)
        if block is None:
            faults.append(Fault("this is not a key of the recipe", shown(key), _LOOK, "", place))
            continue
        for path, _ in leaves(block):
            if _taken(path, where, tree):
                faults.append(
                    Fault(f"{shown(path)} is set twice", f"{shown(key)}={shown(value)}", "", "keep one", place)
                )
            where[path] = place
        tree = lay_over(tree, block)
    return Overrides(tree, where, tuple(faults))


def _taken(path: str, where: Mapping[str, str], tree: Tree) -> bool:
    """Whether a path, or a plain value at a path around it, is set already."""
    around = path
    while around not in where:
        if "." not in around:
            return False
        around = around.rpartition(".")[0]
    return around == path or not isinstance(value_at(tree, around), list | dict)


def _block(key: str, value: Any) -> Tree | None:
    """Return a setting as a tidy tree of one path, or None when the key cannot be one."""
    names = key.removesuffix("+").split(".")
    if not all(names) or len(names) > _MAX_DEPTH:
        return None
    if key.endswith("+"):
        form = forms(Recipe).get(names[0])
        if len(names) > 1 or form is None or form.kind != "slots" or not isinstance(value, str):
            return None
        value = {name.strip(): {} for name in value.split(",")}
    for name in reversed(names):
        value = {name: value}
    return tidy(value, Recipe)
