"""`key=value` words and Python arguments."""

import pytest

from provenet.recipe.load import load
from provenet.recipe.nets_spec import ResNet
from provenet.recipe.schema import Recipe
from provenet.recipe.words import from_kwargs, parse_words
from provenet.techniques.augment import Flip, Noise, Rotate


def test_values_of_every_kind():
    recipe = load(
        parse_words(
            [
                "optimizer.lr=1e-3",
                "batch_size=32",
                "channels_last=no",
                "clip=none",
                "view.size=[32, 48]",
                "data.void=[0, '1,2,3']",
                "data.classes={0: no, 255: 'true'}",
                "pretrained=runs/a b",
            ]
        )
    )
    assert recipe.optimizer.lr == 1e-3
    assert (recipe.batch_size, recipe.channels_last, recipe.clip) == (32, False, None)
    assert recipe.view.size == (32, 48)
    assert recipe.data.void == ("0", "1,2,3")
    assert recipe.data.classes == {"0": "no", "255": "true"}
    assert recipe.pretrained == "runs/a b"


@pytest.mark.parametrize("word", ["norm=group", "norm.name=group", "norm={name: group}"])
def test_short_and_long_forms_are_one(word):
    assert parse_words([word]).tree == {"norm": {"name": "group"}}
    assert parse_words([word]).explicit == {"norm.name"}


@pytest.mark.parametrize("word", ["net=timm:resnet18", "net.name=timm:resnet18"])
def test_a_timm_net_is_named_in_one_word(word):
    assert parse_words([word]).tree == {"net": {"name": "timm", "model": "resnet18"}}


def test_none_selects_the_member_of_that_name_or_nothing_or_the_word():
    recipe = load(parse_words(["norm=none", "clip=none", "imbalance=none", "augment=none"]), {"augment": ["flip"]})
    assert (recipe.norm.name, recipe.clip, recipe.imbalance, recipe.augment) == ("none", None, "none", ())


def test_augment_words():
    found = {"augment": ["flip", {"name": "rotate", "max_deg": 5}]}

    def augment(*words):
        return load(parse_words(words), found).augment

    assert augment() == (Flip(), Rotate(max_deg=5))
    assert augment("augment=noise,flip") == (Noise(), Flip())
    assert augment("augment.rotate.max_deg=20") == (Flip(), Rotate(max_deg=20))
    assert augment("augment.noise.std=0.2") == (Flip(), Rotate(max_deg=5), Noise(std=0.2))
    assert augment("augment.rotate=none") == (Flip(),)
    assert augment("augment+=noise") == (Flip(), Rotate(max_deg=5), Noise())
    assert augment("augment.rotate.max_deg=20", "augment=rotate") == (Rotate(max_deg=20),)


def test_words_may_come_in_any_order():
    words = ["net.width=8", "net=unet", "norm.num_groups=4", "norm=group"]
    assert parse_words(words).tree == parse_words(words[::-1]).tree


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["epochs"], "sets nothing"),
        (["--epochs"], "sets nothing"),
        (["epochs="], "has no value"),
        (["=3"], "not a key"),
        (["net..depth=3"], "not a key"),
        ([".".join("abcdefgh") + "=3"], "not a key"),
        (["norm+=group"], "not a key"),
        (["seed=1", "seed=1"], "seed is set twice"),
        (["net=unet", "net.name=fcn"], "net.name is set twice"),
        (["view=3", "view.size=[8, 8]"], "view.size is set twice"),
        (["view.size=[8, 8"], "not YAML"),
        (["view.size=[&a 8, *a]"], "anchors"),
    ],
)
def test_words_that_cannot_be_read(faults, words, what):
    found = [fault for fault in faults(*words) if what in fault.what]
    assert found
    assert all(fault.where == "override" for fault in found)


def test_arguments_take_nested_and_dotted_keys_and_specs():
    recipe = load(
        from_kwargs(
            {
                "epochs": 10,
                "net": ResNet(depth=34),
                "optimizer.lr": 0.2,
                "augment": [Flip(p=0.1), "noise"],
                "data": {"classes": {0: "a", 1: "b"}},
                "view": {"size": (32, 32)},
            }
        )
    )
    assert recipe.net == ResNet(depth=34)
    assert recipe.optimizer.lr == 0.2
    assert recipe.augment == (Flip(p=0.1), Noise())
    assert recipe.data.classes == {"0": "a", "1": "b"}
    assert recipe == Recipe.model_validate(recipe.model_dump())
