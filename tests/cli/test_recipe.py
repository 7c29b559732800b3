"""`provenet recipe`."""

import json

import pytest
from typer.testing import CliRunner

from provenet.cli.recipe import recipe_app
from provenet.core.errors import RecipeError
from provenet.recipe.load import from_text, load


def call(*arguments):
    result = CliRunner().invoke(recipe_app, [str(argument) for argument in arguments])
    if isinstance(result.exception, RecipeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_show_prints_a_recipe_that_can_be_read_back(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("norm: group\nseed: 3\n")
    recipe = load(from_text(call("show", "--recipe", file, "seed=4", "net=unet"), "x"))
    assert (recipe.norm.name, recipe.seed, recipe.net.name, recipe.task) == ("group", 4, "unet", "segmentation")


def test_check_says_ok_or_everything_that_is_wrong(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("norm: group\n")
    assert call("check", file) == "ok\n"
    file.write_text("norm: grup\nsead: 3\n")
    with pytest.raises(RecipeError) as caught:
        call("check", file)
    assert caught.value.exit_code == 2
    assert [fault.where for fault in caught.value.faults] == [f"{file}:1", f"{file}:2"]


def test_diff_prints_what_differs(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    (tmp_path / "b.yaml").write_text("clip: 2\n")
    assert call("diff", tmp_path / "a.yaml", tmp_path / "b.yaml") == "clip: none -> 2.0\nseed: 1 -> 0\n"
    assert call("diff", tmp_path / "a.yaml", tmp_path / "a.yaml") == "no difference\n"


def test_schema_is_json_and_describes_every_field():
    properties = json.loads(call("schema"))["properties"]
    assert all(field.get("description") for field in properties.values())
