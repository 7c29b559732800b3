"""The charts of a study: effects with their intervals, and small panels of an arm against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from xml.etree import ElementTree

from markupsafe import Markup

from provenet.records.study import Effect, Verdict
from provenet.report.charts import LETTER, WIDTH, nothing, thinned
from provenet.report.study_words import TONES, Shown, bought
from provenet.report.svg import Node, Scale, add, new_svg, tick_text, tick_values, to_text
from provenet.report.words import is_number, shortened

ROW, HEAD, SCALE, FOOT = 42.0, 30.0, 18.0, 26.0
PLOT_LEFT, PLOT_RIGHT = 14.0, 344.0
MOST_BESIDE = 12
"""Rows of a chart whose values need not be repeated at its foot."""
FAR = 3.0
"""An effect this many times as far out as three quarters of the others leaves the plot, marked by an arrow head."""
PANEL_WIDTH, PANEL_HEIGHT = 236.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 8.0, 8.0, 22.0
MOST_POINTS = 100

Shape = tuple[str, dict[str, str]]
SIGNS: dict[str, tuple[Shape, ...]] = {
    "helps": (("path", {"class": "solid", "d": "M8 1 15.5 14.5H.5z"}),),
    "hurts": (("path", {"class": "solid", "d": "M8 15 .5 1.5h15z"}),),
    "could be zero": (
        ("circle", {"class": "ring", "cx": "8", "cy": "8", "r": "7"}),
        ("path", {"d": "M4.5 8h7"}),
    ),
    "too few seeds": (
        ("circle", {"class": "ring", "cx": "8", "cy": "8", "r": "7"}),
        ("path", {"d": "M6.1 6.3a1.95 1.95 0 1 1 2.8 1.75c-.55.3-.9.65-.9 1.35m0 2.05v.2"}),
    ),
    "fails": (
        ("rect", {"x": ".5", "y": ".5", "width": "15", "height": "15", "rx": "2.5"}),
        ("path", {"d": "m5 5 6 6m0-6-6 6"}),
    ),
}
"""The mark of each verdict on a square of 16 units: shapes differ, so that colour alone says nothing."""


def sign(verdict: Verdict) -> Markup:
    """Return the mark of a verdict, to stand beside its word."""
    return Markup(ElementTree.tostring(_sign(verdict), encoding="unicode"))


def _sign(verdict: Verdict) -> Node:
    node = ElementTree.Element("svg", {"class": f"sign {TONES[verdict]}", "viewBox": "0 0 16 16"})
    node.attrib["aria-hidden"] = "true"
    for tag, attributes in SIGNS[verdict]:
        ElementTree.SubElement(node, tag, attributes)
    return node


def draw_forest(chart_id: str, title: str, rows: Sequence[Shown]) -> str:
    """Return one effect a row: its 95 % interval thick, the corrected one thin, zero marked, better to the right.

    Args:
        chart_id: unique on the page.
        title: what is drawn.
        rows: the effects, in the order in which they are shown.
    """
    long = len(rows) > MOST_BESIDE
    head = HEAD + (SCALE if long else 0.0)
    bottom = head + ROW * len(rows)
    described = "; ".join(f"{row.name}: {row.word}, {bought(row.effect)}" for row in rows)
    svg = new_svg(chart_id, (WIDTH, bottom + FOOT), title, described or "no effects")
    if not rows:
        return nothing(svg, HEAD / 2)
    scale, ticks = _forest_scale([row.effect for row in rows])
    add(svg, "text", "← worse", x=PLOT_LEFT, y=14, class_="tick")
    add(svg, "text", "better →", x=PLOT_RIGHT, y=14, class_="tick end")
    for y in (HEAD + 4, bottom + 18) if long else (bottom + 18,):
        for tick in ticks:
            add(svg, "text", tick_text(tick, ticks[1] - ticks[0]), x=scale(tick), y=y, class_="tick middle")
    bands = [(head + ROW * index + 16, head + ROW * (index + 1) - 6) for index in range(len(rows))]
    for tick in ticks:
        path = "".join(f"M{scale(tick):.1f} {start:.0f}V{end:.0f}" for start, end in bands)
        add(svg, "path", d=path, class_="axis" if tick == 0 else "grid")
    for index, row in enumerate(rows):
        _draw_effect(svg, row, scale, head + ROW * index)
    return to_text(svg)


def _forest_scale(effects: Sequence[Effect]) -> tuple[Scale, list[float]]:
    """Return the scale of effects, zero in it, and its ticks; what lies far out of all others does not set it."""
    ends = [[end for end in _ends(effect) if is_number(end)] for effect in effects]
    reach = [max(map(abs, some)) for some in ends if some]
    far = FAR * (quantiles(reach, n=4, method="inclusive")[2] if len(reach) > 1 else max(reach, default=0.0))
    limit = far or max(reach, default=0.0) or 1.0
    kept = [min(limit, max(-limit, end)) for some in ends for end in some]
    ticks = tick_values(min([0.0, *kept]), max([0.0, *kept]), most=5)
    return Scale(ticks[0], ticks[-1], PLOT_LEFT, PLOT_RIGHT), ticks


def _ends(effect: Effect) -> tuple[float | None, ...]:
    return effect.value, effect.low, effect.high, effect.wide_low, effect.wide_high


def _draw_effect(svg: Node, shown: Shown, scale: Scale, top: float) -> None:
    """Draw a row: name and figure above, intervals and verdict below."""
    effect, figure, middle = shown.effect, str(bought(shown.effect)), top + 26
    row = add(svg, "g", class_=TONES[effect.verdict])
    room = int((WIDTH - 24) / LETTER) - len(figure)
    add(row, "text", shortened(shown.name, max(8, room)), x=4, y=top + 10, class_="label")
    add(row, "text", figure, x=WIDTH - 4, y=top + 10, class_="label end")
    _draw_span(row, (effect.wide_low, effect.wide_high), scale, middle, "thin")
    _draw_span(row, (effect.low, effect.high), scale, middle, "thick")
    if is_number(effect.value):
        if scale.low <= effect.value <= scale.high:
            add(row, "circle", cx=scale(effect.value), cy=middle, r=5, class_="dot tone")
        else:
            _draw_arrow(row, effect.value > 0, middle, "solid")
    mark = _sign(effect.verdict)
    mark.attrib |= {"x": "356", "y": f"{middle - 6.5:g}", "width": "13", "height": "13"}
    row.append(mark)
    add(row, "text", shown.word, x=375, y=middle + 4, class_="label word")


def _draw_span(row: Node, ends: tuple[float | None, float | None], scale: Scale, y: float, kind: str) -> None:
    """Draw an interval; an end outside the plot gets an arrow head."""
    low, high = ends
    if not (is_number(low) and is_number(high)) or low > scale.high or high < scale.low:
        return
    start, end = max(low, scale.low), min(high, scale.high)
    add(row, "line", x1=scale(start), x2=scale(end), y1=y, y2=y, class_=f"curve tone {kind}")
    for beyond, rightwards in ((low < scale.low, False), (high > scale.high, True)):
        if beyond:
            _draw_arrow(row, rightwards, y, kind)


def _draw_arrow(row: Node, rightwards: bool, y: float, kind: str) -> None:
    """Draw an arrow head at an edge of the plot: it goes on beyond."""
    x, back = (PLOT_RIGHT, -6) if rightwards else (PLOT_LEFT, 6)
    if kind == "solid":
        add(
            row,
            "polygon",
            points=f"{x:g},{y:g} {x + 2 * back:g},{y - 6:g} {x + 2 * back:g},{y + 6:g}",
            class_="dot tone",
        )
    else:
        add(
            row,
            "polyline",
            points=f"{x + back:g},{y - 5:g} {x:g},{y:g} {x + back:g},{y + 5:g}",
            class_="curve tone thin",
        )


Trace = Sequence[tuple[float, float, float, float]]
"""A line with its band: x, middle, low, high."""


@dataclass(frozen=True)
class Frame:
    """What the panels of one kind share, so that they can be compared.

    Args:
        end: the last x; all begin at 0.
        ticks: values of y, both ends among them.
        x: the name of x.
        target: a value of y to mark.
    """

    end: float
    ticks: Sequence[float]
    x: str = "epoch"
    target: float | None = None


def draw_panel(chart_id: str, title: str, arm: Trace, base: Trace, frame: Frame) -> str:
    """Return an arm's line and band over those of the baseline, which are grey and dashed."""
    described = "; ".join(f"{name} {_told(trace)}" for name, trace in (("the arm", arm), ("the baseline", base)))
    svg = new_svg(chart_id, (PANEL_WIDTH, PANEL_HEIGHT), title, described)
    x_scale = Scale(0, frame.end or 1.0, LEFT, PANEL_WIDTH - RIGHT)
    y_scale = Scale(frame.ticks[0], frame.ticks[-1], PANEL_HEIGHT - BOTTOM, TOP)
    _draw_frame(svg, frame, x_scale, y_scale)
    for trace, kind in ((base, "base"), (arm, "c1")):
        points = thinned(trace, MOST_POINTS)
        if points:
            there = [(x, high) for x, _, _, high in points]
            back = [(x, low) for x, _, low, _ in reversed(points)]
            add(svg, "polygon", points=_places([*there, *back], x_scale, y_scale), class_=f"band {kind}")
            line = _places([(x, middle) for x, middle, _, _ in points], x_scale, y_scale)
            add(svg, "polyline", points=line, class_=f"curve {kind}")
    if not arm:
        add(svg, "text", "nothing recorded", x=PANEL_WIDTH - RIGHT - 4, y=y_scale.start - 8, class_="label end")
    return to_text(svg)


