"""The charts of claims: every value at its place, every text escaped, odd records drawn all the same."""

from __future__ import annotations

import base64
import io
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenet.records.claim import Diagram, Dots, Gallery, Heat, Lines
from provenet.report.claim_charts import Album, shown
from provenet.report.claim_words import Measured

TAGS = {"svg", "title", "desc", "g", "line", "polyline", "polygon", "path", "rect", "circle", "text"}


def png(rng: np.random.Generator, side: int = 32) -> str:
    y, x = np.mgrid[:side, :side]
    waves = 128 + 100 * np.sin(x[..., None] / rng.uniform(2, 6, 3)) * np.cos(y[..., None] / rng.uniform(2, 6, 3))
    stream = io.BytesIO()
    Image.fromarray(waves.astype(np.uint8)).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def svg_of(chart: Any) -> ElementTree.Element:
    drawn = shown(chart, "x")
    assert not isinstance(drawn, Album)
    return ElementTree.fromstring(drawn.svg)


def of_class(svg: ElementTree.Element, tag: str, css: str) -> list[ElementTree.Element]:
    return [node for node in svg.iter(tag) if css in node.attrib.get("class", "").split()]


def numbers(node: ElementTree.Element, *names: str) -> list[float]:
    return [float(node.attrib[name]) for name in names]


@settings(max_examples=200)
@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e3), st.floats(1e-4, 1e3))
def test_a_figure_is_rounded_to_two_figures_of_its_interval(value: float, below: float, above: float) -> None:
    figure = Measured(value, value - below, value + above)
    shown_low, shown_high = (float(end.replace(",", "")) for end in figure.interval[1:-1].split(", "))
    grain = 0.051 * ((value + above) - (value - below))
    assert float(figure.text.replace(",", "")) == pytest.approx(value, abs=grain)
    assert shown_low == pytest.approx(value - below, abs=grain)
    assert shown_high == pytest.approx(value + above, abs=grain)
    assert "-0" not in {figure.text, f"{shown_low:g}", f"{shown_high:g}"} and not figure.text.startswith("-0.00000")


@settings(max_examples=200)
@given(st.floats(1e-3, 1e3), st.floats(0.011, 0.5))
def test_an_interval_that_leaves_zero_out_does_not_look_as_if_it_held_it(width: float, share: float) -> None:
    low = share * width / 10
    above, below = Measured(low + width / 2, low, low + width), Measured(-low - width / 2, -low - width, -low)
    assert float(above.interval[1:-1].replace(",", "").split(" ")[0]) > 0
    assert float(below.interval[1:-1].replace(",", "").split(" ")[1]) < 0


@settings(max_examples=200)
@given(st.floats(-9e11, 9e11).filter(lambda value: value == 0 or abs(value) > 1e-9))
def test_an_exact_figure_keeps_four_figures(value: float) -> None:
    assert float(Measured(value).text.replace(",", "")) == pytest.approx(value, rel=5.1e-4)
    assert Measured(float(int(value))).text == f"{int(value):,}"


