"""Findings and diagnoses as records."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from provenet.records.finding import Diagnosis, Finding, Hidden

LOUD = Finding(
    id="lr-too-high",
    severity="error",
    layer="optimizer",
    evidence={"lr": 10.0, "steps": 30, "diverged": True, "loss": math.inf},
    message="Steps are too long.",
    fix="lr = 0.1",
    overrides=("optimizer.lr=0.1",),
    gain=0.62,
)
QUIET = Finding(id="bias-before-bn", severity="info", message="A bias does nothing.", fix="bias=False")


def test_figures_that_json_cannot_hold_become_words():
    assert LOUD.evidence == {"lr": 10.0, "steps": 30, "diverged": True, "loss": "inf"}
    assert isinstance(LOUD.evidence["steps"], int) and LOUD.evidence["diverged"] is True


def test_a_diagnosis_goes_through_json():
    found = Diagnosis(findings=(LOUD, QUIET), hidden=(Hidden(finding=QUIET, by=LOUD.id),), facts={"loss": math.nan})
    assert Diagnosis.model_validate(json.loads(found.model_dump_json())) == found


def test_healthy_is_without_loud_findings():
    assert Diagnosis().healthy
    assert Diagnosis(findings=(QUIET,)).healthy
    assert not Diagnosis(findings=(QUIET, LOUD)).healthy


def test_a_diagnosis_prints_what_a_reader_needs():
    hidden = (Hidden(finding=QUIET, by=LOUD.id),)
    text = str(Diagnosis(findings=(LOUD,), hidden=hidden, left_out={"dead-relu": "no time"}))
    for words in ("error", "lr-too-high  in optimizer", "lr 10,", "62%", "lr = 0.1", "optimizer.lr=0.1", "no time"):
        assert words in text
    assert "explains  bias-before-bn" in text
    assert "nothing that harms" in str(Diagnosis())
    assert max(map(len, text.splitlines())) <= 120


def test_what_was_left_out_is_said_once_a_reason():
    found = Diagnosis(left_out={"dead-relu": "no time", "lr-too-low": "raised KeyError", "lr-too-high": "no time"})
    assert found.reasons == {"no time": ("dead-relu", "lr-too-high"), "raised KeyError": ("lr-too-low",)}
    assert str(found).count("no time") == 1 and "dead-relu, lr-too-high: no time" in str(found)


@pytest.mark.parametrize(
    ("plain", "fixed", "said"),
    [
        (0.5, 0.995, "closed 100% of the loss gap, without it 50%"),
        (-0.0, 0.25, "closed 25% of the loss gap, without it 0%"),
        (-0.3, 0.25, "without it 0%"),
        (-1, 0.25, "without it the training diverged"),
        (None, None, "closed 20% more of the loss gap"),
    ],
)
def test_what_was_tried_is_said_in_shares_of_the_gap(plain, fixed, said):
    evidence = {"probe_share_closed": plain, "probe_share_closed_with_fix": fixed}
    assert said in LOUD.model_copy(update={"gain": 0.2, "evidence": evidence}).tried
    assert QUIET.tried == ""


def test_strange_severities_are_refused():
    with pytest.raises(ValidationError):
        Finding(id="x", severity="fatal", message="", fix="")