def _draw_frame(svg: Node, frame: Frame, x_scale: Scale, y_scale: Scale) -> None:
    """Draw the grid, the values at its ends, and the target."""
    left, right = x_scale.start, x_scale.end
    step = frame.ticks[1] - frame.ticks[0]
    for tick in frame.ticks:
        add(svg, "line", x1=left, x2=right, y1=y_scale(tick), y2=y_scale(tick), class_="grid")
        add(svg, "text", tick_text(tick, step), x=left - 6, y=y_scale(tick) + 4, class_="tick end")
    add(svg, "line", x1=left, x2=right, y1=y_scale.start, y2=y_scale.start, class_="axis")
    if frame.target is not None and y_scale.low <= frame.target <= y_scale.high:
        add(svg, "line", x1=left, x2=right, y1=y_scale(frame.target), y2=y_scale(frame.target), class_="mark")
    add(svg, "text", "0", x=left, y=PANEL_HEIGHT - 6, class_="tick middle")
    add(svg, "text", f"{frame.x} {frame.end:g}", x=right, y=PANEL_HEIGHT - 6, class_="tick end")


def _places(points: Sequence[tuple[float, float]], x_scale: Scale, y_scale: Scale) -> str:
    """Return points as a drawing takes them, kept inside the frame."""
    inside = ((x, min(max(y, y_scale.low), y_scale.high)) for x, y in points)
    return " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in inside)


def _told(trace: Trace) -> str:
    """Return a line in words."""
    return f"ends at {trace[-1][1]:.3g}, seeds from {trace[-1][2]:.3g} to {trace[-1][3]:.3g}" if trace else "has none"
