"""The tables of a study's effects: verdicts beside what techniques cost, the costs of every arm, every measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from provenet.records.study import Arm, ArmCost, Effect, StudyRecord
from provenet.report.page import Table
from provenet.report.study_charts import sign
from provenet.report.study_words import TONES, Bought, Shown, bought, cells_of, compared, labels, shown
from provenet.report.words import compact, counted, duration, is_number, number


@dataclass(frozen=True)
class Noted:
    """A cell of a table with a quieter note, in the place where a figure has its interval."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Told:
    """A verdict as the page shows it."""

    verdict: str
    tone: str
    mark: Markup
    words: str

    @classmethod
    def of(cls, row: Shown, brief: bool) -> Told:
        """Return the verdict of an effect with its sentence, or with its figures alone."""
        said = _brief(row.effect) if brief else row.effect.words
        return cls(row.word, TONES[row.effect.verdict], sign(row.effect.verdict), said)


@dataclass(frozen=True)
class Row:
    """An arm as the first table shows it: both verdicts, and what the technique adds to each cost."""

    name: str
    arm: str
    convergence: Told | None
    generalisation: Told | None
    costs: tuple[tuple[str, str], ...]


def _mib(value: Any) -> str:
    return f"{value:,.0f} MiB" if is_number(value) else number(value)


COSTS: dict[str, Callable[[Any], str]] = {
    "Parameters": compact,
    "Multiply-adds": compact,
    "Seconds an epoch": number,
    "Peak memory": _mib,
    "Images a second": compact,
    "Training time": duration,
}
"""What a cell costs, each with the way it is written."""
NUM_DECIDING = 4
"""Costs that stand beside the verdicts."""
MOST_SENTENCES = 12
"""Arms whose verdicts are told in sentences; of more, figures are read faster."""


def verdict_rows(record: StudyRecord) -> list[Row]:
    """Return a row an arm, in the order of the design."""
    called, base = labels(record), _spent(record, record.design.arms[0])
    brief = len(compared(record)) > MOST_SENTENCES
    told = {(row.effect.arm, row.effect.goal): Told.of(row, brief) for row in shown(record, record.effects)}
    return [
        Row(
            called[arm.name],
            _changes(arm, called[arm.name]),
            told.get((arm.name, "convergence")),
            told.get((arm.name, "generalisation")),
            tuple(zip(list(COSTS)[:NUM_DECIDING], _added(arm, base, _spent(record, arm)), strict=False)),
        )
        for arm in compared(record)
    ]


def _brief(effect: Effect) -> str:
    """Return the figures of an effect, without a sentence."""
    more = f", about {counted(effect.more_seeds, 'more seed')}" if effect.more_seeds else ""
    return f"{bought(effect)}, {counted(effect.n, 'pair')}{more}"


def sentence_table(record: StudyRecord) -> Table | None:
    """Return the verdicts as sentences, where the first table has no room for them."""
    if len(compared(record)) <= MOST_SENTENCES:
        return None
    rows = [(row.name, row.effect.goal, row.effect.words) for row in shown(record, record.effects)]
    return Table(("Technique", "Goal", "Verdict"), rows, numeric=False)


def _changes(arm: Arm, shown: str) -> str:
    """Return an arm's name and what it changes, as far as they are not shown already."""
    parts = [part for part in dict.fromkeys((arm.name, arm.says)) if part and part != shown]
    return " · ".join(parts)


def _added(arm: Arm, base: Sequence[Any], spent: Sequence[Any]) -> list[str]:
    """Return what a technique adds to each cost, as a share of the cost without it."""
    pairs = zip(spent, base, strict=True) if arm.without else zip(base, spent, strict=True)
    return [change(lacking, having) for lacking, having in pairs]


def _spent(record: StudyRecord, arm: Arm) -> tuple[Any, ...]:
    """Return the costs of an arm in the order of `COSTS`."""
    cells = cells_of(record, arm.name)
    parameters = next((cell.parameters for cell in cells if cell.parameters is not None), None)
    flops = next((cell.flops for cell in cells if cell.flops is not None), None)
    unknown = ArmCost(arm=arm.name, seconds_per_epoch=None, images_per_s=None, peak_memory_mib=None, cell_seconds=None)
    cost = next((cost for cost in record.machine.costs if cost.arm == arm.name), unknown)
    return parameters, flops, cost.seconds_per_epoch, cost.peak_memory_mib, cost.images_per_s, cost.cell_seconds


def change(before: Any, after: Any) -> str:
    """Return a change as a share of what was before.

    Example:
        >>> change(100, 118), change(2.0, 2.0), change(1000, 1001), change(None, 3)
        ('+18%', 'same', '+0.1%', 'n/a')
    """
    if not (is_number(before) and is_number(after)) or not before:
        return "n/a"
    share = after / before - 1
    if not share:
        return "same"
    return f"{share:+.0%}" if abs(share) >= 0.0095 else f"{share:+.1%}"


def cost_table(record: StudyRecord) -> Table:
    """Return what the cells of each arm took, beside it the difference of the arm to the baseline."""
    base = _spent(record, record.design.arms[0])
    rows: list[tuple[Any, ...]] = [(record.design.arms[0].name, *_written(base))]
    for arm in compared(record):
        own = _spent(record, arm)
        against = [change(before, after) if is_number(after) else "" for before, after in zip(base, own, strict=True)]
        rows.append((arm.name, *map(Noted, _written(own), against)))
    return Table(("Arm", *COSTS), rows)


def _written(spent: Sequence[Any]) -> list[str]:
    return [write(value) for write, value in zip(COSTS.values(), spent, strict=True)]


def measure_table(record: StudyRecord) -> Table | None:
    """Return every measure of every arm, with all that was computed of it."""
    called = labels(record)
    every = (*record.effects, *record.machine.effects, *record.main_effects)
    head = ("Technique", "Measure", "Verdict", "Bought", "Corrected", "Bootstrap", "Baseline → arm", "Pairs")
    more = ("Never reached", "p", "p corrected", "Would have seen", "More seeds")
    rows = [(called.get(one.arm, one.technique or one.arm), *_figures(one)) for one in every]
    return Table((*head, *more), rows) if rows else None


def _figures(effect: Effect) -> tuple[Any, ...]:
    """Return the cells of a measure."""
    wide, boot = (
        Bought(effect.value, low, high).interval or "–"
        for low, high in ((effect.wide_low, effect.wide_high), (effect.boot_low, effect.boot_high))
    )
    return (
        effect.measure,
        effect.verdict if effect.primary else "–",
        bought(effect),
        wide,
        boot,
        f"{number(effect.baseline)} → {number(effect.changed)}",
        number(effect.n),
        "{} → {}".format(*effect.missed) if any(effect.missed) else "–",
        _p(effect.p),
        _p(effect.p_corrected),
        number(effect.detectable) if is_number(effect.detectable) else "–",
        f"about {effect.more_seeds}" if effect.more_seeds else "–",
    )


def _p(value: Any) -> str:
    """Return a p value as it is read."""
    return "–" if not is_number(value) else "< 0.001" if value < 0.001 else number(value)
