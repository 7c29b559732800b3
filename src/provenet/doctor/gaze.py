"""Instrument J, in space: where in the picture the branches of a merge look, and where the output looks."""

# N batch, C channels, H W pixels

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import forward
from provenet.doctor.double import Double
from provenet.doctor.kinds import RESIZE, TRANSPOSED
from provenet.doctor.recorder import Op, Recorder, Trace
from provenet.doctor.tree import fresh, main_tensor, num_samples, take, tensors
from provenet.doctor.walk import named

PLACES = ((0.35, 0.35), (0.35, 0.65), (0.5, 0.5), (0.65, 0.35), (0.65, 0.65), (0.5, 0.35))
"""Where to look from, as shares of a map's height and width: inner places, as borders pull every view inwards."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One input of a merge.

    Args:
        layer: path of the module that made it; empty for the net itself.
        function: what made it.
        shape: its shape.
        places: middle of what each place of the map depends on, in input pixels from where the place itself lies,
            (len(PLACES), 2): rows, columns. NaN where a place depends on nothing.
        reach: spread of what it depends on, in input pixels, the mean over places.
        stride: input pixels a place of the map.
    """

    layer: str
    function: str
    shape: tuple[int, ...]
    places: Tensor
    reach: float
    stride: float


@dataclass(frozen=True, eq=False)
class Merge:
    """Maps that are joined behind an upsampling, or the output itself.

    Args:
        layer: path of the module where they are joined.
        function: "cat", "add" ..., or "output".
        branches: what is joined; one for the output.
    """

    layer: str
    function: str
    branches: tuple[Branch, ...]


@dataclass(frozen=True, eq=False)
class Gaze:
    """Where merges and the output look; see `Merge`.

    Args:
        merges: in order of execution, the output last where it is a map.
        failure: what the pass raised.
    """

    merges: tuple[Merge, ...] = ()
    failure: Failure | None = None


def look_around(double: Double, inputs: Any, more: Callable[[], bool]) -> Gaze:
    """Trace what maps depend on back to the picture, in evaluation mode.

    Each sample asks from another place, so that one backward pass a branch answers for all places.

    Args:
        double: the net; its state is reset afterwards.
        inputs: of one batch, with pictures N C H W as the first tensor.
        more: whether there is time for another backward pass.
    """
    images = next((tensor for tensor in tensors(inputs) if tensor.dim() == 4 and tensor.is_floating_point()), None)
    if images is None:
        return Gaze()
    rows = torch.arange(len(PLACES)) % num_samples(inputs)
    few = fresh(take(inputs, rows), double.case.device)
    images = next(tensor for tensor in tensors(few) if tensor.dim() == 4 and tensor.is_floating_point())
    images.requires_grad_(True)
    maps: dict[int, Tensor] = {}

    def watch(op: Op, result: Any) -> None:
        for ref, tensor in zip(op.outputs, tensors(result), strict=False):
            if tensor.dim() == 4 and len(tensor) == len(PLACES):
                maps[ref.token] = tensor

    recorder, output = Recorder(double.model, watch), None
    double.model.eval()
    torch.manual_seed(0)
    with Attempt("forward") as attempt, recorder.recording():
        output = main_tensor(forward(double.model, few))
    failure = named(attempt.failure, recorder.trace.running)
    merges: list[Merge] = []
    if failure is None:
        with Attempt("backward") as attempt:
            merges = list(_merges(recorder.trace, maps, images, output, more))
        failure = attempt.failure
    double.reset()
    return Gaze(tuple(merges), failure)


def _merges(
    trace: Trace, maps: dict[int, Tensor], images: Tensor, output: Tensor | None, more: Callable[[], bool]
) -> Iterator[Merge]:
    for op in trace.ops:
        joined = [ref for ref in op.inputs if ref.token in maps and maps[ref.token].requires_grad]
        if op.function in ("cat", "add") and len(joined) > 1 and _behind_upsampling(trace, op) and more():
            branches = tuple(_branch(trace.makers[ref.token], maps[ref.token], images) for ref in joined)
            yield Merge(op.layer, op.function, branches)
    if output is not None and output.dim() == 4 and output.requires_grad and more():
        made = trace.ops[-1]
        yield Merge("", "output", (_branch(made, output, images),))


def _behind_upsampling(trace: Trace, op: Op) -> bool:
    return any(earlier.function in RESIZE | TRANSPOSED for earlier in trace.upstream(op))


def _branch(maker: Op, values: Tensor, images: Tensor) -> Branch:
    """Return where a map looks: centre and spread of the absolute gradient, one place a sample."""
    height, width = images.shape[2:]
    rows, columns = values.shape[2:]
    places = [(int(y * rows), int(x * columns)) for y, x in PLACES]
    direction = torch.randn(values.shape[1], generator=torch.Generator().manual_seed(0)).to(values)
    total = torch.stack([(values[n, :, y, x] * direction).sum() for n, (y, x) in enumerate(places)]).sum()
    (grad,) = torch.autograd.grad(total, images, retain_graph=True, allow_unused=True)
    weight = torch.zeros_like(images[:, 0]) if grad is None else grad.abs().sum(1)
    mass = weight.sum((1, 2))
    y_axis = torch.arange(height, device=weight.device) + 0.5
    x_axis = torch.arange(width, device=weight.device) + 0.5
    middle = torch.stack([(weight.sum(2) * y_axis).sum(1), (weight.sum(1) * x_axis).sum(1)], 1) / mass[:, None]
    scale = torch.tensor([height / rows, width / columns])
    here = (torch.tensor(places, dtype=torch.float32) + 0.5) * scale
    distance = (y_axis[None, :, None] - middle[:, 0, None, None]) ** 2 + (
        x_axis[None, None, :] - middle[:, 1, None, None]
    ) ** 2
    reach = ((weight * distance).sum((1, 2)) / mass).sqrt()
    shape = tuple(values.shape)
    return Branch(maker.layer, maker.function, shape, middle.cpu() - here, float(reach.mean()), float(scale.max()))
