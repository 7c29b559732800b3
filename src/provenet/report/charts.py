"""The charts of a report: plain values in, one accessible SVG as text out. None needs a script or a font file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from provenet.report.svg import Node, Scale, add, new_svg, tick_text, tick_values, to_text
from provenet.report.words import Figure, is_number, number, shortened

Point = tuple[float, float]
Place = TypeVar("Place", bound=tuple[float, ...])
WIDTH, HEIGHT = 480.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 34.0, 44.0
LETTER, LEGEND_ROW = 6.6, 18.0
LONGEST_BESIDE, LONGEST_ABOVE = 15, 44
"""Letters of a row's name beside its interval, and where one is longer, of all names above theirs."""


@dataclass(frozen=True)
class Line:
    """A named curve; `color` is 1..4 of the page's palette, 5..8 the same colours dashed."""

    name: str
    points: Sequence[Point]
    color: int


@dataclass(frozen=True)
class Axes:
    """What a line chart's axes say; `marked` is a value of x to point out, with its words."""

    title: str
    x: str
    y: str
    marked: tuple[float, str] | None = None


def draw_lines(chart_id: str, lines: Sequence[Line], axes: Axes) -> str:
    """Return curves over a common x; a curve of few points shows each of them.

    Example:
        >>> draw_lines("a", [Line("loss", [(0, 2.0), (1, 1.0)], 1)], Axes("Loss", "epoch", "loss"))[:38]
        '<svg class="chart" viewBox="0 0 480 28'
    """
    lines = [Line(line.name, thinned(line.points), line.color) for line in lines if line.points]
    legend = _legend(lines, WIDTH - RIGHT - 24 - LETTER * len(axes.y))
    size = (WIDTH, HEIGHT + LEGEND_ROW * max((row for _, row in legend), default=0))
    svg = new_svg(chart_id, size, axes.title, "; ".join(map(_ends, lines)))
    every = [point for line in lines for point in line.points]
    if not every:
        return nothing(svg)
    x_ticks, y_ticks = (tick_values(min(values), max(values)) for values in zip(*every, strict=True))
    low, high = min(x for x, _ in every), max(x for x, _ in every)
    x_scale = Scale(*((low, high) if high > low else (low - 1, high + 1)), LEFT, WIDTH - RIGHT)
    y_scale = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    _draw_grid(svg, y_ticks, y_scale)
    _draw_x_axis(svg, [tick for tick in x_ticks if low <= tick <= high], x_scale, axes)
    if axes.marked:
        _draw_mark(svg, x_scale(axes.marked[0]), axes.marked[1])
    for line in lines:
        _draw_curve(svg, line, x_scale, y_scale)
    _draw_legend(svg, lines, legend)
    return to_text(svg)


