"""The order of work: checks look, the probe tries what they only suspect, the ranking says what comes first."""

from __future__ import annotations

from collections.abc import Sequence

from provenet.doctor.case import Case
from provenet.doctor.check import Check, Cost
from provenet.doctor.clock import Clock
from provenet.doctor.double import doubled
from provenet.doctor.examination import Examination
from provenet.doctor.facts import facts_of
from provenet.doctor.judging import Judging
from provenet.doctor.ranking import rank
from provenet.records.finding import Diagnosis, Finding

COSTS: tuple[Cost, ...] = ("static", "passes", "probe")


def examine(case: Case, budget_s: float, checks: Sequence[Check], costs: Sequence[Cost] = COSTS) -> Diagnosis:
    """Carry out the checks of some costs on a case.

    Args:
        case: what the caller gave.
        budget_s: seconds.
        checks: the list to choose from.
        costs: only checks of these are carried out, and only with "probe" are fixes tried.
    """
    clock = Clock(budget_s)
    with doubled(case) as double:
        examination = Examination(case, double, clock)
        judging = Judging(examination, [check for check in checks if check.cost in costs], "probe" in costs)
        judging.run()
        facts = facts_of(examination)
    findings, further, hidden = rank(judging.judged, {check.id: check.hides for check in checks})
    own = case.own
    return Diagnosis(
        findings=tuple(_worded(finding, own) for finding in findings),
        further=tuple(_worded(finding, own) for finding in further),
        hidden=hidden,
        facts=facts,
        left_out={id: why for id, why in judging.left_out.items() if id not in {one.id for one in findings}},
        seconds=round(clock.spent, 3),
    )


def _worded(finding: Finding, own: bool) -> Finding:
    """Return a finding without words of a recipe where the net has none."""
    return finding if own or not finding.overrides else finding.model_copy(update={"overrides": ()})
