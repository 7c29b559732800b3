"""Figures and names as people read them. Records may come from anywhere: an odd value is shown, never trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

METRICS = {
    "ece": "calibration error (ECE)",
    "log_loss": "log loss",
    "top5": "top-5 accuracy",
    "iou": "IoU",
    "miou": "mean IoU",
    "dice": "Dice",
    "mean_dice": "mean Dice",
    "mean_image_dice": "mean Dice per image",
    "boundary_f1": "boundary F1",
    "f1": "F1",
    "n": "n",
}
SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a record's value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals, counts with separators, "n/a" for what is absent.

    Example:
        >>> number(0.92834), number(10000), number(None), number(31250.4), number(0.00004)
        ('0.928', '10,000', 'n/a', '31,250', '4e-05')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if not isinstance(value, float):
        return "n/a" if value is None else str(value)
    if not math.isfinite(value):
        return "n/a"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    small = value != 0 and abs(value) < 0.5 * 10**-digits
    return f"{value:.2g}" if small else f"{value:.{digits}f}"


def compact(value: Any) -> str:
    """Return a large count in three figures with its unit letter.

    Example:
        >>> compact(1_932_810), compact(812), compact(5.1e9)
        ('1.93 M', '812', '5.1 G')
    """
    if not is_number(value):
        return number(value)
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g} {letter}"
    return number(int(value))


def rounded(value: Any) -> str:
    """Return a number in four figures, without zeros that say nothing: epochs may be fractions.

    Example:
        >>> rounded(30.0), rounded(0.5), rounded(29.7431), rounded(None)
        ('30', '0.5', '29.74', 'n/a')
    """
    return f"{value:.4g}" if is_number(value) else number(value)


def counted(num: Any, what: str) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "image"), counted(10_000, "image"), counted(0.5, "epoch")
        ('1 image', '10,000 images', '0.5 epochs')
    """
    text = number(num) if isinstance(num, int) else rounded(num)
    return f"{text} {what}" if num == 1 else f"{text} {what}s"


def duration(seconds: Any) -> str:
    """Return a duration in the two largest units that matter.

    Example:
        >>> duration(7.25), duration(725), duration(7380)
        ('7.2 s', '12 min 5 s', '2 h 3 min')
    """
    if not is_number(seconds):
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def metric_name(metric: str) -> str:
    """Return a metric's name in words.

    Example:
        >>> metric_name("miou"), metric_name("balanced_accuracy")
        ('mean IoU', 'balanced accuracy')
    """
    return METRICS.get(metric, metric.replace("_", " "))


def split_name(split: str) -> str:
    """Return a split's name in words, with a capital."""
    return SPLITS.get(split, split)


def capital(text: str) -> str:
    """Return the text with its first letter as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def shortened(text: str, most: int) -> str:
    """Return the text cut to `most` characters, an ellipsis as its last one.

    Example:
        >>> shortened("aeroplane", 5)
        'aero…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval, as the records hold it."""

    value: Any = None
    low: Any = None
    high: Any = None

    @classmethod
    def of(cls, raw: Any) -> Figure:
        """Return the figure of a record's `{"value", "low", "high"}`, of a bare number, or of nothing."""
        if isinstance(raw, dict):
            return cls(raw.get("value"), raw.get("low"), raw.get("high"))
        return cls(raw)

    @property
    def text(self) -> str:
        """The value alone."""
        return number(float(self.value)) if is_number(self.value) else number(self.value)

    @property
    def interval(self) -> str:
        """The interval in brackets; empty where none was taken."""
        known = is_number(self.low) and is_number(self.high)
        return f"[{number(float(self.low))}, {number(float(self.high))}]" if known else ""

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".rstrip()


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested records as rows of (dotted key, text).

    Example:
        >>> flat({"torch": "2.10", "git": {"commit": "abc"}, "size": [32, 32]})
        [('torch', '2.10'), ('git.commit', 'abc'), ('size', '32, 32')]
    """
    if isinstance(value, dict):
        return [row for key, item in value.items() for row in flat(item, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, plain(value))]


def plain(value: Any) -> str:
    """Return a record's value as text: lists by commas, mappings as `key: value`, numbers as they were written."""
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
