"""Markdown that shows texts as they are: nothing in them becomes a mark, a link or a new cell.

Texts of records come from anywhere and are shown letter by letter (`inline`, `paragraph`); texts of the source may hold
code in backticks and addresses, which stay what they are (`prose`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

_MARKS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])|(?<![^\W_])_|_(?![^\W_])|(?<!\s)[*~]|[*~](?!\s)|<(?=[\w/!?])|`|&(?=#?\w+;)|\](?=[(:])"
)
_IN_LINKS = re.compile(rf"{_MARKS.pattern}|[\[\]]")
_WHOLE = re.compile(r"(`[^`]*`|https?://[^\s)>]+)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_PIPE = "\\|"
_OPENING = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+=>#]))")


def inline(text: str) -> str:
    """Return text on one line, with what Markdown would read as a mark escaped.

    Example:
        >>> inline("a*b < c, x_y and\\n[link](url), <b>")
        'a\\\\*b < c, x_y and [link\\\\](url), \\\\<b>'
    """
    return _MARKS.sub(r"\\\g<0>", _one_line(text))


def prose(text: str) -> str:
    """Return text on one line, marks escaped but for code in backticks; addresses become links.

    Example:
        >>> prose("a*b < c, d_ is `x_` and x_y, see https://a.b/c_")
        'a\\\\*b < c, d\\\\_ is `x_` and x_y, see <https://a.b/c_>'
    """
    parts = _WHOLE.split(_one_line(text))
    parts[::2] = [_MARKS.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = [part if part[0] == "`" else f"<{part}>" for part in parts[1::2]]
    return "".join(parts)


def link(text: str, target: str) -> str:
    """Return a link with a plain text.

    Example:
        >>> link("a [b]", "#c")
        '[a \\\\[b\\\\]](#c)'
    """
    name = _IN_LINKS.sub(r"\\\g<0>", _one_line(text))
    return f"[{name}]({target})"


def _one_line(text: str) -> str:
    return _CONTROLS.sub("", " ".join(text.split()))


def paragraph(text: str) -> str:
    """Return text as a paragraph, whatever it begins with.

    Example:
        >>> paragraph("1. is no list"), paragraph("# no heading")
        ('1\\\\. is no list', '\\\\# no heading')
    """
    return _OPENING.sub(r"\1\\", inline(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], raw: Container[int] = ()) -> str:
    """Return a table; every row is given as many cells as the head has.

    Args:
        head: the columns' names.
        rows: texts of the cells.
        raw: columns that hold Markdown already.
    """
    width = len(head)
    lines = [[inline(name) for name in head], ["---"] * width]
    for row in rows:
        cells = [cell if index in raw else inline(cell) for index, cell in enumerate(row[:width])]
        lines.append(cells + [""] * (width - len(cells)))
    return "\n".join(f"| {' | '.join(cell.replace('|', _PIPE) for cell in line)} |" for line in lines)


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets where Markdown is shown with links to its headings.

    Example:
        >>> anchor("8. Usable rates")
        '8-usable-rates'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
