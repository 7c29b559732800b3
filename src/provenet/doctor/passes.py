"""Instrument F: a few batches forward and backward, with what every layer gives and which gradient it gets."""

# N batch, U units (channels of a map, features of a vector)

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.inventory import slots_of
from provenet.doctor.kinds import ACTIVATION, LINEAR, NORM
from provenet.doctor.recorder import Op, Recorder
from provenet.doctor.tree import fresh, main_tensor
from provenet.doctor.walk import named

MOST_BATCHES = 4
SIGMOID_FLAT = 0.05
"""Share of the largest slope (1/4) below which a sigmoid counts as flat; see the catalogue of saturation rules."""
TANH_FLAT = 0.97
ALIKE_SAMPLES = 16
_LAST_AXIS = frozenset({"linear", "layer_norm", "rms_norm", "multi_head_attention_forward", "matmul"})


@dataclass(eq=False)
class Signal:
    """What one place of the net gave, over all passes.

    A place is an op that maps, normalises or activates: the function `function` in the module `layer`, for the
    `turn`-th time in a pass.

    Args:
        layer: path of the module.
        function: what ran there, as in "conv2d", "batch_norm" or "relu".
        turn: how often the same function had run in that module before, in one pass.
        order: place in the order of execution.
        shape: shape of the output in the first pass.
        spread: standard deviation across samples, root mean square over features; what tells pictures apart.
        std: standard deviation over everything.
        mean: mean over everything.
        zeros: share of exact zeros by unit, (U,).
        flat: share of values on the flat ends of a sigmoid or tanh.
        alike: mean cosine between the outputs for one sample and the next, in [-1, 1].
        values: values by unit that were seen.
        gradient: root mean square of d loss / d output; None where none came.
    """

    layer: str
    function: str
    turn: int
    order: int
    shape: tuple[int, ...]
    spread: float
    std: float
    mean: float
    zeros: Tensor
    flat: float
    alike: float
    values: int
    gradient: float | None = None


@dataclass(frozen=True, eq=False)
class Passes:
    """What a few passes forward and backward gave, in the mode in which the net was given.

    Args:
        signals: by order of execution.
        losses: one a batch.
        outputs: main tensors, without graph, one a batch.
        gradients: of the first batch by path of the tensor; None where the loss does not reach.
        norms: norms of gradients, one dict a batch.
        reached: paths of the tensors that got a gradient in any pass.
        seconds: of one pass forward and backward, the quickest.
        samples: N of the batches that were run.
        failure: what a pass raised; the passes before it count.
    """

    signals: tuple[Signal, ...]
    losses: tuple[float, ...]
    outputs: tuple[Tensor, ...]
    gradients: dict[str, Tensor | None]
    norms: tuple[dict[str, float], ...]
    reached: frozenset[str]
    seconds: float
    samples: int
    failure: Failure | None

    def of(self, *functions: str) -> list[Signal]:
        """Return the signals of these functions."""
        return [signal for signal in self.signals if signal.function in functions]


@dataclass(eq=False)
class _Pass:
    """What one pass gave."""

    signals: dict[tuple[str, str, int], Signal] = field(default_factory=dict)
    held: list[tuple[tuple[str, str, int], Tensor]] = field(default_factory=list)
    loss: float = float("nan")
    output: Tensor | None = None
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    seconds: float = 0.0
    failure: Failure | None = None


def make_passes(double: Double, batches: Sequence[Pair], more: Callable[[int, float], bool]) -> Passes:
    """Run batches forward and backward.

    Args:
        double: the net; its state is reset after every pass.
        batches: at most `MOST_BATCHES` of them are run.
        more: passes so far, seconds of one -> whether to make another.
    """
    done: list[_Pass] = []
    for batch in batches[:MOST_BATCHES]:
        done.append(_one_pass(double, batch))
        if done[-1].failure is not None or not more(len(done), done[-1].seconds):
            break
    whole = [one for one in done if one.output is not None]
    return Passes(
        signals=tuple(sorted(_pooled([one.signals for one in done]), key=lambda signal: signal.order)),
        losses=tuple(one.loss for one in whole),
        outputs=tuple(one.output for one in whole if one.output is not None),
        gradients=done[0].gradients,
        norms=tuple(_norms(one.gradients) for one in done if one.gradients),
        reached=frozenset(name for one in done for name, grad in one.gradients.items() if grad is not None),
        seconds=min(one.seconds for one in done),
        samples=sum(len(one.output) for one in whole if one.output is not None and one.output.dim()),
        failure=done[-1].failure,
    )


