"""Where numbers end: the first function of a pass that gives NaN or infinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Pair, forward, loss_of
from provenet.doctor.double import Double
from provenet.doctor.recorder import Op, Recorder
from provenet.doctor.tree import fresh, tensors

_ON_PURPOSE = frozenset({"masked_fill", "full", "full_like", "new_full", "fill", "where", "triu", "tril"})
"""What writes infinities where attention is masked."""


@dataclass(frozen=True)
class Lost:
    """A function that is given numbers and gives some that are none.

    Args:
        layer: path of the module in which it runs; "loss" within the loss.
        function: its name.
    """

    layer: str
    function: str


def lost(double: Double, batch: Pair) -> Lost | None:
    """Return where a pass loses its numbers; None where it does not.

    Args:
        double: the net; its state is reset afterwards.
        batch: inputs and targets.
    """
    found: list[Lost] = []

    def watch(op: Op, result: Any) -> None:
        given = (tensor for tensor in tensors(result) if tensor.is_floating_point())
        if not found and op.function not in _ON_PURPOSE and any(not bool(one.isfinite().all()) for one in given):
            found.append(Lost(op.layer, op.function))

    recorder = Recorder(double.model, watch)
    inputs, targets = fresh(batch[0], double.case.device), fresh(batch[1], double.case.device)
    torch.manual_seed(0)
    with Attempt("forward"), torch.no_grad(), recorder.recording():
        outputs = forward(double.model, inputs)
        with recorder.loss():
            loss_of(double.loss_fn, outputs, targets)
    double.reset()
    return found[0] if found else None
