"""Embedded pictures: whole PNGs of the views folder, and nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenet.records import RunRecord
from provenet.report.pictures import Album, overlays, swatches, wrong_examples


def save(path: Path, width: int = 5, height: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    return path


def test_a_picture_is_embedded_as_it_is_with_its_size(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    (picture,) = Album(tmp_path).take(["a.png"], ["words"])
    assert base64.b64decode(picture.uri.removeprefix("data:image/png;base64,")) == path.read_bytes()
    assert (picture.width, picture.height, picture.alt) == (5, 3, "words")


def test_nothing_outside_the_folder_and_nothing_but_png_is_read(tmp_path: Path) -> None:
    outside, folder = save(tmp_path / "secret.png"), tmp_path / "views"
    save(folder / "a.png")
    (folder / "text.png").write_text("not a picture")
    (folder / "link.png").symlink_to(outside)
    album = Album(folder)
    for name in ("../secret.png", str(outside), "link.png", "text.png", "absent.png", "", None, 3, "."):
        assert album.take([name], ["x"]) == ()
    assert album.left_out == 9
    assert len(album.take(["a.png"], ["x"])) == 1


def test_the_budget_is_kept_and_an_example_is_whole_or_absent(tmp_path: Path) -> None:
    size = save(tmp_path / "a.png").stat().st_size
    album = Album(tmp_path, budget=2 * size)
    assert album.take(["a.png"] * 3, ["x"] * 3) == ()
    assert len(album.take(["a.png"] * 2, ["x"] * 2)) == 2
    assert album.take(["a.png"], ["x"]) == ()
    assert album.left_out == 2


def test_an_overlay_without_its_truth_is_left_out(tmp_path: Path) -> None:
    for name in ("i.png", "t.png", "p.png"):
        save(tmp_path / "views" / name)
    whole = {"image": "i.png", "truth": "t.png", "prediction": "p.png", "caption": "a", "score": 0.5}
    record = RunRecord("r", tmp_path, views={"overlays": [whole, whole | {"truth": "gone.png"}, "no mapping"]})
    (example,) = overlays(record, Album(tmp_path / "views"))
    assert [picture.alt for picture in example.pictures] == ["image of a", "truth of a", "prediction of a"]
    assert example.detail == "score 0.500"


def test_a_wrong_answer_tells_truth_answer_and_certainty(tmp_path: Path) -> None:
    save(tmp_path / "views" / "w.png")
    view = {"file": "w.png", "caption": "test/1.png", "truth": "cat", "predicted": "dog", "probability": 0.987}
    record = RunRecord("r", tmp_path, views={"wrong": [view]})
    (example,) = wrong_examples(record, Album(tmp_path / "views"))
    assert (example.caption, example.detail) == ("cat → dog", "98.7% sure, test/1.png")


@pytest.mark.parametrize("palette", [None, "red", [["x", 0, 0]], [[1, 2]], [[0.5, 0, 0]], {"a": "url(x)"}])
def test_a_palette_of_another_form_shows_no_colour(tmp_path: Path, palette: object) -> None:
    assert swatches(RunRecord("r", tmp_path, data={"classes": ["a"], "palette": palette})) == []


def test_a_palette_names_its_classes(tmp_path: Path) -> None:
    record = RunRecord("r", tmp_path, data={"classes": ["a", "b"], "palette": [[0, 0, 0], [255, 1, 2]]})
    assert [(one.name, one.fill) for one in swatches(record)] == [("a", "rgb(0 0 0)"), ("b", "rgb(255 1 2)")]
