"""The order of judging: checks that measure, suspicions in the probe, and last the checks that train themselves."""

from __future__ import annotations

from collections.abc import Sequence

from provenet.doctor.arm import Comparison
from provenet.doctor.attempt import Attempt
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.probe import LONG_STEPS, STEPS
from provenet.doctor.ranking import Judged
from provenet.records.finding import Finding

MEND_FIRST = "not probed: mend the error first"
NO_TIME = "no time left for a training"


class Judging:
    """Carries out checks on an examination and gathers what stands.

    Args:
        examination: what checks read.
        checks: in the order that breaks ties.
        probing: whether fixes are tried.
    """

    def __init__(self, examination: Examination, checks: Sequence[Check], probing: bool) -> None:
        self.examination = examination
        self.checks = checks
        self.probing = probing
        self.judged: list[Judged] = []
        self.left_out: dict[str, str] = {}

    def run(self) -> None:
        """Look with every check; those that train come last, one by one, so that they know what was found."""
        measuring = [(order, check) for order, check in enumerate(self.checks) if check.cost != "probe"]
        suspicions = [suspected for order, check in measuring for suspected in self._look(order, check)]
        for order, suspicion in suspicions:
            self._confirm(order, suspicion)
        for order, check in enumerate(self.checks):
            if check.cost == "probe" and self.broken:
                self.left_out[check.id] = MEND_FIRST
            elif check.cost == "probe" and not self._explains(check.id):
                for place, suspicion in self._look(order, check):
                    self._confirm(place, suspicion)

    @property
    def loud(self) -> dict[str, float | None]:
        """Ids of the errors and warnings so far, with their gains where fixes were tried."""
        return {one.finding.id: one.finding.gain for one in self.judged if one.finding.loud}

    @property
    def broken(self) -> bool:
        """Whether an error is proved: a short training of a broken net says nothing of its other faults."""
        return any(one.proved and one.finding.severity == "error" for one in self.judged)

    @property
    def _refused(self) -> int:
        """Trainings that there was no time for so far."""
        probe = vars(self.examination).get("probe")
        return 0 if probe is None else probe.refused

    def _explains(self, id: str) -> bool:
        """Return whether something that was found explains an id, so that it would be hidden."""
        return any(id in check.hides for check in self.checks if check.id in self.loud)

    def _look(self, order: int, check: Check) -> list[tuple[int, Suspicion]]:
        """Keep what a check has proved, and return what it suspects; note where it could not look, and why."""
        self.examination.loud = self.loud
        suspicions: list[tuple[int, Suspicion]] = []
        refused = self._refused
        with Attempt("check") as attempt:
            try:
                for one in check.look(self.examination):
                    if isinstance(one, Suspicion):
                        suspicions.append((order, one))
                    else:
                        # A gain says that the check itself has tried the fix.
                        self.judged.append(Judged(one, one.gain is None, order))
            except Unavailable as reason:
                self.left_out[check.id] = str(reason)
        if self._refused > refused:
            self.left_out.setdefault(check.id, NO_TIME)
        if attempt.failure is not None:
            self.left_out[check.id] = f"the check itself failed: {attempt.failure.kind}: {attempt.failure.text}"
        return suspicions

    def _confirm(self, order: int, suspicion: Suspicion) -> None:
        """Keep what the probe leaves of a suspicion; what something else explains already is not worth a training."""
        id = suspicion.finding.id
        tries = self.probing and not self.broken and not self._explains(id)
        refused = self._refused
        finding = self._tried(suspicion) if tries else _untried(suspicion)
        if self._refused > refused:
            self.left_out.setdefault(id, NO_TIME)
        if finding is not None:
            self.judged.append(Judged(finding, False, order))
        elif self.broken or not self.probing:
            self.left_out[id] = MEND_FIRST if self.broken else "not probed: not asked for"

    def _tried(self, suspicion: Suspicion) -> Finding | None:
        """Return a suspected finding with what the probe says of its fix."""
        try:
            compared = self._compared(suspicion, suspicion.steps or STEPS)
            if compared is not None and compared.begins and suspicion.steps is None:
                compared = self._compared(suspicion, LONG_STEPS) or compared
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

    def _compared(self, suspicion: Suspicion, steps: int) -> Comparison | None:
        probe = self.examination.probe
        return probe.compare(suspicion.fix, suspicion.base, steps=steps, samples=suspicion.samples)


def _untried(suspicion: Suspicion) -> Finding | None:
    """Return a suspected finding that no probe was made for."""
    if suspicion.unconfirmed == "keep":
        return suspicion.finding
    if suspicion.unconfirmed == "info":
        return suspicion.finding.model_copy(update={"severity": "info"})
    return None
