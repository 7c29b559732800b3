"""What the numbers in masks mean: one rule for all masks of a data set, found from a census of all of them.

The rules, in this order; the first that leaves the fewest files out is taken, and its sentence is printed:

* `data.classes` names values: those are the classes, 255 and `data.void` are left out of loss and metrics;
* 0 and 255: background and foreground;
* 0 and 1: background and foreground; 0..K: a class each; both also with 255 as void, where some mask holds 255 beside a
  class other than 0 (else nobody can tell void from foreground);
* 1..K without 0: a class each;
* palette masks: each index that occurs is a class, 255 is void;
* colours: each colour is a class, in the order of (red, green, blue), black first.

A value outside the rule quarantines its file when few files hold one; more than few, and the data are refused.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from provenet.core.batch import VOID
from provenet.core.errors import DataError, Fault, RecipeError, listed
from provenet.data.options import DataOptions

Color = tuple[int, int, int]
Value = int | Color

WHITE = (255, 255, 255)

MAX_CLASSES = 200
"""More distinct grey values than this are not taken for classes: they are grey edges, or instances."""
MAX_COLORS = 64
FEW_FRAC = 0.05
"""Share of the files that may fall out of a rule; one always may, where it is not half of them."""


@dataclass(frozen=True)
class MaskCensus:
    """What one mask holds.

    Args:
        file: its picture.
        pixels: value -> number of pixels.
        colors: value -> display colour, where the file has a palette.
    """

    file: str
    pixels: dict[Value, int]
    colors: dict[Value, Color] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskRule:
    """How mask values become class indices.

    Args:
        sentence: the rule in words.
        classes: class names; the position is the index.
        palette: display colour of each class.
        ids: value -> class index, or `VOID`.
    """

    sentence: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    ids: dict[Value, int]

    def find(self, value: Value) -> int | None:
        """Return the class index of a value, None for one that no class has; a grey colour is its number."""
        found = self.ids.get(value)
        return self.ids.get(_twin(value)) if found is None else found

    def as_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        ids = [[list(value) if isinstance(value, tuple) else value, index] for value, index in self.ids.items()]
        return {"sentence": self.sentence, "classes": self.classes, "palette": self.palette, "ids": ids}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> MaskRule:
        """Return the rule that `as_json` gave."""
        ids = {as_value(value): index for value, index in saved["ids"]}
        palette = tuple((r, g, b) for r, g, b in saved["palette"])
        return cls(saved["sentence"], tuple(saved["classes"]), palette, ids)


def as_value(value: Any) -> Value:
    """Return a mask value from JSON: a number, or a colour as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else int(value)


def parse_value(text: str) -> Value:
    """Return the mask value that a user wrote: a number, or "r,g,b".

    Example:
        >>> parse_value("37"), parse_value("255, 0, 0")
        (37, (255, 0, 0))
    """
    parts = text.split(",")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 3:
        return (numbers[0], numbers[1], numbers[2])
    allowed = 'a number such as "255", or a colour such as "255,0,0"'
    raise RecipeError(Fault("a key of data.classes or data.void is not a mask value", repr(text), allowed))


