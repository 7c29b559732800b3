"""The doctor: examines a net with its batches, loss and optimizer, and says what keeps it from training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.consult import examine
from provenet.doctor.registry import CHECKS
from provenet.records.finding import Diagnosis


def diagnose(  # noqa: PLR0913  the signature that users were promised
    model: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    loss_fn: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    val_batches: Sequence[tuple[Any, Any]] | None = None,
    transform: Callable[..., Any] | None = None,
    schedule: Any = None,
    budget_s: float = 20,
) -> Diagnosis:
    """Say why a net does not train, or that nothing stands in its way.

    Nothing that is given is changed: a copy is examined, and random streams, gradients, modes and hooks are put back.

    Args:
        model: any net, before training or at a point where it is stuck, in the mode in which it is trained.
        batches: two to four pairs (inputs, targets), as the loop gets them.
        loss_fn: (outputs, targets) -> scalar.
        optimizer: that is to train it; without one nothing is said about rates and parameter groups.
        val_batches: pairs of validation data, for faults that only they show.
        transform: the augmentation, inputs -> inputs or (inputs, targets) -> the same.
        schedule: a learning-rate scheduler, or step -> factor.
        budget_s: seconds that the examination may take, above 0.

    Raises:
        RecipeError: an argument cannot be used; all faults at once.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(dim=1))
        >>> batch = torch.randn(8, 1, 2, 2), torch.arange(8) % 3
        >>> [finding.id for finding in diagnose(net, [batch], nn.CrossEntropyLoss(), budget_s=5).findings][:1]
        ['softmax-before-ce']
    """
    more = {"val_batches": val_batches, "transform": transform, "schedule": schedule}
    return examine(read_case(model, batches, loss_fn, optimizer, **more), budget_s, CHECKS)
