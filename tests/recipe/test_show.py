"""Recipes and techniques as something to look at."""

import pytest

from provenet.core.errors import RecipeError
from provenet.recipe.load import gather
from provenet.recipe.schema import Recipe, dump_yaml
from provenet.recipe.show import card, cards, find, read_recipe, resolve, slots, without_data


def test_task_and_net_follow_each_other_where_no_data_decide():
    assert resolve(None, ["net=unet"]).task == "segmentation"
    assert resolve(None, ["task=segmentation"]).net.name == "unet"
    assert resolve(None, []).task == "classification"
    assert without_data(gather(words=["net=resnet"])) == {"task": "classification"}


def test_recipes_are_read_from_files_and_run_folders(tmp_path):
    (tmp_path / "recipe.yaml").write_text(dump_yaml(Recipe(seed=4)))
    assert read_recipe(tmp_path) == read_recipe(tmp_path / "recipe.yaml") == Recipe(seed=4)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "absent")


def test_every_technique_has_a_complete_card():
    found = cards()
    assert len(found) == sum(len(members) for members in slots().values())
    assert len({(entry["slot"], entry["name"]) for entry in found}) == len(found)
    for entry in found:
        for part in ("summary", "definition", "default_and_why", "cost", "fails_when", "source"):
            assert entry[part], (entry["slot"], entry["name"], part)
        assert all(field["allowed"] and field["description"] for field in entry["fields"])


def test_a_card_tells_defaults_and_bounds():
    slot, member = find("norm.group")
    assert member is not None
    (field,) = (field for field in card(slot, member)["fields"] if field["name"] == "num_groups")
    assert field["default"] == 8
    assert field["allowed"] == "a whole number from 1"


@pytest.mark.parametrize(
    ("what", "hint"),
    [("norms", "norm"), ("norm.grup", "group"), ("unet", "net.unet"), ("zebra", ""), ("norm.", ""), ("", "")],
)
def test_unknown_names_are_faults_with_a_near_name(what, hint):
    with pytest.raises(RecipeError, match=r"there is no such slot|has no such member") as caught:
        find(what)
    assert hint in caught.value.faults[0].remedy
    assert caught.value.faults[0].allowed
