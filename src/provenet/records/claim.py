"""What measuring a claim writes: checks with figures, the verdict that follows from them, tables and charts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from provenet.core.spec import Spec

Verdict = Literal["holds", "does not hold here", "cannot tell"]
Number = float | None


class Check(Spec):
    """One sentence that a claim rests on, with the figure that decides it."""

    says: str
    """What ought to be so, as a sentence."""
    value: Number
    """The figure; none where it is not defined."""
    low: Number = None
    """Lower end of its 95 % interval; none for exact figures."""
    high: Number = None
    """Upper end."""
    wanted: str
    """What the figure must be, as in "> 0"."""
    n: int
    """Seeds, draws or pictures that the figure rests on."""
    outcome: bool | None
    """Whether it is so; none where the interval holds both answers."""


class Effect(Spec):
    """What one technique bought for one goal."""

    technique: str
    """SLOT.NAME, with what it stands against."""
    goal: Literal["convergence", "generalisation"]
    """Convergence: mean validation score over the run. Generalisation: score on held-out pictures."""
    measure: str
    """The figure in words, with its unit."""
    value: Number
    low: Number = None
    high: Number = None
    n: int


class Lines(Spec):
    """Curves over a common x; at most four."""

    kind: Literal["lines"] = "lines"
    title: str
    x: str
    y: str
    lines: dict[str, tuple[tuple[float, float], ...]]
    note: str = ""


class Dots(Spec):
    """A figure with its interval a row."""

    kind: Literal["dots"] = "dots"
    title: str
    rows: tuple[tuple[str, Number, Number, Number], ...]
    """Name, value, low, high."""
    note: str = ""


class Heat(Spec):
    """A grid of values in [0, 1], as a heat map."""

    kind: Literal["heat"] = "heat"
    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[Number, ...], ...]
    note: str = ""


class Gallery(Spec):
    """Small pictures with captions."""

    kind: Literal["gallery"] = "gallery"
    title: str
    pictures: tuple[tuple[str, str], ...]
    """Caption and PNG in base64."""
    note: str = ""


class Diagram(Spec):
    """The shape of a U-Net: what every level has on the way down and up."""

    kind: Literal["diagram"] = "diagram"
    title: str
    down: tuple[tuple[int, int], ...]
    """Channels and side of each level's output on the way down, the bottleneck last."""
    up: tuple[tuple[int, int], ...]
    """Channels and side on the way up, deepest first."""
    skips: tuple[tuple[int, int], ...]
    """Pairs (index in down, index in up) that a skip joins."""
    note: str = ""


class Grid(Spec):
    """A table of texts; the first column names the row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Chart = Annotated[Lines | Dots | Heat | Gallery | Diagram, Field(discriminator="kind")]


class Finding(Spec):
    """What the measurement of a claim gave."""

    checks: tuple[Check, ...]
    said: str
    """What came out, in two or three honest sentences, with what stands against it."""
    charts: tuple[Chart, ...] = ()
    tables: tuple[Grid, ...] = ()
    effects: tuple[Effect, ...] = ()
    trainings: int = 0
    """Trainings made."""

    @property
    def verdict(self) -> Verdict:
        """Holds when every check does; does not hold here when one fails; else it cannot be told."""
        outcomes = [check.outcome for check in self.checks]
        if any(outcome is False for outcome in outcomes):
            return "does not hold here"
        return "holds" if outcomes and all(outcomes) else "cannot tell"


class ClaimRecord(Spec):
    """A claim with what measuring it gave."""

    number: int
    name: str
    statement: str
    experiment: str
    data: str
    """What was measured on, in words; empty for closed forms."""
    verdict: Verdict
    finding: Finding
    seconds: float
    key: str
    """SHA-256 of all that the finding depends on: code, data, scale, seeds."""


class ClaimsRecord(Spec):
    """The content of claims.json."""

    scale: str
    seeds: tuple[int, ...]
    claims: tuple[ClaimRecord, ...]
    seconds: float
    provenance: dict[str, Any]
