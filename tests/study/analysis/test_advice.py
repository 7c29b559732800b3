"""What a study says to do, the command that does it, and what the arms had in common."""

from __future__ import annotations

import shlex

import pytest

from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words
from provenet.study.analyse import analyse
from provenet.study.arms import changed_by
from provenet.study.command import command_of, recipe_words, supported

SPREAD = (-0.01, 0.005, 0.01, 0.0, -0.004)


def of_arm(make_cell, arm: str, delay: float = 0.0, test: float = 0.8, **changed):
    """Return five cells of an arm, with a little noise of its own."""
    shifted = SPREAD[len(arm) % 5 :] + SPREAD[: len(arm) % 5]
    return [make_cell(arm, seed, delay + 10 * more, test + more, **changed) for seed, more in enumerate(shifted)]


@pytest.fixture
def record(make_arm, make_design, make_cell):
    arms = [
        make_arm("no-norm", "norm.batch", True, norm={"name": "none"}),
        make_arm("no-dropout", "dropout.dropout", True, dropout={"name": "none"}),
        make_arm("no-augment", "augment", True, augment=[]),
        make_arm("adam", "optimizer.name=adam", optimizer={"name": "adam", "lr": 0.001}),
        make_arm("clipped", "clip=1", clip=1.0),
    ]
    cells = [
        *of_arm(make_cell, "baseline"),
        *of_arm(make_cell, "no-norm", 5, 0.6),
        *of_arm(make_cell, "no-dropout", 0, 0.9),
        *of_arm(make_cell, "no-augment", -3, 0.7),
        *of_arm(make_cell, "adam", -4, 0.8),
        *of_arm(make_cell, "clipped"),
    ]
    return analyse(make_design(arms), cells, {})


def said(record, begin: str) -> str:
    (found,) = [words for words in record.advice if words.startswith(begin)]
    return found


def test_advice_follows_the_verdicts(record) -> None:
    assert "epochs sooner" in said(record, "Keep norm.batch") and "accuracy" in said(record, "Keep norm.batch")
    assert "lower" in said(record, "Drop dropout.dropout")
    assert "sooner" in said(record, "Add optimizer.name=adam")
    assert "augment" in said(record, "Choose by the goal that matters")
    assert "clip=1" in said(record, "Decide by cost")
    assert "not of other pictures" in record.advice[-2]


def test_command_drops_what_hurts_and_adds_what_helps(record) -> None:
    words = shlex.split(record.command)
    assert words[:3] == ["provenet", "train", "my photos"]
    assert {"dropout.name=none", "optimizer.name=adam", "optimizer.lr=0.001"} <= set(words)
    assert {"norm.name=batch", "norm.momentum=0.1", "epochs=10.0"} <= set(words)
    assert not any(word.startswith(("dropout.rate", "optimizer.name=sgd", "clip")) for word in words)
    assert "2 changes at once" in record.advice[-1]


def test_command_repeats_the_words_of_the_baseline(record) -> None:
    design = record.design.model_copy(update={"words": ("epochs=3", "dropout=dropout", "optimizer.lr=0.1")})
    taken = [arm for arm in design.arms if arm.name == "no-dropout"]
    command, used = command_of(design, taken)
    assert command == "provenet train 'my photos' epochs=3 optimizer.lr=0.1 dropout.name=none" and list(used) == taken


def test_two_changes_of_one_thing_are_not_mixed(make_arm) -> None:
    baseline = make_arm("baseline")
    none, group = (make_arm(name, name, norm={"name": name}) for name in ("none", "group"))
    tree, used = supported(baseline, [group, none])
    assert tree["norm"] == {"name": "group"} and [arm.name for arm in used] == ["group"]


def test_members_of_a_list_are_taken_out_one_by_one(make_arm) -> None:
    baseline = make_arm("baseline")
    flip, shift = baseline.recipe["augment"]
    tree, used = supported(baseline, [make_arm("a", augment=[shift]), make_arm("b", augment=[flip, {"name": "mix"}])])
    assert tree["augment"] == [{"name": "mix"}] and len(used) == 2


def test_another_seed_is_no_change(make_arm) -> None:
    baseline = make_arm("baseline")
    assert supported(baseline, [make_arm("other", seed=100)]) == (baseline.recipe, ())


@pytest.mark.parametrize(
    "words",
    [
        "",
        "norm=group dropout=dropout augment=flip,rotate clip=1 steps=20",
        "net=unet task=segmentation augment+=noise patience=3 imbalance=none",
    ],
)
@pytest.mark.parametrize("arm", ["norm=none", "augment=none", "optimizer=adamw optimizer.lr=1e-5", "clip=2 epochs=7"])
def test_words_make_the_recipe_again(words: str, arm: str) -> None:
    baseline = load(parse_words(words.split()))
    changed = changed_by(baseline, arm, "arm")
    for recipe in (baseline, changed):
        tree = recipe.model_dump(mode="json")
        assert load(parse_words(recipe_words(tree))) == recipe
        assert load(parse_words(recipe_words(tree, Recipe().model_dump(mode="json")))) == recipe
    apart = recipe_words(changed.model_dump(mode="json"), baseline.model_dump(mode="json"))
    assert load(parse_words(apart), baseline.model_dump(mode="json")) == changed


def seen(order: str = "o", **init: str) -> dict[str, str]:
    return {"split": "s", "order": order, **{f"init/{name}": value for name, value in init.items()}}


def test_what_was_held_equal_is_told_from_hashes(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1), make_arm("b", "b", clip=2)], seeds=2)
    cells = [make_cell("baseline", s, seen=seen(f"o{s}", head=f"h{s}", conv=f"c{s}")) for s in range(2)]
    cells += [make_cell("a", s, seen=seen(f"o{s}", head=f"h{s}", extra="x")) for s in range(2)]
    cells += [make_cell("b", s, seen=seen("o0", head=f"h{s}", conv="c0")) for s in range(2)]
    held = analyse(design, cells, {}).held_equal
    assert held["split"] == "the same in all arms of a seed"
    assert held["order"] == "another than the baseline's in b (in 1 of 2 seeds); in all other arms the same"
    assert "a: 1 of 1 tensors" in held["init"] and "b: 1 of 2 tensors" in held["init"]
    assert held["init"].endswith("differ: conv")


def test_nothing_is_claimed_without_hashes(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=1)
    assert analyse(design, [make_cell("baseline", 0), make_cell("a", 0)], {}).held_equal == {}
    alone = analyse(design, [make_cell("baseline", 0, seen=seen())], {}).held_equal
    assert alone["order"] == "no arm has a finished cell beside the baseline's"


def test_targets_that_say_nothing_are_named(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=3)
    quick = ((1.0, 10, 0.9), (2.0, 20, 0.9))
    cells = [make_cell(arm, s, curve=quick) for arm in ("baseline", "a") for s in range(3)]
    assert any("by their first validation" in words for words in analyse(design, cells, {}).advice)
    never = [make_cell("baseline", s) for s in range(3)] + [make_cell("a", s, 15) for s in range(3)]
    assert any("was never reached by a" in words for words in analyse(design, never, {}).advice)


def test_what_is_missing_is_said(make_arm, make_design, make_cell) -> None:
    design = make_design([make_arm("a", "a", clip=1)], seeds=3)
    record = analyse(design, [make_cell("baseline", 0)], {})
    assert any(words.startswith("5 of 6 trainings are still missing") for words in record.advice)
    assert analyse(design, [], {}).advice[0].startswith("Nothing can be said yet")
