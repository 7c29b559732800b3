"""`provenet doctor`, and the look before the first update of `provenet train`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from provenet.api import Run
from provenet.cli.doctor import ILL, _table
from provenet.records.doctor import DoctorRecord
from provenet.records.finding import Diagnosis, Finding, Hidden

LAB = """
import torch
from torch import nn


def arguments(*layers):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3), *layers)
    inputs = torch.randn(24, 1, 4, 4)
    targets = torch.arange(24) % 3
    inputs[torch.arange(24), 0, targets] += 2
    return {"model": net, "batches": [(inputs, targets)], "loss_fn": nn.CrossEntropyLoss()}


def sound():
    return arguments()


def doubled():
    return arguments(nn.Softmax(dim=1))
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fitting.py").write_text(LAB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "fitting", raising=False)
    yield tmp_path
    sys.modules.pop("fitting", None)


def read(folder: Path) -> DoctorRecord:
    return DoctorRecord.model_validate(json.loads((folder / "doctor.json").read_text()))


def test_a_function_is_examined_and_the_report_written(lab, call):
    code, shown, errors = call("doctor", "fitting:doubled", "--out", "found")
    assert (code, errors) == (0, "")
    assert "error    softmax-before-ce" in shown
    assert "provenet doctor fitting:doubled" in shown
    record = read(lab / "found")
    assert (record.subject, record.trains, record.diagnosis.findings[0].id) == (
        "fitting:doubled",
        False,
        "softmax-before-ce",
    )
    page = (lab / "found" / "report.html").read_text()
    assert "softmax-before-ce" in page and record.diagnosis.findings[0].message[:20] in page
    before = page
    assert call("report", "found")[0] == 0
    assert (lab / "found" / "report.html").read_text() == before


def test_strict_ends_with_a_code_of_its_own_where_an_error_was_found(lab, call):
    assert call("doctor", "fitting:doubled", "--strict")[0] == ILL == 9
    code, shown, _ = call("doctor", "fitting:sound", "--strict")
    assert code == 0
    assert "nothing that harms training" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is nothing to examine"),
        (("fitting:sound", "epochs=3"), "a function has no recipe; got epochs=3"),
        (("fitting:sond",), "did you mean 'sound'?"),
        (("nothing:sound",), "there is no module nothing"),
        (("digits", "optimizer.lrr=1"), "optimizer.lrr"),
        (("digits", "lr"), "this word sets nothing"),
        (("fitting:sound", "--out", "."), "holds other things than a diagnosis; got fitting.py"),
        (("digits", "--pages", "docs"), "stands alone"),
    ],
)
def test_wrong_words_are_usage_errors(lab, call, words, said):
    code, shown, errors = call("doctor", *words)
    assert code == 2
    assert said in errors
    assert "Traceback" not in shown + errors
    assert {path.name for path in lab.iterdir()} <= {"fitting.py", "__pycache__", "runs"}


def test_data_that_are_not_there_are_refused(lab, call):
    code, _, errors = call("doctor", "nowhere")
    assert code == 8
    assert "nowhere" in errors


def test_data_are_examined_as_train_would_train_on_them(photos, photo_words, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown, _ = call("doctor", photos, *photo_words, "init=zero", "--out", "found", "--budget", "6")
    assert code == 0
    record = read(tmp_path / "found")
    assert record.trains and "init.name=zero" in record.words
    found = record.diagnosis.findings[0]
    assert (found.id, found.overrides) == ("symmetric-init", ("init.name=he",))
    assert "init.name=he" in record.mended and "init.name=zero" not in record.mended
    assert f"train with the fixes: provenet train {photos}" in shown
    assert record.diagnosis.facts["batch_size"] == 8


def test_training_begins_with_a_look_that_leaves_no_trace(photo_run, photos, photo_words, trained):
    assert read(photo_run).quick
    assert Run(photo_run).doctor == read(photo_run).diagnosis
    without = trained(photos, *photo_words, "--no-doctor")
    assert Run(without).doctor is None
    assert not (without / "doctor.json").exists()
    for name in ("steps.jsonl", "checkpoints/best/weights.safetensors", "recipe.yaml"):
        assert (without / name).read_bytes() == (photo_run / name).read_bytes()
    assert "Before the first update" in (photo_run / "report.html").read_text()
    assert "Before the first update" not in (without / "report.html").read_text()


def test_what_the_look_finds_is_a_warning_and_training_goes_on(photos, photo_words, call, tmp_path):
    words = [word for word in photo_words if not word.startswith("steps")]
    code, shown, _ = call("train", photos, *words, "steps=2", "schedule=constant", "--out", tmp_path / "run")
    assert code == 0
    ids = [finding.id for finding in read(tmp_path / "run").diagnosis.findings if finding.loud]
    assert ids == ["lr-never-decayed"]
    assert "warning: doctor: lr-never-decayed in optimizer: The constant schedule" in shown
    assert "To do: schedule.name=cosine." in shown
    assert shown.index("warning: doctor") < shown.index("updates of")


def test_a_look_that_fails_stops_no_training(photos, photo_words, call, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr("provenet.doctor.session.examine", fail)
    words = [word for word in photo_words if not word.startswith("steps")]
    code, shown, _ = call("train", photos, *words, "steps=1", "--out", tmp_path / "run")
    assert code == 0
    assert "the look before training failed: examination raised RuntimeError: no such thing" in shown
    assert not (tmp_path / "run" / "doctor.json").exists()


def test_a_terminal_shows_severity_place_figures_and_fix_in_any_width():
    loud = Finding(
        id="lr-too-high",
        severity="error",
        layer="optimizer",
        evidence={"lr": 1000.0, "steps_made": 3},
        message="Steps are [bold]far[/bold] too long.",
        fix="lr=0.1",
        overrides=("optimizer.lr=0.1",),
        gain=0.5,
    )
    quiet = Finding(id="bias-before-bn", severity="info", message="A bias does nothing.", fix="bias=False")
    found = Diagnosis(
        findings=(loud, quiet), hidden=(Hidden(finding=quiet, by=loud.id),), left_out={"dead-relu": "no time left"}
    )
    for width in (60, 100, 160):
        console = Console(width=width, force_terminal=True, color_system=None, record=True, highlight=False)
        with console.capture() as capture:
            _table(console, found)
        text = capture.get()
        assert max(len(line) for line in text.splitlines()) <= width
        joined = " ".join(text.split())
        for words in ("1 error", "in optimizer", "lr 1000, steps made 3", "50%", "optimizer.lr=0.1", "no time left"):
            assert words in joined
        assert "[bold]far[/bold]" in joined


def test_the_example_of_the_reference_is_found_out(lab, call):
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "doctor.md").read_text()
    (lab / "example.py").write_text(reference.partition("```python\n")[2].partition("```")[0])
    code, shown, _ = call("doctor", "example:faulty")
    assert code == 0
    shared = [line for line in shown.splitlines() if line in reference]
    assert shared[0] == "  error    softmax-before-ce  in 4"
