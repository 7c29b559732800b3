"""What the cells of a study come to: small studies worked out by hand, and properties of all of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from provenet.records.study import Cell, CellCost, Effect, StudyRecord
from provenet.study.analyse import analyse

DELAYS = (2.0, 3.0, 2.5, 3.5, 2.2)
TESTS = (0.82, 0.79, 0.80, 0.83, 0.78)


def row(record: StudyRecord, measure: str, arm: str = "no-norm") -> Effect:
    (found,) = [e for e in (*record.effects, *record.machine.effects) if e.measure == measure and e.arm == arm]
    return found


@pytest.fixture(scope="session")
def norm_study(make_arm, make_design, make_cell):
    """A study of one arm without norm, which is later by `DELAYS` epochs and has 0.8 less its own share of `TESTS`."""
    design = make_design([make_arm("no-norm", "norm.batch", True, norm={"name": "none"})])
    cells = [make_cell("baseline", seed, test=test) for seed, test in enumerate(TESTS)]
    cells += [make_cell("no-norm", seed, delay, test=0.7) for seed, delay in enumerate(DELAYS)]
    return design, cells


def test_epochs_to_target_are_worked_out_as_by_hand(norm_study) -> None:
    record = analyse(*norm_study, {})
    assert record.target == pytest.approx(0.95 * 0.9)
    found = row(record, "epochs to target")
    # on a line of slope 0.1 the target 0.855 is reached after 8.55 epochs, and as much later as the arm starts later
    assert (found.baseline, found.changed) == pytest.approx((8.55, 8.55 + np.mean(DELAYS)), abs=0.03)
    assert found.value == pytest.approx(np.mean(DELAYS), abs=0.03)
    assert (found.n, found.missed, found.verdict) == (5, (0, 0), "helps")
    assert row(record, "steps to target").value == pytest.approx(10 * found.value)


def test_statistics_are_those_of_scipy(norm_study) -> None:
    found = row(analyse(*norm_study, {}), "test accuracy")
    differences = np.array(TESTS) - 0.7
    expected = stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.value == pytest.approx(differences.mean())
    assert found.low is not None and found.boot_low is not None and found.low < found.boot_low


def test_more_arms_correct_more(make_arm, make_design, make_cell, norm_study) -> None:
    _, cells = norm_study
    arms = [make_arm("no-norm", "norm.batch", True, norm={"name": "none"})]
    arms += [make_arm(f"other-{num}", f"other {num}", clip=num) for num in range(4)]
    more = [make_cell(arm.name, seed, test=TESTS[seed] + 0.001 * (-1) ** seed) for arm in arms[1:] for seed in range(5)]
    alone = row(analyse(*norm_study, {}), "test accuracy")
    among = row(analyse(make_design(arms), [*cells, *more], {}), "test accuracy")
    assert among.p == alone.p and among.p_corrected == pytest.approx(5 * alone.p)
    assert among.wide_low < alone.wide_low == pytest.approx(alone.low)
    lowered = stats.ttest_1samp(np.array(TESTS) - 0.7, 0).confidence_interval(0.99)
    assert (among.wide_low, among.wide_high) == pytest.approx(tuple(lowered))


def test_late_arm_is_told_in_a_sentence(norm_study) -> None:
    record = analyse(*norm_study, {})
    found = row(record, "epochs to target")
    assert (
        found.words
        == f"norm.batch helps: {found.value:.3g} epochs sooner [{found.low:.3g}, {found.high:.3g}] (5 pairs)"
    )


def test_loss_is_told_in_its_own_direction(make_arm, make_design, norm_study) -> None:
    design = make_design([make_arm("no-norm", "norm.none", norm={"name": "none"})])
    found = row(analyse(design, norm_study[1], {}), "epochs to target")
    later = f"{-found.value:.3g} epochs later [{-found.high:.3g}, {-found.low:.3g}]"
    assert found.words == f"norm.none hurts: {later} (5 pairs)" and 0 < -found.high < -found.low


def test_mean_height_of_the_curve(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("sgd", "sgd", optimizer={"name": "sgd"})], seeds=2)
    line = ((0.0, 0, 0.0), (10.0, 100, 1.0))
    stopped = ((0.0, 0, 0.0), (5.0, 50, 1.0))  # stopped early: 1.0 holds to the end
    cells = [make_cell("baseline", s, curve=line, budget_epochs=10) for s in range(2)]
    cells += [make_cell("sgd", s, curve=stopped, budget_epochs=10) for s in range(2)]
    found = row(analyse(design, cells, {}), "area under the validation curve", "sgd")
    assert (found.baseline, found.changed) == pytest.approx((0.5, 0.75))


def test_missed_targets_count_with_the_whole_budget(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("slow", "slow", clip=1)], seeds=3)
    cells = [make_cell("baseline", seed, 0.1 * seed) for seed in range(3)]
    cells += [make_cell("slow", seed, 15 + seed) for seed in range(2)] + [make_cell("slow", 2, 1)]
    found = row(analyse(design, cells, {}), "epochs to target", "slow")
    assert found.missed == (0, 2)
    assert found.changed == pytest.approx((20 + 20 + 9.55) / 3, abs=0.01)
    assert "missed by 0 of the baseline's trainings and 2 of slow's" in found.words


def test_unequal_budgets_are_followed_to_the_smaller(make_arm, make_design, make_cell) -> None:
    """Of a short run that misses the target nothing is known beyond its end; it must not look faster."""
    design = make_design([make_arm("short", "short", epochs=5.0)], seeds=3)
    cells = [make_cell("baseline", seed) for seed in range(3)]
    half = make_cell("short", 0).curve[:5]
    cells += [make_cell("short", seed, curve=half, budget_epochs=5, budget_steps=50) for seed in range(3)]
    found = row(analyse(design, cells, {}), "epochs to target", "short")
    assert (found.value, found.verdict) == (0.0, "could be zero")


def test_diverged_cells_never_reach_the_target_and_have_no_test_score(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("hot", "optimizer.lr=10", optimizer={"name": "sgd", "lr": 10})])
    cells = [make_cell("baseline", seed, 0.1 * seed, test=TESTS[seed]) for seed in range(5)]
    lost = {"state": "failed", "diverged": True, "reason": "diverged", "curve": (), "test": None, "gap": None}
    cells += [make_cell("hot", 0, **lost, budget_epochs=0, budget_steps=0), make_cell("hot", 1, **lost)]
    few = [*cells, *(make_cell("hot", seed, 1 + 0.1 * seed, test=TESTS[seed] + 0.01) for seed in range(2, 5))]
    record = analyse(design, few, {})
    times, test = row(record, "epochs to target", "hot"), row(record, "test accuracy", "hot")
    assert (times.n, times.missed, test.n) == (5, (0, 2), 3)
    assert times.changed == pytest.approx((2 * 20 + 3 * 9.85) / 5, abs=0.03)
    assert "3 pairs; seed 0 diverged; seed 1 diverged" in test.words
    assert test.verdict != "fails" and record.complete
    many = [*few[:7], make_cell("hot", 2, **lost), *few[8:]]
    failing = analyse(design, many, {})
    assert {e.verdict for e in failing.effects} == {"fails"}
    assert "Leave out optimizer.lr=10: 3 of 5 trainings diverged with it." in failing.advice


def test_half_of_the_cells_diverging_is_failing(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("hot", "hot", True, clip=9)], seeds=4)
    cells = [make_cell("baseline", seed) for seed in range(4)] + [make_cell("hot", seed) for seed in range(2)]
    # these were above the target before they diverged
    cells += [make_cell("hot", seed, state="failed", diverged=True, reason="diverged", test=None) for seed in (2, 3)]
    record = analyse(design, cells, {})
    found = row(record, "epochs to target", "hot")
    assert (found.verdict, found.missed) == ("fails", (0, 2))
    assert "Keep hot: 2 of 4 trainings diverged without it." in record.advice


def test_failed_and_missing_cells_are_named_and_make_the_study_incomplete(norm_study) -> None:
    design, cells = norm_study
    assert analyse(design, cells, {}).complete
    assert not analyse(design, [cells[0].model_copy(update={"state": "failed"}), *cells[1:]], {}).complete
    assert not analyse(design, [cells[0].model_copy(update={"state": "missing"}), *cells[1:]], {}).complete
    broken = [c for c in cells if (c.arm, c.seed) != ("no-norm", 4)]
    broken = [
        c.model_copy(update={"state": "failed", "reason": "killed by signal 9"}) if c.key == "baseline-0" else c
        for c in broken
    ]
    record = analyse(design, broken, {})
    found = row(record, "test accuracy")
    assert found.n == 3 and "3 pairs; seed 0 failed; seed 4 is missing" in found.words
    assert not record.complete
    assert "1 training failed, in no figure here (baseline seed 0): killed by signal 9." in record.advice


def test_nothing_is_said_where_nothing_is_known(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1)])
    for cells in ([], [make_cell("a", 0)], [make_cell("baseline", 0, state="failed", reason="x", curve=())]):
        record = analyse(design, cells, {})
        assert {(e.n, e.value, e.verdict) for e in record.effects} == {(0, None, "too few seeds")}
        assert record.target is None and not record.complete


def test_one_seed_tells_no_interval(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=1)
    found = row(analyse(design, [make_cell("baseline", 0), make_cell("a", 0, 1)], {}), "epochs to target", "a")
    assert (found.n, found.low, found.p, found.verdict, found.more_seeds) == (1, None, None, "too few seeds", None)
    assert found.value == pytest.approx(-1)


def test_equal_differences_are_judged_by_sign(make_arm, make_design, make_cell) -> None:
    """Without spread a t statistic would call two seeds."""
    design = make_design([make_arm("a", "a", clip=1)], seeds=4)
    scores = (0.7, 0.8, 0.9, 0.6)
    cells = [make_cell("baseline", s, test=score) for s, score in enumerate(scores)]
    cells += [make_cell("a", s, test=score + 0.1) for s, score in enumerate(scores)]
    found = row(analyse(design, cells, {}), "test accuracy", "a")
    assert found.p == 2**-3 and found.verdict == "too few seeds" and found.more_seeds == 2
    same = row(analyse(design, cells, {}), "epochs to target", "a")
    assert (same.p, same.value, same.verdict) == (1.0, 0.0, "could be zero")


def test_clock_stays_in_its_corner(norm_study) -> None:
    """Records of two sittings differ in `machine` alone."""
    design, cells = norm_study
    costs = {c.key: CellCost(seconds=tuple(2.0 * r[0] for r in c.curve), seconds_per_epoch=2.0) for c in cells}
    slow = {key: CellCost(seconds=tuple(3 * s for s in cost.seconds)) for key, cost in costs.items()}
    first, second = analyse(design, cells, costs, minutes=1.0), analyse(design, cells, slow, minutes=3.0)
    assert first.model_copy(update={"machine": second.machine}) == second
    times = row(first, "seconds to target"), row(second, "seconds to target")
    assert times[0].value == pytest.approx(2 * row(first, "epochs to target").value)
    assert times[1].value == pytest.approx(3 * times[0].value)
    assert first.machine.costs[0].cell_seconds == 40


def test_record_is_plain_json(norm_study) -> None:
    design, cells = norm_study
    for found in (cells, cells[:3], []):
        text = json.dumps(analyse(design, found, {}).model_dump(mode="json"), allow_nan=False)
        assert StudyRecord.model_validate(json.loads(text)) == analyse(design, found, {})


def test_main_effects_of_a_grid_average_over_the_rest(make_arm, make_design, make_cell) -> None:
    arms = [
        make_arm("no-a", "a", True, ("a",), clip=1),
        make_arm("no-b", "b", True, ("b",), clip=2),
        make_arm("no-a-no-b", "a and b", True, ("a", "b"), clip=3),
    ]
    design = make_design(arms, seeds=3, mode="grid")
    tests = {"baseline": 0.9, "no-a": 0.7, "no-b": 0.85, "no-a-no-b": 0.6}
    cells = [make_cell(arm, s, test=test + 0.01 * s * (arm == "no-a")) for arm, test in tests.items() for s in range(3)]
    record = analyse(design, cells, {})
    (found,) = [e for e in record.main_effects if e.measure == "test accuracy" and e.arm == "no-a"]
    # with a: 0.9, 0.85; without: 0.7 and 0, 1, 2 hundredths, 0.6
    assert found.value == pytest.approx(0.875 - (0.71 + 0.6) / 2) and found.n == 3
    assert {e.arm for e in record.main_effects} == {"no-a", "no-b"}
    assert analyse(make_design(arms, seeds=3), cells, {}).main_effects == ()


scores = st.lists(
    st.tuples(st.floats(0, 12), st.floats(0, 12), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6
)


def figures(record: StudyRecord) -> list[float | None]:
    return [v for e in record.effects for v in (e.value, e.low, e.high, e.p, e.p_corrected, e.detectable)]


@settings(max_examples=8)
@given(scores, st.randoms())
def test_order_of_cells_does_not_matter(make_arm, make_design, make_cell, found, random) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=len(found))
    cells = _cells(make_cell, found)
    shuffled = list(cells)
    random.shuffle(shuffled)
    assert analyse(design, shuffled, {}) == analyse(design, cells, {})


def _cells(make_cell, found) -> list[Cell]:
    first = [make_cell("baseline", seed, row[0], row[2]) for seed, row in enumerate(found)]
    return first + [make_cell("a", seed, row[1], row[3]) for seed, row in enumerate(found)]


@settings(max_examples=8)
@given(scores)
def test_what_lacks_a_technique_speaks_the_other_way(make_arm, make_design, make_cell, found) -> None:
    with_, without = (make_design([make_arm("a", "a", lack, clip=1)], seeds=len(found)) for lack in (False, True))
    first, second = (analyse(design, _cells(make_cell, found), {}) for design in (with_, without))
    for a, b in zip(first.effects, second.effects, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx(_negated(b), nan_ok=True)
        assert a.p == pytest.approx(b.p)
        turned = {"helps": "hurts", "hurts": "helps"}
        assert turned.get(a.verdict, a.verdict) == b.verdict


def _negated(effect: Effect) -> tuple[float | None, ...]:
    ends = (effect.value, effect.high, effect.low)
    return tuple(None if end is None else -end for end in ends)


@settings(max_examples=8)
@given(scores)
def test_swapping_arm_and_baseline_turns_the_signs(make_arm, make_design, make_cell, found) -> None:
    """Test scores; times have their target from the baseline."""
    design = make_design([make_arm("a", "a", clip=1)], seeds=len(found))
    swapped = [(row[1], row[0], row[3], row[2]) for row in found]
    first, second = (row(analyse(design, _cells(make_cell, f), {}), "test accuracy", "a") for f in (found, swapped))
    assert (first.value, first.low, first.high) == pytest.approx(_negated(second))


@settings(max_examples=8)
@given(scores, st.floats(-1, 1))
def test_what_all_cells_have_more_changes_nothing(make_arm, make_design, make_cell, found, more) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=len(found))
    shifted = [(row[0], row[1], row[2] + more, row[3] + more) for row in found]
    first, second = (row(analyse(design, _cells(make_cell, f), {}), "test accuracy", "a") for f in (found, shifted))
    assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high), abs=1e-7)
    assert first.verdict == second.verdict or math.isclose(first.p or 0, second.p or 0, rel_tol=1e-3)
