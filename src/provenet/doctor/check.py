"""The shape of a check: it reads instruments and judges; one check an id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from provenet.doctor.vocabulary import VOCABULARY
from provenet.records.finding import Finding

if TYPE_CHECKING:
    from provenet.doctor.examination import Examination
    from provenet.doctor.trial import Fix

Cost = Literal["static", "passes", "probe"]
"""What a check reads: walk and battery; passes and dependence as well; short trainings as well."""
Unconfirmed = Literal["keep", "info", "drop"]


@dataclass(frozen=True, eq=False)
class Suspicion:
    """A finding that one batch does not prove: the doctor tries its fix in the probe.

    Where the fix gains enough the finding is said as it stands, with its gain. Where it does not, or there was no
    time, `unconfirmed` says what becomes of it.

    Args:
        finding: what to say when the probe agrees.
        fix: what to try; see `probe.Trial`.
        unconfirmed: "keep": say it all the same (strong evidence without training); "info": as an info; "drop": not.
        base: a change of both arms, such as another rate; None: as the caller trains.
        samples: of each batch in the probe; more than the usual where the fault grows with the batch.
        steps: updates of an arm, where there is time for them; more than the usual where the fault acts slowly.
    """

    finding: Finding
    fix: Fix
    unconfirmed: Unconfirmed = "drop"
    base: Fix | None = None
    samples: int | None = None
    steps: int | None = None


Look = Callable[["Examination"], Iterable["Finding | Suspicion"]]


@dataclass(frozen=True, eq=False)
class Check:
    """One cause or symptom and how it is seen.

    Args:
        id: the word of the vocabulary that it finds.
        look: the judge; reads instruments of the examination, yields findings (proved) or suspicions (to be tried).
        cost: the most expensive instrument that it reads.
        shows: how the fault shows itself, in two or three sentences for its page of the documentation.
        signal: what is measured, against which threshold, in a sentence or two.
        fix: what to do about it, in general.
        before: a few lines of code that have the fault.
        after: the same lines mended.
        silent: sound designs that look alike, and why the check is silent on them.
        thresholds: the constants that decide, by name.
        source: where signal and threshold come from.
        hides: ids that this cause explains: findings of these are not shown beside it.
    """

    id: str
    look: Look
    cost: Cost
    shows: str
    signal: str
    fix: str
    before: str
    after: str
    silent: str
    source: str
    thresholds: Mapping[str, float] = field(default_factory=dict)
    hides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.id in VOCABULARY, self.id
        assert set(self.hides) <= VOCABULARY.keys(), self.hides
