"""Arms: what a recipe has, what it goes without, and that an arm changes nothing else."""

from __future__ import annotations

import pytest

from provenet.core.errors import RecipeError
from provenet.recipe.diff import differences
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words
from provenet.study.arms import PARTS, changed_by, check_arms, find_parts, make_arms, own_arm, usual_parts

FULL = (
    "net=resnet net.depth=8 norm=batch block=residual augment=flip,shift dropout=dropout schedule=cosine "
    "schedule.warmup_frac=0.1 inputs=standardize average=ema loss.label_smoothing=0.1 optimizer=sgd "
    "optimizer.weight_decay=5e-4 clip=1"
)


def recipe(words: str = FULL) -> Recipe:
    return load(parse_words(words.split()))


def test_the_usual_techniques_are_those_that_the_recipe_has():
    names = [part.name for part in usual_parts(recipe())]
    assert names == ["inputs", "norm", "block", "augment", "dropout", "schedule", "average", "smoothing"]
    bare = "net=plain block=plain norm=none schedule=constant schedule.warmup_frac=0 average=none inputs=raw"
    assert usual_parts(recipe(bare)) == ()


@pytest.mark.parametrize("part", [part for part in PARTS if part.name not in ("transfer", "skip", "upsample", "net")])
def test_taking_a_technique_out_leaves_a_recipe_without_it_and_changes_one_slot(part):
    full = recipe()
    assert part.held(full)
    changed = changed_by(full, part.out(full), part.name)
    assert part.name == "inputs" or not part.held(changed) or part.name == "init"
    touched = {path.split(".")[0] for path, _, _ in differences(full, changed)}
    assert len(touched) == 1


def test_a_constant_rate_keeps_the_warm_up():
    full = recipe()
    part = next(part for part in PARTS if part.name == "schedule")
    constant = changed_by(full, part.out(full), "schedule")
    assert constant.schedule.name == "constant" and constant.schedule.warmup_frac == 0.1


def test_leave_one_out_says_what_each_arm_lacks_and_add_what_the_recipe_has_not():
    plain = recipe("net=resnet net.depth=8 dropout=none")
    arms = make_arms(plain, find_parts(["norm", "dropout"], plain), "leave-one-out")
    assert [(arm.name, arm.technique, arm.without, arm.says) for arm in arms] == [
        ("baseline", "", False, ""),
        ("no-norm", "norm.batch", True, "norm=none"),
        ("with-dropout", "dropout.dropout", False, "dropout=dropout"),
    ]
    assert arms[1].recipe["norm"]["name"] == "none" and arms[2].recipe["dropout"]["name"] == "dropout"


def test_add_one_in_begins_without_all_of_them():
    full = recipe()
    baseline, norm, augment = make_arms(full, find_parts(["norm", "augment"], full), "add-one-in")
    assert baseline.recipe["norm"]["name"] == "none" and not baseline.recipe["augment"]
    assert norm.recipe["norm"]["name"] == "batch" and not norm.recipe["augment"] and not norm.without
    assert norm.recipe["norm"] == full.model_dump(mode="json")["norm"]
    assert [member["name"] for member in augment.recipe["augment"]] == ["flip", "shift"]
    assert augment.recipe["norm"]["name"] == "none"


def test_what_an_arm_says_makes_its_recipe_of_the_baseline():
    full = recipe()
    for mode in ("leave-one-out", "add-one-in", "grid"):
        baseline, *arms = make_arms(full, find_parts(["norm", "augment", "schedule"], full), mode)
        for arm in arms:
            assert changed_by(Recipe.model_validate(baseline.recipe), arm.says, arm.name).model_dump(mode="json") == (
                arm.recipe
            )


def test_a_grid_has_every_combination_once():
    full = recipe()
    arms = make_arms(full, find_parts(["norm", "augment", "average"], full), "grid")
    assert len(arms) == 8 and len({arm.name for arm in arms}) == 8
    assert {arm.lacks for arm in arms} == {
        (),
        *((one,) for one in ("norm", "augment", "average")),
        *(("norm", "augment"), ("norm", "average"), ("augment", "average"), ("norm", "augment", "average")),
    }
    check_arms(arms)
    with pytest.raises(RecipeError, match="the grid is too large"):
        make_arms(full, PARTS[1:9], "grid")


def test_one_augmentation_of_several_can_be_left_out():
    full = recipe()
    _, arm = make_arms(full, find_parts(["augment.flip"], full), "leave-one-out")
    assert [member["name"] for member in arm.recipe["augment"]] == ["shift"]


def test_own_arms_are_overrides_of_the_baseline():
    arm = own_arm(recipe(), "adam: optimizer.name=adamw optimizer.lr=0.001")
    assert (arm.name, arm.technique) == ("adam", "optimizer.name=adamw optimizer.lr=0.001")
    assert arm.recipe["optimizer"]["name"] == "adamw" and "momentum" not in arm.recipe["optimizer"]
    other_seeds = own_arm(recipe(), "aa: seed=100")
    assert other_seeds.recipe["seed"] == 100


def test_a_slot_that_the_net_has_no_place_for_is_told_by_name_of_the_arm():
    with pytest.raises(RecipeError, match="arm skips: net resnet has no place for slot skip"):
        own_arm(recipe(), "skips: skip=add")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("norm.name=none", "--arm cannot be read"),
        ("x:", "--arm cannot be read"),
        ("same: norm=batch", "arm same changes nothing"),
        ("typo: norm.momentm=0.1", "arm typo: .*did you mean 'momentum'"),
    ],
)
def test_arms_that_cannot_be(text, said):
    with pytest.raises(RecipeError, match=said):
        own_arm(recipe(), text)


def test_arms_are_told_apart():
    full = recipe()
    with pytest.raises(RecipeError, match="did you mean 'augment'"):
        find_parts(["augmnt"], full)
    with pytest.raises(RecipeError, match="twice"):
        find_parts(["norm", "norm"], full)
    (baseline,) = make_arms(full, (), "leave-one-out")
    with pytest.raises(RecipeError, match="nothing to compare"):
        check_arms([baseline])
    arms = [baseline, own_arm(full, "a: norm=none"), own_arm(full, "b: norm=none")]
    with pytest.raises(RecipeError, match="arms a and b are the same recipe"):
        check_arms(arms)
    with pytest.raises(RecipeError, match="two arms have one name"):
        check_arms([baseline, own_arm(full, "a: norm=none"), own_arm(full, "a: norm=group")])
