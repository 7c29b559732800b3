"""Scores on other data: classes are matched by name, masks by value."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from provenet.core.log import Silent
from provenet.run.evaluate import evaluate
from provenet.run.model import load_model


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    """Decode in this process."""
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)


def test_the_runs_own_test_files_score_as_in_the_run(photo_run, photos, tmp_path):
    tested = json.loads((photo_run / "data.json").read_text())["splits"]["test"]
    result = json.loads((photo_run / "result.json").read_text())["splits"]["test"]
    for name in tested:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, tmp_path / "data" / name)
    found = evaluate(load_model(photo_run), photo_run, str(tmp_path / "data"), Silent())
    assert found["n"] == len(tested) == 9
    assert found["confusion"] == result["confusion"]


def test_fewer_classes_keep_their_place(photo_run, photos, tmp_path):
    for name in "bc":
        shutil.copytree(photos / name, tmp_path / "data" / name)
    found = evaluate(load_model(photo_run), photo_run, str(tmp_path / "data"), Silent())
    confusion = np.array(found["confusion"])
    assert confusion.shape == (3, 3)
    assert confusion.sum(1).tolist() == [0, 20, 20]
    recall = {row["name"]: row["recall"] for row in found["per_class"]}
    assert recall["a"]["value"] is None


def test_only_a_given_test_split_is_scored(photo_run, photos, tmp_path):
    for split in ("train", "test"):
        for name in "abc":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for file in sorted((photos / name).iterdir())[: 3 if split == "test" else 5]:
                shutil.copy(file, tmp_path / "data" / split / name / f"{split}-{file.name}")
    found = evaluate(load_model(photo_run), photo_run, str(tmp_path / "data"), Silent())
    assert (found["split"], found["n"]) == ("test", 9)


def masked(folder, values):
    """Write eight pictures whose masks hold these values, in bands."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (24, 24)).astype(np.uint8)).save(folder / f"images/{number}.png")
        bands = np.repeat(np.resize(np.array(values, np.uint8), 6), 4)
        Image.fromarray(np.tile(bands, (24, 1))).save(folder / f"masks/{number}.png")
    return folder


def test_masks_with_some_of_the_values_are_read_by_the_nets_rule(trained, cell_words, tmp_path):
    words = [word for word in cell_words if not word.startswith("steps")]
    model = load_model(run := trained(masked(tmp_path / "all", [0, 1, 2]), *words, "steps=1"))
    assert model.classes == ("class 0", "class 1", "class 2")
    found = evaluate(model, run, str(masked(tmp_path / "some", [0, 1])), Silent())
    assert np.sum(found["confusion"], axis=1).tolist() == [8 * 24 * 12, 8 * 24 * 12, 0]
    with pytest.raises(ValueError, match="the data have classes that the net does not know"):
        evaluate(model, run, str(masked(tmp_path / "other", [0, 255])), Silent())
