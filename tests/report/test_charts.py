"""The charts: every point where it belongs, every text escaped, every drawing described."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.report.charts import Axes, Line, draw_confusion, draw_intervals, draw_lines, draw_reliability
from provenet.report.svg import Scale, tick_values
from provenet.report.words import Figure

AXES = Axes("Loss", "epoch", "loss")
values = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)
points = st.lists(st.tuples(st.integers(0, 1000), values), min_size=1, max_size=30, unique_by=lambda point: point[0])


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def places(svg: str) -> list[tuple[float, float]]:
    curve = next(iter(parsed(svg).iter("polyline")))
    return [tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split()]  # type: ignore[misc]


@settings(max_examples=60)
@given(points)
def test_curves_stay_inside_and_keep_the_order_of_their_values(given_points: list[tuple[int, float]]) -> None:
    drawn = places(draw_lines("a", [Line("loss", given_points, 1)], AXES))
    assert len(drawn) == len(given_points)
    assert all(0 <= x <= 480 and 0 <= y <= 280 for x, y in drawn)
    for (_, value), (_, y) in zip(given_points, drawn, strict=True):
        assert all(y <= other + 0.11 for (_, less), (_, other) in zip(given_points, drawn, strict=True) if less < value)


@settings(max_examples=100)
@given(values, values)
def test_ticks_are_round_and_cover_the_range(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks = tick_values(low, high)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + 1e-6 * step and ticks[-1] >= high - 1e-6 * step
    leading = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(leading - round_step) for round_step in (1, 2, 5)) < 1e-3


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = [(step, step * 2.0) for step in range(5000)]
    drawn = places(draw_lines("a", [Line("lr", curve, 3)], AXES))
    scale = Scale(0, 4999, 52, 466)
    assert len(drawn) <= 402
    assert drawn[0][0] == pytest.approx(scale(0), abs=0.06)
    assert drawn[-1][0] == pytest.approx(scale(4999), abs=0.06)


def test_the_matrix_has_every_cell_with_its_words_and_depth_by_share() -> None:
    svg = parsed(draw_confusion("c", ["cat", "dog"], [[90, 10], [0, 0]]))
    titles = [node.findtext("title") for node in svg.iter("g")]
    assert titles == [
        "cat taken for cat: 90 (90.0%)",
        "cat taken for dog: 10 (10.0%)",
        "dog taken for cat: 0 (0.0%)",
        "dog taken for dog: 0 (0.0%)",
    ]
    depth = {
        node.attrib["class"]: float(node.attrib["fill-opacity"])
        for node in svg.iter("rect")
        if "fill-opacity" in node.attrib
    }
    assert depth == {"hit": pytest.approx(math.sqrt(0.9), abs=0.01), "miss": pytest.approx(math.sqrt(0.1), abs=0.01)}
    assert svg.findtext("desc") == "2 classes; 90 of 100 on the diagonal"


def test_intervals_surround_their_dots_and_absent_values_are_named() -> None:
    rows = [("nucleus", Figure(0.8, 0.7, 0.85)), ("absent", Figure(None))]
    svg = parsed(draw_intervals("i", "IoU per class", rows))
    bar = next(node for node in svg.iter("line") if node.attrib["class"] == "curve c1")
    dots = list(svg.iter("circle"))
    assert len(dots) == 1
    assert float(bar.attrib["x1"]) < float(dots[0].attrib["cx"]) < float(bar.attrib["x2"])
    texts = [node.text for node in svg.iter("text")]
    assert "0.800 [0.700, 0.850]" in texts
    assert "n/a" in texts


def test_reliability_leaves_empty_bins_out() -> None:
    svg = draw_reliability("r", [(0.5, 0.4, 10), (0.7, 0.0, 0), (0.9, 0.8, 30)])
    assert len(places(svg)) == 2
    heights = [float(node.attrib["height"]) for node in parsed(svg).iter("rect")]
    assert heights[1] == pytest.approx(3 * heights[0])


@pytest.mark.parametrize(
    "svg",
    [
        draw_lines("x", [], AXES),
        draw_intervals("x", "t", [("a", Figure(None))]),
        draw_reliability("x", []),
        draw_lines(
            "x", [Line("<b>&", [(0, 1.0)], 1), Line('"', [(0, 1.0)], 2)], Axes("<script>", "&", "<", (0, "<i>"))
        ),
        draw_confusion("x", ["<script>", "&amp;"], [[1, 2], [3, 4]]),
    ],
)
def test_every_drawing_is_described_and_well_formed(svg: str) -> None:
    root = parsed(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "x-title x-desc"
    assert [node.attrib["id"] for node in list(root)[:2]] == ["x-title", "x-desc"]
    assert not {"script", "b", "i"} & {node.tag for node in root.iter()}