def draw_confusion(chart_id: str, classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix as a heat map: rows are the truth, colour is the share of the row.

    Args:
        chart_id: unique on the page.
        classes: K names.
        confusion: K x K counts, rows truth, columns prediction.
    """
    num = len(classes)
    cell = max(18.0, min(52.0, 560.0 / num))
    longest = max(map(len, classes))
    left, top = 16 + 7.2 * min(longest, 17), 16 + 5.7 * min(longest, 15)
    total, right = sum(map(sum, confusion)), sum(row[index] for index, row in enumerate(confusion))
    description = f"{num} classes; {right:,} of {total:,} on the diagonal"
    svg = new_svg(chart_id, (left + num * cell + 60, top + num * cell + 8), "Confusion matrix", description)
    for index, name in enumerate(classes):
        middle = (index + 0.5) * cell
        add(svg, "text", shortened(name, 17), x=left - 8, y=top + middle + 4, class_="label end")
        turned = f"translate({left + middle:.2f} {top - 8:.2f}) rotate(-55)"
        add(svg, "text", shortened(name, 15), transform=turned, class_="label")
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            share = count / sum(counts) if sum(counts) else 0.0
            node = add(svg, "g", transform=f"translate({left + column * cell:.2f} {top + row * cell:.2f})")
            add(node, "title", f"{classes[row]} taken for {classes[column]}: {count:,} ({share:.1%})")
            _draw_cell(node, cell, share, row == column)
            if num <= 12 and count:
                on = " on" if share > 0.4 else ""
                add(node, "text", f"{count:,}", x=cell / 2, y=cell / 2 + 4, class_=f"count{on}")
    return to_text(svg)


def draw_intervals(chart_id: str, title: str, rows: Sequence[tuple[str, Figure]]) -> str:
    """Return one dot with its interval a row, values written beside; a row without a value says so.

    Args:
        chart_id: unique on the page.
        title: what is drawn.
        rows: a name and its figure each. Where a name is long, all names stand above their intervals.
    """
    above = any(len(name) > LONGEST_BESIDE for name, _ in rows)
    row_height, top, left, right = (42.0, 0.0, 24.0, WIDTH - 24) if above else (28.0, 6.0, 124.0, WIDTH - 152)
    bottom = top + row_height * len(rows)
    described = "; ".join(f"{name}: {figure}" for name, figure in rows)
    svg = new_svg(chart_id, (WIDTH, bottom + 30), title, described)
    ends = [end for _, figure in rows for end in (figure.low, figure.value, figure.high) if is_number(end)]
    if not ends:
        return nothing(svg, 24)
    ticks = tick_values(min(ends), max(ends), most=4)
    scale = Scale(ticks[0], ticks[-1], left, right)
    bands = [(top, bottom)]
    if above:
        bands = [(top + index * row_height + 20, top + (index + 1) * row_height - 2) for index in range(len(rows))]
    for tick in ticks:
        kind = "mark" if tick == 0 and 0 not in (ticks[0], ticks[-1]) else "grid"
        add(svg, "path", d="".join(f"M{scale(tick):.1f} {start:.0f}V{end:.0f}" for start, end in bands), class_=kind)
        add(svg, "text", tick_text(tick, ticks[1] - ticks[0]), x=scale(tick), y=bottom + 20, class_="tick middle")
    for index, (name, figure) in enumerate(rows):
        middle = top + index * row_height + (30 if above else 14)
        if above:
            add(svg, "text", shortened(name, LONGEST_ABOVE), x=4, y=middle - 14, class_="label")
            add(svg, "text", str(figure), x=WIDTH - 4, y=middle - 14, class_="label end")
        else:
            add(svg, "text", name, x=left - 12, y=middle + 4, class_="label end")
            add(svg, "text", str(figure), x=right + 16, y=middle + 4, class_="label figure")
        _draw_interval(svg, figure, scale, middle)
    return to_text(svg)


def draw_reliability(chart_id: str, bins: Sequence[tuple[float, float, int]]) -> str:
    """Return accuracy over confidence with the diagonal of perfect calibration; bars show where the answers are.

    Args:
        chart_id: unique on the page.
        bins: mean confidence and accuracy in [0, 1] and the count of images, one bin each.
    """
    bins = [one for one in bins if one[2] > 0]
    described = "; ".join(f"confidence {c:.2f}: accuracy {a:.2f}, n {n}" for c, a, n in bins)
    svg = new_svg(chart_id, (WIDTH, HEIGHT), "Reliability", described)
    if not bins:
        return nothing(svg)
    ticks = tick_values(0, 1)
    x_scale, y_scale = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    _draw_grid(svg, ticks, y_scale)
    _draw_x_axis(svg, ticks, x_scale, Axes("", "confidence of the answer", "share that is right"))
    most = max(n for _, _, n in bins)
    for confidence, _, n in bins:
        height = 60 * n / most
        add(svg, "rect", x=x_scale(confidence) - 7, y=y_scale(0) - height, width=14, height=height, class_="bar")
    add(svg, "line", x1=x_scale(0), y1=y_scale(0), x2=x_scale(1), y2=y_scale(1), class_="mark")
    points = [(confidence, accuracy) for confidence, accuracy, _ in bins]
    _draw_curve(svg, Line("", points, 1), x_scale, y_scale)
    return to_text(svg)


def _draw_interval(svg: Node, figure: Figure, scale: Scale, y: float) -> None:
    """Draw what is known of a figure: a line from low to high, a dot at the value."""
    if is_number(figure.low) and is_number(figure.high):
        add(svg, "line", x1=scale(figure.low), x2=scale(figure.high), y1=y, y2=y, class_="curve c1")
    if is_number(figure.value):
        add(svg, "circle", cx=scale(figure.value), cy=y, r=4.5, class_="dot c1")


def _draw_cell(node: Node, cell: float, share: float, correct: bool) -> None:
    """Draw a cell; the square root lifts rare mistakes out of the ground."""
    add(node, "rect", width=cell - 1, height=cell - 1, class_="ground")
    if share:
        opacity = f"{math.sqrt(share):.2f}"
        add(node, "rect", width=cell - 1, height=cell - 1, class_="hit" if correct else "miss", fill_opacity=opacity)


def _draw_grid(svg: Node, ticks: list[float], scale: Scale) -> None:
    """Draw the horizontal lines with their values at the left."""
    for tick in ticks:
        add(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=scale(tick), y2=scale(tick), class_="grid")
        add(svg, "text", tick_text(tick, ticks[1] - ticks[0]), x=LEFT - 8, y=scale(tick) + 4, class_="tick end")


def _draw_x_axis(svg: Node, ticks: list[float], scale: Scale, axes: Axes) -> None:
    """Draw the values below and the names of both axes."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    base = HEIGHT - BOTTOM
    add(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis")
    for tick in ticks:
        add(svg, "text", tick_text(tick, step), x=scale(tick), y=base + 18, class_="tick middle")
    add(svg, "text", axes.x, x=WIDTH - RIGHT, y=HEIGHT - 6, class_="tick end")
    add(svg, "text", axes.y, x=4, y=14, class_="tick")


def _draw_mark(svg: Node, x: float, words: str) -> None:
    """Draw an upright line with its words on the side that has room."""
    add(svg, "line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark")
    side, shift = ("end", -6) if x > WIDTH / 2 else ("", 6)
    add(svg, "text", words, x=x + shift, y=HEIGHT - BOTTOM - 8, class_=f"label {side}".rstrip())


def _draw_curve(svg: Node, line: Line, x_scale: Scale, y_scale: Scale) -> None:
    """Draw a curve, and its points where they are few."""
    places = [(x_scale(x), y_scale(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    add(svg, "polyline", points=path, class_=f"curve c{line.color}")
    if len(places) <= 24:
        for x, y in places:
            add(svg, "circle", cx=x, cy=y, r=3, class_=f"dot c{line.color}")


def _legend(lines: Sequence[Line], free: float) -> list[tuple[float, int]]:
    """Return where the name of each curve begins, as (x, row), where there is more than one curve.

    Row 0 is the line above the chart, where all names stand if `free` units hold them; else they flow into rows below.
    """
    widths = [LETTER * len(line.name) + 42 for line in lines]
    if len(lines) < 2:
        return []
    if sum(widths) <= free:
        return [(WIDTH - RIGHT - sum(widths[index:]), 0) for index in range(len(lines))]
    places, x, row = [], LEFT, 1
    for width in widths:
        if x > LEFT and x + width > WIDTH:
            x, row = LEFT, row + 1
        places.append((x, row))
        x += width
    return places


def _draw_legend(svg: Node, lines: Sequence[Line], places: list[tuple[float, int]]) -> None:
    """Name the curves."""
    for line, (x, row) in zip(lines, places, strict=bool(places)):
        y = 14 if row == 0 else HEIGHT + LEGEND_ROW * row - 4
        add(svg, "line", x1=x + 14, x2=x + 32, y1=y - 4, y2=y - 4, class_=f"curve c{line.color}")
        add(svg, "text", shortened(line.name, 60), x=x + 39, y=y, class_="label")


def nothing(svg: Node, y: float = HEIGHT / 2) -> str:
    """Return the drawing with a word in place of data."""
    add(svg, "text", "nothing recorded", x=WIDTH / 2, y=y, class_="label middle")
    return to_text(svg)


def thinned(points: Sequence[Place], most: int = 400) -> list[Place]:
    """Return at most about `most` points, evenly chosen, the last one kept: more would not be seen."""
    stride = max(1, math.ceil(len(points) / most))
    kept = list(points[::stride])
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def _ends(line: Line) -> str:
    """Return a curve in words: where it begins and where it ends."""
    return f"{line.name} from {number(float(line.points[0][1]))} to {number(float(line.points[-1][1]))}"
