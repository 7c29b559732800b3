"""Where recipes differ."""

from provenet.recipe.diff import ABSENT, differences
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words


def recipe(*words):
    return load(parse_words(words))


def test_equal_recipes_do_not_differ():
    assert differences(Recipe(), Recipe().model_dump(mode="json")) == []


def test_changed_values_and_changed_techniques():
    found = differences(recipe("seed=1", "norm=batch"), recipe("seed=2", "norm=none"))
    assert found == [
        ("norm.name", "batch", "none"),
        ("norm.momentum", 0.1, ABSENT),
        ("norm.eps", 1e-5, ABSENT),
        ("seed", 1, 2),
    ]


def test_augmentations_are_matched_by_name():
    assert differences(recipe("augment=flip,rotate"), recipe("augment=flip,rotate", "augment.rotate.max_deg=3")) == [
        ("augment.rotate.max_deg", 15.0, 3.0)
    ]
    assert differences(recipe("augment=flip,rotate"), recipe("augment=rotate,flip")) == [
        ("augment", ["flip", "rotate"], ["rotate", "flip"])
    ]
    assert [path for path, _, _ in differences(recipe(), recipe("augment=rotate"))] == [
        "augment",
        "augment.rotate.max_deg",
    ]


def test_the_two_sides_swap():
    a, b = recipe("net=plain"), recipe("net.depth=34", "clip=1")
    assert {(path, y, x) for path, x, y in differences(a, b)} == set(differences(b, a))
    assert len(differences(a, b)) >= 3
