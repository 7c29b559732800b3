"""Automatic choices: from what the data and the machine are to recipe values, each with its reason.

A choice is only made for a key that the user left open; what the user said is known here, so that the other choices
fit to it. Every rule is a short function that yields `Choice`s; later rules see what earlier ones chose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Task = Literal["classification", "segmentation"]
MOST_VALIDATION = 5000
SMALL_SIDE = 64
FEW_IMAGES = 20_000


@dataclass(frozen=True)
class Donor:
    """A run that weights are taken from.

    Args:
        task: what it learnt.
        net: its net block.
        side: longer side of its view, pixels.
        mean: what its inputs were centred at, on the scale 0..1, one number a channel.
        std: what they were divided by.
    """

    task: Task
    net: Mapping[str, Any]
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Facts:
    """What the choices rest on.

    Args:
        task: found from the layout.
        num_train: training images.
        num_classes: classes.
        side: median of the pictures' shorter sides, pixels.
        long_side: median of the longer sides, pixels.
        same_size: whether all pictures have one size.
        grey: whether all pictures are grey.
        device: "cpu" or "cuda".
        fast_bf16: whether the device multiplies bfloat16 in hardware.
        num_undivided: images that a validation split would be drawn from; 0 where the layout gives one.
        donor: the run that `pretrained=` names; None when it names none.
    """

    task: Task
    num_train: int
    num_classes: int
    side: int
    long_side: int
    same_size: bool
    grey: bool
    device: str
    fast_bf16: bool
    num_undivided: int = 0
    donor: Donor | None = None


@dataclass(frozen=True)
class Choice:
    """One automatic choice: the recipe path, its value and the reason in one clause."""

    key: str
    value: Any
    reason: str


class Draft:
    """The choices so far on top of what the user said.

    Args:
        said: the user's own values by dotted path, from all sources.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = dict(said)
        self.choices: dict[str, Choice] = {}

    def open(self, key: str) -> bool:
        """Return whether the user left a key open: it was not said, nor the block that holds it.

        A list of augmentations stays open when only a member of it was said: the two are merged by name.
        """
        inner = () if key == "augment" else tuple(path for path in self._said if path.startswith(key + "."))
        return not inner and not any(path == key or key.startswith(path + ".") for path in self._said)

    def get(self, key: str) -> Any:
        """Return what holds for a key so far, None when nothing was said or chosen."""
        if key in self._said:
            return self._said[key]
        return self.choices[key].value if key in self.choices else None

    def take(self, choice: Choice) -> None:
        """Take a choice on, unless the user said something about it."""
        if self.open(choice.key):
            self.choices[choice.key] = choice

    def fields(self, slot: str) -> set[str]:
        """Return the fields of a slot that the user set, its name apart."""
        return {path.removeprefix(slot + ".") for path in self._said if path.startswith(slot + ".")} - {"name"}

    def name(self, slot: str) -> str | None:
        """Return the member that fills a slot so far, whether it was said as `slot` or `slot.name`."""
        value = self.get(f"{slot}.name") or self.get(slot)
        return str(value["name"] if isinstance(value, Mapping) else value) if value else None


def choose(facts: Facts, said: Mapping[str, Any]) -> list[Choice]:
    """Return the automatic choices for a data set on a machine.

    Args:
        facts: what is known.
        said: the user's own values by dotted path.

    Example:
        >>> facts = Facts("segmentation", 500, 2, 256, 320, False, False, "cpu", False)
        >>> next(choice.value for choice in choose(facts, {}) if choice.key == "net.name")
        'unet'
    """
    draft = Draft(said)
    rules = (
        (_machine, _transfer, _classification, _common)
        if facts.task == "classification"
        else (_machine, _transfer, _segmentation, _common)
    )
    for rule in rules:
        for choice in rule(facts, draft):
            draft.take(choice)
    return list(draft.choices.values())


def _machine(facts: Facts, draft: Draft) -> Iterator[Choice]:
    yield Choice("task", facts.task, "found from the layout")
    yield Choice("device", facts.device, "the best that torch finds on this machine")
    if facts.fast_bf16:
        yield Choice("precision", "bf16", "this machine multiplies bfloat16 in hardware, about twice as fast")
    else:
        yield Choice("precision", "fp32", "this machine has no hardware for bfloat16")


