"""Racing: looks are made again from the cells, whatever was there when they were first made."""

from __future__ import annotations

import numpy as np
import pytest

from provenet.stats.multiple import shared_level
from provenet.stats.paired import paired_test
from provenet.stats.racing import bounds
from provenet.study.analyse import analyse, open_arms, primary_differences, race_looks

SEEDS = 8


@pytest.fixture
def design(make_arm, make_design):
    arms = [make_arm("no-norm", "norm.batch", True, norm={"name": "none"}), make_arm("same", "seed=50", seed=50)]
    return make_design(arms, seeds=SEEDS, race=True)


@pytest.fixture
def cells(make_cell):
    """The arm without norm is clearly worse in both goals, the other is the baseline with other noise."""
    generator = np.random.default_rng(4)
    found = []
    for seed in range(SEEDS):
        for arm, delay, test in (("baseline", 0, 0.9), ("no-norm", 6, 0.7), ("same", 0, 0.9)):
            found.append(make_cell(arm, seed, delay + generator.uniform(0, 1), test + generator.normal(0, 0.02)))
    return found


def until(cells, seeds: int, arms: tuple[str, ...] = ("baseline", "no-norm", "same")):
    return [cell for cell in cells if cell.seed < seeds and cell.arm in arms]


def test_differences_are_those_of_the_effects(design, cells) -> None:
    found = primary_differences(design, cells)
    assert set(found) == {(a, g) for a in ("no-norm", "same") for g in ("convergence", "generalisation")}
    for effect in analyse(design, cells, {}).effects:
        if effect.primary:
            assert np.mean(found[effect.arm, effect.goal]) == pytest.approx(effect.value)
    assert min(found["no-norm", "generalisation"]) > 0


def test_differences_need_both_cells(design, cells) -> None:
    some = [cell for cell in cells if (cell.arm, cell.seed) not in {("baseline", 0), ("no-norm", 3)}]
    found = primary_differences(design, some)
    assert len(found["no-norm", "convergence"]) == SEEDS - 2 and len(found["same", "convergence"]) == SEEDS - 1


def test_looks_keep_the_bounds_of_their_share(design, cells) -> None:
    rule = bounds(3, SEEDS, shared_level(design.level, 2))
    looks = race_looks(design, cells)
    differences = primary_differences(design.model_copy(update={"seeds": design.seeds[:3]}), cells)
    for look in looks:
        assert look.bound == rule.bounds[look.n - 3]
        if look.n == 3:
            assert look.t == pytest.approx(paired_test(differences[look.arm, look.goal]).t)
        if look.t is not None:
            assert (look.decision == "effect") == (abs(look.t) >= look.bound)
    closing = {(look.arm, look.goal): look for look in looks}
    assert all(look.decision == "open" for look in looks if look is not closing[look.arm, look.goal])
    assert closing["no-norm", "generalisation"].decision == closing["no-norm", "convergence"].decision == "effect"


def test_fewer_than_three_seeds_are_no_look(design, cells) -> None:
    assert race_looks(design, until(cells, 2)) == ()
    assert open_arms(design, until(cells, 2)) == ("no-norm", "same")


def test_what_was_decided_stays_decided(design, cells) -> None:
    """The looks of a race in progress are the first ones of the whole race: an interruption changes nothing."""
    whole = race_looks(design, cells)
    for seeds in range(3, SEEDS + 1):
        part = race_looks(design, until(cells, seeds))
        assert part == tuple(look for look in whole if look.n <= seeds)
    half = [*until(cells, 5), *(cell for cell in cells if cell.seed == 5 and cell.arm == "baseline")]
    assert race_looks(design, half) == race_looks(design, until(cells, 5))
    told = [c if c.seed < 5 else c.model_copy(update={"state": "missing", "curve": (), "test": None}) for c in cells]
    assert race_looks(design, told) == race_looks(design, until(cells, 5))
    assert open_arms(design, told) == open_arms(design, until(cells, 5))


def test_closed_arms_need_no_more_seeds(design, cells) -> None:
    for seeds in range(3, SEEDS + 1):
        looks = {(look.arm, look.goal): look.decision for look in race_looks(design, until(cells, seeds))}
        for arm in ("no-norm", "same"):
            decisions = [looks[arm, goal] for goal in ("convergence", "generalisation")]
            assert (arm in open_arms(design, until(cells, seeds))) == (seeds < SEEDS and "open" in decisions)


def driven(design, cells):
    """Return the cells that a driver would have made, seed by seed."""
    made = until(cells, 3)
    for seed in design.seeds[3:]:
        racing = open_arms(design, made)
        if racing:
            made += [cell for cell in cells if cell.seed == seed and cell.arm in ("baseline", *racing)]
    return made


def test_race_is_complete_without_the_cells_of_closed_arms(design, cells) -> None:
    made = driven(design, cells)
    assert len(made) < len(cells)
    record = analyse(design, made, {})
    assert record.complete
    assert record.looks == race_looks(design, made)
    assert not any("missing" in words for words in (*record.advice, *(e.words for e in record.effects)))
    shortened = [cell for cell in made if (cell.arm, cell.seed) != ("same", 2)]
    assert not analyse(design, shortened, {}).complete


def test_verdict_is_the_race_s(design, cells) -> None:
    record = analyse(design, driven(design, cells), {})
    closing = {(look.arm, look.goal): look.decision for look in record.looks}
    words = {"effect": ("helps", "hurts"), "no effect": ("could be zero",), "open": ("too few seeds",)}
    for effect in record.effects:
        assert effect.p_corrected is None
        if effect.primary:
            assert effect.verdict in words[closing[effect.arm, effect.goal]]
    (found,) = [e for e in record.effects if e.primary and e.goal == "generalisation" and e.arm == "no-norm"]
    assert found.verdict == "helps" and "called by the racing bound at" in found.words


def test_diverging_arm_is_closed_at_the_first_look(design, make_cell, cells) -> None:
    lost = {"state": "failed", "diverged": True, "reason": "diverged", "curve": (), "test": None, "gap": None}
    found = [make_cell("no-norm", c.seed, **lost) if c.arm == "no-norm" else c for c in until(cells, 3)]
    assert "no-norm" not in open_arms(design, found)
    two = {"no-norm-0", "no-norm-1"}
    later = [make_cell("no-norm", c.seed, **lost) if c.key in two else c for c in until(cells, 5)]
    looks = [look for look in race_looks(design, later) if look.arm == "no-norm"]
    assert [(look.n, look.decision) for look in looks] == [(3, "open")]
    one = [make_cell("no-norm", 0, **lost) if c.key == "no-norm-0" else c for c in until(cells, 3)]
    assert "no-norm" in open_arms(design, one)


def test_without_a_race_all_seeds_are_needed(design, cells) -> None:
    fixed = design.model_copy(update={"race": False})
    assert race_looks(fixed, cells) == () == open_arms(fixed, cells)
    assert open_arms(fixed, until(cells, SEEDS - 1)) == ("no-norm", "same")
