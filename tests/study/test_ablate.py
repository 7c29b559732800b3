"""A study from end to end on handwritten digits: cells once, paired, and a record that is the same however it came."""

from __future__ import annotations

from pathlib import Path

import pytest

from provenet.core.errors import RecipeError
from provenet.core.files import read_json
from provenet.core.log import Silent
from provenet.recipe.words import parse_words
from provenet.study.ablate import ablate, same_study
from provenet.study.cells import Outcome
from provenet.study.plan import Pace, Wishes, cost_min, mode_of, share_for
from provenet.study.worker import carry_out

WORDS = (
    *("batch_size=32", "data.limit=96", "net=resnet", "net.depth=8", "view.size=[8,8]"),
    *("augment=shift", "precision=fp32", "optimizer.lr=0.05", "val_every=1"),
)


class Engine:
    """Makes cells in this process and remembers which."""

    def __init__(self, broken: str = "") -> None:
        self.made: list[tuple[str, int]] = []
        self.broken = broken

    def __call__(self, tasks, heard, progress) -> None:
        for task in tasks:
            self.made.append((task.arm, task.seed))
            progress(task.key, 0.5)
            lost = Outcome(task.key, "failed", "the machine went away", 6)
            heard(lost if task.arm == self.broken else carry_out(task))


