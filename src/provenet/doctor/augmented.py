"""What the caller's transform makes of samples, one draw each."""

# N samples

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from provenet.doctor.attempt import Attempt, Failure
from provenet.doctor.samples import Samples
from provenet.doctor.tree import main_tensor

MOST_SAMPLES = 64


@dataclass(frozen=True, eq=False)
class Augmented:
    """Samples after the transform.

    Args:
        inputs: (N, ...) float32, resized to the pictures' own size; None where the transform raised.
        targets: (N, ...); those of the samples where the transform does not take them.
        rows: which of the samples these are.
        joint: whether the transform takes inputs and targets.
        failure: what it raised.
    """

    inputs: Tensor | None
    targets: Tensor | None
    rows: Tensor
    joint: bool
    failure: Failure | None


def augment(transform: Callable[..., Any], samples: Samples, device: torch.device) -> Augmented:
    """Return what a transform makes of samples, each given alone: what it draws, it draws for each.

    Args:
        transform: inputs -> inputs, or (inputs, targets) -> the same; as batches have them, (1, ...).
        samples: the samples.
        device: where the caller's batches go.
    """
    rows = torch.linspace(0, len(samples) - 1, min(MOST_SAMPLES, len(samples))).round().long().unique()
    joint = _takes_both(transform) and samples.targets is not None
    inputs, targets = [], []
    torch.manual_seed(0)
    with Attempt("transform") as attempt:
        for row in rows.tolist():
            one = samples.inputs[row : row + 1].to(device=device, dtype=samples.dtype, copy=True)
            target = None if samples.targets is None else samples.targets[row : row + 1].to(device, copy=True)
            given = transform(one, target) if joint else transform(one)
            image, mask = (given[0], given[1]) if joint else (main_tensor(given), target)
            if image is None:
                raise TypeError(f"the transform returned {type(given).__name__}, no tensor")
            inputs.append(_sized(image.detach().float().cpu(), samples.inputs))
            targets.append(mask)
    if attempt.failure is not None:
        return Augmented(None, None, rows, joint, attempt.failure)
    whole = [mask.detach().cpu() for mask in targets if mask is not None]
    same = len(whole) == len(rows) and len({mask.shape[1:] for mask in whole}) == 1
    return Augmented(torch.cat(inputs), torch.cat(whole) if same else None, rows, joint, None)


def _takes_both(transform: Callable[..., Any]) -> bool:
    """Return whether a function asks for two arguments."""
    called = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in places and one.default is inspect.Parameter.empty for one in parameters) > 1


def _sized(image: Tensor, like: Tensor) -> Tensor:
    """Return one augmented sample, (1, ...), in the size of the pictures."""
    image = image.unsqueeze(0) if image.dim() == like.dim() - 1 else image
    if image.dim() == 4 and image.shape[2:] != like.shape[2:]:
        image = F.interpolate(image, like.shape[2:], mode="bilinear", antialias=True)
    return image
