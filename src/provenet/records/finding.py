"""What the doctor says: findings with their figures, ranked, and what they hide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from provenet.core.spec import Spec

Severity = Literal["error", "warning", "info"]
LOUD: tuple[Severity, ...] = ("error", "warning")
_WIDTH = 110


def _plain(value: object) -> object:
    """Return a figure as records can hold it: JSON knows no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


Evidence = Annotated[bool | int | float | str | None, BeforeValidator(_plain)]
"""One figure, or one word, that a finding rests on."""


class Finding(Spec):
    """One thing that the doctor found."""

    id: str
    """The word of the doctor's vocabulary."""
    severity: Severity
    """Error: training cannot work as written. Warning: it is clearly harmed. Info: worth knowing."""
    layer: str = ""
    """Path of the module, or "loss", "optimizer", "inputs", "targets"; empty for the net as a whole."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)
    """The figures, thresholds among them, by name."""
    message: str
    """What is wrong, in a sentence or two, with the figure that shows it."""
    fix: str
    """What to do: a line of code where there is one."""
    overrides: tuple[str, ...] = ()
    """The same as words of a recipe, where the net is provenet's own."""
    gain: float | None = None
    """Share of the loss gap that the fix closed in the probe; none where nothing was probed."""

    @property
    def loud(self) -> bool:
        """Whether it is an error or a warning."""
        return self.severity in LOUD

    @property
    def tried(self) -> str:
        """What short trainings said of the fix, as a sentence; empty where none were made."""
        if self.gain is None:
            return ""
        plain, fixed = (self.evidence.get(f"probe_share_closed{which}") for which in ("", "_with_fix"))
        if not isinstance(plain, int | float) or not isinstance(fixed, int | float):
            return f"with the fix a short training closed {self.gain:.0%} more of the loss gap" if self.gain > 0 else ""
        without = "the training diverged" if plain <= -1 else f"{max(0.0, plain):.0%}"
        closed = f"with the fix a short training closed {max(0.0, fixed):.0%} of the loss gap, without it {without}"
        return closed if fixed > plain else f"{closed}: what it costs shows later, or at other rates, if at all"


class Hidden(Spec):
    """A finding that another one explains."""

    finding: Finding
    by: str
    """The id that explains it."""


class Diagnosis(Spec):
    """The doctor's answer."""

    findings: tuple[Finding, ...] = ()
    """What to look at, most costly first; as a rule at most three of them are loud."""
    further: tuple[Finding, ...] = ()
    """Loud findings beyond those: look again when the first are mended."""
    hidden: tuple[Hidden, ...] = ()
    """What the findings explain."""
    facts: dict[str, Evidence] = Field(default_factory=dict)
    """What was seen of net, batches, loss and optimizer."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """What could not be looked at, and why."""
    seconds: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether there is no error and no warning."""
        return not any(finding.loud for finding in self.findings)

    @property
    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Why something could not be looked at, with the ids."""
        found: dict[str, tuple[str, ...]] = {}
        for name, reason in self.left_out.items():
            found[reason] = (*found.get(reason, ()), name)
        return found

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        loud = sum(finding.loud for finding in self.findings)
        said = "nothing that harms training" if self.healthy else f"{loud} to mend"
        yield f"doctor: {said} ({self.seconds:.1f} s)"
        for finding in self.findings:
            yield from _table_rows(finding)
            if explained := [other.finding.id for other in self.hidden if other.by == finding.id]:
                yield f"           explains  {', '.join(explained)}"
        if self.further:
            yield f"  further  {', '.join(finding.id for finding in self.further)}: look again when these are mended"
        for reason, names in self.reasons.items():
            said = f"{', '.join(names)}: {reason}"
            yield textwrap.fill(said, _WIDTH, initial_indent="  not looked at  ", subsequent_indent=" " * 13)


def _table_rows(finding: Finding) -> Iterator[str]:
    place = f"  in {finding.layer}" if finding.layer else ""
    yield f"  {finding.severity:<7}  {finding.id}{place}"
    figures = ", ".join(f"{name} {_shown(value)}" for name, value in finding.evidence.items())
    words = "  ".join(finding.overrides)
    rows = (
        ("", finding.message),
        ("figures", figures),
        ("tried", finding.tried),
        ("fix", finding.fix),
        ("recipe", words),
    )
    for name, text in rows:
        if text:
            head = f"           {name}  " if name else "           "
            yield textwrap.fill(text, _WIDTH, initial_indent=head, subsequent_indent=" " * 13)


def _shown(value: bool | int | float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
