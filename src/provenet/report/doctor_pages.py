"""The doctor's pages of the documentation: Markdown made from the cards of its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provenet.core.files import write_text
from provenet.report.markdown import prose, table
from provenet.report.words import capital

Card = Mapping[str, Any]

FAMILIES = {
    "data": "Data",
    "model": "Model",
    "optimization": "Optimisation and loss",
    "mode": "Modes and frozen layers",
    "symptoms": "Symptoms",
}

COSTS = {
    "static": "The net is walked once: `provenet train` looks for it before the first update.",
    "passes": "A few passes of the net, forward and backward, are measured.",
    "probe": "Short trainings are made.",
}
NEEDS = {
    "loop": "It takes more than net, batches, loss and optimizer: the transform, the schedule, or the loop itself "
    "(`pn.watch`).",
    "val": "It takes validation batches (`val_batches`).",
}
_ALL = range(4)
_WRITTEN = "<!-- Written by `make docs` from the checks of the doctor: change them, not this page. -->"
_INDEX = """# What the doctor finds

`provenet doctor DATA [key=value ...]`, `provenet doctor package.module:function`, `pn.diagnose(...)` and, inside of a
loop, `pn.watch(...)` name causes by these words; symptoms are named where no cause explains them. Each page says what
the word means, how the fault shows itself, what is measured against which threshold, what to do, with an example before
and after, and where the check stays silent. [How it is used](../reference/doctor.md); [how it
works](../design/0005-doctor.md)."""


def pages(cards: Sequence[Card]) -> dict[str, str]:
    """Return file name -> Markdown: a page for each word, and the index.

    Args:
        cards: plain data of every check.
    """
    return {"README.md": _index(cards), **{f"{card['id']}.md": _page(card) for card in cards}}


def write_pages(folder: Path, cards: Sequence[Card]) -> list[Path]:
    """Write the pages into a folder and return their paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = {folder / name: text for name, text in pages(cards).items()}
    for path, text in written.items():
        write_text(path, text)
    return list(written)


def _index(cards: Sequence[Card]) -> str:
    parts = [_WRITTEN, _INDEX]
    for family, title in FAMILIES.items():
        rows = [(_linked(card["id"]), prose(_opened(card["meaning"]))) for card in cards if card["family"] == family]
        parts += [f"## {title}", table(("word", "meaning"), rows, raw=_ALL)]
    return _joined(parts)


def _page(card: Card) -> str:
    """Return the page of one word."""
    limits = [(name, f"{value:g}") for name, value in card["thresholds"].items()]
    symptom = " It is a symptom: it is named where no cause explains it." if card["family"] == "symptoms" else ""
    return _joined(
        [
            _WRITTEN,
            f"# `{card['id']}`",
            f"{_ended(_opened(card['meaning']))}{symptom}",
            "[All words](README.md)",
            "## How it shows",
            prose(card["shows"]),
            "## What is measured",
            prose(card["signal"]),
            NEEDS[card["needs"]] if card["needs"] else COSTS[card["cost"]],
            *([table(("threshold", "value"), limits)] if limits else []),
            f"Source: {_ended(card['source'])}",
            "## What to do",
            prose(card["fix"]),
            "Before:",
            _code(card["before"]),
            "After:",
            _code(card["after"]),
            "## When it stays silent",
            prose(card["silent"]),
            *_relations(card),
        ]
    )


def _relations(card: Card) -> list[str]:
    """Return which words explain each other."""
    texts = []
    if card["explains"]:
        texts.append(f"Explains, and so hides: {', '.join(map(_linked, card['explains']))}.")
    if card["explained_by"]:
        texts.append(f"Explained, and so hidden, by: {', '.join(map(_linked, card['explained_by']))}.")
    return ["## Beside others", *texts] if texts else []


def _linked(id: str) -> str:
    return f"[`{id}`]({id}.md)"


def _opened(text: str) -> str:
    """Return text with a capital, unless it begins with a word of code."""
    return capital(text) if re.fullmatch(r"[a-z-]+[,:]?", text.split(maxsplit=1)[0]) else text


def _ended(text: str) -> str:
    return f"{prose(text).rstrip('.')}."


def _code(text: str) -> str:
    return f"```python\n{text.strip()}\n```"


def _joined(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n"
