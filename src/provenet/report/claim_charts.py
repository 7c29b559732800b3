"""The charts of a claim: each kind that a finding may hold, drawn; none needs a script or a font file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from provenet.records.claim import Chart as AnyChart
from provenet.records.claim import Diagram, Dots, Gallery, Heat, Lines, Number
from provenet.report.charts import WIDTH, Axes, Line, draw_intervals, draw_lines
from provenet.report.claim_diagram import draw_unet
from provenet.report.claim_words import Measured
from provenet.report.page import Chart
from provenet.report.pictures import Example, from_base64
from provenet.report.svg import add, new_svg, to_text
from provenet.report.words import counted, is_number, number, shortened

PALETTE = 8
"""Curves that look different: four colours, solid and dashed."""
MOST_COLUMNS = 6
CELL_HEIGHT, NARROWEST, WIDEST = 30.0, 40.0, 76.0


@dataclass(frozen=True)
class Album:
    """Small pictures with captions, in place of a drawing."""

    title: str
    examples: tuple[Example, ...]
    note: str = ""

    @property
    def columns(self) -> int:
        """Pictures a row: the distance at which captions repeat; 0 where none does, or not within `MOST_COLUMNS`."""
        captions = [example.detail for example in self.examples]
        repeats = [
            captions.index(caption, index + 1) - index
            for index, caption in enumerate(captions[:-1])
            if caption in captions[index + 1 :]
        ]
        return min((distance for distance in repeats if 2 <= distance <= MOST_COLUMNS), default=0)


def shown(chart: AnyChart, chart_id: str) -> Chart | Album:
    """Return a finding's chart as the page takes it; `chart_id` is unique on the page."""
    return _shown(chart, chart_id)


@singledispatch
def _shown(chart: AnyChart, chart_id: str) -> Chart | Album:
    raise TypeError(f"no drawing for {type(chart).__name__}")


@_shown.register
def _lines(chart: Lines, chart_id: str) -> Chart:
    lines = [Line(name, points, 1 + index % PALETTE) for index, (name, points) in enumerate(chart.lines.items())]
    return Chart(chart.title, draw_lines(chart_id, lines, Axes(chart.title, chart.x, chart.y)), chart.note)


@_shown.register
def _dots(chart: Dots, chart_id: str) -> Chart:
    rows = [(name, Measured(value, low, high)) for name, value, low, high in chart.rows]
    return Chart(chart.title, draw_intervals(chart_id, chart.title, rows), chart.note)


@_shown.register
def _heat(chart: Heat, chart_id: str) -> Chart:
    return Chart(chart.title, draw_heat(chart_id, chart), chart.note, wide=_layout(chart)[0] > WIDTH)


@_shown.register
def _gallery(chart: Gallery, chart_id: str) -> Album:
    examples = [(caption, from_base64(text, caption)) for caption, text in chart.pictures]
    kept = tuple(Example((picture,), "", caption) for caption, picture in examples if picture)
    lost = len(examples) - len(kept)
    told = f"{counted(lost, 'picture')} could not be read." if lost else ""
    return Album(chart.title, kept, f"{chart.note} {told}".strip())


@_shown.register
def _diagram(chart: Diagram, chart_id: str) -> Chart:
    return Chart(chart.title, draw_unet(chart_id, chart), chart.note, wide=True)


def draw_heat(chart_id: str, chart: Heat) -> str:
    """Return a grid of values in [0, 1] as a heat map with the numbers in its cells; depth of colour is the value."""
    width, left, top, cell = _layout(chart)
    values = [value for row in chart.values for value in row if is_number(value)]
    span = f"from {number(float(min(values)))} to {number(float(max(values)))}" if values else "no values"
    size = (width, top + CELL_HEIGHT * len(chart.rows) + 8)
    described = (
        f"{counted(len(chart.rows), 'row')} of {chart.y} by {counted(len(chart.columns), 'column')} of {chart.x}"
    )
    svg = new_svg(chart_id, size, chart.title, f"{described}; {span}")
    add(svg, "text", shortened(chart.y, 40), x=4, y=14, class_="tick")
    add(svg, "text", shortened(chart.x, 40), x=left + cell * len(chart.columns), y=14, class_="tick end")
    for index, name in enumerate(chart.columns):
        middle = left + (index + 0.5) * cell
        if _upright(chart):
            add(svg, "text", name, x=middle, y=top - 8, class_="label middle")
        else:
            turned = f"translate({middle:.2f} {top - 8:.2f}) rotate(-55)"
            add(svg, "text", shortened(name, 15), transform=turned, class_="label")
    for row, name in enumerate(chart.rows):
        add(svg, "text", shortened(name, 24), x=left - 8, y=top + (row + 0.5) * CELL_HEIGHT + 4, class_="label end")
        for column, column_name in enumerate(chart.columns):
            node = add(svg, "g", transform=f"translate({left + column * cell:.2f} {top + row * CELL_HEIGHT:.2f})")
            value = _at(chart.values, row, column)
            add(node, "title", f"{name}, {column_name}: {number(value)}")
            add(node, "rect", width=cell - 1.5, height=CELL_HEIGHT - 1.5, class_="ground")
            if value is not None:
                depth = f"{min(1.0, max(0.0, value)):.2f}"
                add(node, "rect", width=cell - 1.5, height=CELL_HEIGHT - 1.5, class_="heat", fill_opacity=depth)
            text = "–" if value is None else f"{value:.2f}"
            add(node, "text", text, x=cell / 2, y=CELL_HEIGHT / 2 + 3.5, class_="count")
    return to_text(svg)


def _layout(chart: Heat) -> tuple[float, float, float, float]:
    """Return a heat map's width, the place of its first cell and the width of a cell: it fills a narrow chart."""
    left = 16 + 6.8 * min(24, max(map(len, chart.rows), default=0))
    longest = min(15, max(map(len, chart.columns), default=0))
    top = 46.0 if _upright(chart) else 36 + 5.7 * longest
    num = max(1, len(chart.columns))
    cell = min(WIDEST, max(NARROWEST, (WIDTH - left - 14) / num))
    overhang = 14 if _upright(chart) else 4.2 * longest
    return max(WIDTH, left + num * cell + overhang), left, top, cell


def _upright(chart: Heat) -> bool:
    """Whether the columns' names are short enough to stand over their columns."""
    return max(map(len, chart.columns), default=0) <= 6


def _at(values: tuple[tuple[Number, ...], ...], row: int, column: int) -> Number:
    """Return a value of the grid; none where a record's grid is too small."""
    return values[row][column] if row < len(values) and column < len(values[row]) else None
