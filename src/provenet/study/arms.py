"""Which techniques a recipe has, and the arms that a study makes of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from provenet.core.errors import Fault, ProvenetError, RecipeError, near
from provenet.recipe.conflicts import NET_SLOTS
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words, words_of
from provenet.records.study import Arm, Mode

BASELINE = "baseline"
MOST_IN_A_GRID = 5
"""Techniques of a grid: 2 to the power of this many arms."""


@dataclass(frozen=True)
class Part:
    """A technique that a recipe can have or go without.

    Args:
        name: how it is asked for, as in `--arms norm,augment`.
        held: what a recipe has of it, as in "norm.batch"; empty for a recipe without it.
        out: the overrides that take it out of a recipe, as words.
        put: the overrides that put it into a recipe without it.
        usual: whether a study looks at it unasked.
    """

    name: str
    held: Callable[[Recipe], str]
    out: Callable[[Recipe], str]
    put: str = ""
    usual: bool = True


def _slot(slot: str, none: str) -> Callable[[Recipe], str]:
    """Return what tells the member that fills a slot of the net, unless it is the one that stands for nothing."""

    def held(recipe: Recipe) -> str:
        name = getattr(recipe, slot).name
        return "" if name == none or slot not in recipe.net.used() else f"{slot}.{name}"

    return held


def _member(slot: str, none: str) -> Callable[[Recipe], str]:
    def held(recipe: Recipe) -> str:
        name = getattr(recipe, slot).name
        return "" if name == none else f"{slot}.{name}"

    return held


def _words(words: str) -> Callable[[Recipe], str]:
    return lambda recipe: words


def _augment(recipe: Recipe) -> str:
    names = ", ".join(member.name for member in recipe.augment)
    return f"augment ({names})" if names else ""


def _inputs(recipe: Recipe) -> str:
    return "" if recipe.inputs.name == "raw" else f"inputs.{recipe.inputs.name}"


def _plainer_inputs(recipe: Recipe) -> str:
    return "inputs=raw" if recipe.inputs.name == "scale01" else "inputs=scale01"


def _transfer(recipe: Recipe) -> str:
    name = recipe.transfer.name
    return "" if recipe.pretrained is False else ("pretrained weights" if name == "none" else f"transfer.{name}")


def _constant(recipe: Recipe) -> str:
    return f"schedule=constant schedule.warmup_frac={recipe.schedule.warmup_frac:g}"


def _smoothing(recipe: Recipe) -> str:
    share = getattr(recipe.loss, "label_smoothing", 0)
    return f"label smoothing {share:g}" if share else ""


def _decay(recipe: Recipe) -> str:
    share = getattr(recipe.optimizer, "weight_decay", 0)
    return f"weight decay {share:g}" if share else ""


def _fcn(recipe: Recipe) -> str:
    levels, width = getattr(recipe.net, "levels", 4), getattr(recipe.net, "width", 32)
    return f"net=fcn net.levels={levels} net.width={width}"


PARTS: tuple[Part, ...] = (
    Part("transfer", _transfer, _words("pretrained=false transfer=none")),
    Part("inputs", _inputs, _plainer_inputs, "inputs=standardize"),
    Part("norm", _slot("norm", "none"), _words("norm=none"), "norm=batch"),
    Part("block", _slot("block", "plain"), _words("block=plain"), "block=residual"),
    Part("skip", _slot("skip", "none"), _words("skip=none"), "skip=concat"),
    Part("augment", _augment, _words("augment=none"), "augment=flip,shift"),
    Part("dropout", _member("dropout", "none"), _words("dropout=none"), "dropout=dropout"),
    Part("schedule", _member("schedule", "constant"), _constant, "schedule=cosine"),
    Part("average", _member("average", "none"), _words("average=none"), "average=ema"),
    Part("smoothing", _smoothing, _words("loss.label_smoothing=0"), "loss.label_smoothing=0.1"),
    Part(
        "warmup",
        lambda recipe: f"warm-up {recipe.schedule.warmup_frac:g}" if recipe.schedule.warmup_frac else "",
        _words("schedule.warmup_frac=0"),
        "schedule.warmup_frac=0.05",
        usual=False,
    ),
    Part("decay", _decay, _words("optimizer.weight_decay=0"), "optimizer.weight_decay=5e-4", usual=False),
    Part(
        "clip",
        lambda recipe: "" if recipe.clip is None else f"clip {recipe.clip:g}",
        _words("clip=none"),
        "clip=1",
        usual=False,
    ),
    Part("init", _slot("init", "normal"), _words("init=normal"), "init=he", usual=False),
    Part("upsample", _slot("upsample", "nearest"), _words("upsample=nearest"), "upsample=bilinear", usual=False),
    Part("net", lambda recipe: "net.unet" if recipe.net.name == "unet" else "", _fcn, "net=unet", usual=False),
)
"""Every technique that `--arms` knows, in the order in which a study tells of them.

