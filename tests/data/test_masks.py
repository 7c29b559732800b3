"""Each kind of mask by its stated rule; what is not clear is refused, what is stray is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.core.batch import VOID
from provenet.core.errors import DataError, RecipeError
from provenet.data.masks import MaskCensus, MaskRule, decide, default_palette, merged, parse_value
from provenet.data.options import DataOptions

BLACK, RED, WHITE = (0, 0, 0), (255, 0, 0), (255, 255, 255)


def census(*values: set, colors: dict | None = None) -> list[MaskCensus]:
    """Return masks that hold the given values, 100 pixels each."""
    return [
        MaskCensus(f"{i}.png", dict.fromkeys(sorted(held, key=str), 100), colors or {}) for i, held in enumerate(values)
    ]


def rule_of(*values: set, colors: dict | None = None, **options: object) -> tuple[MaskRule, dict[int, str]]:
    return decide(census(*values, colors=colors), DataOptions(**options))  # type: ignore[arg-type]


PAIR = ("background", "foreground")


@pytest.mark.parametrize(
    ("values", "classes", "ids"),
    [
        ([{0, 255}, {0}, {255}], PAIR, {0: 0, 255: 1}),
        ([{0, 1}, {0}, {1}], PAIR, {0: 0, 1: 1}),
        ([{0, 1, 255}, {0, 1}], PAIR, {0: 0, 1: 1, 255: VOID}),
        ([{0, 1, 2}, {0, 2}], ("class 0", "class 1", "class 2"), {0: 0, 1: 1, 2: 2}),
        ([{0, 1, 2}, {0, 2, 255}], ("class 0", "class 1", "class 2"), {0: 0, 1: 1, 2: 2, 255: VOID}),
        ([{1, 2, 3}], ("class 1", "class 2", "class 3"), {1: 0, 2: 1, 3: 2}),
        ([{BLACK, WHITE}, {BLACK}], PAIR, {0: 0, 255: 1}),
        ([{BLACK, WHITE}] + [{0, 255}] * 3, PAIR, {0: 0, 255: 1}),
        (
            [{BLACK, RED}, {BLACK}, {RED, (0, 0, 9)}],
            ("#000000", "#000009", "#ff0000"),
            {BLACK: 0, (0, 0, 9): 1, RED: 2},
        ),
    ],
)
def test_clear_sets(values: list[set], classes: tuple[str, ...], ids: dict) -> None:
    rule, strays = rule_of(*values)
    assert rule.classes == classes
    assert rule.ids == ids
    assert strays == {}
    assert len(rule.palette) == len(classes)


def test_a_palette_keeps_its_colours_and_may_have_gaps() -> None:
    colors = {0: BLACK, 3: RED, 9: (0, 255, 0), 255: WHITE}
    rule, strays = rule_of({0, 3, 255}, {0, 9}, colors=colors)
    assert rule.classes == ("class 0", "class 3", "class 9")
    assert rule.palette == (BLACK, RED, (0, 255, 0))
    assert rule.ids[255] == VOID
    assert not strays


@pytest.mark.parametrize(
    "values",
    [
        [{0, 128, 255}] * 4,
        [{0, 37}] * 4,
        [{0, 1}] * 4 + [{0, 255}] * 4,
        [{0, 1, 2}] * 4 + [{0, 255}] * 4,
        [set(range(256))] * 4,
        [{0}] * 3,
        [{0, 1}, {37}],
        [{0, 255}] * 10 + [{0, RED}] * 10,
        [{BLACK, *((i, 255 - i, 7) for i in range(80))}] * 3,
    ],
)
def test_what_is_not_clear_is_refused(values: list[set]) -> None:
    with pytest.raises(DataError):
        rule_of(*values)


def test_a_refusal_names_file_value_and_pixels() -> None:
    with pytest.raises(DataError, match=r"37 \(100 pixels in 1 file, such as 1\.png\)"):
        rule_of({0, 1}, {37})


@pytest.mark.parametrize("stray", [{0, 255, 37}, {0, 128}, {0, 255, RED}, {RED, BLACK}])
def test_few_strays_are_named_and_left_out(stray: set) -> None:
    rule, strays = rule_of(*[{0, 255}] * 40, stray)
    assert rule.ids == {0: 0, 255: 1}
    assert list(strays) == [40]
    assert "(100 pixels)" in strays[40]


def test_one_file_in_0_255_among_0_1_is_stray_and_not_void() -> None:
    rule, strays = rule_of(*[{0, 1}] * 40, {0, 255})
    assert rule.ids == {0: 0, 1: 1}
    assert list(strays) == [40]


def test_a_stray_colour_is_no_class() -> None:
    masks = [MaskCensus(f"{i}.png", {BLACK: 5000, RED: 5000}) for i in range(40)]
    masks.append(MaskCensus("odd.png", {BLACK: 5000, RED: 4999, (9, 9, 8): 1}))
    rule, strays = decide(masks, DataOptions())
    assert rule.ids == {BLACK: 0, RED: 1}
    assert list(strays) == [40]


def test_names_and_void_of_the_user() -> None:
    rule, strays = rule_of(
        {0, 128, 255}, {0, 7}, {9}, classes={"0": "ground", "128": "cell", "7": "cell"}, void=("200",)
    )
    assert rule.classes == ("ground", "cell")
    assert rule.ids == {0: 0, 128: 1, 7: 1, 255: VOID, 200: VOID}
    assert list(strays) == [2]
    rule, strays = rule_of({0, 1, 9}, {9}, void=("9",))
    assert rule.ids == {0: 0, 1: 1, 9: VOID}
    assert not strays
    rule, _ = rule_of({0, 255}, classes={"0": "in", "255": "out"})
    assert rule.ids[255] == 1


def test_colours_of_the_user_match_grey_masks_too() -> None:
    rule, strays = rule_of({BLACK, RED}, {0, 255}, classes={"0,0,0": "ground", "255,0,0": "cell", "255,255,255": "sky"})
    assert not strays
    assert [rule.find(value) for value in (0, 255, RED)] == [0, 2, 1]


@pytest.mark.parametrize("key", ["", "a", "1,2", "1,2,3,4", "0x1"])
def test_a_key_that_is_no_value_is_refused(key: str) -> None:
    with pytest.raises(RecipeError):
        parse_value(key)


def test_one_class_only_is_refused() -> None:
    with pytest.raises(DataError, match="two classes"):
        rule_of({0}, classes={"0": "ground"})


@given(
    st.lists(st.dictionaries(st.integers(0, 255), st.integers(1, 1000), min_size=1, max_size=5), min_size=1, max_size=8)
)
def test_the_census_adds_up(masks: list[dict[int, int]]) -> None:
    seen = merged([MaskCensus(str(i), dict(pixels)) for i, pixels in enumerate(masks)])
    total = np.zeros(256, int)
    files = np.zeros(256, int)
    for pixels in masks:
        for value, count in pixels.items():
            total[value] += count
            files[value] += 1
    assert seen == {value: (total[value], files[value]) for value in np.flatnonzero(total)}
    assert list(seen) == sorted(seen)


def test_a_rule_survives_json() -> None:
    for values in ([{0, 1, 2, 255}], [{BLACK, RED}]):
        rule, _ = rule_of(*values)
        assert MaskRule.from_json(rule.as_json()) == rule


def test_display_colours_differ() -> None:
    assert len(set(default_palette(60))) == 60
