"""What the run was made of: its data, its choices, its events, its origin, and how to go on from here."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from provenet.records import RunRecord
from provenet.report.page import Table
from provenet.report.verdict import resume_command
from provenet.report.words import flat, number, plain, split_name


def count_table(record: RunRecord) -> Table | None:
    """Return how many images each split has, in all and of each class."""
    splits, counts = _mapping(record.data, "splits"), _mapping(record.data, "counts")
    names = list(dict.fromkeys([*splits, *counts]))
    if not names:
        return None
    rows: list[tuple[str, ...]] = []
    if splits:
        rows.append(("Images", *(number(_length(splits.get(name))) for name in names)))
    classes = list(dict.fromkeys(key for name in counts for key in _mapping(counts, name)))
    rows += [(key, *(number(_mapping(counts, name).get(key, 0)) for name in names)) for key in classes]
    return Table(("", *map(split_name, names)), rows)


def notes_on_data(record: RunRecord) -> dict[str, list[str]]:
    """Return errors, warnings and rules as lists of sentences; only those that hold something."""
    titles = {"errors": "Errors", "warnings": "Look at these", "rules": "Rules that were applied"}
    found = {title: _texts(record.data.get(key)) for key, title in titles.items()}
    return {title: texts for title, texts in found.items() if texts}


def quarantine_table(record: RunRecord) -> Table | None:
    """Return the files that were left out, each with its reason."""
    rows = [
        (str(item.get("file", "")), str(item.get("reason", "")))
        for item in record.data.get("quarantined") or ()
        if isinstance(item, dict)
    ]
    return Table(("File", "Reason"), rows, numeric=False) if rows else None


def data_facts(record: RunRecord) -> Table | None:
    """Return the layout, the sizes and the statistics of the data."""
    keys = ("source", "layout", "task", "sizes", "stats", "fingerprint")
    return _facts({key: record.data[key] for key in keys if record.data.get(key)})


def choice_table(record: RunRecord) -> Table | None:
    """Return what was chosen automatically, and why; the user's own choices after them."""
    by = {"auto": "automatic", "user": "given"}
    order = {name: index for index, name in enumerate(by)}
    choices = sorted((one for one in record.choices if one.by in by), key=lambda one: order[one.by])
    rows = [(one.key, plain(one.value), by[one.by], one.reason) for one in choices]
    return Table(("Key", "Value", "By", "Reason"), rows, numeric=False) if rows else None


def event_table(record: RunRecord) -> Table | None:
    """Return the events in their order."""
    rows = [(number(event.step), event.kind, event.text) for event in record.events]
    return Table(("Step", "Event", "What happened"), rows, numeric=False) if rows else None


def provenance_table(record: RunRecord) -> Table | None:
    """Return versions, machine, seed and identities."""
    return _facts(record.provenance)


def recipe_text(record: RunRecord) -> str:
    """Return the resolved recipe as YAML."""
    return yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True) if record.recipe else ""


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """Return what can be done from here: words and the command line to copy."""
    run, source = shlex.quote(record.name), record.data.get("source")
    data = shlex.quote(source) if isinstance(source, str) and source else "path/to/images"
    go_on = [] if record.finished else [("Go on where it stopped", resume_command(record))]
    return [
        *go_on,
        ("Measure it on other images", f"provenet evaluate {run} path/to/other/images"),
        ("Ask it about new images", f"provenet predict {run} path/to/image.png --out predictions"),
        ("Train it again from its recipe", f"provenet train {data} --recipe {run}/recipe.yaml"),
        ("Write this page again", f"provenet report {run}"),
    ]


def _facts(mapping: dict[str, Any]) -> Table | None:
    """Return nested records as a table of two columns."""
    rows: list[tuple[str, ...]] = [(key, text) for key, text in flat(mapping)]
    return Table(("", ""), rows, numeric=False) if rows else None


def _mapping(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a mapping inside a record; empty for anything else."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    """Return a record's list as sentences."""
    return [plain(item) for item in value] if isinstance(value, list) else [plain(value)] if value else []


def _length(value: Any) -> int:
    """Return how many files a split lists, or the count where it is one."""
    return value if isinstance(value, int) else len(value or ())
