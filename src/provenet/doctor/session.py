"""A training of provenet's under examination: as a whole, or in a second before its first update."""

# K classes

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from provenet.core.errors import RecipeError
from provenet.core.files import write_json
from provenet.core.log import Reporter
from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Case, read_case
from provenet.doctor.consult import examine
from provenet.doctor.course import HORIZON
from provenet.doctor.registry import CHECKS
from provenet.doctor.views import Views
from provenet.engine.job import Job
from provenet.engine.step import set_trainable_
from provenet.recipe.build import Session
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words, words_of
from provenet.records.doctor import DoctorRecord
from provenet.records.finding import Diagnosis, Finding
from provenet.run.folder import RunFolder
from provenet.run.model import store_cache
from provenet.run.planning import settle
from provenet.run.request import Request
from provenet.techniques.loss import Loss

QUICK_S = 4.0
"""Budget of the look before the first update: a pass of its checks takes at most a few hundredths of it."""
QUICK_VALUES = 2**20
"""Numbers of the inputs that are enough for it: looking at a million takes about a second (measured on two cores)."""


@dataclass(frozen=True, eq=False)
class _Criterion:
    """The loss of a training as a function of outputs and targets."""

    loss: Loss
    class_weights: Tensor | None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.loss.compute(logits.float(), targets, self.class_weights)


def case_of(session: Session, quick: bool = False) -> Case:
    """Return a training as the doctor's case: its net in the mode of the first update, at the peak rate.

    Batches are those of the first updates before augmentation, which is given as the transform. Numbers have 32 bits,
    whatever the training's format: that is a matter of speed.

    Args:
        session: the training.
        quick: less of the training data, no validation data, and no transform.
    """
    job = session.job
    net = copy.deepcopy(session.net)
    set_trainable_(job, net, 0.0)
    views = Views(session)
    return read_case(
        net,
        views.pairs("train", QUICK_VALUES if quick else None),
        _Criterion(job.loss, job.class_weights),
        session.optimizer_for(net),
        val_batches=None if quick else views.pairs("val") or None,
        transform=None if quick else views.transform,
        schedule=_schedule(job),
    )


def _schedule(job: Job) -> Callable[[int], float] | None:
    """Return the factors from the peak rate on, spread over as many steps as the doctor plays.

    None where scores rule them. A warm-up is left out: the optimizer is given the peak rate, and is judged at it.
    """
    last = job.total_steps - 1
    if job.schedule.initial_state() is not None or last == 0:
        return None
    factors = [job.schedule.factor(round(place / HORIZON * last), job.total_steps) for place in range(HORIZON + 1)]
    after = factors[factors.index(max(factors)) :]

    def factor(step: int) -> float:
        return after[min(step * len(after) // HORIZON, len(after) - 1)]

    factor.__name__ = f"{job.schedule.name} schedule"
    return factor


def diagnose_data(request: Request, budget_s: float, reporter: Reporter) -> DoctorRecord:
    """Return the diagnosis of the training that `train` would make of a request.

    Raises:
        ProvenetError: data, recipe or machine do not allow it.
    """
    session, _ = settle(request, store_cache(request.out), reporter)
    return _record(request, session.recipe, examine(case_of(session), budget_s, CHECKS))


def look_first(request: Request, reporter: Reporter, folder: RunFolder, session: Session) -> None:
    """Examine a training in about a second before its first update, say what is found and keep it in the run folder.

    Where the examination itself fails that is said and nothing kept: the training goes on.
    """
    with Attempt("examination") as attempt:
        found = examine(case_of(session, quick=True), QUICK_S, CHECKS, ("static",))
    if attempt.failure is not None:
        reporter.warn(f"doctor: the look before training failed: {attempt.failure}")
        return
    record = _record(request, session.recipe, found, quick=True)
    write_json(folder.doctor, record.model_dump(mode="json"))
    loud = [finding for finding in record.diagnosis.findings if finding.loud]
    for finding in loud:
        place = f" in {finding.layer}" if finding.layer else ""
        remedy = " ".join(finding.overrides) or finding.fix.rstrip(".")
        reporter.warn(f"doctor: {finding.id}{place}: {finding.message} To do: {remedy}.")
    if not loud:
        reporter.note(f"doctor: nothing wrong at first sight ({found.seconds:.1f} s)")


def _record(request: Request, recipe: Recipe, found: Diagnosis, quick: bool = False) -> DoctorRecord:
    """Return a diagnosis with the words that lead to it, and those that its fixes make of them."""
    findings = tuple(_worded(finding, recipe) for finding in found.findings)
    fixes = parse_words([word for finding in findings if finding.loud for word in finding.overrides])
    return DoctorRecord(
        subject=request.data,
        trains=True,
        words=words_of(request.overrides.tree),
        mended=words_of(request.overrides.then(fixes).tree) if fixes.tree else (),
        quick=quick,
        diagnosis=found.model_copy(update={"findings": findings}),
    )


def _worded(finding: Finding, recipe: Recipe) -> Finding:
    """Return a finding without words that the recipe has no place for, or that it says already."""
    try:
        changes = load(parse_words(finding.overrides), recipe.model_dump(mode="json")) != recipe
    except RecipeError:
        changes = False
    return finding if changes else finding.model_copy(update={"overrides": ()})
