"""Answers for new pictures are those of the run's own test; names never lead astray nor over one another."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from provenet.core.errors import DataError
from provenet.core.log import Silent
from provenet.engine.evaluate import Scorer
from provenet.engine.segment import Tiles
from provenet.run.answers import cell, free_name, write_predictions
from provenet.run.folder import RunFolder
from provenet.run.model import load_model, reopen_data
from provenet.run.predict import Answering, predict


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    """Decode in this process."""
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)


def own_test(run: Path, data: Path):
    """Return a run's model, its scorer and the sample ids and files of its test split."""
    model = load_model(run)
    dataset = reopen_data(str(data), model.recipe, RunFolder(run), Silent())
    ids = dataset.splits["test"]
    return model, Scorer(dataset, model.recipe.view, model.feed), ids, [data / dataset.store.files[i] for i in ids]


def test_labels_equal_the_runs_test(photo_run, photos):
    model, scorer, ids, files = own_test(photo_run, photos)
    rows = scorer.score(model.net, ids)[0].rows()
    assert {path.suffix for path in files} == {".png", ".jpg"}
    found = {prediction.file: prediction for prediction in predict(model, files)}
    order = [files[list(ids).index(sample)] for sample in rows.ids]
    answers = [found[str(path)] for path in order]
    assert [answer.label for answer in answers] == [model.classes[k] for k in rows.predicted]
    np.testing.assert_allclose([max(answer.probs.values()) for answer in answers], rows.confidence, atol=1e-6)
    truth = [path.parent.name for path in order]
    accuracy = np.mean([answer.label == label for answer, label in zip(answers, truth, strict=True)])
    result = json.loads((photo_run / "result.json").read_text())
    assert result["splits"]["test"]["metrics"]["accuracy"]["value"] == accuracy


def test_masks_equal_the_runs_test(cell_run, cells):
    model, scorer, ids, files = own_test(cell_run, cells)
    for sample, answer in zip(ids, predict(model, files), strict=True):
        expected = next(scorer.logits(model.net, np.array([sample]))).argmax(0).numpy()
        assert (answer.mask == expected).all()


def test_tiles_that_hold_the_picture_change_nothing_and_mirroring_is_symmetric(cell_run, cells, tmp_path):
    model, path = load_model(cell_run), cells / "images" / "00.png"
    whole = next(predict(model, [path])).mask
    tiled = next(predict(model, [path], Answering(tiles=Tiles(64, whole_below=1)))).mask
    assert (whole == tiled).mean() > 0.99
    Image.fromarray(np.asarray(Image.open(path))[:, ::-1]).save(tmp_path / "m.png")
    here, there = (next(predict(model, [file], Answering(mirrored=True))).mask for file in (path, tmp_path / "m.png"))
    assert (here == there[:, ::-1]).mean() > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 3), (65, 33)])
def test_any_size_is_answered(photo_run, cell_run, tmp_path, shape):
    Image.fromarray(np.full(shape, 90, np.uint8)).save(tmp_path / "x.png")
    assert next(predict(load_model(photo_run), [tmp_path / "x.png"])).label in "abc"
    assert next(predict(load_model(cell_run), [tmp_path / "x.png"])).mask.shape == shape


def test_zips_stay_inside_and_equal_stems_apart(cell_run, cells, tmp_path):
    picture = (cells / "images" / "00.png").read_bytes()
    jpeg = tmp_path / "p.jpg"
    Image.open(cells / "images" / "01.png").save(jpeg)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("deep/er/a.png", "a.png"):
            archive.writestr(name, picture)
        archive.writestr("a.jpg", jpeg.read_bytes())
    model, out = load_model(cell_run), tmp_path / "x" / "out"
    count, _ = write_predictions(model, predict(model, [tmp_path / "z.zip"]), out)
    written = {path.relative_to(out / "masks").as_posix() for path in (out / "masks").rglob("*.png")}
    assert count == len(written) == 3
    assert "deep/er/a.png" in written
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.png", picture)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError):
        write_predictions(model, predict(model, [tmp_path / "evil.zip"]), out)
    assert set(tmp_path.rglob("*")) == before


@given(st.lists(st.text(st.sampled_from("aA./\\ é"), min_size=1, max_size=9), max_size=12))
def test_names_are_free_and_below_the_folder(files):
    taken: set[str] = set()
    names = [free_name(f"{file}x.png", taken) for file in files]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert path.suffix == ".png"


def test_cells_are_no_formulas_and_always_text():
    assert [cell(text) for text in ("=1", "+1", "-1", "@x", "a=1")] == ["'=1", "'+1", "'-1", "'@x", "a=1"]
    assert cell("bad\udcffname").encode()
