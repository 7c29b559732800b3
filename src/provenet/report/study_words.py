"""What a study came to, in words: the headline, how far its cells got, how its figures are read, how to go on."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provenet.records.study import Arm, Cell, Effect, Goal, StudyRecord, Verdict
from provenet.report.claim_words import Measured
from provenet.report.verdict import path_word
from provenet.report.words import capital, counted, is_number, metric_name, number

TONES: dict[Verdict, str] = {
    "helps": "holds",
    "hurts": "fails",
    "fails": "fails",
    "could be zero": "open",
    "too few seeds": "open",
}
"""The verdicts, each with the tone it is shown in; its mark says the same without colour."""
GOALS: tuple[Goal, ...] = ("convergence", "generalisation")
MOST_NAMES = 3
MOST_CALLED = 8
"""Effects that are called in a headline that still names up to `MOST_NAMES` of a kind; of more, one of a kind."""
MORE_SEEDS = 5
"""Seeds to add where no number of them is known to settle anything."""
INTERVALS = (
    "Thick: 95 % (Student's t over paired seeds). Thin: at the level at which an effect is called, which allows for "
    "the number of arms, so that all hold together. They speak of other seeds of the same recipe on the same pictures, "
    "not of other pictures."
)
NOT_CALLED = (
    "Not called. Too few seeds: about as many more as are named, at most 30, would settle it if the effect is as large "
    "as it looks. Could be zero is no proof of zero: the smallest effect that would have been called in four studies "
    "of five stands with all measures."
)


class Bought(Measured):
    """An effect with its sign: above zero is better.

    Example:
        >>> str(Bought(3.14, 1.2, 5.0)), str(Bought(-0.25)), str(Bought(None))
        ('+3.1 [1.2, 5.0]', '-0.25', 'n/a')
    """

    @property
    def text(self) -> str:
        """The value alone."""
        text = super().text
        return f"+{text}" if is_number(self.value) and self.value > 0 and text.strip("0.,") else text


def bought(effect: Effect) -> Bought:
    """Return an effect as a figure with its interval."""
    return Bought(effect.value, effect.low, effect.high)


def labels(record: StudyRecord) -> dict[str, str]:
    """Return what each arm's effects are called: the technique, or technique and arm where several have the same."""
    num = Counter(arm.technique for arm in record.design.arms)
    return {arm.name: _label(arm, num[arm.technique]) for arm in record.design.arms}


def _label(arm: Arm, num: int) -> str:
    if not arm.technique:
        return arm.name
    return arm.technique if num == 1 else f"{arm.technique} ({arm.name})"


@dataclass(frozen=True)
class Shown:
    """An effect as the page shows it: what it is called, its verdict in a word, the figures.

    An arm that lacks a technique fails without it, which speaks for the technique.
    """

    name: str
    word: str
    effect: Effect


def shown(record: StudyRecord, effects: Iterable[Effect]) -> list[Shown]:
    """Return those effects that verdicts rest on; averaged over a grid they are called after the technique alone."""
    names = {} if effects is record.main_effects else labels(record)
    lacking = {arm.name for arm in record.design.arms if arm.without}
    return [
        Shown(names.get(effect.arm, effect.technique or effect.arm), _word(effect, effect.arm in lacking), effect)
        for effect in effects
        if effect.primary
    ]


def _word(effect: Effect, without: bool) -> str:
    if effect.verdict != "fails":
        return effect.verdict
    return "fails without it" if without else "fails with it"


def compared(record: StudyRecord) -> tuple[Arm, ...]:
    """Return the arms that are compared with the baseline."""
    return record.design.arms[1:]


