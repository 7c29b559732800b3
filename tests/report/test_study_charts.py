"""The charts of a study: intervals and curves where they belong, bands around their lines, far effects kept in."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.records.study import Cell, Effect
from provenet.report.study_charts import PLOT_LEFT, PLOT_RIGHT, SIGNS, Frame, draw_forest, draw_panel, sign
from provenet.report.study_curves import learning, reaching
from provenet.report.study_words import TONES, Shown

figures = st.floats(-1e4, 1e4).filter(lambda value: value == 0 or abs(value) > 1e-6)


def effect(value: float | None, half: float = 1.0, verdict: Any = "could be zero") -> Effect:
    ends = {} if value is None else {"low": value - half, "high": value + half}
    wide = {} if value is None else {"wide_low": value - 2 * half, "wide_high": value + 2 * half}
    common = {"arm": "a", "technique": "t", "goal": "convergence", "measure": "epochs to target", "primary": True}
    return Effect(**common, **ends, **wide, n=5, baseline=1.0, changed=1.0, value=value, verdict=verdict, words="w")


def rows_of(effects: list[Effect]) -> list[ElementTree.Element]:
    svg = ElementTree.fromstring(
        draw_forest("f", "t", [Shown(f"row {i}", one.verdict, one) for i, one in enumerate(effects)])
    )
    return list(svg.iter("g"))


def span(row: ElementTree.Element, kind: str) -> list[float]:
    [line] = [node for node in row.iter("line") if kind in node.attrib["class"].split()]
    return [float(line.attrib["x1"]), float(line.attrib["x2"])]


def dot(row: ElementTree.Element) -> float:
    [circle] = [node for node in row if node.tag == "circle"]
    return float(circle.attrib["cx"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(figures, st.floats(1e-3, 1e3)), min_size=1, max_size=8))
def test_nothing_leaves_the_plot_and_larger_is_further_right(drawn: list[tuple[float, float]]) -> None:
    rows = rows_of([effect(value, half) for value, half in drawn])
    inside = []
    for row, (value, _) in zip(rows, drawn, strict=True):
        for node in row.iter("line"):
            ends = [float(node.attrib[end]) for end in ("x1", "x2")]
            assert PLOT_LEFT - 0.01 <= ends[0] <= ends[1] <= PLOT_RIGHT + 0.01
        if any(node.tag == "circle" for node in row):
            inside.append((value, dot(row)))
    assert all(x <= y + 0.01 for value, x in inside for other, y in inside if value < other)


def test_the_thick_interval_lies_in_the_thin_one_around_the_dot() -> None:
    [row] = rows_of([effect(2.0)])
    thin, thick = span(row, "thin"), span(row, "thick")
    assert thin[0] < thick[0] < dot(row) < thick[1] < thin[1]
    assert thick[1] - thick[0] == pytest.approx((thin[1] - thin[0]) / 2, abs=0.03)
    assert dot(row) == pytest.approx(sum(thick) / 2, abs=0.02)


def test_one_effect_far_out_does_not_squeeze_the_others() -> None:
    *near, far = rows_of([effect(value, 0.5) for value in (2.0, 1.0, 0.5, -0.5)] + [effect(-400.0, 3.0, "hurts")])
    assert dot(near[0]) - dot(near[-1]) > 50
    assert not [node for node in far if node.tag in ("circle", "line")]
    [arrow] = [node for node in far if node.tag == "polygon"]
    assert arrow.attrib["points"].startswith(f"{PLOT_LEFT:g},")
    assert "-400.0 [-403.0, -397.0]" in [node.text for node in far]


def test_an_interval_that_goes_on_beyond_the_plot_has_an_arrow_head() -> None:
    rows = rows_of([effect(value, 0.5) for value in (2.0, 1.0, 0.5, -0.5)] + [effect(1.0, 300.0)])
    assert [len(list(row.iter("polyline"))) for row in rows] == [0, 0, 0, 0, 4]
    assert dot(rows[-1]) == pytest.approx(dot(rows[1]))


@pytest.mark.parametrize("value", [None, 0.0])
def test_an_effect_without_figure_or_width_keeps_its_row_its_mark_and_its_word(value: float | None) -> None:
    [row] = rows_of([effect(value, 0.0, "fails")])
    assert [node.text for node in row.iter("text")][-1] == "fails"
    assert row.attrib["class"] == TONES["fails"] == "fails"
    assert len(list(row.iter("svg"))) == 1


def test_a_long_forest_repeats_its_values_above() -> None:
    for num, times in ((3, 1), (40, 2)):
        svg = ElementTree.fromstring(draw_forest("f", "t", [Shown("r", "helps", effect(2.0))] * num))
        zeros = [node for node in svg.iter("text") if node.text == "0"]
        assert len(zeros) == times


def test_marks_of_verdicts_differ_in_shape() -> None:
    shapes = {verdict: sign(verdict).split(">", 1)[1] for verdict in SIGNS}
    assert len(set(shapes.values())) == len(SIGNS) == len(TONES)


def cell(seed: int, scores: list[float], **more: Any) -> Cell:
    curve = tuple((i + 1.0, i + 1, score) for i, score in enumerate(scores))
    return Cell(**({"arm": "a", "seed": seed, "key": "k", "state": "done", "budget_epochs": 8, "curve": curve} | more))


def test_the_learning_curve_is_mean_least_and_most_of_the_seeds() -> None:
    scores = np.random.default_rng(0).random((5, 7))
    trace = learning([cell(seed, row.tolist()) for seed, row in enumerate(scores)])
    wanted = np.stack([np.arange(1, 8), scores.mean(0), scores.min(0), scores.max(0)], 1)
    np.testing.assert_allclose(np.array(trace), wanted)


def test_epochs_that_few_seeds_reached_are_not_shown() -> None:
    cells = [cell(0, [0.1] * 6), cell(1, [0.2] * 3), cell(2, [0.3] * 2), cell(3, [])]
    assert [x for x, *_ in learning(cells)] == [1, 2, 3]
    assert learning([]) == [] == learning([cell(0, [])])


def test_the_share_that_reached_the_target_rises_in_steps_and_ends_at_the_budget() -> None:
    cells = [
        cell(0, [0.2, 0.6, 0.8]),  # crosses 0.5 at 1.75
        cell(1, [0.2, 0.3, 0.7]),  # at 2.5
        cell(2, [0.2, 0.3, 0.4]),  # never
        cell(3, [0.6, 0.9], state="failed", diverged=True),  # never, although it was above
        cell(4, [0.6, 0.9], state="failed"),  # says nothing
        cell(5, [], state="missing"),
    ]
    trace = [(x, share) for x, share, _, _ in reaching(cells, 0.5)]
    np.testing.assert_allclose(trace, [(0, 0), (1.75, 0), (1.75, 0.25), (2.5, 0.25), (2.5, 0.5), (8, 0.5)], atol=1e-12)
    assert all(low <= share <= high for _, share, low, high in reaching(cells, 0.5))
    assert reaching(cells[4:], 0.5) == []
    assert reaching(cells[2:3], 0.5) == [(0, 0, 0, 0), (8, 0, 0, 0)]


def places(node: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in node.attrib["points"].split()]  # type: ignore[misc]


def test_a_panel_has_line_and_band_of_the_arm_over_the_baselines() -> None:
    arm = [(float(x), x / 10, x / 10 - 0.1, x / 10 + 0.1) for x in range(1, 9)]
    base = [(x, y - 0.1, low - 0.1, high - 0.1) for x, y, low, high in arm]
    svg = ElementTree.fromstring(draw_panel("p", "t", arm, base, Frame(8, (0.0, 0.5, 1.0), target=0.7)))
    lines = {node.attrib["class"]: places(node) for node in svg.iter("polyline")}
    bands = {node.attrib["class"]: places(node) for node in svg.iter("polygon")}
    assert list(lines) == ["curve base", "curve c1"] and list(bands) == ["band base", "band c1"]
    for (x, y), (_, up), (_, down) in zip(lines["curve c1"], bands["band c1"], bands["band c1"][::-1], strict=False):
        assert up < y < down  # y grows downwards
        assert 36 <= x <= 228
    assert all(ours[1] < theirs[1] for ours, theirs in zip(lines["curve c1"], lines["curve base"], strict=True))
    [mark] = [node for node in svg.iter("line") if node.attrib["class"] == "mark"]
    assert float(mark.attrib["y1"]) == pytest.approx(lines["curve c1"][6][1], abs=0.06)


def test_a_panel_without_an_arm_says_so_and_keeps_inside_what_goes_beyond() -> None:
    base = [(0.0, -5.0, -9.0, 3.0), (4.0, 0.5, -9.0, 3.0)]
    svg = ElementTree.fromstring(draw_panel("p", "<b>", [], base, Frame(4, (0.0, 1.0))))
    assert "nothing recorded" in [node.text for node in svg.iter("text")]
    assert all(8 <= y <= 128 for node in svg.iter("polygon") for _, y in places(node))
