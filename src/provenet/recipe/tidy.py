"""One spelling for every value: short forms are written out, so that layers can be laid over one another.

`net: unet` becomes `net: {name: unet}`, `net: timm:resnet18` fills the one required field of `timm`,
`augment: flip,crop` becomes a list of members, and `none` becomes nothing where nothing is meant. What is not
understood stays as it is: the schema refuses it.
"""

from __future__ import annotations

from typing import Any

from provenet.core.spec import Spec
from provenet.recipe.form import Members, accepts, constants, forms, properties
from provenet.recipe.tree import Tree

_NOTHING = (None, "none", False)


def tidy(tree: Tree, model: type[Spec]) -> Tree:
    """Return a tree with every short form written out.

    Args:
        tree: values as the user wrote them.
        model: the record that they are meant for.
    """
    return {key: _value(value, model, key) for key, value in tree.items()}


def _value(value: Any, model: type[Spec], key: str) -> Any:
    form = forms(model).get(key)
    if form is None:
        return value
    if form.kind == "slot":
        return _slot(value, form.members)
    if form.kind == "slots":
        return _slots(value, form.members)
    if form.block is not None:
        return tidy(value, form.block) if isinstance(value, dict) else value
    return leaf(value, properties(model)[key])


def leaf(value: Any, schema: dict[str, Any]) -> Any:
    """Return a plain value as its JSON schema wants it written."""
    if value == "none" and accepts(schema, "null") and "none" not in constants(schema):
        return None
    if isinstance(value, list) and "items" in schema:
        return [leaf(item, schema["items"]) for item in value]
    if isinstance(value, dict) and "additionalProperties" in schema:
        return {key: leaf(item, schema["additionalProperties"]) for key, item in value.items()}
    if isinstance(value, bool) and not accepts(schema, "boolean"):
        return str(value).lower()  # else the schema would read true as 1
    return str(value) if isinstance(value, int | float) and schema.get("type") == "string" else value


def _slot(value: Any, members: Members) -> Any:
    if value is None and "none" in members:
        value = "none"
    block = {"name": value} if isinstance(value, str) else value
    return _member(block, members) if isinstance(block, dict) else value


def _member(block: Tree, members: Members) -> Tree:
    """Tidy the fields of one technique, whose name may be set in another layer."""
    block = _split_name(block, members)
    name = block.get("name")
    named = members.get(name) if isinstance(name, str) else None
    result = {}
    for key, value in block.items():
        owner = named or next((member for member in members.values() if key in member.model_fields), None)
        result[key] = value if owner is None else _value(value, owner, key)
    return result


def _split_name(block: Tree, members: Members) -> Tree:
    """Split `name: timm:resnet18` into the member `timm` and its one required field."""
    name, colon, rest = str(block.get("name")).partition(":")
    required = (
        [key for key, field in members[name].model_fields.items() if field.is_required()] if name in members else []
    )
    return {**block, "name": name, required[0]: rest} if colon and len(required) == 1 else block


def _slots(value: Any, members: Members) -> Any:
    if isinstance(value, str):
        value = [] if value == "none" else [name.strip() for name in value.split(",")]
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [_slot(item, members) for item in value]
    if isinstance(value, dict):
        return {name: _change(fields, members, name) for name, fields in value.items()}
    return value


def _change(fields: Any, members: Members, name: str) -> Any:
    """Tidy what is said of one member of a list: None takes it out."""
    if not isinstance(fields, dict):
        return None if fields in _NOTHING else fields
    return {key: value for key, value in _member({"name": name, **fields}, members).items() if key != "name"}
