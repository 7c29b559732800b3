"""What a watch looks at, one object a question; each keeps a few numbers and says what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from provenet.records.finding import Finding

LOOKED = 5
"""Updates after which a fault of the loop is more than an odd start."""
CARRIED = 0.99
"""Cosine between what a parameter's gradient holds before a backward pass and the gradient of the last update."""
WITNESSES = 3
"""Parameters, the smallest ones, whose gradients are compared: one loop clears all or none."""
DEAD = 0.6
"""Share of a layer's units without any gradient, from which the layer counts as dead."""
EVERY = 10
"""Updates between two looks at gradients unit by unit."""
LOOKS = 10
"""Looks that a unit without gradient must be seen in: a hundred updates."""
KEEP = 20
"""Losses that are gathered before they are fetched from the device."""
NO_GAIN = 0.97
"""Loss of the last quarter over that of the third, above which training stands still."""
SHORT = 40
"""Updates below which nothing is said of the rate's course."""
_NOISY = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class Losses:
    """Training losses in order; fetched in bunches, as each fetch waits for the device."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._waiting: list[Tensor] = []

    def add(self, loss: Tensor | float) -> None:
        """Take one loss."""
        self._waiting.append(loss.detach().float().mean() if isinstance(loss, Tensor) else torch.tensor(float(loss)))
        if len(self._waiting) >= KEEP:
            self.fetch()

    def fetch(self) -> None:
        """Make numbers of the losses that wait."""
        if self._waiting:
            self.values += [float(one) for one in torch.stack([loss.cpu() for loss in self._waiting])]
        self._waiting = []

    def finding(self) -> Finding | None:
        """Say when the loss left the finite numbers."""
        self.fetch()
        step = next((number for number, value in enumerate(self.values, 1) if not math.isfinite(value)), None)
        if step is None:
            return None
        before = [value for value in self.values[: step - 1] if math.isfinite(value)]
        first, last = (before[0], before[-1]) if before else (math.nan, math.nan)
        return Finding(
            id="loss-not-finite",
            severity="error",
            layer="loss",
            evidence={"step": step, "first_loss": first, "last_finite_loss": last},
            message=f"The loss of step {step} is not finite; it was {first:.3g} at first and {last:.3g} just before.",
            fix="Lower the rate, or torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0); look at that batch.",
        )

    def quarters(self) -> tuple[float, float, float]:
        """Return the median loss of the first, third and last quarter; NaN without losses."""
        self.fetch()
        finite = [value for value in self.values if math.isfinite(value)]
        size = max(len(finite) // 4, 1)
        parts = [finite[:size], finite[2 * size : 3 * size], finite[3 * size :]]
        first, third, last = (median(part) if part else math.nan for part in parts)
        return first, third, last


class Rates:
    """The highest rate of every update, and whether a schedule moves.

    Args:
        schedule: the scheduler of the loop, if any.
    """

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        self.start = getattr(schedule, "last_epoch", None)
        self.first, self.highest, self.last, self.updates = 0.0, 0.0, 0.0, 0

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the rate of an update."""
        rates = [float(group["lr"]) for group in optimizer.param_groups if not isinstance(group["lr"], Tensor)]
        if rates:
            self.last = max(rates)
            self.first = self.last if self.updates == 0 else self.first
            self.highest = max(self.highest, self.last)
            self.updates += 1

    def finding(self, losses: Losses) -> Finding | None:
        """Say that the rate stayed where it was, and whether that did harm."""
        if self.updates < SHORT or self.last < 0.99 * self.highest:
            return None
        stopped = self.start is not None and getattr(self.schedule, "last_epoch", None) == self.start
        first, third, last = losses.quarters()
        stands = last > NO_GAIN * third and last > 0.05 * first
        if not (stopped or stands):
            return None
        why = "the scheduler was never stepped" if stopped else "the loss no longer falls"
        return Finding(
            id="lr-never-decayed",
            severity="warning",
            layer="optimizer",
            evidence={"updates": self.updates, "lr": self.last, "loss_third_quarter": third, "loss_last_quarter": last},
            message=f"After {self.updates} updates the rate is still {self.last:.3g}, its highest, and {why}.",
            fix="scheduler.step() in every epoch" if stopped else "CosineAnnealingLR(optimizer, T_max=total_steps)",
            overrides=("schedule.name=cosine",),
        )


