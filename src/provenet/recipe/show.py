"""Recipes and techniques as something to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provenet.core.errors import Fault, RecipeError, listed, near
from provenet.core.spec import Technique, describe, name_of
from provenet.recipe.form import Members, allowed, forms, properties
from provenet.recipe.load import gather, load, read_yaml
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import Overrides


def without_data(overrides: Overrides) -> dict[str, Any]:
    """Return the automatic choices that need no data: task and net follow each other."""
    named = forms(Recipe)["net"].members.get(overrides.get("net.name"))
    task = overrides.get("task") or getattr(named, "task", "classification")
    return {"task": task, "net": {"name": "unet"}} if task == "segmentation" else {"task": task}


def resolve(file: Path | None, words: list[str]) -> Recipe:
    """Return the recipe of a file and words as far as it is known without data.

    Raises:
        RecipeError: something cannot be used; all faults at once.
    """
    overrides = gather(file, words)
    return load(overrides, without_data(overrides))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a recipe file or of a run folder.

    Raises:
        RecipeError: there is none, or it cannot be used.
    """
    overrides = read_yaml(path / "recipe.yaml" if path.is_dir() else path)
    return load(overrides, without_data(overrides))


def slots() -> dict[str, Members]:
    """Return every slot of a recipe with its members by name, in the order of the schema."""
    return {name: form.members for name, form in forms(Recipe).items() if form.members}


def find(what: str) -> tuple[str, type[Technique] | None]:
    """Return the slot, and the member if one is named, of `SLOT` or `SLOT.NAME`.

    Raises:
        RecipeError: there is no such slot or member.
    """
    slot, dot, name = what.partition(".")
    if slot not in slots():
        holders = [f"{key}.{slot}" for key, found in slots().items() if slot in found]
        remedy = f"did you mean {listed(holders)}?" if holders else near(slot, list(slots()))
        raise RecipeError(Fault("there is no such slot", slot, listed(slots(), 40), remedy))
    found = slots()[slot]
    if dot and name not in found:
        raise RecipeError(Fault(f"slot {slot} has no such member", name, listed(found, 40), near(name, list(found))))
    return slot, found[name] if dot else None


def card(slot: str, member: type[Technique]) -> dict[str, Any]:
    """Return all that is known of a technique, as plain data."""
    parts = describe(member)
    return {
        "slot": slot,
        "name": name_of(member),
        "summary": parts["Summary"],
        "definition": parts.get("Definition", ""),
        "default_and_why": parts.get("Default and why", ""),
        "cost": parts.get("Cost", ""),
        "fails_when": parts.get("Fails when", ""),
        "source": str(member.source),
        "fields": [_field(member, key) for key in member.model_fields if key != "name"],
    }


def _field(member: type[Technique], key: str) -> dict[str, Any]:
    field, schema = member.model_fields[key], properties(member)[key]
    text = " ".join((field.description or "").split())
    return {"name": key, "default": schema.get("default"), "allowed": allowed(schema), "description": text}


def cards(slot: str | None = None) -> list[dict[str, Any]]:
    """Return the cards of all techniques, or of those of one slot."""
    chosen = slots() if slot is None else {slot: slots()[slot]}
    return [card(name, member) for name, found in chosen.items() for member in found.values()]
