"""`provenet predict`: files named on the command line to files on disk."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.special import entr


def test_labels_go_to_a_table(photo_run, photos, tmp_path, call):
    code, shown, _ = call("predict", photo_run, photos / "a" / "03.png", photos / "b", "--out", tmp_path / "out")
    assert code == 0
    assert f"21 pictures answered: {tmp_path / 'out' / 'predictions.csv'}" in shown
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["file"] == str(photos / "a" / "03.png")
    assert [row["file"] for row in rows[1:4]] == ["b/00.png", "b/01.png", "b/02.jpg"]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in "abc"}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        assert row["label"] == max(shares, key=shares.__getitem__)
        assert float(row["probability"]) == max(shares.values())


def test_masks_bear_the_size_of_the_picture_and_class_indices(cell_run, cells, tmp_path, call):
    code, shown, _ = call("predict", cell_run, cells / "images", "--out", tmp_path / "out", "--tiles", "64", "--tta")
    assert code == 0
    assert "16 pictures answered" in shown
    for path in (cells / "images").iterdir():
        with (
            Image.open(path) as picture,
            Image.open(tmp_path / "out" / "masks" / path.name) as mask,
            Image.open(tmp_path / "out" / "overlays" / path.name) as overlay,
        ):
            assert mask.size == overlay.size == picture.size
            assert mask.mode == "P"
            assert set(np.unique(np.asarray(mask))) <= {0, 1}
            assert mask.getpalette()[:3] == [0, 0, 0]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with Image.open(tmp_path / "out" / rows[0]["mask"]) as mask:
        assert float(rows[0]["share_foreground"]) == pytest.approx(np.asarray(mask).mean(), abs=1e-6)


def test_what_is_no_picture_is_passed_over_by_name(photo_run, photos, tmp_path, call):
    (tmp_path / "notes.txt").write_text("no picture")
    code, shown, _ = call("predict", photo_run, tmp_path / "notes.txt", photos / "a/03.png", "--out", tmp_path / "out")
    assert code == 0
    assert "1 file passed over" in shown
    assert "notes.txt" in shown
    code, shown, errors = call("predict", photo_run, tmp_path / "notes.txt", "--out", tmp_path / "none")
    assert code == 8
    assert "none of the files is a picture" in errors
    assert shown == ""
    assert not (tmp_path / "none").exists()


def test_paths_that_are_not_there_are_all_named_first(photo_run, photos, tmp_path, call):
    code, _, errors = call(
        "predict", photo_run, photos / "a", photos / "d", tmp_path / "x.png", "--out", tmp_path / "o"
    )
    assert code == 8
    assert len(errors.splitlines()) == 2
    assert not (tmp_path / "o").exists()


def test_a_file_is_no_folder_for_answers(photo_run, photos, tmp_path, call):
    (tmp_path / "out").write_text("precious")
    code, _, errors = call("predict", photo_run, photos / "a" / "03.png", "--out", tmp_path / "out")
    assert code == 2
    assert "--out is a file" in errors
    assert (tmp_path / "out").read_text() == "precious"


def test_dropout_samples_tell_their_spread(photo_run, photos, tmp_path, call):
    words = ("predict", photo_run, photos / "a" / "03.png", photos / "b", "--dropout-samples", "4", "--out")
    tables = []
    for out, more in (("one", ()), ("two", ()), ("both", ("--tta",))):
        assert call(*words, tmp_path / out, *more)[0] == 0
        tables.append((tmp_path / out / "predictions.csv").read_text())
    assert tables[0] == tables[1] != tables[2]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert list(rows[0])[:5] == ["file", "label", "probability", "entropy", "mutual_information"]
    for row in rows:
        shares = np.array([float(row[f"p_{name}"]) for name in "abc"])
        assert float(row["entropy"]) == pytest.approx(entr(shares).sum(), abs=1e-4)
        assert 0 <= float(row["mutual_information"]) <= float(row["entropy"])


def test_dropout_samples_need_dropout_and_are_at_least_two(photo_run, photos, cell_run, cells, tmp_path, call):
    code, _, errors = call("predict", cell_run, cells / "images", "--dropout-samples", "4", "--out", tmp_path / "out")
    assert code == 2
    assert "got net=unet dropout=none. Allowed: nets trained with dropout=dropout" in errors
    assert "To do: train with dropout=dropout" in errors
    assert call("predict", photo_run, photos / "a", "--dropout-samples", "1", "--out", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()