class Carried:
    """Whether gradients of one update are still there when the next backward pass begins."""

    def __init__(self) -> None:
        self.kept, self.judged = 0, 0
        self._witnesses: list[tuple[Tensor, Tensor]] = []
        self._clean: bool | None = None

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the gradients of an update, and judge the time since the one before."""
        if self._clean is not None:
            self.judged += 1
            self.kept += not self._clean
        held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        dense = [p for p in held if not p.grad.is_sparse and p.numel() > 1]
        chosen = sorted(dense, key=torch.Tensor.numel)[:WITNESSES]
        self._witnesses = [(tensor, tensor.grad.detach().clone()) for tensor in chosen if tensor.grad is not None]
        self._clean = None

    def backward(self) -> None:
        """Look at the gradients that are there when a backward pass begins; one look that finds none is enough."""
        if self._witnesses and self._clean is not True:
            self._clean = not any(_same(tensor.grad, before) for tensor, before in self._witnesses)

    def finding(self) -> Finding | None:
        """Say that gradients are never cleared."""
        if self.judged < LOOKED or self.kept < self.judged:
            return None
        return Finding(
            id="missing-zero-grad",
            severity="error",
            layer="optimizer",
            evidence={"updates": self.judged, "updates_with_old_gradients": self.kept, "cosine": CARRIED},
            message=f"Before each of {self.judged} updates the gradients of the one before were still there: every "
            "update goes along the sum of all batches so far.",
            fix="optimizer.zero_grad() before loss.backward()",
        )


def _same(grad: Tensor | None, before: Tensor) -> bool:
    """Return whether a gradient is the one from before, perhaps scaled by clipping."""
    if grad is None or grad.shape != before.shape:
        return False
    one, other = grad.detach().flatten().float(), before.flatten().float()
    sizes = float(one.norm()) * float(other.norm())
    return sizes > 0 and float(one @ other) / sizes > CARRIED


class Modes:
    """In which mode the net runs: for updates, and between the last of them and a validation.

    Args:
        model: the net.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.noisy: tuple[str, ...] = ()
        self.passes = 0
        self.wrong = 0
        self.evaluating_updates = 0
        self.trained = False
        self._since: list[bool] = []
        self._last = model.training

    def forward(self) -> None:
        """Note a pass."""
        self._last = self.model.training
        self._since.append(self.model.training)

    def backward(self) -> None:
        """Take the passes so far as those of training."""
        self._since = []
        self.trained = self.trained or self._last
        self.evaluating_updates = 0 if self._last else self.evaluating_updates + 1

    def validated(self) -> None:
        """Judge the passes since the last backward pass."""
        self.passes += len(self._since)
        if any(self._since):
            inner = [name for name, module in self.model.named_modules() if module.training and _knows_modes(module)]
            self.wrong += sum(self._since) if inner else 0
            self.noisy = tuple(inner) or self.noisy
        self._since = []

    def finding(self) -> Finding | None:
        """Say that the net was validated in training mode."""
        if not self.wrong:
            return None
        return Finding(
            id="inference-in-train-mode",
            severity="error",
            layer=self.noisy[0],
            evidence={"passes": self.passes, "in_training_mode": self.wrong, "layers_with_modes": len(self.noisy)},
            message=f"{self.wrong} of {self.passes} passes for validation ran in training mode: batch norm and dropout "
            "then depend on the batch and on chance.",
            fix="model.eval() before validation, model.train() after it",
        )

    def stuck(self) -> Finding | None:
        """Say that training went on in evaluation mode."""
        inner = [name for name, module in self.model.named_modules() if name and _knows_modes(module)]
        if not self.trained or self.evaluating_updates < LOOKED or not inner:
            return None
        return Finding(
            id="eval-mode-training",
            severity="error",
            layer=inner[0],
            evidence={"backward_passes_in_evaluation_mode": self.evaluating_updates},
            message=f"The last {self.evaluating_updates} backward passes came from a net in evaluation mode; before, "
            "it was trained in training mode.",
            fix="model.train() after validation",
        )


def _knows_modes(module: nn.Module) -> bool:
    """Return whether a module does something else in training; stochastic depth has no common class."""
    return isinstance(module, _NOISY) or type(module).__name__ in ("DropPath", "StochasticDepth")


class Deaths:
    """Units whose weights get no gradient in many updates in a row.

    Args:
        model: the net.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        self._weights = {name: module.weight for name, module in model.named_modules() if isinstance(module, layers)}
        self._dead: dict[str, Tensor] = {}
        self._looks, self._updates = 0, 0
        self.shares: dict[str, float] = {}

    def update(self) -> None:
        """Look at the gradients of an update, now and then."""
        self._updates += 1
        if self._updates % EVERY:
            return
        for name, weight in self._weights.items():
            if weight.grad is not None and not weight.grad.is_sparse:
                silent = (weight.grad.detach().flatten(1) == 0).all(1)
                self._dead[name] = silent & self._dead[name] if name in self._dead else silent
        self._looks += 1
        if self._looks == LOOKS:
            self.shares = {name: float(dead.float().mean()) for name, dead in self._dead.items()}
            self._dead, self._looks = {}, 0

    def finding(self) -> Finding | None:
        """Say which layer is dead."""
        dead = {name: share for name, share in self.shares.items() if share > DEAD}
        if not dead:
            return None
        name = next(iter(dead))
        return Finding(
            id="dead-relu",
            severity="warning",
            layer=name,
            evidence={"dead_share": dead[name], "dead_share_allowed": DEAD, "dead_layers": len(dead)},
            message=f"{dead[name]:.0%} of the units of {name} got no gradient in the last {EVERY * LOOKS} updates: "
            "they never answer any more.",
            fix="Lower the rate, warm it up, or use nn.LeakyReLU; draw the layer's weights anew.",
        )


def found(findings: Sequence[Finding | None]) -> tuple[Finding, ...]:
    """Return what was found, errors first."""
    there = [finding for finding in findings if finding is not None]
    return tuple(sorted(there, key=lambda finding: finding.severity != "error"))
