"""The reader of a run folder: whole, unfinished, damaged, and no run at all."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.core.errors import RecipeError, StorageError
from provenet.core.files import Log, write_json, write_text
from provenet.records import Choice, EpochRow, EventRow, RunRecord, StepRow

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(st.text(max_size=8), numbers, max_size=3)
epoch_rows = st.builds(
    EpochRow, epoch=st.integers(0, 9), lr=numbers, train_loss=numbers, val=metrics, train_clean=st.none() | metrics
)


def write_log(path: Path, rows: list[dict]) -> None:
    log = Log(path)
    for row in rows:
        log.append(row)
    log.close()


@given(epoch_rows)
def test_a_row_comes_back_from_json_as_it_was(row: EpochRow) -> None:
    assert EpochRow.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False))) == row


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_becomes_null(bad: float) -> None:
    row = EpochRow(1, 10, train_loss=bad, val={"accuracy": bad, "ece": 0.5}).to_json()
    assert row["train_loss"] is None
    assert row["val"] == {"accuracy": None, "ece": 0.5}
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("kind", [EpochRow, StepRow, EventRow, Choice])
def test_unknown_fields_are_passed_over_and_absent_ones_are_defaults(kind: type) -> None:
    assert kind.from_json({"of a later version": 1}) == kind()
    assert set(kind().to_json()) == {item.name for item in fields(kind)}


def test_a_whole_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", "task: classification\nepochs: 2\n")
    write_json(tmp_path / "choices.json", [{"key": "net.name", "value": "convnet", "reason": "small", "by": "auto"}])
    write_json(tmp_path / "data.json", {"classes": ["a", "b"]})
    write_json(tmp_path / "provenance.json", {"seed": 3})
    write_json(tmp_path / "result.json", {"task": "classification", "classes": ["b", "c"]})
    write_json(tmp_path / "views" / "views.json", {"augmented": []})
    write_log(tmp_path / "epochs.jsonl", [EpochRow(epoch, epoch * 5).to_json() for epoch in range(2)])
    write_log(tmp_path / "steps.jsonl", [StepRow(step, 0.5).to_json() for step in range(10)])
    write_log(tmp_path / "events.jsonl", [EventRow(4, "resume", "went on").to_json()])
    record = RunRecord.read(tmp_path)
    assert record.recipe == {"task": "classification", "epochs": 2}
    assert record.choices == (Choice("net.name", "convnet", "small"),)
    assert [row.step for row in record.epochs] == [0, 5]
    assert len(record.steps) == 10
    assert record.events == (EventRow(4, "resume", "went on"),)
    assert (record.finished, record.task, record.classes) == (True, "classification", ("b", "c"))
    assert record.views == {"augmented": []}


def test_an_unfinished_run_has_what_is_there(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", "task: segmentation\n")
    write_log(tmp_path / "epochs.jsonl", [EpochRow(0, 5).to_json(), EpochRow(1, 10).to_json()])
    with (tmp_path / "epochs.jsonl").open("ab") as file:
        file.write(b'{"epoch":2,"st')
    record = RunRecord.read(tmp_path)
    assert [row.epoch for row in record.epochs] == [0, 1]
    assert (record.finished, record.task, record.classes, record.steps) == (False, "segmentation", (), ())


def test_all_damaged_records_are_named_at_once(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", "a: [1\n")
    write_text(tmp_path / "result.json", '{"task":')
    write_text(tmp_path / "data.json", "[]")
    (tmp_path / "provenance.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StorageError) as caught:
        RunRecord.read(tmp_path)
    named = {Path(fault.where).name for fault in caught.value.faults}
    assert named == {"recipe.yaml", "result.json", "data.json", "provenance.json"}
    assert all(fault.remedy for fault in caught.value.faults)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", "a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(StorageError):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize("name", ["absent", "."])
def test_another_folder_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"is not a run folder.*provenet train"):
        RunRecord.read(tmp_path / name)