Without input normalisation means pixel values from 0 to 1, which is how images come from most libraries; the raw
0..255 is an arm of its own, `--arm "raw: inputs=raw"`.
"""


def usual_parts(recipe: Recipe) -> tuple[Part, ...]:
    """Return the techniques that a recipe has and that a study looks at unasked."""
    return tuple(part for part in PARTS if part.usual and part.held(recipe))


def find_parts(names: Sequence[str], recipe: Recipe) -> tuple[Part, ...]:
    """Return the techniques of these names; `augment.flip` is one augmentation of several.

    Raises:
        RecipeError: there is no such technique, or it is named twice; all faults at once.
    """
    known = {part.name: part for part in (*PARTS, *_augmentations(recipe))}
    allowed = ", ".join(known)
    faults = [
        Fault("--arms names no technique", name, allowed, near(name, list(known)))
        for name in names
        if name not in known
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += [Fault("--arms names a technique twice", name, "each once") for name in twice]
    if faults:
        raise RecipeError(faults)
    return tuple(known[name] for name in names)


def _augmentations(recipe: Recipe) -> tuple[Part, ...]:
    """Return each augmentation of a recipe as a part."""
    return tuple(
        Part(f"augment.{member.name}", _words(f"augment.{member.name}"), _words(f"augment.{member.name}=none"))
        for member in recipe.augment
    )


def make_arms(recipe: Recipe, parts: Sequence[Part], mode: Mode) -> tuple[Arm, ...]:
    """Return the baseline and one arm for each technique, or for each combination of them.

    Args:
        recipe: the recipe with everything in it.
        parts: the techniques that are looked at.
        mode: "leave-one-out": the recipe, and without each; what it lacks is put in instead. "add-one-in": the recipe
            without all of them, and with each. "grid": all combinations, the whole recipe being the baseline.

    Raises:
        RecipeError: an arm is no recipe; a grid has too many techniques.
    """
    if mode == "grid":
        return _grid(recipe, parts)
    if mode == "add-one-in":
        full = _with_all(recipe, parts)
        return (_baseline(_without(full, parts)), *(_one_in(full, part, parts) for part in parts))
    return (_baseline(recipe), *(_one_out(recipe, part) for part in parts))


def _baseline(recipe: Recipe) -> Arm:
    return Arm(name=BASELINE, technique="", recipe=_dumped(recipe))


def _one_in(full: Recipe, part: Part, parts: Sequence[Part]) -> Arm:
    """Return the arm with one technique of several."""
    bare, changed = _without(full, parts), _without(full, [other for other in parts if other != part])
    name, says = f"with-{part.name}", words_between(bare, changed)
    return Arm(name=name, technique=part.held(full), says=says, recipe=_dumped(changed))


def words_between(first: Recipe, second: Recipe) -> str:
    """Return the overrides that make the second recipe of the first, as words for a shell.

    Example:
        >>> words_between(Recipe(), Recipe(seed=1, norm={"name": "none"}))
        'norm.name=none seed=1'
    """
    before, after = _dumped(first), _dumped(second)
    tree: dict[str, Any] = {}
    for slot in after:
        if before[slot] != after[slot]:
            same = isinstance(after[slot], dict) and before[slot].get("name") == after[slot].get("name")
            kept = before[slot] if same else {}
            tree[slot] = _changes(kept, after[slot]) if isinstance(after[slot], dict) else after[slot]
    return shlex.join(words_of(tree))


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in after.items() if key not in before or before[key] != value}


def _one_out(recipe: Recipe, part: Part) -> Arm:
    """Return the arm without a technique, or with it where the recipe has none."""
    if held := part.held(recipe):
        words = part.out(recipe)
        changed = changed_by(recipe, words, part.name)
        return Arm(name=f"no-{part.name}", technique=held, without=True, says=words, recipe=_dumped(changed))
    changed = changed_by(recipe, part.put, part.name)
    return Arm(name=f"with-{part.name}", technique=part.held(changed), says=part.put, recipe=_dumped(changed))


def _dumped(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as a tree; slots that the net has no place for are as if nobody had said a word of them."""
    usual = Recipe().model_dump(mode="json")
    idle = [slot for slot in NET_SLOTS if slot not in recipe.net.used()]
    return recipe.model_dump(mode="json") | {slot: usual[slot] for slot in idle}