def cells_of(record: StudyRecord, arm: str) -> list[Cell]:
    """Return an arm's cells in the order of their seeds."""
    return sorted((cell for cell in record.cells if cell.arm == arm), key=lambda cell: cell.seed)


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return names as a sentence lists them, the rest counted.

    Example:
        >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
        ('a and b', 'a, b, c and 2 more')
    """
    kept = list(names) if len(names) <= most + 1 else [*names[:most], f"{len(names) - most} more"]
    return " and ".join(part for part in (", ".join(kept[:-1]), kept[-1]) if part) if kept else ""


def headline(record: StudyRecord) -> str:
    """Return what was found, and on how much it rests; of a grid, averaged over the other techniques."""
    rows = shown(record, record.main_effects or record.effects)
    if not any(row.effect.n or row.effect.verdict == "fails" for row in rows):
        return "Nothing can be told yet: no arm has a finished pair with the baseline."
    most = MOST_NAMES if sum(TONES[row.effect.verdict] != "open" for row in rows) <= MOST_CALLED else 1
    found = [_found([row for row in rows if row.effect.goal == goal], most) for goal in GOALS]
    told = "; ".join(part for part in (*found, _failing(record, most)) if part)
    still = sum(TONES[row.effect.verdict] == "open" for row in rows)
    open_ones = (
        f"{still} of {counted(len(rows), 'comparison')} could not be told from zero"
        if still
        else "every comparison was called"
    )
    return f"{capital(told)}. On {_pairs(row.effect for row in rows)}, {open_ones}."


def _found(rows: Sequence[Shown], most: int) -> str:
    """Return what was called for one goal, the largest effects first."""
    if not rows:
        return ""
    largest = sorted(rows, key=lambda row: -abs(row.effect.value or 0.0))
    helping, hurting = ([row.name for row in largest if row.effect.verdict == said] for said in ("helps", "hurts"))
    first = rows[0].effect
    fast = first.goal == "convergence"
    what, better, worse = ("convergence", "faster", "slower") if fast else (first.measure, "higher", "lower")
    clauses = [f"{word} with {listed(some, most)}" for word, some in ((better, helping), (worse, hurting)) if some]
    return f"{what} is {', '.join(clauses)}" if clauses else f"no effect on {what} was found"


def _failing(record: StudyRecord, most: int) -> str:
    """Return with and without what training fails."""
    failed = {effect.arm for effect in record.effects if effect.verdict == "fails"}
    arms = [arm for arm in compared(record) if arm.name in failed]
    names = labels(record)
    clauses = (
        (word, [names[arm.name] for arm in arms if arm.without is without])
        for word, without in (("with", False), ("without", True))
    )
    said = " and ".join(f"{word} {listed(some, most)}" for word, some in clauses if some)
    return f"training fails {said}" if said else ""


def _pairs(rows: Iterable[Effect]) -> str:
    """Return how many paired seeds the effects rest on."""
    nums = sorted({effect.n for effect in rows if effect.n}) or [0]
    few, many = nums[0], nums[-1]
    return counted(many, "paired seed") if few == many else f"{few} to {counted(many, 'paired seed')}"


def states(record: StudyRecord) -> dict[str, int]:
    """Return how many cells are done, diverged, failed for another reason, and missing."""
    failed = [cell for cell in record.cells if cell.state == "failed"]
    diverged = sum(cell.diverged for cell in failed)
    done = sum(cell.state == "done" for cell in record.cells)
    wanted = len(record.design.arms) * len(record.design.seeds)
    missing = 0 if raced_to_end(record) else wanted - done - len(failed)
    return {"done": done, "diverged": diverged, "failed": len(failed) - diverged, "missing": missing}


def raced_to_end(record: StudyRecord) -> bool:
    """Whether a race came to its end: cells that are not there were not needed."""
    return record.design.race and record.complete


def unfinished(record: StudyRecord) -> str:
    """Return how far an unfinished study came; empty for a finished one."""
    if record.complete:
        return ""
    num = states(record)
    told = [f"{num['done']} of {counted(sum(num.values()), 'cell')} are done"]
    told += [f"{num[state]} {state}" for state in ("diverged", "failed") if num[state]]
    most = "at most " if record.design.race else ""
    told += [f"{most}{num['missing']} missing"] if num["missing"] else []
    lacking = [arm.name for arm in record.design.arms if not _whole(record, arm.name)]
    where = f" Cells are lacking in {listed(lacking, 5)}." if lacking and not record.design.race else ""
    return f"This study is not finished: {', '.join(told)}.{where} What stands below may change with them."


def _whole(record: StudyRecord, arm: str) -> bool:
    """Whether every cell of an arm has come to an end that the arm's recipe is answerable for."""
    cells = cells_of(record, arm)
    return len(cells) == len(record.design.seeds) and all(cell.state == "done" or cell.diverged for cell in cells)


