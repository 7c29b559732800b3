"""Instrument D: the samples of all batches side by side, as they are given and as they reach the first weights."""

# N samples of all batches, C channels, H W pixels, P planes of a mask, K classes

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward
from provenet.doctor.double import Double
from provenet.doctor.kinds import LINEAR, NORM, SHAPE
from provenet.doctor.reading import Reading
from provenet.doctor.recorder import Op, Recorder, Trace
from provenet.doctor.tree import fresh, main_tensor, num_samples, take, tensors
from provenet.doctor.walk import Walk

MOST_VALUES = 2**25
"""Numbers of the inputs that are held: 128 MiB. Of larger batches the first samples of each are looked at."""
ENTRY_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of all batches; a batch that occurs twice counts once.

    Args:
        inputs: the largest tensor of the inputs, (N, ...), as float32 on the CPU; what is not finite is 0.
        targets: main tensor of the targets, (N, ...), as given; None where it has no row a sample.
        batch: number of the batch, (N,).
        dtype: of the inputs as they were given.
        labels: class of every sample, (N,); None where targets are no classes, or one for every pixel.
        masks: targets for every pixel, (N, P, H, W), P = 1 for class indices; None where there are none.
    """

    inputs: Tensor
    targets: Tensor | None
    batch: Tensor
    dtype: torch.dtype
    labels: Tensor | None
    masks: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def pictures(self) -> bool:
        """Whether inputs are pictures, (N, C, H, W), large enough to speak of neighbours."""
        return self.inputs.dim() == 4 and min(self.inputs.shape[-2:]) >= 8


def pool(batches: tuple[Pair, ...], reading: Reading | None) -> Samples | None:
    """Return the samples of batches side by side.

    Args:
        batches: as the caller gave them.
        reading: what targets are; None where nobody knows, then whole numbers, one a sample, are classes.

    Returns:
        None where inputs are whole numbers that are no pictures (words of a text), or hold no row a sample.
    """
    first = main_input(batches[0][0])
    if first is None or first.dim() < 2 or (not first.is_floating_point() and first.dim() != 4):
        return None
    chosen = _distinct(batches, first.shape[1:])
    each = max(2, MOST_VALUES // max(first[0].numel() * len(chosen), 1))
    inputs = [_plain(part)[:each] for part, _ in chosen]
    targets = [target[:each].cpu() for _, target in chosen if target is not None]
    joined = torch.cat(targets) if len(targets) == len(chosen) and _alike(targets) else None
    return Samples(
        inputs=torch.cat(inputs),
        targets=joined,
        batch=torch.cat([torch.full((len(part),), number) for number, part in enumerate(inputs)]),
        dtype=first.dtype,
        labels=None if joined is None else _labels(joined, reading),
        masks=None if joined is None or first.dim() != 4 else _masks(joined, reading),
    )


def main_input(inputs: object) -> Tensor | None:
    """Return the largest tensor among the inputs of a batch that has a row a sample."""
    num = num_samples(inputs)
    rows = [tensor for tensor in tensors(inputs) if tensor.dim() and len(tensor) == num]
    return max(rows, key=Tensor.numel, default=None)


def _distinct(batches: tuple[Pair, ...], shape: torch.Size) -> list[tuple[Tensor, Tensor | None]]:
    """Return main inputs and targets of batches whose inputs have one shape, each batch once.

    A batch whose inputs come again with other targets is another one: that is a fault, and no repetition on purpose.
    """
    chosen: list[tuple[Tensor, Tensor | None]] = []
    for inputs, targets in batches:
        part = main_input(inputs)
        target = targets if isinstance(targets, Tensor) else main_tensor(targets)
        if part is None or part.shape[1:] != shape:
            continue
        if any(_same(part, other) and _same(target, beside) for other, beside in chosen):
            continue
        rows = target is not None and target.dim() > 0 and len(target) == len(part)
        chosen.append((part.detach(), target.detach() if rows and target is not None else None))
    return chosen


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _alike(parts: list[Tensor]) -> bool:
    return len({(part.shape[1:], part.dtype) for part in parts}) == 1


def _plain(tensor: Tensor) -> Tensor:
    return torch.nan_to_num(tensor.float().cpu(), nan=0.0, posinf=0.0, neginf=0.0)


def _labels(targets: Tensor, reading: Reading | None) -> Tensor | None:
    """Return the class of every sample."""
    if reading is not None and reading.task == "regression":
        return None
    single = targets.dim() == 1 or (targets.dim() == 2 and targets.shape[1] == 1)
    if single:
        flat = targets.reshape(-1)
        whole = not flat.is_floating_point() or bool(((flat == 0) | (flat == 1)).all())
        return flat.long() if whole else None
    hot = targets.dim() == 2 and bool((((targets == 0) | (targets == 1)).all(1) & (targets.sum(1) == 1)).all())
    return targets.argmax(1) if hot and reading is not None and reading.task == "classes" else None


def _masks(targets: Tensor, reading: Reading | None) -> Tensor | None:
    """Return targets for every pixel as planes."""
    if targets.dim() not in (3, 4) or min(targets.shape[-2:]) < 8:
        return None
    if reading is not None and reading.task in ("classes", "labels", "regression") and not reading.dense:
        return None
    return targets.unsqueeze(1) if targets.dim() == 3 else targets


@dataclass(frozen=True, eq=False)
class Entry:
    """What reaches the first layer with weights.

    Args:
        values: the numbers, (N, ...) float32 on the CPU.
        layer: path of that layer; empty where no pass came so far.
        changed: whether the net itself maps its inputs before.
        norm: the function that normalises what this layer gives, as in "batch_norm"; empty where none does at once.
        refits: whether it sets mean and scale anew for every batch, so that those of the inputs hardly count.
    """

    values: Tensor
    layer: str = ""
    changed: bool = False
    norm: str = ""
    refits: bool = False


def enter(double: Double, walk: Walk, samples: Samples, batch: Pair) -> Entry:
    """Return what reaches the first weights: the inputs, or what the net makes of them before.

    Args:
        double: the net; run once more, on a few samples, where it maps its inputs itself.
        walk: what ran.
        samples: the inputs.
        batch: the first one.
    """
    trace = walk.trace
    first = next((op for op in trace.ops if op.function in LINEAR and op.layer != "loss" and op.inputs), None)
    if first is None or first.function == "embedding":
        return Entry(samples.inputs)
    norm = _normalizer(trace, first)
    name = "" if norm is None else norm.function
    refits = norm is not None and (name == "instance_norm" or (name == "batch_norm" and _training(norm)))
    maker = trace.maker(first.inputs[0])
    value = None if maker is None else _value(double, take(batch[0], slice(ENTRY_SAMPLES)), maker.index)
    values = samples.inputs if value is None else value
    return Entry(values, first.layer, value is not None, name, refits)


def _normalizer(trace: Trace, op: Op) -> Op | None:
    """Return the op that normalises what another gives, if that is the next thing that happens to it."""
    following = trace.after(op)
    while following and following[0].function in SHAPE:
        following = trace.after(following[0])
    return following[0] if following and following[0].function in NORM else None


def _training(norm: Op) -> bool:
    """Return whether a batch norm uses the batch's own statistics."""
    running = norm.argument("running_mean", 1)
    return running is None or bool(norm.argument("training", 5, False))


def _value(double: Double, inputs: object, index: int) -> Tensor | None:
    """Return what one op of a pass gave, in a pass of its own; None where that pass does not come so far."""
    kept: list[Tensor] = []

    def watch(op: Op, result: object) -> None:
        if op.index == index and isinstance(result, Tensor) and result.is_floating_point() and result.dim() > 1:
            kept.append(_plain(result.detach()))

    recorder, inputs = Recorder(double.model, watch), fresh(inputs, double.case.device)
    torch.manual_seed(0)
    with Attempt("forward"), torch.no_grad(), recorder.recording():
        forward(double.model, inputs)
    double.reset()
    return kept[0] if kept else None
