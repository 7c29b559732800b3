"""What the run was made of: its data, its choices, its events, its origin, and how to go on from here."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from provenet.records import RunRecord
from provenet.report.page import Table
from provenet.report.parts import entries, part, rows
from provenet.report.verdict import resume_command, run_path
from provenet.report.words import counted, flat, is_number, number, plain, split_name

MOST_FILES = 200
"""Files that one table lists."""
MOST_SIZES = 12


def count_table(record: RunRecord) -> Table | None:
    """Return how many images each split has, in all and of each class."""
    splits, counts = part(record.data, "splits"), part(record.data, "counts")
    names = list(dict.fromkeys([*splits, *counts]))
    if not names:
        return None
    lines: list[tuple[str, ...]] = []
    if splits:
        lines.append(("Images", *(number(_length(splits.get(name))) for name in names)))
    classes = list(dict.fromkeys(key for name in counts for key in part(counts, name)))
    lines += [(key, *(number(part(counts, name).get(key, 0)) for name in names)) for key in classes]
    return Table(("", *map(split_name, names)), lines)


def share_table(record: RunRecord) -> Table | None:
    """Return the share of the pixels that each class has in each split (segmentation)."""
    pixels = part(record.data, "pixels")
    classes = list(dict.fromkeys(key for name in pixels for key in part(pixels, name)))
    totals = {name: sum(filter(is_number, part(pixels, name).values())) or 1 for name in pixels}
    lines = [
        (key, *(_share(part(pixels, name).get(key, 0), total) for name, total in totals.items())) for key in classes
    ]
    return Table(("Share of the pixels", *map(split_name, pixels)), lines) if lines else None


def notes_on_data(record: RunRecord) -> dict[str, list[str]]:
    """Return errors, warnings and rules as lists of sentences; only those that hold something."""
    data = record.data
    read = [f"{note}: {counted(num, 'image')}" for note, num in part(data, "notes").items()]
    found = {
        "Errors": _texts(data.get("errors")),
        "Look at these": _texts(data.get("warnings")),
        "Rules that were applied": _texts(data.get("rules")) + read,
    }
    return {title: texts for title, texts in found.items() if texts}


def quarantine_table(record: RunRecord) -> Table | None:
    """Return the files that were left out, each with its reason."""
    files = [(str(item.get("file", "")), str(item.get("reason", ""))) for item in rows(record.data, "quarantined")]
    return _cut(("File", "Reason"), files)


def twin_table(record: RunRecord) -> Table | None:
    """Return the groups of files that hold the same picture."""
    groups = [group for group in entries(record.data, "duplicates") if isinstance(group, list) and group]
    return _cut(("File", "The same picture as"), [(str(group[0]), plain(group[1:])) for group in groups])


def data_facts(record: RunRecord) -> Table | None:
    """Return the layout, the most frequent sizes and the statistics of the data."""
    keys = ("source", "layout", "sizes", "imbalance", "stored", "stats", "fingerprint")
    found = {key: record.data[key] for key in keys if record.data.get(key)}
    if isinstance(found.get("sizes"), dict):
        found["sizes"] = dict(list(found["sizes"].items())[:MOST_SIZES])
    return _facts(found)


def choice_table(record: RunRecord) -> Table | None:
    """Return what was chosen automatically, and why; the user's own choices after them."""
    by = {"auto": "automatic", "user": "given"}
    order = {name: index for index, name in enumerate(by)}
    choices = sorted((one for one in record.choices if one.by in by), key=lambda one: order[one.by])
    lines = [(one.key, plain(one.value), by[one.by], one.reason) for one in choices]
    return Table(("Key", "Value", "By", "Reason"), lines, numeric=False) if lines else None


def event_table(record: RunRecord) -> Table | None:
    """Return the events in their order."""
    lines = [(number(event.step), event.kind, event.text) for event in record.events]
    return Table(("Step", "Event", "What happened"), lines, numeric=False) if lines else None


def provenance_table(record: RunRecord) -> Table | None:
    """Return versions, machine, seed and identities."""
    return _facts(record.provenance)


def recipe_text(record: RunRecord) -> str:
    """Return the resolved recipe as YAML."""
    return yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True) if record.recipe else ""


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """Return what can be done from here: words and the command line to copy."""
    run, source = run_path(record), record.data.get("source") or record.provenance.get("data")
    data = shlex.quote(source) if isinstance(source, str) and source else "path/to/images"
    go_on = [] if record.finished else [("Go on where it stopped", resume_command(record))]
    return [
        *go_on,
        ("Measure it on other images", f"provenet evaluate {run} path/to/other/images"),
        ("Ask it about new images", f"provenet predict {run} path/to/image.png --out predictions"),
        ("Train it again from its recipe", f"provenet train {data} --recipe {run}/recipe.yaml"),
        ("Write this page again", f"provenet report {run}"),
    ]


def _cut(head: tuple[str, ...], lines: list[tuple[str, str]]) -> Table | None:
    """Return a table of files, cut where it would make the page heavy; the records hold all of them."""
    if not lines:
        return None
    rest = len(lines) - MOST_FILES
    return Table(
        head, lines[:MOST_FILES] + ([(f"and {rest} more", "see data.json")] if rest > 0 else []), numeric=False
    )


def _facts(mapping: dict[str, Any]) -> Table | None:
    """Return nested records as a table of two columns."""
    lines: list[tuple[str, ...]] = [(key, text) for key, text in flat(mapping)]
    return Table(("", ""), lines, numeric=False) if lines else None


def _share(num: Any, total: float) -> str:
    """Return a count as a share."""
    return f"{num / total:.2%}" if is_number(num) else number(num)


def _texts(value: Any) -> list[str]:
    """Return a record's list as sentences."""
    return [plain(item) for item in value] if isinstance(value, list) else [plain(value)] if value else []


def _length(value: Any) -> int:
    """Return how many files a split lists, or the count where it is one."""
    return value if isinstance(value, int) else len(value or ())