def how_to_read(record: StudyRecord) -> list[tuple[str, str]]:
    """Return what the figures mean and how far they reach, each with its heading."""
    told = [
        ("Effect", "What the technique bought, seed by seed: with it less without it. Above zero is better."),
        ("Intervals", INTERVALS),
        ("Helps, hurts", _called(record)),
        ("Could be zero, too few seeds", NOT_CALLED),
        ("Fails", "At least half of the arm's trainings diverged."),
        ("Target", _target(record)),
        ("Never reached", _censoring(record)),
    ]
    if record.design.tuning:
        told.append(("Learning rates", "Each arm ran at the rate that was best for it in the same small sweep."))
    return told


def _called(record: StudyRecord) -> str:
    """Return when an effect is called."""
    level, arms = f"{record.design.level:.0%}", counted(len(compared(record)), "arm")
    if record.design.race:
        return (
            "Called where |t| passes the bound of its look. The bound is set so that of studies without any effect at "
            f"most {level} call one for a goal, over {arms} and all looks; a verdict is also closed, without effect, "
            "when a call is out of reach."
        )
    return (
        f"Called where p, corrected by Holm over {arms}, is below {level}: at most that share of studies without any "
        "effect calls one for a goal."
    )


def _target(record: StudyRecord) -> str:
    if record.target is None:
        return "None yet: the baseline has no finished cell."
    return (
        f"A validation {metric_name(record.design.metric)} of {number(record.target)}: {record.design.target_frac:.0%} "
        "of the median, over the baseline's seeds, of the best. The time to it ends where the line between two "
        "validations first reaches it."
    )


def _censoring(record: StudyRecord) -> str:
    """Return how trainings that never reached the target are counted, and how many there were."""
    missed = [one.missed for one in record.effects if one.primary and one.goal == "convergence"]
    num = max((ours for ours, _ in missed), default=0) + sum(theirs for _, theirs in missed)
    were = f" Here: {counted(num, 'training')}." if num else " Here every training reached it."
    return f"Such a training counts with its whole budget, as does one that diverged; none is dropped.{were}"


def commands(record: StudyRecord, folder: Path) -> list[tuple[str, str]]:
    """Return what can be done from here: words and the command line to copy."""
    again, num = resume_command(record, folder), len(record.design.seeds)
    wanted = [effect.more_seeds for effect in record.effects if effect.primary and effect.more_seeds]
    seeds = num + max(wanted, default=MORE_SEEDS)
    with_seeds = re.sub(r" --seeds[ =]\d+", "", again) + f" --seeds {seeds}"
    settles = "which would settle what too few seeds left open" if wanted else "finished cells are kept"
    go_on = [] if record.complete else [("Go on where it stopped", again)]
    return [
        *go_on,
        (f"Add seeds, {seeds} in all: {settles}", with_seeds),
        ("Write this page again", f"provenet report {path_word(folder)}"),
    ]


def resume_command(record: StudyRecord, folder: Path) -> str:
    """Return the command that goes on with the study: the one that began it, where it is known."""
    given = record.machine.provenance.get("command")
    if isinstance(given, str) and given.startswith("provenet ablate"):
        return given
    return f"provenet ablate {shlex.quote(record.design.source or record.design.data)} --out {path_word(folder)}"
