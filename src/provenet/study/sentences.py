"""Effects as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provenet.records.study import Effect, Look
from provenet.study.measures import Measure


def number(value: float) -> str:
    """Return a figure in three digits, large ones whole.

    Example:
        >>> number(3.14159), number(0.02), number(-12345.6)
        ('3.14', '0.02', '-12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def counted(num: int, what: str) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "pair"), counted(5, "pair")
        ('1 pair', '5 pairs')
    """
    return f"{num} {what}" if num == 1 else f"{num} {what}s"


def joined(names: Iterable[str]) -> str:
    """Return names as in a sentence.

    Example:
        >>> joined(["a", "b", "c"])
        'a, b and c'
    """
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def subject(effect: Effect) -> str:
    """Return what an effect is an effect of."""
    return effect.technique or effect.arm


def gain(effect: Effect, measure: Measure) -> str:
    """Return the size of an effect with its 95 % interval, both in the direction of the words.

    An effect of -3.1 epochs, from -5 to -1.2, is "3.1 epochs later [1.2, 5]".
    """
    if effect.value is None:
        return f"no figure of {measure.name}"
    if effect.value == 0:
        text = f"no difference in {measure.name}"
    else:
        text = (measure.better if effect.value > 0 else measure.worse).format(number(abs(effect.value)))
    if effect.low is None or effect.high is None:
        return text
    ends = (effect.low, effect.high) if effect.value >= 0 else (-effect.high, -effect.low)
    return f"{text} [{number(ends[0] + 0.0)}, {number(ends[1] + 0.0)}]"


def sentence(
    effect: Effect, measure: Measure, left_out: Sequence[str], look: Look | None, diverged: tuple[int, int] | None
) -> str:
    """Return the verdict on an effect with its figures.

    Args:
        effect: the effect; its own words do not count.
        measure: what it was measured in.
        left_out: seeds without a pair, and why.
        look: the look at which a race closed this goal, where seeds are raced.
        diverged: where at least half of the arm's cells diverged: how many of how many.
    """
    name = subject(effect)
    size = f"{gain(effect, measure)} ({'; '.join([counted(effect.n, 'pair'), *left_out])})"
    missed = _missed(effect)
    if diverged is not None:
        return f"{effect.arm} fails: {diverged[0]} of {counted(diverged[1], 'training')} diverged; {size}{missed}"
    if effect.n < 2:
        known = size if effect.n else "no pair of finished trainings" + _left(left_out)
        why = "; one pair has no interval" if effect.n else ""
        return f"{name}: too few seeds: {known}{why}{missed}"
    if effect.verdict in ("helps", "hurts"):
        return f"{name} {effect.verdict}: {size}{_raced(look)}{missed}"
    if effect.verdict == "too few seeds":
        return f"{name}: too few seeds: {size}{_open(effect, look)}{missed}"
    return f"{name} could be zero: {size}{_bounded(effect, measure, look)}{missed}"


def _left(left_out: Sequence[str]) -> str:
    return f" ({'; '.join(left_out)})" if left_out else ""


def _missed(effect: Effect) -> str:
    """Return how many cells are counted with their whole budget."""
    baseline, arm = effect.missed
    if not baseline + arm:
        return ""
    return f"; the target was missed by {baseline} of the baseline's trainings and {arm} of {effect.arm}'s"


def _raced(look: Look | None) -> str:
    if look is None:
        return ""
    t = "no spread" if look.t is None else f"|t| {number(abs(look.t))}"
    return f"; called by the racing bound at {counted(look.n, 'pair')}: {t}, bound {number(look.bound)}"


def _open(effect: Effect, look: Look | None) -> str:
    text = _uncorrected(effect)
    if look is not None:
        text += f"; the race is open after {counted(look.n, 'pair')}"
    if effect.more_seeds is not None:
        text += f"; about {effect.more_seeds} more would settle it, if the effect is what it looks like"
    return text


def _bounded(effect: Effect, measure: Measure, look: Look | None) -> str:
    """Return how small an effect would have been seen, and why the race was given up."""
    text = _uncorrected(effect)
    if look is not None:
        text += f"; the race was closed at {counted(look.n, 'pair')}, a call being out of reach"
    if effect.detectable is not None:
        smallest = measure.better.format(number(effect.detectable))
        text += f"; called in four studies of five would be {smallest}"
    return text


def _uncorrected(effect: Effect) -> str:
    """Return why an interval without zero is not called."""
    if effect.low is None or effect.high is None or effect.low <= 0 <= effect.high or effect.p_corrected is None:
        return ""
    return f"; corrected for the number of arms p is {number(effect.p_corrected)}"
