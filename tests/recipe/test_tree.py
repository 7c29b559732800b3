"""Laying recipe values over one another."""

from hypothesis import given
from hypothesis import strategies as st

from provenet.recipe.tree import Overrides, leaves, merge, value_at

words = st.sampled_from(["name", "a", "b", "epochs", "augment"])
trees = st.recursive(
    st.dictionaries(words, st.integers() | st.none() | st.text("ab", max_size=2), max_size=3),
    lambda inner: st.dictionaries(words, inner | st.lists(inner, max_size=2), max_size=3),
)


def test_a_changed_name_empties_the_block_first():
    base = {"norm": {"name": "batch", "momentum": 0.2}, "seed": 1}
    assert merge(base, {"norm": {"name": "group", "num_groups": 4}})["norm"] == {"name": "group", "num_groups": 4}


def test_the_same_name_or_none_keeps_the_block():
    base = {"norm": {"name": "batch", "momentum": 0.2}}
    assert merge(base, {"norm": {"name": "batch", "eps": 1e-3}})["norm"] == {
        "name": "batch",
        "momentum": 0.2,
        "eps": 1e-3,
    }
    assert merge(base, {"norm": {"eps": 1e-3}})["norm"] == {"name": "batch", "momentum": 0.2, "eps": 1e-3}


def test_a_block_without_name_takes_a_name_on():
    assert merge({"optimizer": {"lr": 0.2}}, {"optimizer": {"name": "sgd"}}) == {
        "optimizer": {"lr": 0.2, "name": "sgd"}
    }


def test_a_budget_takes_the_place_of_another_only_when_it_is_set():
    assert merge({"epochs": 3, "seed": 1}, {"steps": 5}) == {"seed": 1, "steps": 5}
    assert merge({"epochs": 3}, {"steps": None}) == {"epochs": 3, "steps": None}


def test_members_of_a_list_change_by_name():
    base = {"augment": [{"name": "flip", "p": 1}, {"name": "rotate"}]}
    changed = merge(base, {"augment": {"rotate": {"max_deg": 5}, "noise": {}, "flip": None}})
    assert changed == {"augment": [{"name": "rotate", "max_deg": 5}, {"name": "noise"}]}
    assert merge(base, {"augment": []}) == {"augment": []}


def test_a_member_taken_out_stays_out_of_what_comes_before():
    later = Overrides({"augment": {"flip": None}}).then(Overrides({"augment": {"rotate": {"p": 1}}}))
    assert merge({"augment": [{"name": "flip"}]}, later.tree) == {"augment": [{"name": "rotate", "p": 1}]}


@given(trees, trees)
def test_merging_changes_neither_side_and_loses_nothing_that_was_laid_over(base, overlay):
    before = repr((base, overlay))
    merged = merge(base, overlay)
    assert repr((base, overlay)) == before
    for key, value in overlay.items():
        if not isinstance(value, dict):
            assert merged[key] == value


@given(trees)
def test_every_leaf_can_be_found_by_its_path(tree):
    for path, value in leaves(tree):
        assert value_at(tree, path) == value


def test_overrides_say_what_is_set_and_where():
    overrides = Overrides({"net": {"name": "unet"}, "data": {"classes": {}}}, {"net": "recipe.yaml:1"})
    assert overrides.explicit == {"net.name", "data.classes"}
    assert overrides.sets("net") and overrides.sets("net.name") and not overrides.sets("net.width")
    assert overrides.place("net.name") == "recipe.yaml:1"
    assert overrides.place("seed") == ""
    assert overrides.get("net.name") == "unet"
