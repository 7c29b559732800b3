"""Choices that are fine alone and cannot stand together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from provenet.core.errors import Fault, listed
from provenet.core.spec import members, name_of
from provenet.recipe.nets_spec import FCN, Net, Plain, ResNet, Timm, UNet
from provenet.recipe.schema import Recipe
from provenet.recipe.tree import BUDGETS

NET_SLOTS = ("init", "norm", "activation", "block", "dropout", "skip", "upsample")
"""Slots that a net has a place for, or has not."""

Clash = tuple[tuple[str, ...], Fault]
"""The paths of the values that do not go together, the one to change first, and what is wrong."""


def conflicts(recipe: Recipe) -> list[Fault]:
    """Return everything in a recipe that does not go together."""
    return [fault for _, fault in clashes(recipe)]


def clashes(recipe: Recipe) -> Iterator[Clash]:
    """Yield everything in a recipe that does not go together, with the paths of the values."""
    yield from _budget(recipe)
    yield from _net(recipe)
    if recipe.net.task == recipe.task:
        yield from _classification(recipe) if recipe.task == "classification" else _segmentation(recipe)
    yield from _weights(recipe)
    yield from _training(recipe)


def _budget(recipe: Recipe) -> Iterator[Clash]:
    given = {name: getattr(recipe, name) for name in BUDGETS if getattr(recipe, name) is not None}
    if len(given) != 1:
        got = " ".join(f"{name}={value}" for name, value in given.items()) or "none"
        yield (
            tuple(given) or BUDGETS,
            Fault("a run has exactly one budget", got, "epochs, steps or minutes", "keep one of them"),
        )


def _net(recipe: Recipe) -> Iterator[Clash]:
    if recipe.net.task != recipe.task:
        names = [name_of(member) for member in members(Net) if getattr(member, "task", None) == recipe.task]
        what = f"net {recipe.net.name} is for {recipe.net.task}, the task is {recipe.task}"
        yield (
            ("net.name", "task"),
            Fault(what, f"net.name={recipe.net.name}", ", ".join(names), "choose one of these nets"),
        )
    block = recipe.block.name
    if isinstance(recipe.net, Plain) and recipe.net.depth == 50:
        yield (
            ("net.depth",),
            Fault("depth 50 is made of bottlenecks, and net plain has none", "50", "", "take depth 44 or 56"),
        )
    elif isinstance(recipe.net, Plain) and block != "plain":
        yield (
            ("block.name", "net"),
            Fault("net plain is made of plain blocks", f"block={block}", "", "take net=resnet for others"),
        )
    if isinstance(recipe.net, ResNet) and recipe.net.depth == 50 and block != "bottleneck":
        yield (
            ("block.name", "net"),
            Fault("depth 50 is made of bottlenecks", f"block={block}", "", "take block=bottleneck"),
        )
    if recipe.dropout.name == "stochastic_depth" and ("block" not in recipe.net.used() or block == "plain"):
        what = "stochastic depth drops residual branches, and this net has no shortcuts that would be left"
        yield (
            ("dropout.name", "net", "block"),
            Fault(what, f"net={recipe.net.name} block={block}", "", "take net=resnet or another dropout"),
        )


def _classification(recipe: Recipe) -> Iterator[Clash]:
    if recipe.view.resize == "window":
        what = "windows show a part of a picture, which need not hold what its class names"
        yield ("view.resize",), Fault(what, "view.resize=window", "squash, letterbox, crop", "take view.resize=squash")
    if recipe.loss.name in ("dice", "ce_dice"):
        what = "this loss compares areas, and a classified image has none"
        yield (
            ("loss.name",),
            Fault(what, f"loss.name={recipe.loss.name}", "cross_entropy, focal", "take loss=cross_entropy"),
        )


def _segmentation(recipe: Recipe) -> Iterator[Clash]:
    for name in (member.name for member in recipe.augment if member.name in ("mixup", "cutmix")):
        what = f"{name} mixes the classes of whole images, and segmentation has a class for each pixel"
        yield (f"augment.{name}",), Fault(what, f"augment.{name}", "", f"take it out: augment.{name}=none")
    if recipe.imbalance == "sampler":
        what = "the sampler draws images by their class, and segmentation has a class for each pixel"
        yield ("imbalance",), Fault(what, "imbalance=sampler", "none, weights", "take imbalance=weights")


def _weights(recipe: Recipe) -> Iterator[Clash]:
    encoder = recipe.net.encoder if isinstance(recipe.net, FCN | UNet) else None
    if recipe.pretrained is True and not isinstance(recipe.net, Timm) and encoder is None:
        own = "net.encoder=timm:NAME" if recipe.task == "segmentation" else "net=timm:NAME"
        what = f"nobody has published weights for net {recipe.net.name}"
        yield ("pretrained",), Fault(what, "pretrained=true", "", f"take {own}, or pretrained=PATH of a run")
    if recipe.transfer.name != "none" and recipe.pretrained is False:
        what = "there is nothing to transfer: the net begins with random weights"
        got = f"transfer.name={recipe.transfer.name} pretrained=false"
        yield ("transfer.name",), Fault(what, got, "", "set pretrained=true or pretrained=PATH, or transfer=none")


def _training(recipe: Recipe) -> Iterator[Clash]:
    if recipe.schedule.name == "plateau" and recipe.patience is not None:
        waits = recipe.schedule.patience
        if recipe.patience <= waits:
            what = "the run would stop before the learning rate drops for the first time"
            got = f"patience={recipe.patience} schedule.patience={waits}"
            yield ("patience", "schedule.patience"), Fault(what, got, f"patience above {waits}", "raise patience")


def idle(recipe: Recipe, sets: Callable[[str], bool]) -> Iterator[Clash]:
    """Yield every technique that was asked for and that the net has no place for.

    Args:
        recipe: the recipe.
        sets: whether the user set a path or anything below it.
    """
    for slot in NET_SLOTS:
        asked = sets(slot) and getattr(recipe, slot) != getattr(Recipe(), slot)
        if asked and slot not in recipe.net.used():
            got = f"{slot}={getattr(recipe, slot).name} net={recipe.net.name}"
            what = f"net {recipe.net.name} has no place for slot {slot}, so this would change nothing"
            remedy = f"leave {slot} out, or take another net"
            yield (slot,), Fault(what, got, listed(recipe.net.used()) or "none of these slots", remedy)
