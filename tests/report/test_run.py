"""The page of a run: self-contained, escaped, complete, repeatable, and written without torch."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from provenet.core.errors import RecipeError
from provenet.core.files import read_json, write_json
from provenet.report.run import write_run_report

RunMaker = Callable[..., Path]
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "</title><a href=https://example.org>x</a>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; \u2028 \u202e",
    "]]><!--",
    "a\x00b\x1b[31m",
)
VOID_TAGS = {"meta", "img", "link", "br", "hr", "input"}
ALWAYS = ["figures", "curves", "data", "choices", "recipe", "events", "provenance", "repeat"]
WHEN_FINISHED = ["answers", "pictures", "seen", "gap"]


class Page(HTMLParser):
    """The elements of a page in order, its attributes, its texts, and whether its tags close as they open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.css = ""
        self._open: list[str] = []
        self.balanced = True
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.balanced &= bool(self._open) and self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.css += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def page_of(folder: Path) -> Page:
    return Page(write_run_report(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_all_sections_stand_in_their_order(make_run: RunMaker, task: str) -> None:
    page = page_of(make_run(task=task))
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    order = ["figures", "curves", "answers", "pictures", "seen", "gap", *ALWAYS[2:]]
    assert sections == order
    assert sorted(page.values("href")) == sorted(f"#{section}" for section in sections)
    assert page.balanced


def test_no_request_can_leave_the_page(make_run: RunMaker) -> None:
    page = page_of(make_run())
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.elements}
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("style", "srcset")]
    assert "url(" not in page.css and "@import" not in page.css
    digest = base64.b64encode(hashlib.sha256(page.css.encode()).digest()).decode()
    policy = page.values("content")[0]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_hostile_names_change_no_element(make_run: RunMaker, task: str) -> None:
    num = len(HOSTILE) if task == "classification" else 4
    harmless = tuple(f"class {i}" for i in range(num))
    runs = [make_run("harmless", task, harmless), make_run("hostile", task, HOSTILE[:num])]
    for folder, names in zip(runs, (harmless, HOSTILE), strict=False):
        _spread(folder, names)
    first, second = map(page_of, runs)
    assert Counter(first.elements) == Counter(second.elements)
    assert second.balanced
    assert all(re.fullmatch(r"#[a-z]+", value) for value in second.values("href"))
    assert HOSTILE[0] in second.text


def _spread(folder: Path, names: tuple[str, ...]) -> None:
    """Put the names wherever a record holds text of a user's."""
    data, result, views = (read_json(folder / name) for name in ("data.json", "result.json", "views/views.json"))
    for key in ("errors", "warnings", "rules"):
        data[key] = [names[0], names[1]]
    data["quarantined"] = [{"file": names[1], "reason": names[2]}]
    data["notes"], data["sizes"], data["duplicates"] = {names[0]: 3}, {names[3]: 1}, [[names[1], names[2]]]
    data["source"] = names[1]
    result["baselines"][0]["name"] = names[0]
    result["training"]["stopped"] = names[1]
    for view in [*views["wrong"], *views["overlays"], *views["augmented"]]:
        view["caption"] = names[1]
    write_json(folder / "data.json", data)
    write_json(folder / "result.json", result)
    write_json(folder / "views" / "views.json", views)
    write_json(folder / "choices.json", [{"key": names[0], "value": [names[1]], "reason": names[2], "by": "auto"}])
    write_json(folder / "provenance.json", {"command": names[0], "versions": {names[1]: names[2]}})
    (folder / "recipe.yaml").write_text(json.dumps({"task": "x", "note": names[0]}), encoding="utf-8")


def test_ids_are_unique(make_run: RunMaker) -> None:
    page = page_of(make_run(task="segmentation"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    labels = [label for value in page.values("aria-labelledby") for label in value.split()]
    assert labels
    assert set(labels) <= set(ids)


def test_equal_records_give_equal_bytes(make_run: RunMaker) -> None:
    folder = make_run()
    first = write_run_report(folder).read_bytes()
    assert write_run_report(folder).read_bytes() == first


def test_figures_stand_with_their_intervals_and_the_baseline(make_run: RunMaker) -> None:
    folder = make_run()
    result = read_json(folder / "result.json")
    result["splits"]["test"]["metrics"]["accuracy"] = {"value": 0.9284, "low": 0.9231, "high": 0.9334}
    write_json(folder / "result.json", result)
    page = page_of(folder)
    assert "Test accuracy 0.928 [0.923, 0.933] on 10,000 images; always answering 'cat' would give 0.100." in page.text
    assert "train/cat/0001.png" in page.text
    assert "the file ends in the middle of the picture" in page.text
    assert "range test: steepest fall at 0.41" in page.text
    assert "provenet train ../data/cifar10.zip --recipe run/recipe.yaml" in page.text


def test_an_unfinished_run_says_so_and_how_to_go_on(make_run: RunMaker) -> None:
    page = page_of(make_run("half way", finished=False, num_epochs=12))
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert sections == ALWAYS
    assert "unfinished" in page.values("id")
    assert "not finished: 12 epochs and 468 steps" in page.text
    assert "provenet resume 'half way'" in page.text


def test_a_run_that_only_just_began_has_a_page(make_run: RunMaker) -> None:
    folder = make_run(finished=False, num_epochs=0)
    for name in ("data.json", "choices.json", "epochs.jsonl", "steps.jsonl", "events.jsonl", "provenance.json"):
        (folder / name).unlink()
    page = page_of(folder)
    assert "Nothing has been measured yet." in page.text
    assert page.balanced


def test_many_classes_give_pairs_in_place_of_the_matrix(make_run: RunMaker) -> None:
    page = page_of(make_run(classes=tuple(f"c{i}" for i in range(100)), num_views=1))
    assert "confusion-title" not in page.values("id")
    assert sum(1 for text in page.texts if re.fullmatch(r"c\d+ → c\d+", text)) >= 25


def test_a_result_without_test_and_training_split(make_run: RunMaker) -> None:
    folder = make_run(num_views=1)
    result = read_json(folder / "result.json")
    result["splits"] = {"val": result["splits"]["val"]}
    result |= {"gap": None, "baselines": []}
    write_json(folder / "result.json", result)
    page = page_of(folder)
    assert "Validation accuracy" in page.text
    assert "gap" not in page.values("id")


def test_the_page_stays_light_with_24_large_views(make_run: RunMaker) -> None:
    import numpy as np
    from PIL import Image

    folder = make_run(num_views=24)
    rng = np.random.default_rng(0)
    for path in (folder / "views").glob("wrong-*.png"):
        Image.fromarray(rng.integers(0, 256, (320, 320, 3), np.uint8)).save(path, compress_level=0)
    assert sum(path.stat().st_size for path in (folder / "views").glob("*.png")) > 5_000_000
    path = write_run_report(folder)
    assert path.stat().st_size <= 5_000_000
    assert "more examples are not on this page" in path.read_text(encoding="utf-8")


def test_no_run_no_page(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        write_run_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_reports_open_without_torch() -> None:
    code = "import sys, provenet.report.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
