"""Claim 17: the U-Net has the shape that the lecture draws, read off real nets while a picture passes through them."""

# C channels, c_i channels of level i from the top, L halvings, K classes

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from provenet import nets
from provenet.claims.claim import Claim, within
from provenet.claims.lab import Lab
from provenet.nets.unet import UNet
from provenet.records.claim import Check, Diagram, Finding, Grid
from provenet.stats.intervals import Figure
from provenet.techniques.upsample import Transposed

SIDE = 256
"""Side of the picture that passes through, pixels."""
NUM_CLASSES, IN_CHANNELS = 2, 1


@dataclass(frozen=True)
class Level:
    """What was seen at one level of a net; (channels, side) each.

    Args:
        down: the encoder's output there.
        up: the decoder's output there.
        raised: what comes from below, enlarged.
        joined: what the decoder's convolutions read.
        calls: how often a skip of this level worked.
        handed_on: whether what the skip got is the encoder's output of this level itself.
        down_parameters: parameters of the encoder's level.
        up_parameters: parameters of the decoder's level.
    """

    down: tuple[int, int]
    up: tuple[int, int]
    raised: tuple[int, int]
    joined: tuple[int, int]
    calls: int
    handed_on: bool
    down_parameters: int
    up_parameters: int


@dataclass(frozen=True)
class Shape:
    """What was seen of a net.

    Args:
        levels: from the top; all but the bottleneck.
        bottleneck: channels and side of its output.
        bottleneck_parameters: its parameters.
        parameters: of the whole net.
    """

    levels: tuple[Level, ...]
    bottleneck: tuple[int, int]
    bottleneck_parameters: int
    parameters: int

    @property
    def down(self) -> tuple[tuple[int, int], ...]:
        """Channels and side on the way down, the bottleneck last."""
        return (*(level.down for level in self.levels), self.bottleneck)

    @property
    def up(self) -> tuple[tuple[int, int], ...]:
        """Channels and side on the way up, deepest first."""
        return tuple(level.up for level in reversed(self.levels))


def built() -> dict[str, UNet]:
    """Return the nets that are looked at: as published, provenet's default, and the small one of the other claims."""
    return {
        "as published (64 to 1024)": nets.unet(
            NUM_CLASSES, IN_CHANNELS, depth=4, width=64, max_width=1024, upsample=Transposed()
        ),
        "default (32 to 512)": nets.unet(NUM_CLASSES, IN_CHANNELS),
        "small (8 to 64)": nets.unet(NUM_CLASSES, IN_CHANNELS, depth=3, width=8),
    }


