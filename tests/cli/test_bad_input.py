"""What cannot be trained on: one clear message, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

SMALL = ("net=resnet", "net.depth=8", "batch_size=8")


@pytest.fixture
def refused(call, tmp_path):
    """Return a function: data and words -> the errors of a training that must end with a code and leave nothing."""

    def train(code, data, *words):
        out = tmp_path / "new"
        found, shown, errors = call("train", data, *words, "--out", out)
        assert found == code, errors
        assert "Traceback" not in shown + errors
        assert all(line.startswith("error: ") for line in errors.splitlines())
        assert not out.exists()
        return errors

    return train


def test_unknown_keys_and_impossible_values_are_all_told(refused, photos):
    errors = refused(2, photos, "optimizr.lr=1", "clip=-1", "norm=grup", "epochs=0")
    assert len(errors.splitlines()) == 4
    assert "did you mean 'optimizer'?" in errors
    assert "did you mean 'group'?" in errors
    assert "clip" in errors
    assert "got -1" in errors


def test_an_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "To do:" in refused(8, tmp_path / "empty")


def test_one_class_only(refused, photos, tmp_path):
    shutil.copytree(photos / "a", tmp_path / "one" / "a")
    assert "at least two classes" in refused(8, tmp_path / "one")


def test_missing_masks(refused, cells, tmp_path):
    data = shutil.copytree(cells, tmp_path / "cells")
    (data / "masks" / "03.png").unlink()
    errors = refused(8, data)
    assert "1 of 16 files cannot be used" in errors
    assert "images/03.png" in errors
    assert "data.max_bad_frac" in errors


def test_a_mask_of_another_size(refused, cells, tmp_path):
    data = shutil.copytree(cells, tmp_path / "cells")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(data / "masks" / "03.png")
    assert "its mask masks/03.png is 6 x 5, the picture is 48 x 40 (width x height)" in refused(8, data)


def test_a_class_that_train_does_not_have(refused, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "split" / "train")
    shutil.copytree(photos / "a", tmp_path / "split" / "val" / "zebra")
    assert "a class of val is unknown in train; got zebra" in refused(8, tmp_path / "split")


def test_data_that_are_not_there(refused, photos):
    assert "did you mean 'photos'?" in refused(8, photos.with_name("fotos"))


def test_a_text_file_as_data(refused, tmp_path):
    for name in ("notes.txt", "notes.zip", "notes.csv"):
        (tmp_path / name).write_text("no pictures here")
        assert name in refused(8, tmp_path / name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(refused, photos):
    assert "device=cuda is not there" in refused(2, photos, "device=cuda")


def test_a_folder_that_holds_other_things(call, photos, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    code, _, errors = call("train", photos, "--out", tmp_path)
    assert code == 2
    assert "thesis.tex" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_folder_that_cannot_be_made(call, photos, tmp_path):
    (tmp_path / "file").write_text("")
    assert call("train", photos, "--out", tmp_path / "file")[0] == 2
    code, _, errors = call("train", photos, "--out", tmp_path / "file" / "run")
    assert code == 5
    assert "Not a directory" in errors


def test_a_budget_too_short_for_anything(refused, photos):
    errors = refused(2, photos, *SMALL, "minutes=0.01")
    assert "minutes=0.01 is too short" in errors
    assert "say minutes=" in errors


def test_weights_that_are_not_there_or_fit_nothing(refused, photos, tmp_path):
    assert "no such file or folder of weights" in refused(2, photos, f"pretrained={tmp_path / 'none.safetensors'}")
    save_file({"strange": np.zeros((3, 5), np.float32)}, tmp_path / "w.safetensors")
    assert "fits this net" in refused(2, photos, *SMALL, f"pretrained={tmp_path / 'w.safetensors'}")


def test_a_folder_that_holds_no_run(call, photos, tmp_path):
    expected = {"predict": 2, "evaluate": 2, "resume": 3, "report": 2}
    for verb, code in expected.items():
        for folder in (tmp_path, tmp_path / "none"):
            words = [verb, folder] + ([photos] if verb in ("predict", "evaluate") else [])
            found, shown, errors = call(*words)
            assert (found, "Traceback" in shown + errors) == (code, False), verb
            assert str(folder) in errors
            assert "To do:" in errors


def test_a_recipe_file_that_is_not_there(refused, photos, tmp_path):
    assert "none.yaml" in refused(2, photos, "--recipe", str(tmp_path / "none.yaml"))