def counted(num: int, what: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "file"), counted(1200, "pixel")
        ('1 file', '1,200 pixels')
    """
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"


def merged(masks: Sequence[MaskCensus]) -> dict[Value, tuple[int, int]]:
    """Return value -> (pixels, files) over all masks, values in order."""
    pixels: Counter[Value] = Counter()
    files: Counter[Value] = Counter()
    for mask in masks:
        pixels.update(mask.pixels)
        files.update(mask.pixels.keys())
    return {value: (pixels[value], files[value]) for value in sorted(pixels, key=_code)}


def _code(value: Value) -> tuple[int, ...]:
    return (0, value) if isinstance(value, int) else (1, *value)


def decide(masks: Sequence[MaskCensus], options: DataOptions) -> tuple[MaskRule, dict[int, str]]:
    """Return the rule for all masks, and the positions of the masks that it leaves out with the reason.

    Raises:
        DataError: the values do not say which classes there are.
    """
    masks = _greys_as_numbers(masks)
    if options.classes:
        rule = _named(options, masks)
    else:
        void = {parse_value(text) for text in options.void}
        rule = _found([_without(mask, void) for mask in masks])
        rule.ids.update(dict.fromkeys(void, VOID))
    return rule, {i: reason for i, mask in enumerate(masks) if (reason := _stray(mask, rule))}


def _greys_as_numbers(masks: Sequence[MaskCensus]) -> Sequence[MaskCensus]:
    """Return RGB copies of grey masks as grey masks, unless most of the masks are in colours."""
    numbers = sum(isinstance(value, int) for mask in masks for value in list(mask.pixels)[:1])
    if 2 * numbers < len(masks) and not all(map(_is_grey, masks)):
        return masks
    return [_as_numbers(mask) if _is_grey(mask) else mask for mask in masks]


def _is_grey(mask: MaskCensus) -> bool:
    return all(isinstance(value, int) or len(set(value)) == 1 for value in mask.pixels)


def _as_numbers(mask: MaskCensus) -> MaskCensus:
    pixels: dict[Value, int] = {_twin(v) if isinstance(v, tuple) else v: n for v, n in mask.pixels.items()}
    return MaskCensus(mask.file, pixels, mask.colors)


def _twin(value: Value) -> Value:
    """Return a grey colour as a number, a number as a grey colour, and another colour as it is."""
    if isinstance(value, int):
        return (value, value, value)
    return value[0] if len(set(value)) == 1 else value


def _without(mask: MaskCensus, void: set[Value]) -> MaskCensus:
    return MaskCensus(mask.file, {v: n for v, n in mask.pixels.items() if v not in void}, mask.colors)


def _stray(mask: MaskCensus, rule: MaskRule) -> str | None:
    """Return what a mask holds that the rule does not know, or None."""
    strange = [f"{value} ({counted(n, 'pixel')})" for value, n in mask.pixels.items() if rule.find(value) is None]
    return f"its mask holds values that are no class: {listed(strange, 4)}" if strange else None


def _named(options: DataOptions, masks: Sequence[MaskCensus]) -> MaskRule:
    """Return the rule that `data.classes` and `data.void` spell out."""
    classes = tuple(dict.fromkeys(options.classes.values()))
    ids: dict[Value, int] = {parse_value(text): VOID for text in options.void}
    ids |= {parse_value(text): classes.index(name) for text, name in options.classes.items()}
    if WHITE not in ids:
        ids.setdefault(255, VOID)
    named = ", ".join(f"{text} = {name}" for text, name in options.classes.items())
    return _rule(f"mask values as data.classes names them: {named}", classes, ids, masks)


def _rule(sentence: str, classes: tuple[str, ...], ids: dict[Value, int], masks: Sequence[MaskCensus]) -> MaskRule:
    """Return a rule with the files' own display colours where they have some."""
    if len(classes) < 2:
        raise DataError(Fault("masks need at least two classes", listed(classes) or "none", "", "see data.classes"))
    palette = default_palette(len(classes))
    colors: dict[Value, Color] = {}
    for mask in masks:
        colors = mask.colors | colors
    for value, index in reversed(ids.items()):
        color = value if isinstance(value, tuple) else colors.get(value)
        if index != VOID and color is not None:
            palette[index] = color
    return MaskRule(sentence, classes, tuple(palette), ids)


def default_palette(num: int) -> list[Color]:
    """Return display colours: black, then hues a golden angle apart.

    Example:
        >>> default_palette(2)
        [(0, 0, 0), (242, 73, 73)]
    """
    hues = [colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.7, 0.95) for i in range(max(num - 1, 0))]
    return [(0, 0, 0), *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues)][:num]


@dataclass(frozen=True)
class _Candidate:
    sentence: str
    classes: tuple[str, ...]
    ids: dict[Value, int]


