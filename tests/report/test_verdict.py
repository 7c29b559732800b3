"""The sentences: what came out, the gap, how far an unfinished run came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provenet.records import EpochRow, EventRow, RunRecord
from provenet.report.verdict import best_row, gap_sentence, primary_metric, splits_of, unfinished_sentence, verdict

HERE = Path("runs/x")


def result(**parts: Any) -> RunRecord:
    return RunRecord("x", HERE, result={"primary": "miou", **parts})


def scores(value: float | None, **more: Any) -> dict[str, Any]:
    return {"metrics": {"miou": {"value": value, "low": None, "high": None}}, **more}


def test_the_test_split_decides_where_there_is_one() -> None:
    splits = {"train": scores(0.9), "val": scores(0.8), "test": scores(0.7, n=3)}
    assert list(splits_of(result(splits=splits))) == ["test", "val", "train"]
    assert verdict(result(splits=splits)) == "Test mean IoU 0.700 on 3 images."
    assert verdict(result(splits={"val": scores(0.8, n=1)})) == "Validation mean IoU 0.800 on 1 image."
    assert verdict(result(splits={"val": scores(None)})) == "Validation mean IoU n/a."


def test_the_strongest_baseline_of_the_same_split_is_named() -> None:
    rows = [("weak", "test", 0.1), ("strong", "test", 0.4), ("of another split", "val", 0.9), ("none", "test", None)]
    baselines = [{"name": name, "split": split, **scores(value)} for name, split, value in rows]
    text = verdict(result(splits={"test": scores(0.7)}, baselines=baselines))
    assert text == "Test mean IoU 0.700; strong would give 0.400."


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ({"value": 0.04, "low": 0.03, "high": 0.05}, "may narrow it"),
        ({"value": 0.01, "low": -0.01, "high": 0.03}, "holds zero"),
        ({"value": -0.04, "low": -0.05, "high": -0.03}, "did not overfit"),
    ],
)
def test_the_gap_is_judged_by_its_interval(gap: dict[str, float], words: str) -> None:
    sentence = gap_sentence(result(gap={"metric": "miou", **gap}))
    assert sentence.startswith(f"Clean training mean IoU minus validation mean IoU is {gap['value']:.3f} [")
    assert words in sentence


@pytest.mark.parametrize("gap", [None, {}, {"value": None}])
def test_no_gap_no_sentence(gap: dict[str, float] | None) -> None:
    assert gap_sentence(result(gap=gap)) == ""


def test_the_best_epoch_is_the_kept_one_else_the_highest_so_far() -> None:
    rows = tuple(EpochRow(i, 10 * i, val={"accuracy": value}) for i, value in enumerate([0.5, 0.9, None, 0.7]))
    unfinished = RunRecord("x", HERE, epochs=rows)
    assert best_row(unfinished) is rows[1]
    kept = RunRecord("x", HERE, epochs=rows, result={"primary": "accuracy", "training": {"best_step": 30}})
    assert best_row(kept) is rows[3]
    assert best_row(RunRecord("x", HERE)) is None


@pytest.mark.parametrize(("num_classes", "primary"), [(2, "dice"), (5, "miou")])
def test_an_unfinished_segmentation_is_judged_as_a_finished_one(num_classes: int, primary: str) -> None:
    classes = [f"c{i}" for i in range(num_classes)]
    row = EpochRow(1, 10, val={"miou": 0.4, "dice": 0.6, "pixel_accuracy": 0.9})
    assert primary_metric(RunRecord("x", HERE, data={"classes": classes}, epochs=(row,))) == primary


def test_an_unfinished_run_tells_how_far_it_came() -> None:
    rows = (EpochRow(0.5, 20), EpochRow(1.0, 40))
    record = RunRecord("x", HERE, epochs=rows, events=(EventRow(41, "interrupted", "by the user."),))
    text = "This run is not finished: 1 epoch and 40 steps recorded. Last event: Interrupted, by the user."
    assert unfinished_sentence(record) == text
    assert unfinished_sentence(result()) == ""