def _without(recipe: Recipe, parts: Sequence[Part]) -> Recipe:
    """Return a recipe without techniques."""
    for part in parts:
        if part.held(recipe):
            recipe = changed_by(recipe, part.out(recipe), part.name)
    return recipe


def _with_all(recipe: Recipe, parts: Sequence[Part]) -> Recipe:
    """Return a recipe with techniques put in that it lacks."""
    for part in parts:
        if not part.held(recipe):
            recipe = changed_by(recipe, part.put, part.name)
    return recipe


def _grid(recipe: Recipe, parts: Sequence[Part]) -> tuple[Arm, ...]:
    if len(parts) > MOST_IN_A_GRID:
        got = f"{len(parts)} techniques, {2 ** len(parts)} arms"
        remedy = "name fewer with --arms, or take --mode leave-one-out"
        raise RecipeError(Fault("the grid is too large", got, f"at most {MOST_IN_A_GRID} techniques", remedy))
    full = _with_all(recipe, parts)
    arms = [_baseline(full)]
    for count in range(1, len(parts) + 1):
        for lacking in combinations(parts, count):
            names = tuple(part.name for part in lacking)
            technique = " and ".join(part.held(full) for part in lacking)
            says = " ".join(part.out(full) for part in lacking)
            recipe_ = _dumped(_without(full, lacking))
            arm = Arm(
                name="no-" + "-no-".join(names),
                technique=technique,
                without=True,
                says=says,
                lacks=names,
                recipe=recipe_,
            )
            arms.append(arm)
    return tuple(arms)


def own_arm(recipe: Recipe, text: str) -> Arm:
    """Return an arm that a user wrote: "no-bn: norm.name=none".

    Raises:
        RecipeError: it has no name, or changes nothing, or is no recipe.
    """
    name, colon, words = (part.strip() for part in text.partition(":"))
    if not colon or not name or not words or "=" in name:
        form = 'a name, a colon and overrides, as in "no-bn: norm.name=none"'
        raise RecipeError(Fault("--arm cannot be read", text, form, "put the whole arm in quotes"))
    changed = changed_by(recipe, words, name)
    if changed == recipe:
        raise RecipeError(Fault(f"arm {name} changes nothing", words, "overrides that differ from the baseline"))
    return Arm(name=name, technique=words, says=words, recipe=_dumped(changed))


def changed_by(recipe: Recipe, words: str, arm: str) -> Recipe:
    """Return a recipe with an arm's overrides laid over it.

    Raises:
        RecipeError: they do not make a recipe; every fault names the arm.
    """
    try:
        return load(parse_words(shlex.split(words)), recipe.model_dump(mode="json"))
    except ProvenetError as error:
        raise RecipeError(
            [Fault(f"arm {arm}: {f.what}", f.got, f.allowed, f.remedy, f.where) for f in error.faults]
        ) from None


def check_arms(arms: Sequence[Arm]) -> None:
    """Refuse arms that share a name or a recipe.

    Raises:
        RecipeError: all faults at once.
    """
    faults: list[Fault] = []
    names = [arm.name for arm in arms]
    faults += [
        Fault("two arms have one name", name, "a name of its own for each arm")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    for first, second in combinations(arms, 2):
        if first.recipe == second.recipe:
            remedy = "leave one of them out; for the same recipe with other seeds say seed=100"
            faults.append(Fault(f"arms {first.name} and {second.name} are the same recipe", second.says, "", remedy))
    if len(arms) < 2:
        remedy = 'name some: --arms norm,augment, or --arm "sgd: optimizer.name=sgd"'
        faults.append(Fault("there is nothing to compare the baseline with", "no arm", "at least one arm", remedy))
    if faults:
        raise RecipeError(faults)
