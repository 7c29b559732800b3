"""The doctor: examines a net with its batches, loss and optimizer, and says what keeps it from training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Case, read_case
from provenet.doctor.check import Check, Cost, Suspicion
from provenet.doctor.checks import CHECKS
from provenet.doctor.clock import Clock
from provenet.doctor.double import doubled
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.facts import facts_of
from provenet.doctor.ranking import Judged, rank
from provenet.records.finding import Diagnosis, Finding

COSTS: tuple[Cost, ...] = ("static", "passes", "probe")


def diagnose(  # noqa: PLR0913  the signature that users were promised
    model: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    loss_fn: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    val_batches: Sequence[tuple[Any, Any]] | None = None,
    transform: Callable[..., Any] | None = None,
    schedule: Any = None,
    budget_s: float = 20,
) -> Diagnosis:
    """Say why a net does not train, or that nothing stands in its way.

    Nothing that is given is changed: a copy is examined, and random streams, gradients, modes and hooks are put back.

    Args:
        model: any net, before training or at a point where it is stuck, in the mode in which it is trained.
        batches: two to four pairs (inputs, targets), as the loop gets them.
        loss_fn: (outputs, targets) -> scalar.
        optimizer: that is to train it; without one nothing is said about rates and parameter groups.
        val_batches: pairs of validation data, for faults that only they show.
        transform: the augmentation, inputs -> inputs or (inputs, targets) -> the same.
        schedule: a learning-rate scheduler, or step -> factor.
        budget_s: seconds that the examination may take, above 0.

    Raises:
        RecipeError: an argument cannot be used; all faults at once.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(dim=1))
        >>> batch = torch.randn(8, 1, 2, 2), torch.arange(8) % 3
        >>> [finding.id for finding in diagnose(net, [batch], nn.CrossEntropyLoss(), budget_s=5).findings][:1]
        ['softmax-before-ce']
    """
    more = {"val_batches": val_batches, "transform": transform, "schedule": schedule}
    return examine(read_case(model, batches, loss_fn, optimizer, **more), budget_s)


def examine(case: Case, budget_s: float, costs: Sequence[Cost] = COSTS, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Carry out the checks of some costs on a case.

    Args:
        case: what the caller gave.
        budget_s: seconds.
        costs: only checks of these are carried out, and only with "probe" are fixes tried.
        checks: the list to choose from.
    """
    clock = Clock(budget_s)
    left_out: dict[str, str] = {}
    with doubled(case) as double:
        examination = Examination(case, double, clock)
        found = look(examination, [check for check in checks if check.cost in costs], left_out)
        judged = _confirmed(examination, found, "probe" in costs, left_out)
        facts = facts_of(examination)
    findings, further, hidden = rank(judged, {check.id: check.hides for check in checks})
    own = case.own
    return Diagnosis(
        findings=tuple(_worded(finding, own) for finding in findings),
        further=tuple(_worded(finding, own) for finding in further),
        hidden=hidden,
        facts=facts,
        left_out=left_out,
        seconds=round(clock.spent, 3),
    )


Found = tuple[int, Finding | Suspicion]
"""Place of the check in the list, and what it found."""


def look(examination: Examination, checks: Iterable[Check], left_out: dict[str, str]) -> list[Found]:
    """Return what checks find; those that could not look are noted with the reason."""
    found: list[Found] = []
    for order, check in enumerate(checks):
        with Attempt("check") as attempt:
            try:
                found += [(order, one) for one in check.look(examination)]
            except Unavailable as reason:
                left_out[check.id] = str(reason)
        if attempt.failure is not None:
            left_out[check.id] = f"the check itself failed: {attempt.failure.kind}: {attempt.failure.text}"
    return found


def _confirmed(
    examination: Examination, found: Sequence[Found], probing: bool, left_out: dict[str, str]
) -> list[Judged]:
    """Return what stands: proved findings, and suspicions as the probe leaves them.

    While an error is proved nothing is probed: a short training of a broken net says nothing of its other faults.
    """
    proved = [Judged(one, True, order) for order, one in found if isinstance(one, Finding)]
    suspicions = [(order, one) for order, one in found if isinstance(one, Suspicion)]
    broken = any(one.finding.severity == "error" for one in proved)
    judged = list(proved)
    for order, suspicion in suspicions:
        finding = _tried(examination, suspicion) if probing and not broken else _untried(suspicion)
        if finding is not None:
            judged.append(Judged(finding, False, order))
        elif broken or not probing:
            left_out[suspicion.finding.id] = "not probed: " + ("mend the error first" if broken else "not asked for")
    return judged


def _tried(examination: Examination, suspicion: Suspicion) -> Finding | None:
    """Return a suspected finding with what the probe says of its fix."""
    compared = None
    try:
        compared = examination.probe.compare(suspicion.fix, suspicion.base, samples=suspicion.samples)
    except Unavailable:
        return _untried(suspicion)
    if compared is None:
        return _untried(suspicion)
    finding = suspicion.finding
    told = finding.model_copy(
        update={"evidence": finding.evidence | compared.evidence(), "gain": round(compared.gain, 3)}
    )
    if compared.confirms or suspicion.unconfirmed == "keep":
        return told
    return told.model_copy(update={"severity": "info"}) if suspicion.unconfirmed == "info" else None


def _untried(suspicion: Suspicion) -> Finding | None:
    """Return a suspected finding that no probe was made for."""
    if suspicion.unconfirmed == "keep":
        return suspicion.finding
    if suspicion.unconfirmed == "info":
        return suspicion.finding.model_copy(update={"severity": "info"})
    return None


def _worded(finding: Finding, own: bool) -> Finding:
    """Return a finding without words of a recipe where the net has none."""
    return finding if own or not finding.overrides else finding.model_copy(update={"overrides": ()})
