"""What is said first, what hides behind it, and what waits until the first is mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provenet.doctor.vocabulary import SYMPTOMS
from provenet.records.finding import Finding, Hidden

MOST_LOUD = 3
"""Loud findings that are shown; proved errors beyond them are shown too."""


@dataclass(frozen=True)
class Judged:
    """A finding with how sure it is.

    Args:
        finding: itself.
        proved: whether it rests on no training: it holds whatever the net would learn.
        order: place of its check in the list of checks.
    """

    finding: Finding
    proved: bool
    order: int

    @property
    def key(self) -> tuple[int, int, int, float, int]:
        """Severity, symptom behind causes, proof, measured gain, place in the list; smaller comes first."""
        finding = self.finding
        severity = ("error", "warning", "info").index(finding.severity)
        return severity, finding.id in SYMPTOMS, not self.proved, -(finding.gain or 0.0), self.order


def rank(
    judged: Iterable[Judged], hides: Mapping[str, Iterable[str]]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...], tuple[Hidden, ...]]:
    """Return the findings to show, loud ones to look at later, and what is explained by others.

    A loud finding hides the ids that its check names; one that is hidden itself hides nothing.

    Args:
        judged: everything that was found.
        hides: for every id the ids that it explains.

    Example:
        >>> low = Finding(id="lr-too-low", severity="warning", message="", fix="")
        >>> stuck = Finding(id="cannot-overfit-batch", severity="warning", message="", fix="")
        >>> shown, _, hidden = rank([Judged(stuck, True, 0), Judged(low, False, 1)], {"lr-too-low": [stuck.id]})
        >>> [finding.id for finding in shown], hidden[0].by
        (['lr-too-low'], 'lr-too-low')
    """
    ordered = sorted(judged, key=lambda one: one.key)
    by: dict[str, str] = {}
    for one in ordered:
        if one.finding.loud and one.finding.id not in by:
            for other in hides.get(one.finding.id, ()):
                by.setdefault(other, one.finding.id)
    hidden = tuple(Hidden(finding=one.finding, by=by[one.finding.id]) for one in ordered if one.finding.id in by)
    left = [one for one in ordered if one.finding.id not in by]
    loud = [one for one in left if one.finding.loud]
    kept = [
        one for place, one in enumerate(loud) if place < MOST_LOUD or (one.proved and one.finding.severity == "error")
    ]
    further = tuple(one.finding for one in loud if one not in kept)
    quiet = [one for one in left if not one.finding.loud]
    return tuple(one.finding for one in (*kept, *quiet)), further, hidden
