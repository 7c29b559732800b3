"""Whether the number of outputs fits the labels."""

# N batch, K classes

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provenet.doctor.case import Case
from provenet.doctor.reading import Reading
from provenet.doctor.tree import main_tensor, num_samples
from provenet.records.finding import Severity

MANY_OUTPUTS, TIMES_TOO_MANY = 100, 10
"""A head of so many outputs, and so many times the classes that are seen, was made for other data (ImageNet, say)."""
SURE = 1e-9
"""Chance that classes beyond those seen exist, were all equally frequent, below which the head counts as too wide."""


@dataclass(frozen=True)
class HeadFault:
    """A number of outputs that does not fit the labels."""

    severity: Severity
    outputs: int
    seen: int
    largest: float
    wanted: str


def labels_of(case: Case, reading: Reading) -> Tensor:
    """Return the distinct targets of all batches, those that the loss ignores left out, sorted.

    Only of the batch that ran, as the loss saw them, where the loss changes them before it judges.
    """
    if reading.target is None:
        return torch.zeros(0)
    judged = reading.valid(reading.target.detach().cpu()).unique()
    found = [reading.valid(target.detach().cpu()).unique() for target in targets_of(case)]
    same = bool(found) and set(judged.tolist()) <= set(found[0].tolist())
    return torch.cat([part.float() for part in found]).unique() if same else judged.float()


def targets_of(case: Case) -> list[Tensor]:
    """Return the main tensor of the targets of every batch."""
    mains = [targets if isinstance(targets, Tensor) else main_tensor(targets) for _, targets in case.batches]
    return [main for main in mains if main is not None]


def head_fault(case: Case, reading: Reading) -> HeadFault | None:
    """Return what is wrong with the number of outputs; None where it fits, or labels are numbered otherwise.

    Labels 0..M with M at or above K, most of them present, want more outputs; labels that begin at 1, or jump (0 and
    255), are numbered wrongly, which is another fault.
    """
    if reading.score is None or reading.target is None or reading.score.dim() < 2:
        return None
    classes = reading.loss in ("cross_entropy", "nll_loss") and not reading.target.is_floating_point()
    if not (classes or reading.indices):
        return None
    width, labels = reading.score.shape[1], labels_of(case, reading)
    if len(labels) == 0:
        return None
    seen, least, largest = len(labels), float(labels[0]), float(labels[-1])
    if least >= 0 and largest >= width:
        shifted = least == 1 and largest == width
        dense = seen >= 0.5 * (largest + 1) or largest < 2 * width
        if shifted or not dense or largest >= max(2 * width, seen + 8):
            return None
        return HeadFault("error", width, seen, largest, f"at least {largest + 1:.0f} wide")
    samples = sum(num_samples(inputs) for inputs, _ in case.batches)
    wide = width >= MANY_OUTPUTS and width >= TIMES_TOO_MANY * (largest + 1)
    if wide and least >= 0 and ((largest + 1) / width) ** samples < SURE:
        return HeadFault("warning", width, seen, largest, "as wide as there are classes")
    return None


def indices_for_binary(reading: Reading) -> bool:
    """Return whether a binary loss over K outputs is given one number a sample, or a pixel: a class index."""
    score, target = reading.score, reading.target
    if score is None or target is None or not reading.loss.startswith("binary") or score.dim() < 2:
        return False
    return score.shape[1] > 1 and target.shape == score.shape[:1] + score.shape[2:]
