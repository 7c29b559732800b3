"""Recipes as text: a YAML reader that makes plain values only and knows their lines, and the writer that it reads back.

Plain words are read by YAML 1.2's core rules (`1e-3` is a number; `no`, `on` and `1:30` are text). Tags, anchors and
aliases are refused, so that no file can name a Python object or grow when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from provenet.core.errors import Fault

MAX_BYTES = 256 * 1024
"""Largest recipe that is read, in bytes; a resolved one has about 3,000."""
_MAX_DEPTH = 16
_CONSTANTS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,300}|[0-9]{1,300}(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,6})?")

Path = tuple[str, ...]


def scalar(text: str) -> Any:
    """Return the value of an unquoted word: None, true or false, a number, or the text itself.

    Example:
        >>> [scalar(text) for text in ("1e-3", "12", "true", "no", "null", "64x64")]
        [0.001, 12, True, 'no', None, '64x64']
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


@dataclass
class Reading:
    """What a text holds.

    Args:
        value: plain value: nested dicts with text keys, lists, numbers, text, true, false, None.
        lines: path of keys (list positions as text) to line number, from 1.
        faults: everything that is wrong with the text itself.
    """

    name: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, what: str, mark: Any, remedy: str = "", got: str = "") -> None:
        """Note a fault at a place of the text."""
        self.faults.append(Fault(what, got, "", remedy, f"{self.name}:{mark.line + 1}"))


def read(text: str, name: str) -> Reading:
    """Read one YAML document.

    Args:
        text: the document.
        name: what the user calls it, for faults (a file name).

    Returns:
        Its value, lines and faults; nothing is raised.
    """
    reading = Reading(name)
    if len(text) > MAX_BYTES:
        reading.faults.append(
            Fault("this is too long for a recipe", f"{len(text)} characters", f"{MAX_BYTES}", "", name)
        )
        return reading
    try:
        reading.value = _Builder(reading).document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        reading.faults.append(_syntax_fault(error.problem or error.context or "unreadable", place))
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets chr() and int() fail on odd escapes
        reading.faults.append(_syntax_fault(str(error).splitlines()[0], name))
    return reading


def _syntax_fault(problem: str, place: str) -> Fault:
    return Fault(f"this is not YAML ({problem})", "", "", "check indentation, brackets and quotes", place)


class _Builder:
    """Makes plain values from YAML events."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.events: Iterator[Any] = iter(())

    def document(self, events: Iterator[Any]) -> Any:
        self.events, value, documents = events, None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.reading.fault("a recipe is one document", event.start_mark, "remove what follows ---")
                    break
                value = self.node(next(events), ())
        return value

    def node(self, event: Any, path: Path) -> Any:
        self.reading.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.reading.fault("anchors (&) and aliases (*) are not read", event.start_mark, "write the value out")
        elif event.tag is not None and event.tag != "!":  # "!" is how YAML says "not a plain scalar"
            self.reading.fault("tags (!) are not read", event.start_mark, "write a plain value", shown(event.tag))
        if len(path) >= _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if event.style is None else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else None

    def sequence(self, path: Path) -> list[Any]:
        values: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            values.append(self.node(event, (*path, str(len(values)))))
        return values

    def mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if isinstance(event, yaml.ScalarEvent):
                key = event.value
            else:
                key = "?"
                self.node(event, (*path, key))
                self.reading.fault("a key must be a word", event.start_mark)
            if key in values:
                first = self.reading.lines[(*path, key)]
                what = f"'{shown(key)}' is written twice, first in line {first}"
                self.reading.fault(what, event.start_mark, "keep one of them")
            self.reading.lines.setdefault((*path, key), event.start_mark.line + 1)
            values[key] = self.node(next(self.events), (*path, key))
        return values


def shown(value: Any, most: int = 60) -> str:
    """Return a value as one short printable line, for messages."""
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= most else text[: most - 3] + "..."


class _Dumper(yaml.SafeDumper):
    """Quotes text that `scalar` would take for something else, and text that is not one printable line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = isinstance(scalar(text), str) and text.isprintable()  # PyYAML loses some line breaks in other quotes
    style = None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write(value: Any) -> str:
    """Return a plain value as YAML that `read` gives back unchanged; keys keep their order.

    Example:
        >>> print(write({"lr": 1e-3, "norm": {"name": "none"}, "size": [64, 64]}), end="")
        lr: 0.001
        norm:
          name: none
        size:
        - 64
        - 64
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