def seen(net: UNet, side: int) -> Shape:
    """Return the shape of a net as hooks see it while a picture of that side passes through."""
    outputs: dict[nn.Module, Tensor] = {}
    inputs: dict[nn.Module, list[tuple[Tensor, ...]]] = {}

    def hook(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        outputs[module] = made
        inputs.setdefault(module, []).append(given)

    stages: list[Any] = list(net.encoder.stages)  # type: ignore[attr-defined]
    steps: list[Any] = list(reversed(list(net.decoder)))
    watched = [*stages, *(module for step in steps for module in (step, step.up, step.skip, step.block))]
    handles = [module.register_forward_hook(hook) for module in watched]
    with torch.inference_mode():
        net.eval()(torch.zeros(1, IN_CHANNELS, side, side))
    for handle in handles:
        handle.remove()
    levels = []
    for stage, step in zip(stages[:-1], steps, strict=True):
        calls = inputs.get(step.skip, [])
        levels.append(
            Level(
                down=_size(outputs[stage]),
                up=_size(outputs[step]),
                raised=_size(outputs[step.up]),
                joined=_size(inputs[step.block][0][0]),
                calls=len(calls),
                handed_on=all(given[1] is outputs[stage] for given in calls),
                down_parameters=nets.count_parameters(stage),
                up_parameters=nets.count_parameters(step),
            )
        )
    bottom = stages[-1]
    return Shape(tuple(levels), _size(outputs[bottom]), nets.count_parameters(bottom), nets.count_parameters(net))


def _size(features: Tensor) -> tuple[int, int]:
    """Return channels and side of square features."""
    assert features.shape[2] == features.shape[3], features.shape
    return features.shape[1], features.shape[2]


def counted(channels: list[int], taps: int) -> int:
    """Return the parameters of a U-Net with concatenation, by hand.

    Two 3 x 3 convolutions a block, each with the two numbers a channel of batch norm: a block from a to b channels has
    9 a b + 9 b^2 + 4 b. The way down has blocks C -> c_0 -> ... -> c_L; the way up, at every level, an upsampling from
    c_(i+1) to c_i with `taps` weights a pair of channels and a bias, and a block from 2 c_i to c_i; the head c_0 K + K.

    Args:
        channels: c_0 ... c_L.
        taps: 1 (interpolation behind a 1 x 1 convolution) or k^2 (transposed convolution).
    """

    def block(given: int, made: int) -> int:
        return 9 * given * made + 9 * made**2 + 4 * made

    down = sum(block(a, b) for a, b in zip([IN_CHANNELS, *channels], channels, strict=False))
    pairs = list(zip(channels[1:], channels, strict=False))
    up = sum(taps * deep * fine + fine + block(2 * fine, fine) for deep, fine in pairs)
    return down + up + channels[0] * NUM_CLASSES + NUM_CLASSES


def measure(lab: Lab) -> Finding:
    """Send a picture through the nets and compare what hooks see with what the lecture draws."""
    made = built()
    shapes = {name: seen(net, SIDE) for name, net in made.items()}
    formula = {name: counted([size for size, _ in shape.down], _taps(made[name])) for name, shape in shapes.items()}
    checks = _checks(shapes, formula)
    published = next(iter(shapes.values()))
    return Finding(
        checks=checks,
        said=_said(shapes, [check.says for check in checks if not check.outcome]),
        charts=(_diagram(published),),
        tables=(_levels(published), _totals(shapes, formula)),
    )


def _taps(net: UNet) -> int:
    """Return the weights that a pair of channels has in the upsampling."""
    deepest: Any = net.decoder[0]
    up = deepest.up[0]
    return up.kernel_size[0] ** 2 if isinstance(up, nn.ConvTranspose2d) else 1


def _checks(shapes: dict[str, Shape], formula: dict[str, int]) -> tuple[Check, ...]:
    steps = [pair for shape in shapes.values() for pair in zip(shape.down, shape.down[1:], strict=False)]
    levels = [level for shape in shapes.values() for level in shape.levels]
    return (
        _share("the side halves with every step down", [above[1] == 2 * below[1] for above, below in steps]),
        _share("the channels double with every step down", [2 * above[0] == below[0] for above, below in steps]),
        _share("the way up has the channels and sides of the way down", [level.up == level.down for level in levels]),
        _share(
            "a level has one skip, which hands on what the encoder gave at that level",
            [level.calls == 1 and level.handed_on for level in levels],
        ),
        _share(
            "the joined features are half from below and half from across",
            [level.joined[0] == 2 * level.down[0] == 2 * level.raised[0] for level in levels],
        ),
        _share(
            "a net has as many parameters as this shape has by hand",
            [shape.parameters == formula[name] for name, shape in shapes.items()],
        ),
    )


def _share(says: str, answers: list[bool]) -> Check:
    """Return the check that something is so everywhere; its figure is the share."""
    return within(says, Figure(sum(answers) / len(answers)), 1, 1, len(answers))


def _said(shapes: dict[str, Shape], failed: list[str]) -> str:
    """Return what was seen, in words."""
    shape = next(iter(shapes.values()))
    (top, side), (bottom, small) = shape.down[0], shape.bottleneck
    out = f"not so: {'; '.join(failed)}" if failed else f"all of it is so in each of the {len(shapes)} nets"
    return (
        f"With the published widths a picture of {SIDE} pixels goes down from {top} channels of side {side} to "
        f"{bottom} of side {small} and comes back to {shape.up[-1][0]} of side {shape.up[-1][1]}; {out}. Unlike the "
        "published net these pad their convolutions, so that a skip needs no cropping and the mask has the picture's "
        "size, and normalise each convolution by batch. Other encoders (timm:NAME) need not double their channels."
    )


def _diagram(shape: Shape) -> Diagram:
    last = len(shape.levels) - 1
    joins = tuple((index, last - index) for index, level in enumerate(shape.levels) if level.calls)
    note = "Channels and side of each level's output, as seen while a picture passed through."
    return Diagram(title="A U-Net of the published widths", down=shape.down, up=shape.up, skips=joins, note=note)


def _levels(shape: Shape) -> Grid:
    """Return what each level of a net has."""
    rows = [
        (
            str(index + 1),
            *(f"{size} x {side} x {side}" for size, side in (level.down, level.raised, level.joined, level.up)),
            f"{level.down_parameters:,}",
            f"{level.up_parameters:,}",
        )
        for index, level in enumerate(shape.levels)
    ]
    size, side = shape.bottleneck
    rows.append(("bottleneck", f"{size} x {side} x {side}", "", "", "", f"{shape.bottleneck_parameters:,}", ""))
    head = ("level", "down", "from below, enlarged", "joined with the skip", "up", "parameters down", "parameters up")
    return Grid(title="The U-Net of the published widths, level by level", head=head, rows=tuple(rows))


def _totals(shapes: dict[str, Shape], formula: dict[str, int]) -> Grid:
    rows = tuple(
        (name, str(len(shape.levels)), f"{shape.parameters:,}", f"{formula[name]:,}") for name, shape in shapes.items()
    )
    return Grid(title="Parameters", head=("net (channels)", "skips", "parameters", "by hand"), rows=rows)


CLAIM = Claim(
    statement=(
        "A U-Net halves the size and doubles the channels level by level on the way down, mirrors this on the way up, "
        "and hands each level's features across by one skip, joined by concatenation."
    ),
    experiment=(
        "A picture passes through three U-Nets (published widths with transposed convolutions, provenet's default, "
        "the small one of the other claims); hooks record channels and sides of every level, what each skip is given "
        "and what the convolutions behind it read. Parameters are compared with a count by hand. Nothing is trained: "
        "all figures are exact."
    ),
    task=None,
    measure=measure,
)
