"""Everything that training changes, and its way to tensors and JSON and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from provenet.techniques.schedule import PlateauState

Tensors = dict[str, Tensor]


@dataclass
class Counters:
    """The plain numbers of a run; with weights and optimizer state they are all that resume needs.

    Args:
        step: updates done.
        best: best primary validation score so far; None before the first validation.
        best_step: step of it.
        waited: validations since then.
        loss_sum: sum of the training losses since the last validation.
        loss_count: number of them.
        schedule: state of a schedule that has one (plateau).
        bad_steps: updates in a row that were skipped because something was not finite.
        skipped: all updates that were skipped.
        images: training images used so far.
        seconds: training seconds so far, over all sittings.
        log_bytes: length of each log at the last checkpoint.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    schedule: PlateauState | None = None
    bad_steps: int = 0
    skipped: int = 0
    images: int = 0
    seconds: float = 0.0
    log_bytes: dict[str, int] = field(default_factory=dict)


@dataclass
class TrainState:
    """The net, its average, the optimizer and the counters.

    Args:
        net: the net that learns.
        averaged: its running average, evaluated in its place; None when there is no averaging.
        optimizer: holds its own state.
        counters: see `Counters`.
        lr_scale: factor on every learning rate, halved by each roll-back.
        rollbacks: roll-backs so far.
    """

    net: nn.Module
    averaged: nn.Module | None
    optimizer: torch.optim.Optimizer
    counters: Counters = field(default_factory=Counters)
    lr_scale: float = 1.0
    rollbacks: int = 0

    @property
    def evaluated(self) -> nn.Module:
        """The net whose scores count."""
        return self.net if self.averaged is None else self.averaged

    def is_finite(self) -> bool:
        """Return whether all weights and running statistics are finite, those of the average included."""
        nets = [self.net] if self.averaged is None else [self.net, self.averaged]
        tensors = (value for net in nets for value in net.state_dict().values())
        values = [value for value in tensors if value.is_floating_point() and value.numel()]
        # A norm is not finite as soon as one of its values is not, and one pass over all tensors gives them all.
        return bool(torch.stack(torch._foreach_norm(values, float("inf"))).isfinite().all())

    def tensors(self) -> tuple[Tensors, Tensors]:
        """Return (weights, rest): the net and its average, and the optimizer's tensors."""
        weights = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        if self.averaged is not None:
            weights |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        rest: Tensors = {}
        for index, entry in self.optimizer.state_dict()["state"].items():
            rest |= {f"{index}.{key}": value for key, value in entry.items() if isinstance(value, Tensor)}
        return weights, rest

    def plain(self) -> dict[str, Any]:
        """Return what is not a tensor, as JSON values."""
        packed = self.optimizer.state_dict()
        numbers = {
            str(index): {key: value for key, value in entry.items() if not isinstance(value, Tensor)}
            for index, entry in packed["state"].items()
        }
        return {"counters": asdict(self.counters), "optimizer": numbers, "groups": packed["param_groups"]}

    def load(self, weights: Tensors, rest: Tensors, plain: dict[str, Any]) -> None:
        """Take on a saved state; the modules must be of the same make."""
        self.net.load_state_dict(_under("net.", weights))
        if self.averaged is not None:
            self.averaged.load_state_dict(_under("averaged.", weights))
        entries: dict[int, dict[str, Any]] = {int(index): dict(entry) for index, entry in plain["optimizer"].items()}
        for path, value in rest.items():
            index, key = path.split(".", 1)
            entries[int(index)][key] = value
        self.optimizer.load_state_dict({"state": entries, "param_groups": plain["groups"]})
        self.counters = Counters(**plain["counters"])


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