def _one_pass(double: Double, batch: Pair) -> _Pass:
    done, watcher = _Pass(), _Watcher()
    recorder = Recorder(double.model, watcher)
    inputs, targets = fresh(batch[0], double.case.device), fresh(batch[1], double.case.device)
    started, loss = time.monotonic(), None
    torch.manual_seed(0)
    with Attempt("forward") as attempt, recorder.recording():
        outputs = forward(double.model, inputs)
    done.failure = named(attempt.failure, recorder.trace.running)
    if done.failure is None:
        with Attempt("loss") as attempt:
            loss = loss_of(double.loss_fn, outputs, targets)
            done.loss = float(loss.detach().mean())
            done.output = main_tensor(outputs)
        done.failure = attempt.failure
    done.signals = watcher.signals
    if loss is not None and done.failure is None:
        _backward(double, loss, watcher.held, done)
    done.output = None if done.output is None else done.output.detach()
    done.seconds = time.monotonic() - started
    double.reset()
    return done


def _backward(double: Double, loss: Tensor, held: list[tuple[tuple[str, str, int], Tensor]], done: _Pass) -> None:
    """Fill in gradients, of tensors by name and of what places gave."""
    slots = [slot for slot in slots_of(double.model) if slot.tensor.requires_grad]
    places = [(key, tensor) for key, tensor in held if tensor.requires_grad]
    wanted = [slot.tensor for slot in slots] + [tensor for _, tensor in places]
    with Attempt("backward") as attempt:
        # The graph is kept: a tensor that the caller made with gradients, before, may be a part of it.
        found = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True) if wanted else ()
        done.gradients = {slot.name: grad for slot, grad in zip(slots, found, strict=False)}
        for (key, _), grad in zip(places, found[len(slots) :], strict=True):
            done.signals[key].gradient = None if grad is None else _rms(grad)
    done.failure = attempt.failure


class _Watcher:
    """Measures what ops give, as they run."""

    def __init__(self) -> None:
        self.signals: dict[tuple[str, str, int], Signal] = {}
        self.held: list[tuple[tuple[str, str, int], Tensor]] = []
        self._last_axis: set[int] = set()

    def __call__(self, op: Op, result: Any) -> None:
        output = result[0] if isinstance(result, tuple) else result
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
            return
        inherited = bool(op.inputs) and op.inputs[0].token in self._last_axis
        last = op.function in _LAST_AXIS or (inherited and output.dim() != 4)
        if last:
            self._last_axis.update(ref.token for ref in op.outputs)
        if op.function not in LINEAR | NORM | ACTIVATION or output.numel() == 0 or not op.inputs:
            return
        turn = 0
        while (op.layer, op.function, turn) in self.signals:
            turn += 1
        key = (op.layer, op.function, turn)
        self.signals[key] = _measure(op, turn, output.float(), output.dim() - 1 if last else 1)
        self.held.append((key, output))


def _measure(op: Op, turn: int, output: Tensor, axis: int) -> Signal:
    others = [dim for dim in range(output.dim()) if dim != axis]
    flat = 0.0
    if op.function in ("sigmoid", "softmax"):
        flat = float((output * (1 - output) < SIGMOID_FLAT / 4).float().mean())
    elif op.function == "tanh":
        flat = float((output.abs() > TANH_FLAT).float().mean())
    rows, mean = output.flatten(1), output.mean()
    return Signal(
        layer=op.layer,
        function=op.function,
        turn=turn,
        order=op.index,
        shape=tuple(output.shape),
        spread=_spread(rows),
        std=_rms(output - mean),
        mean=float(mean),
        zeros=(output == 0).float().mean(dim=others),
        flat=flat,
        alike=_alike(rows[:ALIKE_SAMPLES]),
        values=output.numel() // output.shape[axis],
    )


def _spread(rows: Tensor) -> float:
    """Return the standard deviation across rows, root mean square over columns.

    Taken from differences to the first row, so that a common offset cancels exactly; several times as fast as `var`.
    """
    apart = rows - rows[:1]
    return float((apart.pow(2).mean() - apart.mean(0).pow(2).mean()).clamp(min=0).sqrt())


def _alike(rows: Tensor) -> float:
    """Return the mean cosine of one row and the next; 1 for a single row."""
    if len(rows) < 2:
        return 1.0
    inner, lengths = (rows * rows.roll(1, 0)).sum(1), rows.norm(dim=1)
    return float((inner / (lengths * lengths.roll(1, 0)).clamp(min=1e-12)).mean())


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().float().pow(2).mean().sqrt())


def _norms(gradients: dict[str, Tensor | None]) -> dict[str, float]:
    return {name: 0.0 if grad is None else float(grad.detach().float().norm()) for name, grad in gradients.items()}


def _pooled(passes: Sequence[dict[tuple[str, str, int], Signal]]) -> list[Signal]:
    """Return one signal a place: means over passes, each weighing alike."""
    found = []
    for key, first in passes[0].items() if passes else ():
        same = [signals[key] for signals in passes if key in signals and signals[key].zeros.shape == first.zeros.shape]
        for name in ("spread", "std", "mean", "flat", "alike"):
            setattr(first, name, fmean(getattr(signal, name) for signal in same))
        gradients = [signal.gradient for signal in same if signal.gradient is not None]
        first.gradient = fmean(gradients) if gradients else None
        first.zeros = torch.stack([signal.zeros for signal in same]).mean(0)
        first.values = sum(signal.values for signal in same)
        found.append(first)
    return found
