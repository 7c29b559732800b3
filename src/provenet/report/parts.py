"""Ways into records that bear what is absent or has another form: a page is written from what is there."""

from __future__ import annotations

from typing import Any


def part(record: Any, *keys: str) -> dict[str, Any]:
    """Return a mapping inside a record; empty where there is none.

    Example:
        >>> part({"a": {"b": {"c": 1}}}, "a", "b"), part({"a": 3}, "a", "b"), part(None, "a")
        ({'c': 1}, {}, {})
    """
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record if isinstance(record, dict) else {}


def entries(record: Any, key: str) -> list[Any]:
    """Return a list inside a record; empty where there is none.

    Example:
        >>> entries({"a": [1, "b"]}, "a"), entries({"a": 3}, "a")
        ([1, 'b'], [])
    """
    value = record.get(key) if isinstance(record, dict) else None
    return list(value) if isinstance(value, list | tuple) else []


def rows(record: Any, key: str) -> list[dict[str, Any]]:
    """Return the mappings of a list inside a record.

    Example:
        >>> rows({"a": [{"b": 1}, "c"]}, "a")
        [{'b': 1}]
    """
    return [entry for entry in entries(record, key) if isinstance(entry, dict)]
