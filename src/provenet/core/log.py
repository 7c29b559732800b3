"""What the floors say while they work, without knowing who listens (a terminal, a notebook, a test)."""

from __future__ import annotations

from typing import Any, Protocol


class Reporter(Protocol):
    """Listens; never answers and never changes anything."""

    def note(self, text: str) -> None:
        """A fact worth one line."""

    def warn(self, text: str) -> None:
        """Something that the user should look at; the work goes on."""

    def choice(self, key: str, value: Any, reason: str) -> None:
        """An automatic choice with its reason; `key` is the recipe path that would override it."""

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a long piece of work has come."""


class Silent:
    """A reporter that keeps warnings and choices and prints nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.choices: dict[str, tuple[Any, str]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def choice(self, key: str, value: Any, reason: str) -> None:
        self.choices[key] = (value, reason)

    def progress(self, what: str, done: int, total: int) -> None:
        pass