def _transfer(facts: Facts, draft: Draft) -> Iterator[Choice]:
    """Yield what goes with given weights: the net and the input statistics they were made for, and the tuning."""
    if not draft.get("pretrained"):
        return
    if facts.donor is not None:
        if facts.donor.task == facts.task:
            yield Choice("net", dict(facts.donor.net), "the net of the run that the weights come from")
        inputs = {"name": "pretrained", "mean": list(facts.donor.mean), "std": list(facts.donor.std)}
        yield Choice("inputs", inputs, "the statistics that the weights were made for")
    elif draft.get("pretrained") is True:
        yield Choice("inputs.name", "pretrained", "the statistics that the weights were made for")
    yield Choice("transfer.name", "fine_tune", "the head first, then all of it, gently towards the input")


# --- classification ---------------------------------------------------------------------------------------------


def _classification(facts: Facts, draft: Draft) -> Iterator[Choice]:
    yield from _classification_view(facts, draft)
    if draft.name("net") is None:
        yield _classifier(draft)
    yield from (_convnet_recipe if draft.name("net") == "convnet" else _resnet_recipe)(facts, draft)
    yield from _classification_augment(facts, draft)


def _classifier(draft: Draft) -> Choice:
    """Return the net: the one that has the fields which the user set, else the one that fits the pictures."""
    fields = draft.fields("net")
    if fields:
        name = "convnet" if fields & {"widths", "convs_per_group"} else "resnet"
        return Choice("net.name", name, "the net that has the fields you set")
    if max(draft.get("view.size")) <= SMALL_SIDE:
        return Choice("net.name", "convnet", f"views of at most {SMALL_SIDE} pixels: the strongest net per second")
    return Choice("net.name", "resnet", f"views above {SMALL_SIDE} pixels")


