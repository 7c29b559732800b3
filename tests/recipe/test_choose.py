"""Automatic choices give way to what the user said, hold in the recipe as they are told, and follow their rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.recipe.choose import Choice, Donor, Facts, choose
from provenet.recipe.load import load
from provenet.recipe.tree import BUDGETS, leaves, value_at
from provenet.recipe.words import parse_words

PHOTOS = Facts("classification", 5000, 10, 200, 300, False, False, "cpu", False, num_undivided=5000)
CELLS = Facts("segmentation", 500, 2, 256, 320, False, False, "cpu", False, num_undivided=600)

WORDS: dict[str, tuple[str, ...]] = {
    "net": ("net=convnet", "net=resnet", "net.depth=20", "net.widths=[8,16]", "net={name: plain, depth: 20}"),
    "optimizer": ("optimizer=adamw", "optimizer=muon", "optimizer=sgd", "optimizer.name=adamw"),
    "lr": ("optimizer.lr=0.0321",),
    "decay": ("optimizer.weight_decay=0.0123",),
    "schedule": ("schedule=cosine", "schedule=plateau", "schedule=one_cycle", "schedule.name=polynomial"),
    "warmup": ("schedule.warmup_frac=0.111",),
    "loss": ("loss=focal", "loss=cross_entropy", "loss.label_smoothing=0.07"),
    "budget": ("epochs=3", "steps=77", "minutes=2"),
    "batch": ("batch_size=24",),
    "view": ("view.size=[48,40]",),
    "resize": ("view.resize=crop",),
    "augment": ("augment=[noise]", "augment=[]", "augment.flip.p=0.3", "augment.brightness=none", "augment.blur.p=0.2"),
    "average": ("average=none", "average.decay=0.9", "average=ema"),
    "side": ("data.max_side=90", "data.max_side=none"),
    "val": ("data.val_frac=0.21",),
    "precision": ("precision=bf16", "precision=fp32"),
    "clip": ("clip=3", "clip=none"),
    "seed": ("seed=5",),
}
SEGMENTING = {
    "net": ("net=unet", "net=fcn", "net.width=8", "net={name: fcn, levels: 2}"),
    "loss": ("loss=dice", "loss=ce_dice", "loss=cross_entropy", "loss.dice_weight=0.5"),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[Facts, list[str]]:
    task = draw(st.sampled_from(["classification", "segmentation"]))
    side = draw(st.integers(4, 3000))
    facts = Facts(
        task=task,
        num_train=draw(st.integers(2, 200_000)),
        num_classes=draw(st.integers(2, 100)),
        side=side,
        long_side=side if (same := draw(st.booleans())) else side + draw(st.integers(0, 3000)),
        same_size=same,
        grey=draw(st.booleans()),
        device="cpu",
        fast_bf16=draw(st.booleans()),
        num_undivided=draw(st.sampled_from([0, 100, 70_000])),
    )
    pools = WORDS | (SEGMENTING if task == "segmentation" else {})
    keys = draw(st.sets(st.sampled_from(sorted(pools))))
    return facts, [draw(st.sampled_from(pools[key])) for key in sorted(keys)]


def resolve(facts: Facts, words: list[str]) -> tuple[list[Choice], dict[str, Any], dict[str, Any]]:
    """Return choices, what the user said, and the whole recipe as a tree."""
    overrides = parse_words(words)
    said = dict(leaves(overrides.tree))
    choices = choose(facts, said)
    return choices, said, load(overrides, {choice.key: choice.value for choice in choices}).model_dump(mode="json")


def plain(value: Any) -> Any:
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


@given(requests())
def test_what_was_said_stays_and_what_is_told_holds(request: tuple[Facts, list[str]]) -> None:
    """No choice touches what the user said, and each that is told with its reason stands in the recipe, once."""
    facts, words = request
    choices, said, recipe = resolve(facts, words)
    assert len({choice.key for choice in choices}) == len(choices) and all(choice.reason for choice in choices)
    for path, value in said.items():
        if path.startswith("augment"):
            continue  # below: a list, and changes of its members
        assert value_at(recipe, path) == plain(value), path
        assert not [choice for choice in choices if choice.key == path], path
    augment = [word for word in words if word.startswith("augment")]
    names = [member["name"] for member in recipe["augment"]]
    expected = {
        "augment=[noise]": lambda: names == ["noise"],
        "augment=[]": lambda: names == [],
        "augment.flip.p=0.3": lambda: value_at(recipe, "augment.flip.p") == 0.3,
        "augment.brightness=none": lambda: "brightness" not in names,
        "augment.blur.p=0.2": lambda: value_at(recipe, "augment.blur.p") == 0.2 and len(names) > 1,
    }
    assert all(expected[word]() for word in augment), (words, names)
    assert sum(recipe[budget] is not None for budget in BUDGETS) == 1
    for choice in choices:
        if choice.key != "augment":
            assert value_at(recipe, choice.key) == plain(choice.value), choice
        elif not augment:
            assert names == [member["name"] for member in choice.value]


def chosen(facts: Facts, *words: str) -> dict[str, Any]:
    return {choice.key: choice.value for choice in resolve(facts, list(words))[0]}


def test_small_pictures_get_the_convnet_with_its_own_recipe() -> None:
    found = chosen(Facts("classification", 50_000, 10, 32, 32, True, False, "cpu", False))
    assert found["net.name"] == "convnet" and found["view.size"] == (32, 32) and "view.resize" not in found
    assert found["batch_size"] == 512 and found["optimizer.lr"] == 0.75 and found["schedule.name"] == "linear"
    assert found["augment"] == [{"name": "flip"}, {"name": "shift", "max_px": 2}]
    assert "data.max_side" not in found, "pictures of the right size are stored as they are"


def test_few_photographs_get_the_small_net_on_small_views() -> None:
    found = chosen(PHOTOS)
    assert found["net.name"] == "convnet" and found["view.size"] == (64, 64) and found["data.max_side"] >= 64
    assert [member["name"] for member in found["augment"]] == ["flip", "crop", "brightness"]
    assert chosen(PHOTOS, "net=resnet")["view.size"] == chosen(PHOTOS, "net.depth=20")["view.size"] == (128, 128)


def test_many_photographs_get_a_resnet() -> None:
    many = replace(PHOTOS, num_train=50_000)
    found = chosen(many)
    assert found["net.name"] == "resnet" and found["view.size"] == (128, 128) and found["view.resize"] == "squash"
    assert found["optimizer.name"] == "sgd" and found["batch_size"] == 128 and found["optimizer.lr"] == 0.1
    assert [member["name"] for member in found["augment"]] == ["flip", "crop", "brightness"]
    assert chosen(replace(PHOTOS, device="cuda", side=600))["view.size"] == (224, 224)
    assert chosen(replace(many, side=100, long_side=110))["view.size"] == (96, 96)


@pytest.mark.parametrize(
    ("facts", "words", "key", "value"),
    [
        (PHOTOS, (), "precision", "fp32"),
        (replace(PHOTOS, fast_bf16=True), (), "precision", "bf16"),
        (replace(PHOTOS, long_side=600), (), "view.resize", "letterbox"),
        (PHOTOS, ("net.widths=[8,8]",), "net.name", "convnet"),
        (PHOTOS, ("net.depth=20",), "net.name", "resnet"),
        (PHOTOS, ("net=convnet",), "optimizer.momentum", 0.85),
        (replace(PHOTOS, num_train=100), (), "batch_size", 16),
        (replace(PHOTOS, num_train=1300), (), "batch_size", 64),
        (replace(PHOTOS, num_train=1300), ("net=resnet",), "optimizer.lr", 0.05),
        (PHOTOS, ("batch_size=24", "net=resnet"), "optimizer.lr", 0.0188),
        (replace(PHOTOS, num_train=100), (), "epochs", 40),
        (replace(PHOTOS, num_train=10_000), (), "epochs", 30),
        (replace(PHOTOS, num_train=10**6), (), "epochs", 8),
        (replace(PHOTOS, num_undivided=70_000), (), "data.val_frac", 0.0714),
        (CELLS, (), "view.resize", "window"),
        (CELLS, (), "view.size", (256, 256)),
        (replace(CELLS, side=90), (), "view.size", (96, 96)),
        (replace(CELLS, long_side=4000), (), "data.max_side", 1024),
        (CELLS, (), "optimizer.name", "adamw"),
        (CELLS, (), "batch_size", 8),
        (replace(CELLS, num_train=40), (), "batch_size", 4),
        (CELLS, (), "clip", 12.0),
        (CELLS, (), "average.name", "ema"),
    ],
)  # fmt: skip
def test_rules(facts: Facts, words: tuple[str, ...], key: str, value: Any) -> None:
    assert chosen(facts, *words)[key] == value


@pytest.mark.parametrize(
    ("facts", "words", "key"),
    [
        (PHOTOS, ("optimizer=adamw",), "optimizer.lr"),
        (PHOTOS, ("optimizer=adamw",), "optimizer.weight_decay"),
        (CELLS, ("optimizer=sgd",), "optimizer.lr"),
        (PHOTOS, ("steps=5",), "epochs"),
        (PHOTOS, ("minutes=5",), "epochs"),
        (PHOTOS, (), "data.val_frac"),
        (CELLS, (), "data.max_side"),
        (PHOTOS, (), "clip"),
        (PHOTOS, ("loss=focal",), "loss.label_smoothing"),
        (PHOTOS, ("net=convnet", "schedule=one_cycle"), "schedule.warmup_frac"),
        (CELLS, ("net.encoder=timm:resnet18",), "net.width"),
    ],
)
def test_no_choice_where_none_fits(facts: Facts, words: tuple[str, ...], key: str) -> None:
    assert key not in chosen(facts, *words)


def test_grey_pictures_are_not_mirrored() -> None:
    names = [member["name"] for member in chosen(replace(PHOTOS, grey=True))["augment"]]
    assert names == ["crop", "brightness"]


def test_weights_of_a_run_bring_their_net_and_statistics() -> None:
    net = {"name": "convnet", "widths": [8, 16, 16], "convs_per_group": 2}
    donor = Donor("classification", net, 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    found = chosen(replace(PHOTOS, donor=donor), "pretrained=some/run")
    assert found["net"] == net and found["schedule.name"] == "linear", "and the rates that go with it"
    assert found["inputs"]["mean"] == [0.5, 0.4, 0.3] and found["transfer.name"] == "fine_tune"
    assert "net.name" not in found
    for word in ("net=resnet", "net.depth=20"):
        assert "net" not in chosen(replace(PHOTOS, donor=donor), "pretrained=some/run", word)
