"""One self-contained page: everything escaped, no script, and a policy that lets no request leave."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from provenet.core.files import write_bytes
from provenet.report.words import Figure

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row.

    Args:
        head: the columns' names.
        rows: texts or figures with intervals, as many a row as `head` has.
        numeric: whether all columns but the first hold numbers, which are aligned at the right.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str | Figure, ...]]
    numeric: bool = True


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading and, where it needs one, a sentence on how to read it."""

    title: str
    svg: str
    note: str = ""
    wide: bool = False

    @property
    def markup(self) -> Markup:
        """The drawing as markup; it comes from an element tree, which has escaped every text."""
        return Markup(self.svg)


def render(template: str, **context: Any) -> str:
    """Return a page; the same context gives the same text."""
    css = (_HERE / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(css=Markup(css), policy=policy, **context)


def write_page(path: Path, text: str) -> Path:
    """Write a page whole and return its path; a character that UTF-8 cannot hold becomes a question mark."""
    write_bytes(path, text.encode("utf-8", "replace"))
    return path


@cache
def _environment() -> Environment:
    """Return the templates' environment; an unknown name in a template is a bug and raises."""
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
