"""From layers to a recipe: who wins, and what is said when something is wrong."""

import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.core.errors import RecipeError
from provenet.recipe.form import known_paths
from provenet.recipe.load import from_text, gather, load, read_yaml
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import Overrides
from provenet.recipe.words import from_kwargs, parse_words
from provenet.techniques.norm import GroupNorm
from provenet.techniques.optimizer import SGD, AdamW


def test_nothing_set_is_the_default_recipe():
    assert load(Overrides()) == Recipe()


def test_explicit_beats_automatic_and_words_beat_the_file():
    overrides = from_text("batch_size: 16\nseed: 5\n", "r.yaml").then(parse_words(["seed=6"]))
    recipe = load(overrides, {"batch_size": 64, "seed": 1, "view.size": (32, 32)})
    assert (recipe.batch_size, recipe.seed, recipe.view.size) == (16, 6, (32, 32))


def test_a_changed_name_empties_automatic_and_file_blocks():
    automatic = {"optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.5}}
    assert load(parse_words(["optimizer=adamw"]), automatic).optimizer == AdamW()
    overrides = from_text("norm: {name: batch, momentum: 0.3}", "r.yaml").then(parse_words(["norm=group"]))
    assert load(overrides).norm == GroupNorm()


def test_an_automatic_value_without_its_name_belongs_to_the_default_technique():
    assert load(parse_words(["net=convnet"]), {"net.depth": 34}).net.name == "convnet"
    assert load(parse_words(["optimizer=sgd"]), {"optimizer.lr": 0.3}).optimizer == SGD(lr=0.3)


def test_a_budget_that_is_set_takes_the_place_of_any_other():
    recipe = load(from_text("epochs: 3", "r.yaml").then(parse_words(["minutes=5"])), {"steps": 100})
    assert (recipe.epochs, recipe.steps, recipe.minutes) == (None, None, 5)


def test_a_field_may_take_the_place_of_the_default_of_another():
    assert load(parse_words(["average.decay=0.9"])).average.half_life_frac is None


def test_defaults_follow_the_net():
    assert load(parse_words(["net=plain"])).block.name == "plain"
    assert load(parse_words(["net.depth=50"])).block.name == "bottleneck"
    assert load(parse_words(["net=convnet"])).activation.name == "gelu"
    assert load(parse_words(["net=convnet", "activation=relu"])).activation.name == "relu"
    assert load(parse_words(["net=unet", "task=segmentation"])).loss.name == "ce_dice"


@pytest.mark.parametrize(
    ("word", "what", "hint"),
    [
        ("epohcs=3", "epohcs: there is no such key", "did you mean 'epochs'?"),
        ("lr=3", "lr: there is no such key", "did you mean 'optimizer.lr'?"),
        ("view.sise=3", "view.sise: there is no such key", "did you mean 'size'?"),
        ("optimizer.weigth_decay=3", "optimizer.weigth_decay: sgd has no such key", "did you mean 'weight_decay'?"),
        ("norm.num_groups=3", "norm.num_groups: batch has no such key", "it belongs to group: set norm.name too"),
        ("norm=grup", "norm: there is no such norm", "did you mean 'group'?"),
        ("augment=flip,rotat", "augment: there is no such augment", "did you mean 'rotate'?"),
        ("augment.rotate.max_dge=3", "augment.rotate.max_dge: rotate has no such key", "did you mean 'max_deg'?"),
        ("augment.rotate=3", "augment cannot have this value", ""),
        ("net=timm", "net.model is needed", ""),
        ("net=3", "net cannot have this value", ""),
        ("view=3", "view cannot have this value", ""),
        ("view.size=64", "view.size cannot have this value", "[64, 64]"),
        ("view.size=[64, 3]", "view.size cannot have this value", ""),
        ("epochs=true", "epochs cannot have this value", "leave it out"),
        ("epochs=many", "epochs cannot have this value", "30"),
        ("epochs=1e999", "epochs cannot have this value", ""),
        ("epochs=.nan", "epochs cannot have this value", ""),
        ("batch_size=2.5", "batch_size cannot have this value", "128"),
        ("channels_last=7", "channels_last cannot have this value", "true"),
        ("pretrained=[1]", "pretrained cannot have this value", ""),
        ("precision=fp16", "precision cannot have this value", "fp32"),
        ("device=gpu", "device cannot have this value", "cpu"),
        ("net.depth=19", "net.depth: no such depth; the nearest are 14 and 20", "18"),
        ("augment=flip,flip", "augment: named twice: flip", ""),
    ],
)
def test_one_fault_with_place_and_hint(faults, word, what, hint):
    (fault,) = faults(word)
    assert fault.what == what
    assert fault.where == "override"
    assert hint in fault.remedy
    assert fault.got or "needed" in what or "twice" in what
    assert fault.allowed or hint.startswith("did you") or "twice" in what


def test_bounds_and_description_are_told(faults):
    (fault,) = faults("optimizer.lr=-1")
    assert fault.got == "-1"
    assert fault.allowed.startswith("a number above 0 (")
    assert SGD.model_fields["lr"].description.split()[0] in fault.allowed


def test_all_faults_come_at_once_each_with_its_place(faults):
    text = "seed: -1\nnorm: {name: grup}\naugment:\n  - flip\n  - name: rotate\n    max_deg: -3\nepochs: 1\nepochs: 2\n"
    found = {fault.where: fault.what for fault in faults("lr=3", "clip=-1", "what", text=text)}
    places = {"recipe.yaml:1", "recipe.yaml:2", "recipe.yaml:6", "recipe.yaml:8", "override"}
    assert set(found) == places
    assert len(faults("lr=3", "clip=-1", "what", text=text)) == 7


def test_a_later_word_is_blamed_on_the_word_and_not_on_the_file(faults):
    (fault,) = faults("seed=-1", text="seed: 3\n")
    assert fault.where == "override"


def test_arguments_are_named_as_such():
    with pytest.raises(RecipeError, match="argument: seed cannot have this value; got -1"):
        load(from_kwargs({"seed": -1}))


def test_the_union_tag_is_not_in_the_path(faults):
    (fault,) = faults("norm.moment=3")
    assert str(fault).startswith("override: norm.moment:")


def test_a_wrong_automatic_choice_is_not_blamed_on_the_user(faults):
    (fault,) = faults(automatic={"batch_size": 0})
    assert fault.where == "automatic choice"


def test_gather_finds_faults_before_data_are_known_and_leaves_conflicts_to_load(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("net: unet\n")
    assert gather(file, ["seed=1"], {"batch_size": 4}).tree == {"net": {"name": "unet"}, "batch_size": 4, "seed": 1}
    with pytest.raises(RecipeError) as caught:
        gather(file, ["seed=x", "norm=x"], {"batch_size": 0})
    assert len(caught.value.faults) == 3


def test_files_that_cannot_be_read(tmp_path):
    def only(path):
        overrides = read_yaml(path)
        assert overrides.tree == {}
        return overrides.faults[0]

    assert only(tmp_path / "absent.yaml").got == "No such file or directory"
    assert "cannot be read" in only(tmp_path).what
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    assert "not UTF-8" in only(binary).what
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"a: 1\n" * 300_000)
    assert "too long" in only(huge).what
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    assert "block of key: value" in only(listed).what
    empty = tmp_path / "empty.yaml"
    empty.write_text("\ufeff# nothing\n", encoding="utf-8")
    assert read_yaml(empty) == Overrides()


@pytest.mark.parametrize("word", ["seed=\udc80", "\udc80=1", "\udc80", "device=\udc80", "net=\udc80", "augment=\udc80"])
def test_bytes_that_are_no_text_can_be_reported(faults, word):
    """The shell hands over such bytes as lone surrogates."""
    assert all(str(fault).encode() for fault in faults(word))
    assert faults(word)


paths = st.sampled_from(known_paths(Recipe)) | st.text(string.ascii_lowercase + "._+-", max_size=8)
rights = st.sampled_from(
    ["none", "0", "-1", "1e-3", "true", "unet", "timm:x", "flip,rotate", "[1, 2]", "{name: unet}", "x"]
)
junk = st.text(max_size=20) | st.text(st.sampled_from("abn.=[]{},:\"'+ "), max_size=20)
some_words = st.lists(st.builds("{}={}".format, paths, rights | junk) | junk, max_size=6)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["none", "unet", "flip"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(paths | st.just("name"), inner, max_size=3),
    max_leaves=8,
)


def only_recipe_errors(make, automatic=None):
    began = time.perf_counter()
    try:
        load(make(), automatic)
    except RecipeError as error:
        assert error.faults
        str(error).encode(errors="strict")
    assert time.perf_counter() - began < 1


@settings(max_examples=200)
@given(some_words)
def test_any_words_give_a_recipe_or_its_faults(words):
    only_recipe_errors(lambda: parse_words(words))


@settings(max_examples=150)
@given(st.dictionaries(paths, plain, max_size=5))
def test_any_arguments_give_a_recipe_or_its_faults(arguments):
    only_recipe_errors(lambda: from_kwargs(arguments))


yaml_lines = st.lists(
    st.builds("{}{}: {}".format, st.sampled_from(["", "", " ", "  ", "- ", "  - "]), paths | junk, rights | junk),
    max_size=6,
)


@settings(max_examples=200)
@given(yaml_lines)
def test_any_file_gives_a_recipe_or_its_faults(lines):
    only_recipe_errors(lambda: from_text("\n".join(lines), "recipe.yaml"))


def test_fields_of_a_net_may_be_set_before_the_data_say_which_net() -> None:
    assert gather(None, ["net.width=16"]).get("net.width") == 16
    assert gather(None, ["net.widths=[8,8]"]).get("net.widths") == [8, 8]
    with pytest.raises(RecipeError, match=r"net\.widht"):
        gather(None, ["net.widht=16"])
