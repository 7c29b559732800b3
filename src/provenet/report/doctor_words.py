"""What the doctor found, in words for a terminal and a page."""

from __future__ import annotations

import shlex
from collections import Counter

from provenet.records.doctor import DoctorRecord
from provenet.records.finding import Diagnosis, Finding
from provenet.report.words import capital, counted


def subject(record: DoctorRecord) -> str:
    """Return what was examined as words of a command line."""
    return shlex.join([record.subject, *record.words])


def headline(found: Diagnosis) -> str:
    """Return the outcome in one sentence.

    Example:
        >>> headline(Diagnosis())
        'Nothing that harms training was found.'
    """
    num = Counter(finding.severity for finding in (*found.findings, *found.further))
    loud = [counted(num[severity], severity) for severity in ("error", "warning") if num[severity]]
    if not loud:
        return "Nothing that harms training was found."
    verb = "stands" if sum(num[severity] for severity in ("error", "warning")) == 1 else "stand"
    return f"{capital(' and '.join(loud))} {verb} in the way of training."


def figures(finding: Finding) -> list[tuple[str, str]]:
    """Return the evidence of a finding as names and figures, but for what short trainings showed: see its `tried`.

    Example:
        >>> figures(Finding(id="x", severity="info", evidence={"rms_input": 74.1234}, message="", fix=""))
        [('rms input', '74.12')]
    """
    told = ("probe_share_closed", "probe_share_closed_with_fix") if finding.tried else ()
    return [(name.replace("_", " "), figure(value)) for name, value in finding.evidence.items() if name not in told]


def figure(value: bool | int | float | str | None) -> str:
    """Return one figure in four digits.

    Example:
        >>> figure(0.123456), figure(1_024), figure(False), figure(None)
        ('0.1235', '1,024', 'no', 'none')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else value


def explained(found: Diagnosis, finding: Finding) -> list[str]:
    """Return the ids that a finding explains."""
    return [hidden.finding.id for hidden in found.hidden if hidden.by == finding.id]


def commands(record: DoctorRecord) -> list[tuple[str, str]]:
    """Return what can be done next: words and the command line to copy."""
    if not record.trains:
        return [("Look again when it is mended", f"provenet doctor {subject(record)}")]
    found = [("Look closer, with short trainings", f"provenet doctor {subject(record)}")] if record.quick else []
    if record.mended:
        words = shlex.join([record.subject, *record.mended])
        return [
            *found,
            ("Look again, with the fixes", f"provenet doctor {words}"),
            ("Train with the fixes", f"provenet train {words}"),
        ]
    return found if record.quick else [("Train", f"provenet train {subject(record)}")]