def wishes(out: Path, *words: str, **others) -> Wishes:
    settings = {"parts": ("norm", "augment"), "seeds": 2, "threads": 1} | others
    length = () if any(word.startswith("steps=") for word in words) else ("steps=6",)
    return Wishes("digits", parse_words([*WORDS, *length, *words]), out, **settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("study") / "digits"
    engine = Engine()
    return folder, engine, ablate(wishes(folder), engine, Silent())


def unclocked(folder: Path) -> dict:
    found = read_json(folder / "effects.json")
    found.pop("machine")
    found["design"].pop("minutes")
    return found


def test_every_cell_is_made_once_and_seed_by_seed(made):
    folder, engine, record = made
    names = ("baseline", "no-norm", "no-augment")
    assert engine.made == [(name, seed) for seed in (0, 1) for name in names]
    assert record.complete and {cell.state for cell in record.cells} == {"done"}
    assert len({cell.key for cell in record.cells}) == 6 == len(list((folder / "cells").iterdir()))
    assert {path.name for path in (folder / "cells").glob("*/checkpoints/*")} == {"best"}
    assert {(row.arm, row.goal) for row in record.effects if row.primary} == {
        (name, goal) for name in names[1:] for goal in ("convergence", "generalisation")
    }


def test_arms_of_a_seed_saw_the_same_wherever_the_arm_changes_nothing(made):
    cells = {(cell.arm, cell.seed): cell.seen for cell in made[2].cells}
    base, norm, augment = (cells[name, 0] for name in ("baseline", "no-norm", "no-augment"))
    assert base["split"] == norm["split"] == augment["split"] == cells["baseline", 1]["split"]
    assert base["order"] == norm["order"] == augment["order"] != cells["baseline", 1]["order"]
    assert base["draws"] == norm["draws"] != augment["draws"]
    assert {key: value for key, value in augment.items() if key != "draws"} == {
        key: value for key, value in base.items() if key != "draws"
    }
    weights = [key for key in base if key.endswith("conv1.weight")]  # conv2 begins at zero without a norm
    assert weights and all(base[key] == norm[key] != cells["baseline", 1][key] for key in weights)


def test_the_same_command_makes_nothing_again_and_says_the_same(made):
    folder = made[0]
    before, engine = unclocked(folder), Engine()
    ablate(wishes(folder), engine, Silent())
    assert engine.made == [] and unclocked(folder) == before


def test_more_seeds_and_other_arms_reuse_what_stands(made):
    folder, engine = made[0], Engine()
    record = ablate(wishes(folder, seeds=3, parts=("norm",)), engine, Silent())
    assert engine.made == [("baseline", 2), ("no-norm", 2)]
    assert len(record.cells) == 6
    assert same_study(folder, "digits", wishes(folder).overrides, None)


def test_another_recipe_is_refused(made):
    with pytest.raises(RecipeError, match=r"overrides differs[\s\S]*give another --out"):
        ablate(wishes(made[0], "clip=1"), Engine(), Silent())
    assert not same_study(made[0], "digits", wishes(made[0], "clip=1").overrides, None)


def test_a_cell_that_the_machine_lost_is_named_and_made_by_the_next_command(tmp_path):
    folder = tmp_path / "s"
    settings = {"parts": ("augment",), "seeds": 1}
    record = ablate(wishes(folder, **settings), Engine(broken="no-augment"), Silent())
    assert not record.complete
    (lost,) = [cell for cell in record.cells if cell.state != "done"]
    assert lost.arm == "no-augment" and lost.test is None
    engine = Engine()
    assert ablate(wishes(folder, **settings), engine, Silent()).complete
    assert engine.made == [("no-augment", 0)]


def test_a_study_needs_a_validation_and_a_test_split(tmp_path):
    with pytest.raises(RecipeError, match="no such split"):
        ablate(wishes(tmp_path / "s", "data.test_frac=0"), Engine(), Silent())


def test_a_study_is_tuned_with_a_seed_of_its_own(tmp_path):
    engine = Engine()
    settings = {"parts": ("augment",), "seeds": 1, "tune_lr": True}
    record = ablate(wishes(tmp_path / "s", **settings), engine, Silent())
    assert [seed for _, seed in engine.made].count(0) == 2
    assert set(record.design.tuning) == {"baseline", "no-augment"}
    for arm in record.design.arms:
        scores = {float(rate): score for rate, score in record.design.tuning[arm.name].items() if score is not None}
        assert scores[arm.recipe["optimizer"]["lr"]] == max(scores.values())


def test_a_budget_makes_trainings_short_and_says_so(tmp_path):
    asked = wishes(tmp_path / "s", "steps=100000", parts=("augment",), seeds=1, budget_min=0.4)
    try:
        record = ablate(asked, lambda tasks, heard, progress: None, Silent())
    except RecipeError as error:  # a machine so slow that nothing fits says that instead
        assert "--budget is too short" in str(error)
        return
    assert 0 < record.design.share < 1 and not record.complete
    recipe = record.design.arms[0].recipe
    assert recipe["steps"] == pytest.approx(100000 * record.design.share, rel=0.01)
    assert any("--budget made them short" in sentence for sentence in record.advice)


def test_costs():
    paces = [Pace(train_s=30.0, validation_s=1.0, validations=10, fixed_s=5.0)] * 2
    assert cost_min(paces, cells=4, workers=2) == 3.0
    # 8 cells of 5 s and 12 validations beside half of their updates: 8 (5 + 12 + 15) s
    assert share_for(256.0, paces, cells=4) == pytest.approx(0.5)
    assert share_for(1e9, paces, cells=4) == 1.0
    with pytest.raises(RecipeError, match=r"too short[\s\S]*a budget of"):
        share_for(100.0, paces, cells=4)
    with pytest.raises(RecipeError, match="did you mean 'grid'"):
        mode_of("gird")


def test_an_arm_of_other_seeds_alone_buys_nothing_and_one_without_learning_does(tmp_path):
    own = ("aa: seed=1000", "still: optimizer.lr=1e-6")
    asked = wishes(tmp_path / "s", "steps=30", "average=none", parts=None, own=own, seeds=5)
    record = ablate(asked, Engine(), Silent())
    verdicts = {(row.arm, row.goal): row.verdict for row in record.effects if row.primary}
    called = {"helps", "hurts"}
    assert {verdicts["aa", goal] for goal in ("convergence", "generalisation")}.isdisjoint(called)
    assert verdicts["still", "generalisation"] == "hurts"
    seen = {(cell.arm, cell.seed): cell.seen for cell in record.cells}
    assert all(seen["aa", seed]["order"] != seen["baseline", seed]["order"] for seed in range(5))
    assert all(seen["still", seed] == seen["baseline", seed] for seed in range(5))
