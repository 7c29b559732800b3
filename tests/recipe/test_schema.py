"""The recipe's fields: bounds, descriptions, identity, and the way to YAML and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet import techniques
from provenet.core.errors import RecipeError
from provenet.core.spec import members
from provenet.data.options import DataOptions
from provenet.recipe.form import forms, properties
from provenet.recipe.load import from_text, gather, load
from provenet.recipe.nets_spec import FCN, Net, Plain, ResNet, Timm, UNet
from provenet.recipe.schema import Recipe, dump_yaml
from provenet.recipe.text import read
from provenet.recipe.words import parse_words

TINY = 1e-9


def records():
    """Yield every record of the recipe with the prefix of its fields' paths and the words that select it."""
    yield "", Recipe, ()
    for name, form in forms(Recipe).items():
        if form.block is not None:
            yield f"{name}.", form.block, ()
        for tag, member in form.members.items():
            if form.kind == "slots":
                yield f"{name}.{tag}.", member, ()
            else:
                needed = [f"{name}.{key}=x" for key, field in member.model_fields.items() if field.is_required()]
                yield f"{name}.", member, (f"{name}.name={tag}", *needed)


def edges():
    """Yield words, path, a value just inside the bounds and one just outside, for every bound of every field."""
    for prefix, record, words in records():
        for key, schema in properties(record).items():
            for part in (schema, *schema.get("anyOf", ())):
                whole = part.get("type") == "integer"
                for bound, sign, open_ in [
                    ("minimum", 1, False),
                    ("exclusiveMinimum", 1, True),
                    ("maximum", -1, False),
                    ("exclusiveMaximum", -1, True),
                ]:
                    if bound in part:
                        step = 1 if whole else max(TINY, abs(part[bound]) * TINY)
                        edge = part[bound]
                        inside, outside = (edge + sign * step, edge) if open_ else (edge, edge - sign * step)
                        yield pytest.param(
                            words, prefix + key, inside, outside, id=f"{prefix}{key}-{record.__name__}-{bound}"
                        )


def complaints(words, path, value):
    """Return the faults about one path."""
    try:
        gather(words=[*words, f"{path}={value!r}"])
    except RecipeError as error:
        return [fault for fault in error.faults if fault.what.startswith(f"{path} ")]
    return []


BOUNDED = list(edges())


def test_there_are_bounds_to_test():
    assert len(BOUNDED) > 100


@pytest.mark.parametrize(("words", "path", "inside", "outside"), BOUNDED)
def test_the_edge_is_in_and_what_lies_beyond_is_out(words, path, inside, outside):
    assert complaints(words, path, inside) == []
    (fault,) = complaints(words, path, outside)
    assert "a number" in fault.allowed or "a whole number" in fault.allowed


def test_every_field_is_described_and_has_a_default_or_is_needed():
    for prefix, record, _ in records():
        for key, field in record.model_fields.items():
            assert key == "name" or field.description, prefix + key


def test_every_slot_of_techniques_is_in_the_recipe_with_the_same_members():
    for slot, union in techniques.SLOTS.items():
        assert tuple(forms(Recipe)[slot].members.values()) == members(union)


@pytest.mark.parametrize("slot", [name for name, form in forms(Recipe).items() if form.kind == "slot"])
def test_every_member_goes_to_yaml_and_back(slot):
    for member in forms(Recipe)[slot].members.values():
        needed = {key: "x" for key, field in member.model_fields.items() if field.is_required()}
        recipe = Recipe.model_validate({slot: member(**needed)})
        assert Recipe.model_validate(read(dump_yaml(recipe), "x").value) == recipe


def test_all_augmentations_go_to_yaml_and_back():
    every = tuple(member() for member in forms(Recipe)["augment"].members.values())
    recipe = Recipe(augment=every)
    assert load(from_text(dump_yaml(recipe), "x")) == recipe


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("net=unet", "task=segmentation", "view.resize=window", "skip=add", "minutes=12", "average.decay=0.99"),
        ("net=timm:resnet18", "pretrained=true", "transfer=fine_tune", "augment=flip,mixup"),
        ("net=convnet", "steps=100", "schedule=linear", "clip=1"),
    ],
)
def test_a_resolved_recipe_loads_as_itself_whatever_is_chosen_automatically(words):
    recipe = load(parse_words(words))
    again = load(
        from_text(dump_yaml(recipe), "x"), {"seed": 9, "batch_size": 1, "norm": {"name": "group"}, "augment": ["blur"]}
    )
    assert again == recipe
    assert again.identity() == recipe.identity()


texts = st.text(min_size=1, max_size=8)


@given(st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=3), texts)
def test_any_text_survives_yaml(classes, void, pretrained):
    recipe = Recipe(data=DataOptions(classes=classes, void=tuple(void)), pretrained=pretrained)
    assert Recipe.model_validate(read(dump_yaml(recipe), "x").value) == recipe


def test_the_identity_is_that_of_the_values():
    assert Recipe().identity() == Recipe(seed=0, batch_size=128, net=ResNet(depth=18)).identity()
    changed = [Recipe(seed=1), Recipe(device="cuda"), Recipe(minutes=30), Recipe(net=ResNet(depth=34))]
    assert len({recipe.identity() for recipe in [Recipe(), *changed]}) == 5


def test_yaml_keeps_the_order_of_the_schema():
    assert list(read(dump_yaml(Recipe()), "x").value) == list(Recipe.model_fields)


def test_a_budget_given_in_python_takes_the_place_of_the_default():
    assert (Recipe(steps=5).epochs, Recipe().epochs) == (None, 30)


@pytest.mark.parametrize("depth", [18, 20, 32, 34, 44, 50, 56, 110])
def test_published_depths_are_accepted(depth):
    assert ResNet(depth=depth).depth == depth


@pytest.mark.parametrize(("encoder", "good"), [(None, True), ("timm:x", True), ("timm:", False), ("resnet18", False)])
def test_encoders_are_own_or_of_timm(encoder, good):
    if good:
        assert UNet(encoder=encoder).encoder == FCN(encoder=encoder).encoder == encoder
    else:
        with pytest.raises(ValueError, match="timm:NAME"):
            UNet(encoder=encoder)


def test_every_net_says_its_task_and_slots():
    for member in members(Net):
        assert member.task in ("classification", "segmentation")
        assert set(member.slots) <= set(techniques.SLOTS)
    assert UNet().used() == UNet(encoder="timm:x").used()
    assert FCN(encoder="timm:x").used() == ("init", "dropout")
    assert Timm(model="x").used() == ()
    assert "block" in Plain().used()
