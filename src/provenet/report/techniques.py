"""The technique pages of the documentation: Markdown made from the cards that the catalogue of a recipe gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from provenet.core.files import write_text
from provenet.report.markdown import prose, table

Card = Mapping[str, Any]

FASTER, BETTER, BOTH, NEITHER = "faster convergence", "better generalisation", "both of them", "–"
SLOTS = {
    "net": ("the network", NEITHER),
    "init": ("weight initialisation", FASTER),
    "inputs": ("input normalisation", FASTER),
    "norm": ("normalisation layer", FASTER),
    "activation": ("activation function", NEITHER),
    "block": ("block of a deep net", FASTER),
    "dropout": ("dropout", BETTER),
    "skip": ("skip connection of a U-Net", BETTER),
    "upsample": ("upsampling in a decoder", NEITHER),
    "augment": ("label-preserving augmentation", BETTER),
    "loss": ("loss", NEITHER),
    "optimizer": ("optimizer", NEITHER),
    "schedule": ("learning-rate schedule", FASTER),
    "transfer": ("transfer learning", BOTH),
    "average": ("average of the weights", NEITHER),
}
"""What each slot is, and which of the lecture's two goals it serves."""

HEADS = {
    "Definition": "definition",
    "Default and why": "default_and_why",
    "Cost": "cost",
    "Fails when": "fails_when",
    "Source": "source",
}
"""The headed parts of a technique and their keys on its card."""

_LISTS = ("augment",)
_ALL = range(4)
"""Columns that hold Markdown already: all of a table."""
_WRITTEN = "<!-- Written by `make docs` from the docstrings and fields of the source: change them, not this page. -->"
_INDEX = """# Techniques

Every technique fills one slot of the recipe. A lecture on training image networks puts each of them to one of two
goals: **faster convergence** (a good solution in fewer epochs) or **better generalisation** (it holds on unseen data).
The column says what the lecture says, not what was measured. `provenet techniques SLOT.NAME` prints the same on a
terminal, `provenet recipe show` what holds when nothing is said.
[How to add one](../adding-a-technique.md)."""


def field_path(card: Card, field: str) -> str:
    """Return the recipe path of a field of a technique.

    Example:
        >>> field_path({"slot": "schedule", "name": "cosine"}, "floor")
        'schedule.floor'
        >>> field_path({"slot": "augment", "name": "flip"}, "p")
        'augment.flip.p'
    """
    member = f"{card['name']}." if card["slot"] in _LISTS else ""
    return f"{card['slot']}.{member}{field}"


def pages(cards: Sequence[Card]) -> dict[str, str]:
    """Return file name -> Markdown: a page for each slot with all its members, and the index.

    Args:
        cards: plain data of every technique: slot, name, summary, the headed parts, source and fields.
    """
    slots: dict[str, list[Card]] = {}
    for card in cards:
        slots.setdefault(card["slot"], []).append(card)
    found = {f"{slot}.md": _slot_page(slot, members) for slot, members in slots.items()}
    return {"README.md": _index(slots), **found}


def write_pages(folder: Path, cards: Sequence[Card]) -> list[Path]:
    """Write the pages into a folder and return their paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = {folder / name: text for name, text in pages(cards).items()}
    for path, text in written.items():
        write_text(path, text)
    return list(written)


def _index(slots: Mapping[str, Sequence[Card]]) -> str:
    rows = [
        (
            f"[`{slot}`]({slot}.md)",
            SLOTS[slot][0],
            SLOTS[slot][1],
            " · ".join(f"[{card['name']}]({slot}.md#{card['name']})" for card in members),
        )
        for slot, members in slots.items()
    ]
    return _joined([_WRITTEN, _INDEX, table(("slot", "what it is", "goal", "members"), rows, raw=_ALL)])


def _slot_page(slot: str, members: Sequence[Card]) -> str:
    title, goal = SLOTS[slot]
    aim = "" if goal == NEITHER else f"The lecture's goal: {goal}. "
    how = f"`{slot}=NAME,NAME`" if slot in _LISTS else f"`{slot}=NAME`"
    path = field_path({"slot": slot, "name": "NAME"}, "FIELD")
    rows = [(f"[`{card['name']}`](#{card['name']})", prose(card["summary"])) for card in members]
    parts = [
        _WRITTEN,
        f"# `{slot}`: {title}",
        f"{aim}Chosen by {how}, its fields by `{path}=VALUE`. [All slots](README.md).",
        table(("name", "what it does"), rows, raw=_ALL),
    ]
    return _joined(parts + [block for card in members for block in _member(card)])


def _member(card: Card) -> list[str]:
    """Return the section of one technique, block by block."""
    parts = [f"## {card['name']}", prose(card["summary"])]
    parts += [f"**{head}:** {prose(card[key])}" for head, key in HEADS.items() if card[key]]
    rows = [
        (f"`{field_path(card, field['name'])}`", field["allowed"], _default(field), prose(field["description"]))
        for field in card["fields"]
    ]
    return [*parts, table(("field", "takes", "default", "meaning"), rows, raw=_ALL)] if rows else parts


def _default(field: Mapping[str, Any]) -> str:
    """Return a field's default as it is written in a recipe."""
    value = field["default"]
    if value is None:
        return "`none`" if field["allowed"].endswith("none") else "none: it must be given"
    return f"`{_word(value)}`"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_word(item) for item in value)}]"
    return value if isinstance(value, str) else json.dumps(value)


def _joined(blocks: Iterable[str]) -> str:
    """Return blocks as a page. A paragraph is one line: a formula broken before its minus would become a list."""
    return "\n\n".join(blocks) + "\n"