def charts_of(word: str) -> list[Any]:
    """A chart of each kind with a drawing, `word` in each of its texts."""
    points = ((0.0, 1.0), (1.0, 2.0))
    return [
        Lines(title=word, x=word, y=word, lines={word: points, "b": points}),
        Heat(title=word, x=word, y=word, columns=(word, "b"), rows=(word,), values=((0.5, None),)),
        Dots(title=word, rows=((word, 1.0, 0.5, 2.0), ("b", None, None, None))),
        Diagram(title=word, down=((1, 2), (2, 1)), up=((1, 2),), skips=((0, 0),)),
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_every_drawing_is_well_formed_whatever_its_texts(word: str) -> None:
    for chart in charts_of(word):
        svg = svg_of(chart)
        assert svg.attrib["aria-labelledby"] == "x-title x-desc"
        assert svg.findtext("desc")
        assert {node.tag for node in svg.iter()} <= TAGS


def test_a_heat_map_has_each_value_at_its_place_as_number_and_depth() -> None:
    values = ((0.0, 0.25, 1.0), (None, 0.5, 1.5))
    chart = Heat(title="t", x="rate", y="scale", columns=("1", "2", "3"), rows=("a", "b"), values=values)
    svg = svg_of(chart)
    cells = list(svg.iter("g"))
    assert [cell.findtext("text") for cell in cells] == ["0.00", "0.25", "1.00", "–", "0.50", "1.50"]
    depths = [[float(rect.attrib["fill-opacity"]) for rect in of_class(cell, "rect", "heat")] for cell in cells]
    assert depths == [[0.0], [0.25], [1.0], [], [0.5], [1.0]]
    places = [tuple(map(float, re.findall(r"[\d.]+", cell.attrib["transform"]))) for cell in cells]
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    heads = [node for node in svg.iter("text") if node.text in chart.columns]
    width = float(of_class(cells[0], "rect", "ground")[0].attrib["width"])
    for head, (x, _) in zip(heads, places, strict=False):
        assert x < float(head.attrib["x"]) < x + width
    assert cells[3].findtext("title") == "b, 1: n/a"


@pytest.mark.parametrize(
    ("num_columns", "name"), [(1, "a"), (6, "0.01"), (20, "0.001"), (12, "a long name of a column")]
)
def test_a_heat_map_stays_inside_its_frame(num_columns: int, name: str) -> None:
    columns = tuple(f"{name}{i}" for i in range(num_columns))
    values = (tuple(i / num_columns for i in range(num_columns)), ())
    drawn = shown(Heat(title="t", x="x", y="y", columns=columns, rows=("r" * 40, "s"), values=values), "x")
    svg = ElementTree.fromstring(drawn.svg)  # type: ignore[union-attr]
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    for cell in svg.iter("g"):
        x, y = map(float, re.findall(r"[\d.]+", cell.attrib["transform"]))
        cell_width, cell_height = numbers(of_class(cell, "rect", "ground")[0], "width", "height")
        assert x >= 0 and x + cell_width <= width
        assert y >= 0 and y + cell_height <= height
    assert drawn.wide == (width > 480)  # type: ignore[union-attr]


def test_a_unet_is_drawn_as_it_is_shaped() -> None:
    levels = ((8, 96), (16, 48), (32, 24), (64, 12), (128, 6))
    skips = ((0, 3), (1, 2), (2, 1), (3, 0))
    svg = svg_of(Diagram(title="t", down=levels, up=levels[-2::-1], skips=skips))
    boxes = [numbers(node, "x", "y", "width", "height") for node in of_class(svg, "rect", "box")]
    down, up = boxes[:5], boxes[5:]
    assert [y for _, y, _, h in down] == sorted(y for _, y, _, h in down)
    assert [w for *_, w, _ in down] == sorted(w for *_, w, _ in down)
    assert [h for *_, h in down] == sorted((h for *_, h in down), reverse=True)
    for (x, y, w, h), (x2, y2, w2, h2) in zip(down[:4], reversed(up), strict=True):
        assert (w, h, y) == (w2, h2, y2)
        assert x + w / 2 == pytest.approx(640 - (x2 + w2 / 2), abs=0.02)
    drawn = of_class(svg, "polyline", "skip")
    assert len(drawn) == 4
    for (start, end), node in zip(skips, drawn, strict=True):
        (x, y), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in node.attrib["points"].split())
        assert y == y2 == pytest.approx(down[start][1] + down[start][3] / 2, abs=0.1)
        assert x == pytest.approx(down[start][0] + down[start][2], abs=0.1)
        assert x2 < up[end][0] + 0.1
    assert len(of_class(svg, "polyline", "flow")) == len(boxes) - 1
    texts = [node.text for node in of_class(svg, "text", "count")]
    assert texts[:4] == ["8 channels", "96 × 96", "16 channels", "48 × 48"]


def test_skips_to_levels_that_there_are_not_are_left_out() -> None:
    svg = svg_of(
        Diagram(title="t", down=((1, 2), (2, 1)), up=((1, 2),), skips=((-1, 0), (5, 0), (0, -1), (0, 1), (0, 0)))
    )
    assert len(of_class(svg, "polyline", "skip")) == 1


@pytest.mark.parametrize("rows", [(), (("a", None, None, None),)])
def test_dots_without_a_figure_say_so_inside_their_frame(rows: Any) -> None:
    svg = svg_of(Dots(title="t", rows=rows))
    [text] = svg.iter("text")
    assert text.text == "nothing recorded"
    assert 0 < float(text.attrib["y"]) < float(svg.attrib["viewBox"].split()[3])