def _classification_view(facts: Facts, draft: Draft) -> Iterator[Choice]:
    if facts.donor is not None and facts.side > facts.donor.side:
        side = min(2 * facts.donor.side, 32 * max(1, facts.side // 32))
        reason = f"at most twice the {facts.donor.side} pixels that the weights were trained at"
    elif facts.side <= SMALL_SIDE:
        side = max(8, facts.side if facts.same_size else 8 * round(facts.side / 8))
        whole = "the size" if facts.side == facts.long_side else "the shorter side"
        reason = f"{whole} of all pictures" if facts.same_size else "the median size, to a multiple of 8"
    else:
        most, why = _largest_view(facts, draft)
        side = min(most, 32 * max(2, facts.side // 32))
        reason = f"the largest multiple of 32 within the median picture, at most {most}: {why}"
    yield Choice("view.size", (side, side), reason)
    if not facts.same_size:
        stretched = facts.long_side / max(facts.side, 1)
        if stretched <= 2:
            yield Choice("view.resize", "squash", "keeps the whole picture; the pictures are not very long")
        else:
            yield Choice("view.resize", "letterbox", f"the median picture is {stretched:.1f} times as long as wide")
    size = draft.get("view.size") or (side, side)
    most = math.ceil(1.3 * max(size) * facts.long_side / max(facts.side, 1))
    if not (facts.same_size and facts.long_side <= most):
        yield Choice("data.max_side", most, "leaves room for crops at the view's size")


def _largest_view(facts: Facts, draft: Draft) -> tuple[int, str]:
    """Return the longest side of a view, and why: few images teach a small net on small views more than a deep one."""
    if facts.device != "cpu":
        return 224, "a GPU has room for it"
    other_net = draft.name("net") not in (None, "convnet") or "depth" in draft.fields("net")
    if facts.num_train < FEW_IMAGES and not other_net:
        return SMALL_SIDE, f"fewer than {FEW_IMAGES:,} images, to be seen many times on a CPU"
    return 128, "what a CPU can bear"


def _convnet_recipe(facts: Facts, draft: Draft) -> Iterator[Choice]:
    yield Choice("batch_size", _batch_size(facts.num_train, 512), "as many as keep the number of updates up")
    if draft.name("loss") in (None, "cross_entropy"):
        yield Choice("loss.label_smoothing", 0.1, "half of what was published with this net: surer of what it knows")
    yield Choice("schedule.name", "linear", "as published with this net")
    if draft.name("schedule") == "linear":
        yield Choice("schedule.warmup_frac", 0.23, "as published with this net")
    yield Choice("optimizer.name", "sgd", "as published with this net")
    if draft.name("optimizer") == "sgd":
        lr = round(0.75 * draft.get("batch_size") / 512, 4)
        yield Choice("optimizer.momentum", 0.85, "as published with this net")
        yield Choice("optimizer.lr", lr, "0.75 at 512 images a batch, in proportion")
        yield Choice("optimizer.weight_decay", 1.3e-3, "as published with this net")


def _resnet_recipe(facts: Facts, draft: Draft) -> Iterator[Choice]:
    yield Choice("batch_size", _batch_size(facts.num_train, 128), "as many as keep the number of updates up")
    if draft.name("loss") in (None, "cross_entropy"):
        yield Choice("loss.label_smoothing", 0.1, "usual")
    yield Choice("optimizer.name", "sgd", "the strongest for residual nets from scratch")
    if draft.name("optimizer") == "sgd":
        lr = round(0.1 * draft.get("batch_size") / 128, 4)
        yield Choice("optimizer.lr", lr, "0.1 at 128 images a batch, in proportion")
        yield Choice("optimizer.weight_decay", 5e-4, "usual for data sets of this size")


def _batch_size(num_train: int, most: int) -> int:
    """Return a power of two that gives at least about 20 updates an epoch, between 16 and `most`."""
    wanted = max(num_train // 20, 1)
    return int(min(most, max(16, 2 ** math.floor(math.log2(wanted)))))


def _classification_augment(facts: Facts, draft: Draft) -> Iterator[Choice]:
    size = draft.get("view.size")
    members: list[dict[str, Any]] = []
    if facts.grey:
        flips = "grey pictures are often signs, digits or scans, whose mirror image is another thing: no flip"
    else:
        members.append({"name": "flip"})
        flips = "colour photographs keep their class when mirrored"
    if facts.side <= SMALL_SIDE:
        members.append({"name": "shift", "max_px": max(1, max(size) // 16)})
        reason = "small pictures: shifts by a sixteenth"
    else:
        members.append({"name": "crop", "min_area_frac": 0.35})
        members.append({"name": "brightness"})
        reason = "crops of at least 35 % of the picture, brightness"
    yield Choice("augment", members, f"{flips}; {reason}")


# --- segmentation -----------------------------------------------------------------------------------------------


def _segmentation(facts: Facts, draft: Draft) -> Iterator[Choice]:
    if facts.long_side > 1024:
        yield Choice("data.max_side", 1024, "the median picture is longer than 1024 pixels; scores stay at full size")
    side = min(256, 32 * max(1, math.ceil(min(facts.side, 1024) / 32)))
    yield Choice("view.size", (side, side), "windows of at most 256 pixels: more pictures a batch, more varied")
    yield Choice("view.resize", "window", "trains on windows at full resolution, evaluates whole pictures")
    yield Choice("net.name", "unet", "sharp borders need skips")
    if facts.device == "cpu" and draft.name("net") in ("unet", "fcn") and draft.get("net.encoder") is None:
        yield Choice("net.width", 16, "twice as fast on a CPU as 32, so twice the training in the same time")
    yield Choice("batch_size", 8 if facts.num_train >= 64 else 4, "windows a batch that suit batch norm")
    yield Choice("optimizer.name", "adamw", "robust for U-Nets without tuning")
    if draft.name("optimizer") == "adamw":
        yield Choice("optimizer.lr", 1e-3, "usual for AdamW from scratch")
        yield Choice("optimizer.weight_decay", 0.01, "usual for AdamW")
    members: list[dict[str, Any]] = [
        {"name": "flip", "axis": "both"},
        {"name": "rotate"},
        {"name": "scale"},
        {"name": "brightness"},
        {"name": "contrast"},
        {"name": "noise"},
    ]
    yield Choice("augment", members, "microscopy and photographs alike keep their labels under these")
    yield Choice("clip", 12.0, "keeps rare steep steps of segmentation losses in check")


# --- both -------------------------------------------------------------------------------------------------------


def _common(facts: Facts, draft: Draft) -> Iterator[Choice]:
    if facts.num_undivided * 0.15 > MOST_VALIDATION:
        share = round(MOST_VALIDATION / facts.num_undivided, 4)
        yield Choice("data.val_frac", share, f"{MOST_VALIDATION:,} images tell scores apart well enough")
    yield Choice("average.name", "ema", "averaged weights generalise better and smooth the validation curve")
    if all(draft.open(key) for key in ("epochs", "steps", "minutes")):
        epochs = _epochs(facts)
        yield Choice("epochs", epochs, f"about as long as {facts.num_train} images need")


def _epochs(facts: Facts) -> int:
    """Return a number of epochs that falls with the size of the data: many passes over few images."""
    views = 300_000 if facts.task == "classification" else 15_000
    return int(min(40, max(8, round(views / max(facts.num_train, 1)))))
