"""Paired effects of a study: which cells are compared, the differences, their tests, and the verdict on each."""

# P pairs of one seed each

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from provenet.records.study import Arm, Cell, Design, Effect, Goal, Look, Verdict
from provenet.stats.bootstrap import mean_bootstrap
from provenet.stats.multiple import holm, shared_level
from provenet.stats.paired import PairedTest, mean_interval, paired_test
from provenet.stats.power import detectable_effect, needed_pairs
from provenet.stats.racing import Bounds, bounds
from provenet.study.measures import Cells, Measure, epochs_of, reach
from provenet.study.sentences import sentence

FIRST_LOOK = 3
"""Seeds that every arm of a race gets."""
MOST_MORE = 30
"""More seeds than this are not worth proposing."""
_DECIMALS = 9
"""Differences are rounded to so many: what a subtraction loses is finer, what a cell measures is coarser."""


@dataclass(frozen=True)
class Contrast:
    """The arms whose mean is compared with the mean of others, seed by seed.

    Args:
        arm: what the effect is named after.
        changed: names of the arms on its side.
        baseline: names of the arms on the other.
    """

    arm: Arm
    changed: tuple[str, ...]
    baseline: tuple[str, ...]


def contrasts(design: Design) -> tuple[Contrast, ...]:
    """Return each arm against the baseline."""
    baseline = (design.arms[0].name,)
    return tuple(Contrast(arm, (arm.name,), baseline) for arm in design.arms[1:])


def main_contrasts(design: Design) -> tuple[Contrast, ...]:
    """Return, for a grid, each technique: all combinations without it against all with it."""
    grid = [design.arms[0], *(arm for arm in design.arms[1:] if arm.lacks)]
    found = []
    for arm in grid:
        if design.mode == "grid" and len(arm.lacks) == 1:
            without = tuple(other.name for other in grid if arm.lacks[0] in other.lacks)
            found.append(Contrast(arm, without, tuple(other.name for other in grid if other.name not in without)))
    return tuple(found)


@dataclass(frozen=True)
class Pairs:
    """The figures of a contrast in one measure.

    Args:
        contrast: which arms.
        measure: in what.
        baseline: one figure a seed, (P,).
        changed: the same for the arm, (P,).
        missed: cells that never reached the target, the baseline's and the arm's; 0 where the measure is no time.
        left_out: seeds without a pair, and why: "seed 3 diverged".
    """

    contrast: Contrast
    measure: Measure
    baseline: tuple[float, ...]
    changed: tuple[float, ...]
    missed: tuple[int, int]
    left_out: tuple[str, ...]

    @property
    def differences(self) -> list[float]:
        """What the technique bought, one a seed; positive is better."""
        better = self.measure.more_is_better != self.contrast.arm.without
        raw = np.subtract(self.changed, self.baseline) if better else np.subtract(self.baseline, self.changed)
        return [round(value, _DECIMALS) + 0.0 for value in raw.tolist()]


@dataclass(frozen=True)
class Frame:
    """What the figures of a study are read in.

    Args:
        seeds: the seeds of the study.
        cells: its cells.
        target: validation score of the target; None while there is none.
    """

    seeds: Sequence[int]
    cells: Cells
    target: float | None


def pairs_of(contrast: Contrast, measure: Measure, frame: Frame) -> Pairs:
    """Return the figures of a contrast; seeds of which a cell has none are left out and named."""
    cells, target = frame.cells, frame.target
    names = (*contrast.baseline, *contrast.changed)
    split = len(contrast.baseline)
    baseline, changed, used, left_out = [], [], [], []
    for seed in frame.seeds:
        group = [cells[name, seed] for name in names if (name, seed) in cells]
        figures = [figure for figure in measure.read(group, target) if figure is not None]
        if len(figures) < len(names):
            left_out.append(f"seed {seed} {_why(group, len(names))}")
            continue
        baseline.append(float(np.mean(figures[:split])))
        changed.append(float(np.mean(figures[split:])))
        used.append(group)
    missed = (0, 0)
    if target is not None and measure.name.endswith("to target"):
        missed = (_missed([g[:split] for g in used], target), _missed([g[split:] for g in used], target))
    return Pairs(contrast, measure, tuple(baseline), tuple(changed), missed, tuple(left_out))


def _why(group: Sequence[Cell], wanted: int) -> str:
    if any(cell.diverged for cell in group):
        return "diverged"
    if any(cell.state == "failed" for cell in group):
        return "failed"
    return "has no figure" if len(group) == wanted and all(c.state == "done" for c in group) else "is missing"


def _missed(groups: Sequence[Sequence[Cell]], target: float) -> int:
    return sum(reach(cell, epochs_of, target) is None for group in groups for cell in group)


def diverged_of(design: Design, cells: Cells) -> dict[str, tuple[int, int]]:
    """Return, for arms of which at least half of the cells diverged, how many of how many did."""
    found = {}
    for arm in design.arms:
        ended = [cells[arm.name, seed] for seed in design.seeds if (arm.name, seed) in cells]
        ended = [cell for cell in ended if cell.state == "done" or cell.diverged]
        num = sum(cell.diverged for cell in ended)
        if num and 2 * num >= len(ended):
            found[arm.name] = (num, len(ended))
    return found


