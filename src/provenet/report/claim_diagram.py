"""The drawing of a U-Net: boxes as high as their pictures and as wide as their channels, arrows, skips across."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from provenet.records.claim import Diagram
from provenet.report.svg import Node, add, new_svg, to_text
from provenet.report.words import counted

WIDTH = 640.0
MARGIN, TOP, LEVEL = 70.0, 30.0, 92.0
SMALLEST, MORE_WIDTH, MORE_HEIGHT = (78.0, 36.0), 52.0, 30.0
HEAD = 5.0


@dataclass(frozen=True)
class Box:
    """A level's output, drawn around its middle."""

    channels: int
    side: int
    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """The middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """The middle of the right edge."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        """The middle of the upper edge."""
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of the lower edge."""
        return self.x, self.y + self.height / 2


def draw_unet(chart_id: str, chart: Diagram) -> str:
    """Return a U-Net with its levels down on the left and up on the right, the bottleneck below in the middle."""
    down, up = _placed(chart)
    height = max((box.bottom[1] for box in (*down, *up)), default=TOP) + 24
    svg = new_svg(chart_id, (WIDTH, height), chart.title, _described(chart))
    if down:
        add(svg, "text", "down", x=down[0].x, y=14, class_="tick middle")
    if up:
        add(svg, "text", "up", x=up[-1].x, y=14, class_="tick middle")
    way = [*down, *up]
    for first, second in pairwise(way):
        _draw_step(svg, first, second)
    for index, (start, end) in enumerate(chart.skips):
        if 0 <= start < len(down) and 0 <= end < len(up):
            _draw_skip(svg, down[start], up[end], index == 0)
    for index, box in enumerate(way):
        _draw_box(svg, box, index < len(down))
    return to_text(svg)


def _placed(chart: Diagram) -> tuple[list[Box], list[Box]]:
    """Return the boxes down and up: level by level towards the middle, and mirrored."""
    num = max(len(chart.down), len(chart.up) + 1)
    step = (WIDTH / 2 - MARGIN) / max(1, num - 1)
    every = [*chart.down, *chart.up]
    most_channels = max((channels for channels, _ in every), default=1)
    largest = max((side for _, side in every), default=1)

    def box(shape: tuple[int, int], level: int, mirrored: bool) -> Box:
        x = MARGIN + level * step
        width = SMALLEST[0] + MORE_WIDTH * shape[0] / max(1, most_channels)
        height = SMALLEST[1] + MORE_HEIGHT * shape[1] / max(1, largest)
        return Box(*shape, WIDTH - x if mirrored else x, TOP + (level + 0.4) * LEVEL, width, height)

    down = [box(shape, level, False) for level, shape in enumerate(chart.down)]
    return down, [box(shape, num - 2 - index, True) for index, shape in enumerate(chart.up)]


def _draw_box(svg: Node, box: Box, downward: bool) -> None:
    """Draw a level's output with its channels and its side."""
    x, y = box.left[0], box.top[1]
    add(svg, "rect", x=x, y=y, width=box.width, height=box.height, rx=4, class_=f"box {'c1' if downward else 'c3'}")
    add(svg, "text", counted(box.channels, "channel"), x=box.x, y=box.y - 3, class_="count")
    add(svg, "text", f"{box.side} × {box.side}", x=box.x, y=box.y + 12, class_="count")


def _draw_step(svg: Node, first: Box, second: Box) -> None:
    """Draw the way to the next level: down and then across, or across and then up."""
    if second.y > first.y:
        corner = (first.x, second.y) if abs(second.left[0] - first.x) > HEAD and second.left[0] > first.x else None
        start, end = first.bottom, second.left if corner else second.top
    else:
        corner = (second.x, first.y) if first.right[0] < second.x - HEAD else None
        start, end = first.right if corner else first.top, second.bottom
    points = [start, *([corner] if corner else []), end]
    _draw_arrow(svg, points, "flow")


def _draw_skip(svg: Node, first: Box, second: Box, named: bool) -> None:
    """Draw a skip across; the first one says what it is."""
    start, end = first.right, second.left
    _draw_arrow(svg, [start, end], "skip")
    if named:
        add(svg, "text", "skip", x=(start[0] + end[0]) / 2, y=(start[1] + end[1]) / 2 - 8, class_="tick middle")


def _draw_arrow(svg: Node, points: list[tuple[float, float]], kind: str) -> None:
    """Draw an angled line with a head in the direction of its last part."""
    (before_x, before_y), (x, y) = points[-2:]
    length = max(1e-9, ((x - before_x) ** 2 + (y - before_y) ** 2) ** 0.5)
    along_x, along_y = (x - before_x) / length * HEAD, (y - before_y) / length * HEAD
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in [*points[:-1], (x - along_x, y - along_y)])
    add(svg, "polyline", points=path, class_=f"arrow {kind}")
    wings = [(x - 1.6 * along_x + side * along_y, y - 1.6 * along_y - side * along_x) for side in (0.8, -0.8)]
    head = " ".join(f"{px:.1f},{py:.1f}" for px, py in [(x, y), *wings])
    add(svg, "polygon", points=head, class_=f"head {kind}")


def _described(chart: Diagram) -> str:
    """Return the net in words."""
    ways = {"down": chart.down, "up": chart.up}
    told = [
        f"{name}: " + ", ".join(f"{counted(channels, 'channel')} of {side} x {side}" for channels, side in way)
        for name, way in ways.items()
        if way
    ]
    return "; ".join([*told, counted(len(chart.skips), "skip")])
