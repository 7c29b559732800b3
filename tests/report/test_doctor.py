"""The doctor's page: everything that was found is on it, nothing in it acts, and damaged records are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provenet.core.errors import RecipeError, StorageError
from provenet.core.files import write_json
from provenet.records import RunRecord
from provenet.records.doctor import DoctorRecord
from provenet.records.finding import Diagnosis, Finding, Hidden
from provenet.report.doctor import doctor_page, first_look, read_doctor, write_doctor_report
from provenet.report.doctor_words import commands, headline
from provenet.report.run import run_page

HOSTILE = "<script>alert(1)</script>"


def finding(id: str, severity: str, **more: Any) -> Finding:
    known = {"message": f"What {id} says.", "fix": f"How {id} is mended."}
    return Finding.model_validate({"id": id, "severity": severity} | known | more)


def record(**more: Any) -> DoctorRecord:
    found = Diagnosis(
        findings=(
            finding("lr-too-high", "error", layer="optimizer", evidence={"lr": 9.5}, gain=0.61, overrides=("seed=1",)),
            finding("class-imbalance", "warning", layer="targets"),
            finding("bias-before-bn", "info"),
        ),
        further=(finding("dead-relu", "warning", layer="body.3"),),
        hidden=(Hidden(finding=finding("cannot-overfit-batch", "warning"), by="lr-too-high"),),
        facts={"parameters": 12345, "training_mode": True, "loss": None},
        left_out={"labels-uninformative": "no time left"},
        seconds=3.21,
    )
    return DoctorRecord.model_validate({"subject": "my photos", "trains": True, "diagnosis": found} | more)


def test_everything_that_was_found_is_on_the_page():
    page = doctor_page(record())
    found = record().diagnosis
    for one in (*found.findings, *found.further, *(hidden.finding for hidden in found.hidden)):
        assert one.id in page
        assert one.message in page
    for words in ("12,345", "no time left", "3.2 s", "61%", "seed=1", "Explains: cannot-overfit-batch", "in optimizer"):
        assert words in page
    places = [page.index(f"What {one.id} says.") for one in found.findings]
    assert places == sorted(places)


def test_a_page_of_nothing_says_so():
    page = doctor_page(record(diagnosis=Diagnosis(left_out={"lr-too-high": "no time left"})))
    assert "<details open><summary>What was not looked at" in page
    assert "<details open>" not in doctor_page(record())
    assert "Nothing that harms training was found." in page
    assert 'href="#findings"' not in page


@pytest.mark.parametrize(
    ("num", "said"),
    [
        ((1, 0), "1 error stands in the way of training."),
        ((0, 1), "1 warning stands in the way of training."),
        ((2, 1), "2 errors and 1 warning stand in the way of training."),
    ],
)
def test_the_headline_counts(num, said):
    errors, warnings = (
        [finding(f"{kind}-{place}", kind) for place in range(count)]
        for kind, count in zip(("error", "warning"), num, strict=True)
    )
    assert headline(Diagnosis(findings=(*errors, *warnings, finding("x", "info")))) == said


def test_commands_are_words_of_a_shell_and_carry_the_fixes():
    texts = dict(commands(record(words=("seed=0",), mended=("seed=1",))))
    assert texts["Train with the fixes"] == "provenet train 'my photos' seed=1"
    assert [command for _, command in commands(record())] == ["provenet train 'my photos'"]
    assert [command for _, command in commands(record(trains=False, subject="a.b:c"))] == ["provenet doctor a.b:c"]
    assert commands(record(quick=True))[0][1] == "provenet doctor 'my photos'"


def test_texts_are_shown_and_never_act():
    everywhere = {"layer": HOSTILE, "evidence": {HOSTILE: HOSTILE}, "message": HOSTILE, "fix": HOSTILE}
    ill = finding(HOSTILE, "error", overrides=(HOSTILE,), **everywhere)
    found = Diagnosis(
        findings=(ill,),
        further=(ill,),
        hidden=(Hidden(finding=ill, by=HOSTILE),),
        facts={HOSTILE: HOSTILE},
        left_out={HOSTILE: HOSTILE},
    )
    page = doctor_page(record(subject=HOSTILE, words=(HOSTILE,), mended=(HOSTILE,), diagnosis=found))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 14
    assert not re.search(r"(src|href)=[\"'](?!#|data:)", page)


def test_a_record_is_read_back_and_a_damaged_one_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="holds no diagnosis"):
        write_doctor_report(tmp_path)
    write_json(tmp_path / "doctor.json", record().model_dump(mode="json"))
    assert read_doctor(tmp_path) == record()
    assert write_doctor_report(tmp_path).read_text() == doctor_page(record())
    for text in ("{", "[]", '{"subject": 3}'):
        (tmp_path / "doctor.json").write_text(text)
        with pytest.raises(StorageError, match="cannot be read"):
            read_doctor(tmp_path)


def test_the_report_of_a_run_shows_the_look_before_it(make_run):
    run = RunRecord.read(make_run(num_epochs=1, num_views=1))
    assert "Before the first update" not in run_page(run)
    stored = record(quick=True).model_dump(mode="json")
    page = run_page(replace(run, doctor=stored))
    assert "Before the first update" in page
    assert "What lr-too-high says." in page
    assert first_look(stored | {"a field of another version": 1}) is None