@dataclass(frozen=True)
class Judge:
    """How the effects of one measure are judged together.

    Args:
        level: chance that any of them is called where none is there, in (0, 1).
        num: number of effects.
        rule: bounds of the race, where seeds are raced.
        looks: the last look at each arm and goal of a race.
        diverged: arms of which at least half of the cells diverged, see `diverged_of`.
    """

    level: float
    num: int
    rule: Bounds | None
    looks: Mapping[tuple[str, Goal], Look]
    diverged: Mapping[str, tuple[int, int]]

    @property
    def each(self) -> float:
        """The level at which a single effect is called: shared out, and over all looks where seeds are raced."""
        return shared_level(self.level, self.num) if self.rule is None else self.rule.nominal


def rule_of(design: Design) -> Bounds | None:
    """Return the bounds of a design's race; None where seeds are not raced, or too few for a look."""
    num = len(design.arms) - 1
    if not design.race or num < 1 or len(design.seeds) < FIRST_LOOK:
        return None
    return bounds(FIRST_LOOK, len(design.seeds), shared_level(design.level, num))


def effects_of(
    compared: Sequence[Contrast], shown: Sequence[Measure], frame: Frame, judge: Judge
) -> tuple[Effect, ...]:
    """Return the effects of contrasts, a row each, measure by measure; corrected for their number in each measure.

    Args:
        compared: which arms.
        shown: in what.
        frame: seeds, cells, target.
        judge: how the effects of one measure are judged.
    """
    return tuple(
        effect for measure in shown for effect in _family([pairs_of(c, measure, frame) for c in compared], judge)
    )


def _family(found: Sequence[Pairs], judge: Judge) -> list[Effect]:
    """Return the effects of one measure."""
    tests = [paired_test(pairs.differences) for pairs in found]
    corrected = holm([test.p for test in tests]) if judge.rule is None else [None] * len(tests)
    return [_effect(pairs, test, p, judge) for pairs, test, p in zip(found, tests, corrected, strict=True)]


def _effect(pairs: Pairs, test: PairedTest, corrected: float | None, judge: Judge) -> Effect:
    measure, arm, values = pairs.measure, pairs.contrast.arm, pairs.differences
    narrow, wide, boot = mean_interval(values), mean_interval(values, 1 - judge.each), mean_bootstrap(values)
    look = judge.looks.get((arm.name, measure.goal)) if measure.primary else None
    more = _more_seeds(test, judge.each)
    verdict = "fails" if arm.name in judge.diverged else _verdict(test, corrected, more, judge, look)
    effect = Effect(
        arm=arm.name,
        technique=arm.technique,
        goal=measure.goal,
        measure=measure.name,
        primary=measure.primary,
        n=test.n,
        baseline=_mean(pairs.baseline),
        changed=_mean(pairs.changed),
        value=narrow.value,
        low=narrow.low,
        high=narrow.high,
        wide_low=wide.low,
        wide_high=wide.high,
        boot_low=boot.low,
        boot_high=boot.high,
        p=test.p,
        p_corrected=corrected,
        missed=pairs.missed,
        detectable=_detectable(test, judge.each),
        more_seeds=more if verdict == "too few seeds" else None,
        verdict=verdict,
        words="",
    )
    left_out = [why for why in pairs.left_out if judge.rule is None or not why.endswith("is missing")]
    words = sentence(effect, measure, left_out, look, judge.diverged.get(arm.name))
    return effect.model_copy(update={"words": words})


def _verdict(test: PairedTest, corrected: float | None, more: int | None, judge: Judge, look: Look | None) -> Verdict:
    """Return what can be said; a look of a race decides its goal, without one the p value does."""
    mean = test.mean or 0.0
    if look is not None:
        called = look.decision == "effect"
        mean = look.t if look.t is not None else mean
        if not called:
            return "could be zero" if look.decision == "no effect" else "too few seeds"
    elif judge.rule is not None:
        called = test.n >= judge.rule.looks[0] and test.p is not None and test.p <= judge.rule.nominal
    else:
        called = corrected is not None and corrected < judge.level
    if called:
        return "helps" if mean > 0 else "hurts"
    return "too few seeds" if test.n < 2 or more is not None else "could be zero"


def _more_seeds(test: PairedTest, level: float) -> int | None:
    """Return how many more pairs the observed effect would need at 80 % power; None where more than `MOST_MORE`."""
    if test.mean is None or test.sd is None:
        return None
    needed = needed_pairs(test.mean, test.sd, level, most=test.n + MOST_MORE)
    return None if needed is None else max(needed - test.n, 1)


def _detectable(test: PairedTest, level: float) -> float | None:
    if test.sd is None or test.n < 2 or test.sd == 0:
        return None
    return test.sd * _standard_detectable(test.n, level)


@lru_cache(maxsize=512)
def _standard_detectable(n: int, level: float) -> float:
    """Return the smallest effect, in standard deviations, that would be called in four studies of five."""
    found = detectable_effect(1.0, n, level)
    assert found is not None
    return found


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
