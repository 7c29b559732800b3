"""What is said first, and what hides behind it."""

from __future__ import annotations

from provenet.doctor.ranking import MOST_LOUD, Judged, rank
from provenet.records.finding import Finding


def judged(
    id: str, severity: str = "warning", proved: bool = True, order: int = 0, gain: float | None = None
) -> Judged:
    finding = Finding(id=id, severity=severity, message="", fix="", gain=gain)
    return Judged(finding, proved, order)


def shown(*found: Judged, hides: dict[str, list[str]] | None = None) -> list[str]:
    return [finding.id for finding in rank(found, hides or {})[0]]


def test_errors_then_warnings_then_infos():
    assert shown(judged("a", "info"), judged("b"), judged("c", "error")) == ["c", "b", "a"]


def test_causes_before_symptoms_and_proof_before_probe():
    found = (judged("vanishing-gradients"), judged("b", proved=False, gain=0.9), judged("c"))
    assert shown(*found) == ["c", "b", "vanishing-gradients"]


def test_the_larger_gain_comes_first():
    assert shown(judged("a", proved=False, gain=0.3), judged("b", proved=False, gain=0.7)) == ["b", "a"]


def test_the_list_breaks_ties():
    assert shown(judged("a", order=2), judged("b", order=1)) == ["b", "a"]


def test_a_cause_hides_also_what_ranks_before_it():
    findings, _, hidden = rank([judged("a", "error"), judged("b")], {"b": ["a"]})
    assert [finding.id for finding in findings] == ["b"]
    assert [(other.finding.id, other.by) for other in hidden] == [("a", "b")]


def test_what_is_hidden_hides_nothing():
    found = [judged("a", "error"), judged("b"), judged("c")]
    findings, _, hidden = rank(found, {"a": ["b"], "b": ["c"]})
    assert [finding.id for finding in findings] == ["a", "c"]
    assert [other.finding.id for other in hidden] == ["b"]


def test_an_info_hides_nothing():
    assert shown(judged("a", "info"), judged("b"), hides={"a": ["b"]}) == ["b", "a"]


def test_three_loud_findings_and_every_proved_error():
    warnings = [judged(f"w{number}", order=number) for number in range(5)]
    findings, further, _ = rank(warnings, {})
    assert [finding.id for finding in findings] == ["w0", "w1", "w2"] and len(further) == 2
    errors = [judged(f"e{number}", "error") for number in range(MOST_LOUD + 2)]
    findings, further, _ = rank([*errors, *warnings], {})
    assert len(findings) == len(errors) and len(further) == len(warnings)


def test_of_two_that_hide_each_other_the_first_is_shown():
    found = [judged("a", "error"), judged("b")]
    assert [finding.id for finding in rank(found, {"a": ["b"], "b": ["a"]})[0]] == ["a"]