def _found(masks: Sequence[MaskCensus]) -> MaskRule:
    """Return the rule that leaves the fewest files out."""
    kinds = Counter(frozenset(mask.pixels) for mask in masks if mask.pixels)
    paletted = all(mask.colors for mask in masks)
    candidates = [*_number_rules(kinds, paletted), *_color_rules(masks)]
    lost = [sum(n for held, n in kinds.items() if not held <= rule.ids.keys()) for rule in candidates]
    few = max(1, int(FEW_FRAC * len(masks)))
    if not lost or min(lost) > few or 2 * min(lost) >= kinds.total():
        raise _ambiguous(masks)
    best = candidates[lost.index(min(lost))]
    return _rule(best.sentence, best.classes, dict(best.ids), masks)


def _number_rules(kinds: Counter[frozenset[Value]], paletted: bool) -> Iterator[_Candidate]:
    present = {value for held in kinds for value in held if isinstance(value, int)}
    pair = ("background", "foreground")
    if {0, 255} <= present:
        yield _Candidate("masks hold 0 and 255: background and foreground", pair, {0: 0, 255: 1})
    for first in (0, 1):
        last = first
        while last + 1 in present and last < MAX_CLASSES:
            last += 1
            values = range(first, last + 1)
            if first in present and (first == 0 or (0 not in present and last > 1)):
                yield from _index_rules(values, kinds)
    numbers = sorted(present - {255})
    if paletted and 1 < len(numbers) <= MAX_CLASSES:
        ids: dict[Value, int] = {number: i for i, number in enumerate(numbers)}
        yield _Candidate("palette masks: each index is a class, 255 is void", _names(numbers), ids | {255: VOID})


def _index_rules(values: range, kinds: Counter[frozenset[Value]]) -> Iterator[_Candidate]:
    """Yield the rule for values that follow each other, without and with 255 as void."""
    binary = values == range(2)
    classes = ("background", "foreground") if binary else _names(values)
    said = (
        "masks hold 0 and 1: background and foreground"
        if binary
        else f"mask values {values[0]}..{values[-1]}: a class each"
    )
    ids: dict[Value, int] = {value: i for i, value in enumerate(values)}
    yield _Candidate(said, classes, ids)
    if any(255 in held and not held.isdisjoint(set(values) - {0}) for held in kinds):
        yield _Candidate(f"{said}; 255 is void", classes, ids | {255: VOID})


def _names(values: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"class {value}" for value in values)


def _color_rules(masks: Sequence[MaskCensus]) -> Iterator[_Candidate]:
    """Yield the rule for colours; one that stands in few files, on under 0.1 % of their pixels, is no class."""
    colors = {value: seen for value, seen in merged(masks).items() if isinstance(value, tuple)}
    sizes = Counter[Value]()
    for mask in masks:
        sizes.update(dict.fromkeys(mask.pixels, sum(mask.pixels.values())))
    few = max(1, int(FEW_FRAC * len(masks)))
    kept = [c for c, (pixels, files) in colors.items() if files > few or pixels >= 0.001 * sizes[c]]
    if 1 < len(kept) <= MAX_COLORS:
        ids: dict[Value, int] = {color: i for i, color in enumerate(kept)}
        names = tuple("#{:02x}{:02x}{:02x}".format(*color) for color in kept if isinstance(color, tuple))
        yield _Candidate("mask colours: a class each, in the order of (red, green, blue)", names, ids)


def _ambiguous(masks: Sequence[MaskCensus]) -> DataError:
    """Return the refusal, with each value, its pixels and a file that holds it."""
    seen = merged(masks)
    example = {value: mask.file for mask in reversed(masks) for value in mask.pixels}
    values = [
        f"{v} ({counted(pixels, 'pixel')} in {counted(files, 'file')}, such as {example[v]})"
        for v, (pixels, files) in seen.items()
    ]
    allowed = "0 and 255; 0 and 1; 0..K with 255 as void; a palette; up to 64 colours"
    remedy = 'name the values, as in data.classes={"0": "background", "128": "cell"}, and others in data.void'
    return DataError(Fault("mask values do not say which classes there are", listed(values, 8), allowed, remedy))
