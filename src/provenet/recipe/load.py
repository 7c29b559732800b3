"""From what a user wrote to a checked recipe: defaults, automatic choices, file and words laid over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from provenet.core.errors import Fault, RecipeError
from provenet.recipe.conflicts import clashes, idle
from provenet.recipe.defaults import defaults
from provenet.recipe.faults import faults_of
from provenet.recipe.form import forms
from provenet.recipe.schema import Recipe
from provenet.recipe.text import MAX_BYTES, Reading, read
from provenet.recipe.tidy import tidy
from provenet.recipe.tree import Overrides, Tree, merge
from provenet.recipe.words import from_kwargs, parse_words


def load(overrides: Overrides, automatic: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe: defaults, then automatic choices, then what the user set.

    Args:
        overrides: what the user set; it always wins.
        automatic: choices made for the user, nested or with dotted keys.

    Raises:
        RecipeError: something cannot be used; all faults at once.

    Example:
        >>> load(parse_words(["seed=3"]), {"seed": 1, "batch_size": 64}).model_dump(include={"seed", "batch_size"})
        {'batch_size': 64, 'seed': 3}
    """
    chosen = from_kwargs(automatic or {})
    recipe, faults = _checked(chosen.tree, overrides)
    faults += chosen.faults
    if recipe is not None:
        found = [*clashes(recipe), *idle(recipe, overrides.sets)]
        faults += [replace(fault, where=next(filter(None, map(overrides.place, paths)), "")) for paths, fault in found]
    if faults or recipe is None:
        raise RecipeError(faults)
    return recipe


def gather(
    file: Path | None = None, words: Sequence[str] = (), arguments: Mapping[str, Any] | None = None
) -> Overrides:
    """Return what a file, Python arguments and words set, the later ones winning, with every key and value checked.

    Whether the values agree with each other is left to `load`, which knows the automatic choices.

    Raises:
        RecipeError: something cannot be used; all faults at once.
    """
    overrides = read_yaml(file) if file is not None else Overrides()
    overrides = overrides.then(from_kwargs(arguments or {})).then(parse_words(words))
    _, faults = _checked(_likely_net(overrides), overrides)
    if faults:
        raise RecipeError(faults)
    return overrides


def _likely_net(overrides: Overrides) -> Tree:
    """Return a net that has the fields which were set without a name; which one it will be, the data decide."""
    block = overrides.get("net")
    if not isinstance(block, dict) or "name" in block:
        return {}
    fitting = (name for name, member in forms(Recipe)["net"].members.items() if set(block) <= set(member.model_fields))
    return {"net": {"name": name}} if (name := next(fitting, None)) else {}


def _checked(chosen: Tree, overrides: Overrides) -> tuple[Recipe | None, list[Fault]]:
    """Return the recipe, or None, and the faults of single values."""
    wanted = merge(chosen, overrides.tree)
    tree = merge(merge(defaults(wanted), chosen), overrides.tree)
    try:
        return Recipe.model_validate(tree), list(overrides.faults)
    except ValidationError as error:
        return None, [*overrides.faults, *faults_of(error, Recipe, tree, overrides)]


def read_yaml(path: Path) -> Overrides:
    """Return what a recipe file sets, each value with its line.

    Returns:
        The values, with the faults of the text; `load` raises them.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        return Overrides(faults=(Fault("the recipe cannot be read", error.strerror or "", "", "", str(path)),))
    except UnicodeDecodeError as error:
        return Overrides(faults=(Fault("the recipe is not UTF-8", f"byte {error.start}", "", "", str(path)),))
    return from_text(text, str(path))


def from_text(text: str, name: str) -> Overrides:
    """Return what the text of a recipe file sets; see `read_yaml`.

    Example:
        >>> from_text("norm: group\\noptimizer: {lr: 1e-2}", "recipe.yaml").where["optimizer.lr"]
        'recipe.yaml:2'
    """
    reading = read(text, name)
    faults = tuple(reading.faults)
    if reading.value is None:
        return Overrides(faults=faults)
    if not isinstance(reading.value, dict):
        return Overrides(faults=(*faults, Fault("a recipe is a block of key: value lines", "", "", "", name)))
    where = {_dotted(keys, reading): f"{name}:{line}" for keys, line in reading.lines.items() if keys}
    return Overrides(tidy(reading.value, Recipe), where, faults)


def _dotted(keys: Sequence[str], reading: Reading) -> str:
    """Return a path with the members of lists called by their names."""
    names, value = [], reading.value
    for key in keys:
        if isinstance(value, list):
            value = value[int(key)]
            names.append(str(value.get("name") if isinstance(value, dict) else value))
        else:
            value = value.get(key) if isinstance(value, dict) else None
            names.append(key)
    return ".".join(names)
