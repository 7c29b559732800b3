"""Watch somebody's own training loop for faults that only a loop shows."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from provenet.doctor.case import unwrapped
from provenet.doctor.tree import tensors
from provenet.doctor.watchers import Carried, Deaths, Losses, Modes, Rates, found
from provenet.records.finding import Diagnosis, Finding


class Watch:
    """Looks on while a loop trains; `step` and `validated` are all that the loop has to say.

    Finds `missing-zero-grad`, `inference-in-train-mode`, training that goes on in evaluation mode, `lr-never-decayed`,
    `loss-not-finite` and layers that have died. Nothing is hung on net or optimizer: hooks are those of all modules and
    optimizers of the process, and are gone after `close` or at the end of the `with` block. A pass costs microseconds
    more for each module.

    Args:
        model: the net that the loop calls.
        optimizer: that the loop steps; without it gradients and rates are not looked at.
        schedule: its scheduler, if there is one.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with Watch(net, optimizer) as watch:
        ...     for _ in range(8):
        ...         loss = net(torch.ones(4, 2)).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         watch.step(loss)
        >>> [finding.id for finding in watch.findings]
        ['missing-zero-grad']
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, *, schedule: Any = None
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.updates = 0
        inner = unwrapped(model)
        self._losses, self._rates, self._carried = Losses(), Rates(schedule), Carried()
        self._modes, self._deaths = Modes(inner), Deaths(inner)
        self._started = time.monotonic()
        self._hooks = ExitStack()
        self._hooks.callback(register_module_forward_pre_hook(self._before_forward).remove)
        self._hooks.callback(register_module_forward_hook(self._after_forward).remove)
        if optimizer is not None:
            self._hooks.callback(register_optimizer_step_pre_hook(self._before_update).remove)

    def step(self, loss: Tensor | float) -> None:
        """Tell of one training step, anywhere within it.

        Args:
            loss: of the step; it may still have its graph, and nothing waits for the device here.
        """
        self._losses.add(loss)

    def validated(self) -> None:
        """Tell that a validation has just ended: passes since the last update were its own."""
        self._modes.validated()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, errors first."""
        carried, modes = self._carried.finding(), self._modes
        rates = self._rates.finding(self._losses)
        return found([carried, self._losses.finding(), modes.finding(), modes.stuck(), self._deaths.finding(), rates])

    def diagnosis(self) -> Diagnosis:
        """Return what was found so far in the form of `diagnose`."""
        facts = {"updates": self.updates, "losses": len(self._losses.values), "validation_passes": self._modes.passes}
        return Diagnosis(findings=self.findings, facts=dict(facts), seconds=round(time.monotonic() - self._started, 3))

    def close(self) -> None:
        """Stop looking on; what was found stays."""
        self._hooks.close()
        self._losses.fetch()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        if module is self.model:
            self._modes.forward()

    def _after_forward(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if module is self.model and torch.is_grad_enabled():
            output = next((tensor for tensor in tensors(outputs) if tensor.requires_grad), None)
            if output is not None:
                output.register_hook(self._backward_begins)

    def _backward_begins(self, gradient: Tensor) -> None:
        self._carried.backward()
        self._modes.backward()

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is self.optimizer:
            self.updates += 1
            self._rates.add(optimizer)
            self._carried.update(optimizer)
            self._deaths.update()


def watch(model: nn.Module, optimizer: torch.optim.Optimizer | None = None, *, schedule: Any = None) -> Watch:
    """Watch a training loop; see `Watch`."""
    return Watch(model, optimizer, schedule=schedule)
