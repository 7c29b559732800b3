"""What to do, from the effects of a study: sentences, and the arms whose changes the evidence supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from provenet.records.study import Arm, Cell, Design, Effect, Goal
from provenet.study.effects import diverged_of
from provenet.study.measures import EPOCHS, Cells, Measure, epochs_of, measures, reach
from provenet.study.sentences import counted, gain, joined, number

Standing = Literal["helps", "hurts", "mixed", "open", "null", "fails"]
_NAMED = 6
"""Cells that a sentence names."""


@dataclass(frozen=True)
class Judged:
    """A technique with its primary effects.

    Args:
        arm: the arm that the technique is named after.
        goals: its primary effect on each goal.
    """

    arm: Arm
    goals: Mapping[Goal, Effect]

    @property
    def name(self) -> str:
        """What is kept or dropped."""
        return self.arm.technique or self.arm.name

    @property
    def standing(self) -> Standing:
        """Both goals together: one that helps outweighs one that could be zero, and so does one that hurts."""
        verdicts = {effect.verdict for effect in self.goals.values()}
        if "fails" in verdicts:
            return "fails"
        if {"helps", "hurts"} <= verdicts:
            return "mixed"
        if "helps" in verdicts:
            return "helps"
        if "hurts" in verdicts:
            return "hurts"
        return "open" if "too few seeds" in verdicts else "null"

    @property
    def p(self) -> float:
        """The smaller p value: how sure the surer goal is."""
        return min((effect.p for effect in self.goals.values() if effect.p is not None), default=1.0)


def judged_of(design: Design, effects: Sequence[Effect], main_effects: Sequence[Effect]) -> list[Judged]:
    """Return each technique with its primary effects; in a grid these are its main effects.

    Args:
        design: the study.
        effects: effects of arms.
        main_effects: effects averaged over a grid.
    """
    main = {(effect.arm, effect.goal): effect for effect in main_effects if effect.primary}
    pair = {(effect.arm, effect.goal): effect for effect in effects if effect.primary}
    found = []
    for arm in design.arms[1:]:
        if len(arm.lacks) > 1:
            continue
        goals = {goal: main.get((name, goal), effect) for (name, goal), effect in pair.items() if name == arm.name}
        found.append(Judged(arm, goals))
    return found


def taken(judged: Sequence[Judged]) -> list[Arm]:
    """Return the arms whose change the evidence supports, the most certain first.

    These are arms that lack a technique which hurts, and arms with something that helps; an effect on one goal counts
    where the other goal does not speak against it.
    """
    wanted = [found for found in judged if found.standing == ("hurts" if found.arm.without else "helps")]
    return [found.arm for found in sorted(wanted, key=lambda found: found.p)]


def advice_of(design: Design, cells: Cells, target: float | None, judged: Sequence[Judged]) -> tuple[str, ...]:
    """Return what to do, a sentence each, the firmest first.

    Args:
        design: the study.
        cells: its cells.
        target: validation score of the target.
        judged: the techniques with their primary effects.
    """
    sentences = [
        *_baseline(design, cells, target),
        *_called(design, cells, judged),
        *_unsettled(design, judged),
        *_times(cells, target, judged),
        *_failures(cells),
        *_absent(design, cells),
        *_shortened(design),
    ]
    words = (
        "Intervals speak of other seeds of these recipes on the same pictures, test figures too: not of other pictures."
    )
    return (*sentences, words)


def _shortened(design: Design) -> list[str]:
    """Say that the budget made trainings short: what helps a short one need not help a long one."""
    if design.share >= 1:
        return []
    return [
        f"Trainings had {design.share:.0%} of the length that `provenet train` would choose: --budget made them short. "
        "A longer training may need other techniques; the schedule and what begins slowly most of all."
    ]


def _baseline(design: Design, cells: Cells, target: float | None) -> list[str]:
    name = design.arms[0].name
    diverged = diverged_of(design, cells).get(name)
    if diverged:
        num, of = diverged
        return [f"Mend the baseline first: {num} of {of} of its trainings diverged; try a lower optimizer.lr."]
    if target is None:
        return ["Nothing can be said yet: no training of the baseline is finished, and all arms are compared with it."]
    return []


def _called(design: Design, cells: Cells, judged: Sequence[Judged]) -> list[str]:
    """Return a sentence for each technique that was told from nothing."""
    known = {measure.name: measure for measure in measures(design.metric)}
    diverged = diverged_of(design, cells)
    found = {"keep": [], "add": [], "drop": [], "leave": [], "mixed": []}  # type: dict[str, list[str]]
    for one in judged:
        without, gains = one.arm.without, _gains(one, known)
        if one.standing == "fails":
            num, of = diverged[one.arm.name]
            how = "without it" if without else "with it"
            act, text = "Keep" if without else "Leave out", f"{num} of {of} trainings diverged {how}"
            found["keep" if without else "leave"].append(f"{act} {one.name}: {text}.")
        elif one.standing == "helps":
            found["keep" if without else "add"].append(f"{'Keep' if without else 'Add'} {one.name}: {gains}.")
        elif one.standing == "hurts":
            found["drop" if without else "leave"].append(f"{'Drop' if without else 'Leave out'} {one.name}: {gains}.")
        elif one.standing == "mixed":
            found["mixed"].append(f"Choose by the goal that matters to you for {one.name}: {gains}.")
    return [sentence for group in found.values() for sentence in group]


def _gains(one: Judged, known: Mapping[str, Measure]) -> str:
    called = [effect for effect in one.goals.values() if effect.verdict in ("helps", "hurts")]
    return "; ".join(gain(effect, known[effect.measure]) for effect in called)


def _unsettled(design: Design, judged: Sequence[Judged]) -> list[str]:
    """Return what to do about techniques of which nothing could be told."""
    sentences = []
    if null := [one.name for one in judged if one.standing == "null"]:
        told = f"No effect could be told on either goal with {counted(len(design.seeds), 'seed')}."
        sentences.append(f"Decide by cost: {joined(null)}. {told}")
    open_ = [one for one in judged if one.standing == "open"]
    if open_:
        more = [effect.more_seeds for one in open_ for effect in one.goals.values() if effect.more_seeds is not None]
        text = f"Too few seeds to tell: {joined(one.name for one in open_)}."
        if more:
            text += f" About {max(more)} more would settle all of them: --seeds {len(design.seeds) + max(more)}."
        sentences.append(text)
    return sentences


def _times(cells: Cells, target: float | None, judged: Sequence[Judged]) -> list[str]:
    """Return what times to the target cannot say."""
    if target is None:
        return []
    sentences = []
    effects = [one.goals["convergence"] for one in judged if "convergence" in one.goals]
    never = [e.arm for e in effects if e.measure == EPOCHS and e.n and e.missed[1] >= e.n]
    if never:
        text = (
            f"The target, {number(target)}, was never reached by {joined(never)}: times stand for their whole budget, "
        )
        sentences.append(text + "and the true difference is at least what is shown; a longer budget would tell it.")
    ended = [cell for cell in cells.values() if cell.curve and (cell.state == "done" or cell.diverged)]
    if ended and all(reach(cell, epochs_of, target) == cell.curve[0][0] for cell in ended):
        text = f"All trainings had reached the target, {number(target)}, by their first validation: times to it say "
        sentences.append(text + "nothing; validate more often (val_every).")
    return sentences


def _failures(cells: Cells) -> list[str]:
    """Return the cells that are in no figure, by reason, and those that diverged."""
    reasons: dict[str, list[Cell]] = {}
    for cell in cells.values():
        if cell.state == "failed":
            reasons.setdefault("" if cell.diverged else cell.reason or "no reason is known", []).append(cell)
    diverged = reasons.pop("", [])
    sentences = []
    for reason, failed in reasons.items():
        num = counted(len(failed), "training")
        sentences.append(f"{num} failed, in no figure here ({_places(failed)}): {reason.rstrip('.')}.")
    if diverged:
        text = f"{counted(len(diverged), 'training')} diverged ({_places(diverged)}): "
        sentences.append(text + "they count as never reaching the target, and test figures are without their seeds.")
    return sentences


def _places(cells: Sequence[Cell]) -> str:
    named = [f"{cell.arm} seed {cell.seed}" for cell in cells[:_NAMED]]
    return ", ".join(named) + (f" and {len(cells) - _NAMED} more" if len(cells) > _NAMED else "")


def _absent(design: Design, cells: Cells) -> list[str]:
    """Return how much of the study is still to be done; a race does not need all of it."""
    places = [(arm.name, seed) for arm in design.arms for seed in design.seeds]
    missing = sum(place not in cells or cells[place].state == "missing" for place in places)
    if not missing or design.race:
        return []
    return [f"{missing} of {len(places)} trainings are still missing: the same command goes on with them."]