@pytest.mark.parametrize(
    "chart",
    [
        Diagram(title="t", down=(), up=(), skips=((0, 0),)),
        Diagram(title="t", down=((1, 1),), up=((1, 1), (2, 2), (0, 0)), skips=((5, 1), (-1, 0), (0, 1))),
        Heat(title="t", x="x", y="y", columns=(), rows=(), values=()),
        Lines(title="t", x="x", y="y", lines={}),
        Lines(title="t", x="x", y="y", lines={"empty": ()}),
        Dots(title="t", rows=()),
    ],
)
def test_odd_charts_are_drawn_all_the_same(chart: Any) -> None:
    assert svg_of(chart).findtext("title") == "t"


def test_a_gallery_shows_png_and_says_what_it_cannot() -> None:
    good = png(np.random.default_rng(0), 24)
    other = base64.b64encode(b"GIF89a" + b"x" * 40).decode()
    album = shown(Gallery(title="t", pictures=(("a", good), ("b", "no base64"), ("c", other)), note="Seen."), "x")
    assert isinstance(album, Album)
    assert album.note == "Seen. 2 pictures could not be read."
    [example] = album.examples
    [picture] = example.pictures
    assert (picture.width, picture.height, picture.alt, picture.css) == (24, 24, "a", "tiny")
    assert picture.uri == f"data:image/png;base64,{good}"


@pytest.mark.parametrize(
    "names", [("a", "b"), ("He in every layer", "Xavier in every layer", "b"), ("x" * 70, "y" * 70, "z" * 30, "w")]
)
def test_the_names_of_curves_never_lie_on_each_other_or_outside(names: tuple[str, ...]) -> None:
    points = ((0.0, 1.0), (1.0, 2.0))
    svg = svg_of(Lines(title="t", x="update", y="validation accuracy", lines=dict.fromkeys(names, points)))
    height = float(svg.attrib["viewBox"].split()[3])
    labels = of_class(svg, "text", "label")
    assert len(labels) == len(names)
    spans = [(*numbers(node, "y", "x"), float(node.attrib["x"]) + 6 * len(node.text or "")) for node in labels]
    assert all(0 < y < height and x >= 0 and end <= 480 for y, x, end in spans)
    for (y, _, end), (y2, x2, _) in pairwise(spans):
        assert y2 > y or x2 > end
    curves = [node.attrib["class"] for node in svg.iter("polyline")]
    assert curves == [f"curve c{index + 1}" for index in range(len(names))]


@pytest.mark.parametrize(
    ("captions", "columns"),
    [("abcd", 0), ("a", 0), ("", 0), ("xtfuytfuztfu", 4), ("xtytzt", 2), ("aaa", 0), ("abcdefghabcdefgh", 0)],
)
def test_pictures_stand_in_rows_where_their_captions_repeat(captions: str, columns: int) -> None:
    one = png(np.random.default_rng(0), 8)
    album = shown(Gallery(title="t", pictures=tuple((caption, one) for caption in captions)), "x")
    assert isinstance(album, Album)
    assert album.columns == columns


def test_more_than_four_curves_still_look_different() -> None:
    points = ((0.0, 1.0), (1.0, 2.0))
    svg = svg_of(Lines(title="t", x="x", y="y", lines={f"{i}": points for i in range(8)}))
    assert len({node.attrib["class"] for node in svg.iter("polyline")}) == 8


def test_long_names_stand_above_their_intervals_and_zero_is_marked() -> None:
    rows = (("norm.batch against norm.none", 0.1, -0.1, 0.3), ("x" * 60, 0.2, 0.16, 0.24))
    svg = svg_of(Dots(title="t", rows=rows))
    texts = [node.text for node in of_class(svg, "text", "label")]
    assert texts == [rows[0][0], "0.10 [-0.10, 0.30]", "x" * 43 + "…", "0.200 [0.160, 0.240]"]
    [mark] = of_class(svg, "path", "mark")
    [zero] = {float(x) for x in re.findall(r"M([\d.]+)", mark.attrib["d"])}
    bar, dot = of_class(svg, "line", "curve")[0], next(svg.iter("circle"))
    left, middle, right = float(bar.attrib["x1"]), float(dot.attrib["cx"]), float(bar.attrib["x2"])
    assert left < zero < middle < right
    assert (zero - left) / (middle - left) == pytest.approx(0.5, abs=0.01)
