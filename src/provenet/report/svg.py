"""The few pieces that the charts are drawn from. Colours are classes, set by the page's style for light and dark.

An element tree escapes every text by itself, so no name from a record can become markup.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

Node = ElementTree.Element
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that markup cannot hold."""


def new_svg(chart_id: str, size: tuple[float, float], title: str, description: str) -> Node:
    """Return an empty drawing that scales with its place and says in words what it shows.

    Args:
        chart_id: unique on the page.
        size: width and height in drawing units; a unit is about a pixel.
        title: what is drawn.
        description: what can be read from it, for those who do not see it.
    """
    width, height = map(_text, size)
    svg = ElementTree.Element("svg", {"class": "chart", "viewBox": f"0 0 {width} {height}", "width": width})
    svg.attrib |= {"role": "img", "aria-labelledby": f"{chart_id}-title {chart_id}-desc"}
    add(svg, "title", title, id=f"{chart_id}-title")
    add(svg, "desc", description, id=f"{chart_id}-desc")
    return svg


def add(parent: Node, tag: str, text: str = "", **attributes: str | float) -> Node:
    """Add an element; `class_` and `stroke_width` become `class` and `stroke-width`."""
    named = {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()}
    node = ElementTree.SubElement(parent, tag, named)
    node.text = _ILLEGAL.sub("", text) or None
    return node


def to_text(svg: Node) -> str:
    """Return the drawing as markup."""
    return ElementTree.tostring(svg, encoding="unicode")


def _text(value: str | float) -> str:
    """Return an attribute's text: numbers in at most two decimals, so that equal records give equal bytes."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Scale:
    """A straight map from values to drawing units.

    Example:
        >>> Scale(0, 10, 100, 200)(5)
        150.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def tick_values(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values (1, 2 or 5 times a power of ten apart) that cover low..high, the ends included.

    Example:
        >>> tick_values(0.12, 0.93), tick_values(0, 100)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    """
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """Return the label of a tick: as many decimals as the distance of the ticks needs.

    Example:
        >>> tick_text(0.4, 0.2), tick_text(20000, 5000), tick_text(0.00002, 0.00001)
        ('0.4', '20,000', '2e-05')
    """
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.3g}" if decimals > 4 and value else f"{value:,.{min(decimals, 4)}f}"
