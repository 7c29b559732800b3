"""The Python face: the calls of the README, on real files."""

from __future__ import annotations

import json

import pytest

import provenet as pn
from provenet.api import default_out
from provenet.recipe.words import parse_words


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs go below a folder of the test; pictures are decoded in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)
    monkeypatch.setattr("provenet.data.survey.num_decoders", lambda _: 0)


def test_train_takes_settings_as_arguments(photos):
    run = pn.train(photos, steps=2, batch_size=8, net={"name": "resnet", "depth": 8}, words=["seed=5"])
    assert str(run.folder) == "runs/photos"
    assert run.report.read_text().lower().startswith("<!doctype html>")
    assert set(run.metrics) == {"train", "val", "test"}
    assert 0 <= run.metrics["test"]["accuracy"] <= 1
    recipe = (run.folder / "recipe.yaml").read_text()
    assert "seed: 5" in recipe
    assert "depth: 8" in recipe
    assert default_out(str(photos), parse_words([])).name == "photos-2"
    again = pn.resume(run.folder)
    assert again.result == run.result


def test_a_run_answers_and_is_scored(photo_run, photos):
    run = pn.Run(photo_run)
    (answer,) = run.predict(photos / "a" / "03.png")
    assert answer.label in {"a", "b", "c"}
    assert sum(answer.probs.values()) == pytest.approx(1)
    assert pn.predict(photo_run, photos / "a" / "03.png")[0].probs == answer.probs
    (sampled,) = pn.predict(photo_run, photos / "a" / "03.png", dropout_samples=3)
    assert answer.spread is None and 0 < sampled.spread.mutual_information < sampled.spread.entropy
    assert run.evaluate(photos)["n"] == pn.evaluate(photo_run, photos)["n"] == 60


def test_digits_train_and_resume_by_name(tmp_path):
    run = pn.train("digits", steps=1, batch_size=16, net={"name": "resnet", "depth": 8}, data={"limit": 40})
    stored = json.loads((run.folder / "request.json").read_text())
    assert (str(run.folder), stored["data"]) == ("runs/digits", "digits")
    assert pn.resume(run.folder).result == run.result


def test_inspect_returns_what_is_there(cells):
    found = pn.inspect(cells, val_frac=0.25)
    assert (found["task"], found["num_images"]["val"]) == ("segmentation", 4)


def test_errors_are_python_errors_with_faults(tmp_path, photos):
    with pytest.raises(ValueError, match="did you mean 'epochs'") as caught:
        pn.train(photos, epoch=3)
    assert isinstance(caught.value, pn.ProvenetError)
    assert caught.value.faults[0].remedy
    with pytest.raises(pn.ProvenetError, match="holds no run"):
        _ = pn.Run(tmp_path).metrics


def test_public_names_resolve():
    assert set(pn.__all__) <= set(dir(pn))
    assert all(getattr(pn, name) is not None for name in pn.__all__)
    with pytest.raises(AttributeError):
        _ = pn.nothing
