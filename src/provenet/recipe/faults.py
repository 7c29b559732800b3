"""What a user reads when values do not fit the schema: every fault, with its place, what is allowed and a near name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from provenet.core.errors import Fault, listed, near
from provenet.core.spec import Spec
from provenet.recipe.form import Form, allowed, forms, known_paths, properties
from provenet.recipe.text import shown
from provenet.recipe.tree import Overrides, Tree, value_at


@dataclass(frozen=True)
class Spot:
    """A place in a recipe.

    Args:
        path: dotted path without the tags that pydantic puts between.
        owner: the record that holds (or should hold) the last key.
        key: the last key.
        slot: the slot that the owner is a member of, if it is one.
    """

    path: str
    owner: type[Spec]
    key: str
    slot: Form | None = None


def locate(location: Sequence[int | str], model: type[Spec], tree: Tree) -> Spot:
    """Return the place that pydantic means, the tags of unions stripped."""
    rest, path, owner, slot = list(location), [], model, None
    key = ""
    while rest:
        key = str(rest.pop(0))
        path.append(key)
        form = forms(owner).get(key)
        if form is None or form.kind == "leaf" or not rest:
            break
        if form.kind == "slots":
            member = value_at(tree, key)[int(rest.pop(0))]
            if not rest:
                break
            path.append(shown(member.get("name")))
        if form.block is not None:
            owner, slot = form.block, None
        else:
            owner, slot = form.members[str(rest.pop(0))], form
    return Spot(".".join(path), owner, key, slot)


def faults_of(error: ValidationError, model: type[Spec], tree: Tree, overrides: Overrides) -> list[Fault]:
    """Return one fault for every place that pydantic refuses.

    Args:
        error: what pydantic found.
        model: the record that was validated.
        tree: the values that were validated.
        overrides: where they were set.
    """
    found: dict[tuple[str, str], Fault] = {}
    for detail in error.errors(include_url=False):
        spot = locate(detail["loc"], model, tree)
        where = overrides.place(spot.path) or "automatic choice"
        if detail["type"] == "extra_forbidden":
            fault = _unknown_key(spot, detail["input"], model, where)
        elif detail["type"].startswith("union_tag"):
            fault = _unknown_member(spot, detail, where)
        else:
            fault = _refused(spot, detail, tree, where)
        found.setdefault((spot.path, fault.got), fault)
    return list(found.values())


def _unknown_key(spot: Spot, value: Any, model: type[Spec], where: str) -> Fault:
    known = [key for key in spot.owner.model_fields if key != "name"]
    path, holder = shown(spot.path), spot.path.rpartition(".")[0]
    if spot.slot is None:
        remedy = near(spot.key, known) or ("" if holder else _near_path(spot.key, known_paths(model)))
        return Fault(f"{path}: there is no such key", shown(value), "" if remedy else listed(known, 40), remedy, where)
    name = spot.owner.model_fields["name"].default
    owners = [tag for tag, member in spot.slot.members.items() if spot.key in member.model_fields]
    belongs = f"it belongs to {listed(owners)}: set {holder}.name too" if owners and spot.slot.kind == "slot" else ""
    what, allowed_keys = f"{path}: {name} has no such key", listed(known, 40) or "none, it has no keys"
    return Fault(what, shown(value), allowed_keys, belongs or near(spot.key, known), where)


def _near_path(key: str, paths: Sequence[str]) -> str:
    """Return a hint for a key that stands deeper in the recipe, as `lr` does."""
    same = [path for path in paths if path.rpartition(".")[2] == key]
    return f"did you mean {listed([repr(path) for path in same], most=3)}?" if same else near(key, paths)


def _unknown_member(spot: Spot, detail: Any, where: str) -> Fault:
    names = list(forms(spot.owner)[spot.key].members)
    tag = detail.get("ctx", {}).get("tag")
    value = detail["input"]
    got = tag if tag is not None else value.get("name") if isinstance(value, dict) else value
    return Fault(
        f"{spot.path}: there is no such {spot.key}", shown(got), listed(names, 40), near(str(got), names), where
    )


def _refused(spot: Spot, detail: Any, tree: Tree, where: str) -> Fault:
    if spot.key not in spot.owner.model_fields:
        return Fault(f"{spot.path} cannot be used", shown(detail["input"]), "", "", where)
    form, schema = forms(spot.owner)[spot.key], properties(spot.owner)[spot.key]
    if form.kind != "leaf":
        return _not_a_block(spot, form, detail, where)
    if detail["type"] == "missing":
        what, got = f"{spot.path} is needed", ""
    elif detail["type"] == "value_error":
        what, got = f"{spot.path}: {detail['ctx']['error']}", shown(value_at(tree, spot.path))
    else:
        what, got = f"{spot.path} cannot have this value", shown(value_at(tree, spot.path))
    remedy = f"leave it out for the default, {shown(schema['default'])}" if "default" in schema else ""
    return Fault(what, got, described(spot.owner, spot.key), remedy, where)


def described(owner: type[Spec], key: str) -> str:
    """Return what a field accepts and what it is, in words."""
    text = " ".join((owner.model_fields[key].description or "").split())
    return f"{allowed(properties(owner)[key])} ({text.rstrip('.')})" if text else allowed(properties(owner)[key])


def _not_a_block(spot: Spot, form: Form, detail: Any, where: str) -> Fault:
    """A record or a technique as a whole is refused: not a block, or its fields do not agree."""
    if detail["type"] == "value_error":
        return Fault(f"{spot.path}: {detail['ctx']['error']}", "", "", "", where)
    names = form.members or forms(form.block or spot.owner)
    return Fault(f"{spot.path} cannot have this value", shown(detail["input"]), listed(names, 40), "", where)
