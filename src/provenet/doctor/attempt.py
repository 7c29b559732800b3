"""Other people's code: what it raises, warns of or prints is a fact, not the end of the examination."""

from __future__ import annotations

import io
import warnings
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from types import TracebackType

_MOST = 300


@dataclass(frozen=True)
class Failure:
    """What a piece of somebody else's code raised.

    Args:
        stage: what was being done: "forward", "loss", "backward", "step", "copy".
        kind: name of the exception's class.
        text: its message, shortened.
        layer: path of the innermost module that was running; empty where none was.
    """

    stage: str
    kind: str
    text: str
    layer: str = ""

    def __str__(self) -> str:
        place = f" in {self.layer}" if self.layer else ""
        return f"{self.stage}{place} raised {self.kind}: {self.text}"


class Attempt:
    """Runs a block of somebody else's code; an exception ends the block and is kept.

    It is the one place that takes every `Exception`: a stranger's net may raise anything. Interrupts pass.

    Args:
        stage: see `Failure`.

    Example:
        >>> with Attempt("forward") as attempt:
        ...     print("not shown", 1 / 0)
        >>> attempt.failure.kind
        'ZeroDivisionError'
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.failure: Failure | None = None
        self.warned: tuple[str, ...] = ()
        self._stack = ExitStack()
        self._caught: list[warnings.WarningMessage] = []

    def __enter__(self) -> Attempt:
        self._caught = self._stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        self._stack.enter_context(redirect_stdout(io.StringIO()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stack.close()
        self.warned = tuple(dict.fromkeys(str(warning.message)[:_MOST] for warning in self._caught))
        if not isinstance(error, Exception):
            return False
        self.failure = Failure(self.stage, type(error).__name__, " ".join(str(error).split())[:_MOST])
        return True
