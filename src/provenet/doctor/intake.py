"""What batch norms are given: mean and variance of every channel, with dropout acting and without."""

# N batch, C channels

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward
from provenet.doctor.double import Double
from provenet.doctor.kinds import DROPOUT, function_name
from provenet.doctor.recorder import Trace
from provenet.doctor.tree import fresh


@dataclass(frozen=True, eq=False)
class Intake:
    """What one batch norm was given in one pass.

    Args:
        mean: by channel, (C,).
        var: biased variance by channel, (C,).
        calm: the same variance while no dropout acted.
        running_mean: what the layer holds, (C,); None without running statistics.
        running_var: likewise.
    """

    mean: Tensor
    var: Tensor
    calm: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None

    @property
    def swelling(self) -> float:
        """Variance with dropout over that without, the median over channels that vary."""
        vary = self.calm > 1e-12
        return float((self.var[vary] / self.calm[vary]).median()) if bool(vary.any()) else 1.0

    @property
    def drift(self) -> float:
        """Distance of the means from the running ones in running standard deviations, root mean square."""
        if self.running_mean is None or self.running_var is None:
            return 0.0
        return float(((self.mean - self.running_mean) / (self.running_var + 1e-5).sqrt()).square().mean().sqrt())


class _Functions(TorchFunctionMode):
    """Runs functions as they are, but leaves dropout out where it is told to, and notes what batch norms are given."""

    def __init__(self, calm: bool) -> None:
        super().__init__()
        self.calm = calm
        self.seen: list[Intake] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if self.calm and name in DROPOUT and name != "bernoulli":
            return args[0] if args else kwargs["input"]
        if name == "batch_norm":
            given = dict(zip(("input", "running_mean", "running_var"), args, strict=False)) | kwargs
            self._note(given["input"], given.get("running_mean"), given.get("running_var"))
        return func(*args, **kwargs)

    def _note(self, values: Tensor, running_mean: Tensor | None, running_var: Tensor | None) -> None:
        values = values.detach().float()
        dims = [dim for dim in range(values.dim()) if dim != 1]
        var = values.var(dims, unbiased=False)
        kept = (None if one is None else one.detach().clone() for one in (running_mean, running_var))
        self.seen.append(Intake(values.mean(dims), var, var, *kept))


def drops(trace: Trace) -> bool:
    """Return whether a dropout acted in a pass."""
    ops = (op for op in trace.ops if op.function in DROPOUT and op.function != "bernoulli")
    return any(op.argument("training", 2, True) and op.argument("p", 1, 0.5) > 0 for op in ops)


@contextmanager
def without_dropout() -> Iterator[None]:
    """Leave out every dropout that is a function of torch, in a module or not."""
    with _Functions(calm=True):
        yield


def take_in(double: Double, batch: Pair) -> tuple[Intake, ...]:
    """Return what every batch norm is given, in order of execution; empty where a pass fails.

    Args:
        double: the net, in the mode in which it was given; its state is reset afterwards.
        batch: inputs and targets.
    """
    loud, calm = (_seen(double, batch, silent) for silent in (False, True))
    if len(loud) != len(calm):
        return ()
    return tuple(
        Intake(one.mean, one.var, other.var, one.running_mean, one.running_var)
        for one, other in zip(loud, calm, strict=True)
    )


def _seen(double: Double, batch: Pair, calm: bool) -> list[Intake]:
    mode = _Functions(calm)
    inputs = fresh(batch[0], double.case.device)
    torch.manual_seed(0)
    with Attempt("forward") as attempt, torch.no_grad(), mode:
        forward(double.model, inputs)
    double.reset()
    return [] if attempt.failure is not None else mode.seen
