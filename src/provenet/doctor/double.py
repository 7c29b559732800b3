"""The net that is examined: a deep copy where one can be made, else the caller's own, to be put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.case import Case, Loss
from provenet.doctor.inventory import modules_of, slots_of
from provenet.doctor.isolation import Kept, deep_copy, modules_behind, untouched

_STORAGES = "torch"
"""Key in the memo of `copy.deepcopy` under which `Tensor.__deepcopy__` keeps a table of its own."""


class Double:
    """A net to work on. Use as made by `doubled`, which puts everything back.

    The case's net is copied once; between instruments `reset` puts the copy back from the original. A net that
    cannot be copied, or that the loss refers to, is worked on itself: its tensors are kept and put back.

    Args:
        case: what is examined.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._memo: dict[Any, Any] = {}
        self.model, self.loss_fn = case.model, case.loss_fn
        self.failure: Failure | None = None
        self._kept: list[Kept] = []
        self.copied = not _refers(case.loss_fn, case.model) and self._copy()

    def _copy(self) -> bool:
        with Attempt("copy") as attempt:
            self.model, self.loss_fn = deep_copy((self.case.model, self.case.loss_fn), self._memo)
        self.failure = attempt.failure
        if attempt.failure is None and _apart(self.case.model, self.model):
            return True
        self.model, self.loss_fn, self._memo = self.case.model, self.case.loss_fn, {}
        return False

    def keep(self) -> None:
        """Remember the state to which `reset` returns; after the caller's gradients were set aside."""
        pairs = [(self.model, self.case.model)]
        if isinstance(self.loss_fn, nn.Module) and isinstance(self.case.loss_fn, nn.Module):
            pairs.append((self.loss_fn, self.case.loss_fn))
        self._kept = [Kept(mine, theirs if self.copied else None) for mine, theirs in pairs]

    def reset(self) -> None:
        """Put net and loss back to what the caller gave, without gradients."""
        for kept in self._kept:
            kept.restore(gradients=False)

    def new_optimizer(self) -> torch.optim.Optimizer | None:
        """Return a copy of the caller's optimizer that holds the double's parameters; None where none was given.

        Raises:
            Exception: whatever copying a stranger's optimizer raises.
        """
        if self.case.optimizer is None:
            return None
        memo = dict(self._memo) if self.copied else {id(slot.tensor): slot.tensor for slot in slots_of(self.model)}
        # Tensors remember here what storages were copied: shared, one training's momentum would be the next one's.
        memo[_STORAGES] = dict(memo.get(_STORAGES, {}))
        return deep_copy(self.case.optimizer, memo)

    def counterpart(self, thing: Any) -> Any:
        """Return the double's copy of something of the caller's; the thing itself where it was not copied."""
        return self._memo.get(id(thing), thing) if self.copied else thing


@contextmanager
def doubled(case: Case) -> Iterator[Double]:
    """Give a double of a case; at the end the caller's net, loss and process are what they were."""
    roots = [case.model, *(net for net in modules_behind(case.loss_fn) if not _inside(net, case.model))]
    # Whether the net can be copied is known only once it was tried, within the guard: so parameters of a net that
    # turns out to be worked on itself are kept by the double.
    with untouched(roots, weights=False):
        double = Double(case)
        double.keep()
        try:
            yield double
        finally:
            if not double.copied:
                double.reset()


def _refers(loss_fn: Loss, model: nn.Module) -> bool:
    """Return whether a plain function knows the net or a part of it: a copy of the net would be a stranger to it."""
    inside = {id(held.module) for held in modules_of(model)}
    behind = modules_behind(loss_fn)
    return not isinstance(loss_fn, nn.Module) and any(
        id(part.module) in inside for net in behind for part in modules_of(net)
    )


def _inside(net: nn.Module, model: nn.Module) -> bool:
    return any(held.module is net for held in modules_of(model))


def _apart(model: nn.Module, copied: nn.Module) -> bool:
    """Return whether a copy has tensors of its own: a net may define what copying means."""
    mine, theirs = slots_of(model), slots_of(copied)
    same_names = [slot.name for slot in mine] == [slot.name for slot in theirs]
    pairs = zip(mine, theirs, strict=False)
    return same_names and not any(one.tensor is other.tensor and one.tensor.is_leaf for one, other in pairs)
