"""The values of a recipe that nobody set. Some follow the net."""

from __future__ import annotations

from provenet.recipe.form import forms
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import Tree, value_at

_FOLLOWING: dict[str, Tree] = {
    "plain": {"block": {"name": "plain"}},
    "convnet": {"activation": {"name": "gelu"}, "init": {"name": "dirac"}},
    "fcn": {"block": {"name": "plain"}, "loss": {"name": "ce_dice"}},
    "unet": {"block": {"name": "plain"}, "loss": {"name": "ce_dice"}},
}
"""What nets were published with, where it is not the default of the slot."""


def defaults(wanted: Tree) -> Tree:
    """Return the default of every slot, as it goes with the net that is wanted.

    Only what differs from a technique's own defaults is written out, so that a field may take the place of another.

    Example:
        >>> defaults({"net": {"name": "unet"}})["block"]
        {'name': 'plain'}
    """
    recipe = Recipe()
    tree: Tree = {"augment": [dict(member) for member in recipe.augment]}
    for slot, form in forms(Recipe).items():
        if form.kind == "slot":
            spec = getattr(recipe, slot)
            tree[slot] = {"name": spec.name, **spec.model_dump(mode="json", exclude_unset=True)}
    return {**tree, **following(wanted)}


def following(wanted: Tree) -> Tree:
    """Return the defaults that follow the net that is wanted."""
    name = value_at(wanted, "net.name") or "resnet"
    if name == "resnet" and value_at(wanted, "net.depth") == 50:
        return {"block": {"name": "bottleneck"}}
    return _FOLLOWING.get(name, {}) if isinstance(name, str) else {}
