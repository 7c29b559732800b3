"""How hard the loss pulls at each target: the gradient that it gives to made-up scores, target by target."""

# N batch, K classes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Loss, loss_of
from provenet.doctor.reading import Reading
from provenet.doctor.tree import map_tensors


@dataclass(frozen=True, eq=False)
class Pull:
    """Norm of d loss / d score at every target, flat, for two answers that know nothing of the inputs.

    Args:
        classes: class of each target, as in `uniform`.
        uniform: the pull where the answer is the same for every class: the loss's own weights of classes.
        prior: the pull where the answer is how often classes occur: plain losses are at rest there on the whole, losses
            that look at hard samples are not.
        random: the pull at scores that are noise: 0 only where the loss never looks at a target.
    """

    classes: Tensor
    uniform: Tensor
    prior: Tensor
    random: Tensor

    def strengths(self, num_classes: int) -> Tensor:
        """Return the mean pull at a target of each class relative to the weakest that pulls, (K,); NaN where unseen."""
        means = torch.full((num_classes,), float("nan"))
        for label in range(num_classes):
            mine = self.uniform[self.classes == label]
            if len(mine):
                means[label] = mine.mean()
        pulling = means[means > 0]
        return means / pulling.min() if len(pulling) else means

    def total(self, label: int) -> float:
        """Return the pull of all targets of a class at the answer of the prior, over that of all others."""
        mine = self.classes == label
        return float(self.prior[mine].sum() / self.prior[~mine].sum().clamp(min=1e-12))


def pull(loss_fn: Loss, reading: Reading, targets: Any, outputs: Any) -> Pull | None:
    """Return how the loss pulls.

    Args:
        loss_fn: the loss.
        reading: what scores and targets are; those of one batch.
        targets: of that batch, as the loss gets them.
        outputs: all that the net gave for it: made-up scores take the place of those in it.

    Returns:
        None where targets are no classes, or the loss gives made-up scores no gradient.
    """
    score, target = reading.score, reading.target
    if score is None or target is None or reading.task not in ("classes", "labels"):
        return None
    classes = _classes(reading, target)
    zeros = torch.zeros_like(score, dtype=torch.float32)
    if classes is None:
        return None
    prior = zeros + _prior(reading, classes, zeros)
    noise = torch.randn(zeros.shape, generator=torch.Generator().manual_seed(0)).to(zeros)
    take = _taker(loss_fn, reading, targets, outputs)
    pulls = [_pulled(take, answer, reading) for answer in (zeros, prior, noise)]
    flat = [one for one in pulls if one is not None and one.numel() == classes.numel()]
    return Pull(classes, *flat) if len(flat) == len(pulls) else None


def _classes(reading: Reading, target: Tensor) -> Tensor | None:
    """Return the class of every target, flat; None where a target is several answers at once."""
    if reading.indices:
        return target.reshape(-1).long().cpu()
    if reading.task == "classes":
        return target.argmax(1).reshape(-1).cpu()
    return target.reshape(-1).round().long().cpu() if reading.width == 1 else None


def _prior(reading: Reading, classes: Tensor, zeros: Tensor) -> Tensor:
    """Return the scores of an answer that says how often each class occurs."""
    if reading.task == "labels":
        share = classes.float().mean().clamp(1e-3, 1 - 1e-3)
        return torch.logit(share).to(zeros)
    width = zeros.shape[1]
    valid = classes[(classes >= 0) & (classes < width)]
    shares = (torch.bincount(valid, minlength=width) / max(len(valid), 1)).clamp(min=1e-3)
    return shares.log().to(zeros).reshape(1, width, *[1] * (zeros.dim() - 2))


def _taker(loss_fn: Loss, reading: Reading, targets: Any, outputs: Any) -> Callable[[Tensor], Tensor]:
    """Return scores -> loss: the net's own last map is applied, and its other outputs stay as they are."""

    def take(scores: Tensor) -> Tensor:
        mapped = scores.clone()
        if reading.mapped == "sigmoid":
            mapped = scores.sigmoid()
        elif reading.mapped:
            mapped = getattr(torch, reading.mapped)(scores, 1)
        whole = map_tensors(lambda tensor: mapped if tensor.shape == mapped.shape else tensor, outputs)
        return loss_of(loss_fn, mapped if isinstance(outputs, Tensor) else whole, targets).sum()

    return take


def _pulled(take: Callable[[Tensor], Tensor], scores: Tensor, reading: Reading) -> Tensor | None:
    """Return the norm over classes of the gradient at made-up scores, one a target, flat."""
    found = None
    with Attempt("loss"), torch.enable_grad():
        scores.requires_grad_()
        found = torch.autograd.grad(take(scores), scores)[0]
    if found is None or not bool(torch.isfinite(found).all()):
        return None
    norms = found.norm(dim=1) if found.dim() > 1 and reading.width != 1 else found.abs()
    return norms.reshape(-1).cpu()
