"""`provenet evaluate`."""

from __future__ import annotations

import json


def test_scores_are_shown_and_written(photo_run, photos, tmp_path, call):
    code, shown, _ = call("evaluate", photo_run, photos, "--out", tmp_path / "scores.json")
    assert code == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    assert (found["split"], found["n"], found["classes"]) == ("all", 60, ["a", "b", "c"])
    assert f"all   accuracy {found['metrics']['accuracy']['value']:.3f}" in shown
    assert "(n = 60)" in shown


def test_another_task_is_refused(photo_run, cells, call):
    code, _, errors = call("evaluate", photo_run, cells)
    assert code == 8
    assert "got segmentation. Allowed: classification" in errors


def test_a_class_that_the_net_does_not_know_is_refused(photo_run, photos, tmp_path, call):
    data = tmp_path / "other"
    for old, new in (("a", "a"), ("b", "zebra")):
        (data / new).parent.mkdir(exist_ok=True)
        (data / new).symlink_to(photos / old)
    code, _, errors = call("evaluate", photo_run, data)
    assert code == 8
    assert "got zebra. Allowed: a, b, c" in errors
