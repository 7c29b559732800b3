"""The one shape of a technique: a frozen, checked record with its paper, in a union that is the registry."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Source:
    """Where a technique was published, as data.

    Args:
        authors: family names, "and" before the last, or "X et al.".
        year: year of publication.
        title: title of the paper.
        url: address of the paper.
        section: the part of it that defines the technique.
    """

    authors: str
    year: int
    title: str
    url: str
    section: str = ""

    def __str__(self) -> str:
        text = f"{self.authors} ({self.year}). {self.title}"
        return f"{text}, {self.section}. {self.url}" if self.section else f"{text}. {self.url}"


class Spec(BaseModel):
    """A frozen record that refuses unknown fields; docstrings under the fields are their descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class Technique(Spec):
    """Base of every member of every slot.

    A member sets `name: Literal["..."] = "..."` and `source`, bounds its fields, and implements its slot's verb.
    Its class docstring has four headed parts: Definition, Default and why, Cost, Fails when.
    """

    source: ClassVar[Source]
    name: str


def members(slot: Any) -> tuple[type[Technique], ...]:
    """Return the classes of a slot's union, in the order in which they are written.

    Args:
        slot: a member class, a union of member classes, or either inside `Annotated`.

    Example:
        >>> from typing import Literal
        >>> class A(Technique):
        ...     name: Literal["a"] = "a"
        >>> class B(Technique):
        ...     name: Literal["b"] = "b"
        >>> [member.__name__ for member in members(A | B)]
        ['A', 'B']
    """
    if get_origin(slot) is Annotated:
        return members(get_args(slot)[0])
    if isinstance(slot, type) and issubclass(slot, Technique):
        return (slot,)
    return tuple(found for part in get_args(slot) for found in members(part))


def name_of(member: type[Technique]) -> str:
    """Return the name that a member has in recipes."""
    return str(member.model_fields["name"].default)


PARTS = ("Definition", "Default and why", "Cost", "Fails when")


def describe(member: type[Technique]) -> dict[str, str]:
    """Return the headed parts of a member's docstring: summary, definition, default and why, cost, fails when.

    A part begins with a line whose first words are one of `PARTS`, followed by at least two spaces or a colon.
    """
    parts: dict[str, list[str]] = {"Summary": []}
    current = "Summary"
    for line in inspect.cleandoc(member.__doc__ or "").splitlines():
        head = next((part for part in PARTS if line.startswith((part + "  ", part + ":"))), None)
        if head is not None:
            current, line = head, line[len(head) :].lstrip(" :")
            parts[current] = []
        parts[current].append(line.strip())
    return {part: " ".join(lines).strip() for part, lines in parts.items()}
