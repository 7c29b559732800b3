"""Everything that is known of each check as plain data: what its page of the documentation is made of."""

from __future__ import annotations

from typing import Any

from provenet.doctor.check import Check
from provenet.doctor.registry import CHECKS
from provenet.doctor.vocabulary import VOCABULARY


def cards() -> list[dict[str, Any]]:
    """Return the cards of all checks, in the order of the vocabulary.

    Example:
        >>> cards()[0]["id"]
        'input-unnormalized'
    """
    checks = {check.id: check for check in CHECKS}
    return [_card(checks[id]) for id in VOCABULARY if id in checks]


def _card(check: Check) -> dict[str, Any]:
    term = VOCABULARY[check.id]
    return {
        "id": check.id,
        "family": term.family,
        "meaning": term.meaning,
        "needs": term.needs,
        "cost": check.cost,
        "shows": check.shows,
        "signal": check.signal,
        "thresholds": dict(check.thresholds),
        "fix": check.fix,
        "before": check.before,
        "after": check.after,
        "silent": check.silent,
        "source": check.source,
        "explains": list(check.hides),
        "explained_by": [other.id for other in CHECKS if check.id in other.hides],
    }
