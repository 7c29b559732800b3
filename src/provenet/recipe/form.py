"""What the fields of a recipe accept, read from its schema: slots and their members, bounds in words, known paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_origin

from provenet.core.spec import Spec, Technique, members, name_of

Members = dict[str, type[Technique]]


@dataclass(frozen=True)
class Form:
    """What one field accepts.

    Args:
        kind: "slot" (one technique), "slots" (a list of techniques), "block" (a record) or "leaf" (a plain value).
        members: the techniques of a slot by name.
        block: the class of a record.
    """

    kind: str
    members: Members
    block: type[Spec] | None = None


@cache
def forms(model: type[Spec]) -> dict[str, Form]:
    """Return the form of every field of a record."""
    return {name: _form(field.annotation) for name, field in model.model_fields.items()}


def _form(annotation: Any) -> Form:
    found = {name_of(member): member for member in members(annotation)}
    if found:
        return Form("slots" if get_origin(annotation) is tuple else "slot", found)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return Form("block", {}, annotation)
    return Form("leaf", {})


@cache
def properties(model: type[Spec]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every field of a record."""
    found: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    return found


def accepts(schema: dict[str, Any], kind: str) -> bool:
    """Whether a JSON schema takes values of a JSON type ("null", "string", "boolean" ...)."""
    return any(part.get("type") == kind for part in (schema, *schema.get("anyOf", ())))


def constants(schema: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values that a JSON schema spells out."""
    own = tuple(schema.get("enum", ())) + ((schema["const"],) if "const" in schema else ())
    return own + tuple(value for part in schema.get("anyOf", ()) for value in constants(part))


_BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "up to {}", "exclusiveMaximum": "below {}"}
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "none",
}


def allowed(schema: dict[str, Any]) -> str:
    """Return in words what a JSON schema takes.

    Example:
        >>> allowed({"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}]})
        'a whole number from 2, or none'
        >>> allowed({"enum": ["squash", "crop"], "type": "string"})
        'squash or crop'
    """
    if "anyOf" in schema:
        return ", or ".join(allowed(part) for part in schema["anyOf"])
    if constants(schema):
        return " or ".join(str(value) for value in constants(schema))
    kind = str(schema.get("type", ""))
    if kind == "array":
        return _allowed_list(schema)
    if kind == "object":
        return f"a block, each value {allowed(schema.get('additionalProperties', {}))}"
    bounds = [text.format(_plain(schema[key])) for key, text in _BOUNDS.items() if key in schema]
    return " ".join([_KINDS.get(kind, "a value"), " and ".join(bounds).replace("and up", "up")]).strip()


def _allowed_list(schema: dict[str, Any]) -> str:
    parts = schema.get("prefixItems")
    if parts:
        return f"a list of {len(parts)}, [{', '.join(allowed(part) for part in parts)}]"
    return f"a list, each {allowed(schema.get('items', {}))}"


def _plain(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e6 else str(number)


@cache
def known_paths(model: type[Spec]) -> tuple[str, ...]:
    """Return every path that a word may name, in the order of the schema."""
    return tuple(dict.fromkeys(_paths(model, "")))


def _paths(model: type[Spec], prefix: str) -> Iterator[str]:
    for name, form in forms(model).items():
        yield prefix + name
        if form.block is not None:
            yield from _paths(form.block, f"{prefix}{name}.")
        for tag, member in form.members.items():
            inner = f"{prefix}{name}.{tag}" if form.kind == "slots" else f"{prefix}{name}"
            yield from (f"{inner}.{field}" for field in member.model_fields if form.kind == "slot" or field != "name")
