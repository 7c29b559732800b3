"""Instrument L: the loss on made-up outputs. No net is needed to see that a loss rewards the wrong answer."""

# N batch, K classes

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from provenet.doctor.attempt import Attempt
from provenet.doctor.case import Loss, loss_of
from provenet.doctor.reading import Reading
from provenet.doctor.tree import map_tensors

CONFIDENT = 8.0
"""Logit of a confident answer: with ten classes its cross-entropy is 0.003, a hundredth of a guess's and less."""


@dataclass(frozen=True, eq=False)
class Battery:
    """The loss on made-up outputs, NaN where it could not be taken.

    "Own" outputs went through the map that the net itself applies last (softmax, say); "raw" ones are scores.

    Args:
        own: loss by answer: "perfect", "uniform", "wrong", "sharp" (perfect, ten times as confident).
        raw: the same on scores; equal to `own` where the net applies nothing.
        doubled: loss of the net's own outputs with every sample twice, over that with every sample once.
        guess: loss of an uninformed guess in closed form (ln K for cross-entropy); None where there is none.
        failures: what the loss raised, by answer.
    """

    own: dict[str, float]
    raw: dict[str, float]
    doubled: float
    guess: float | None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def floor(self) -> float:
        """The loss of a perfect, confident answer; 0 where unknown or where the loss prefers another."""
        best = self.own.get("perfect", math.nan)
        return best if math.isfinite(best) and best <= self.own.get("uniform", math.inf) else 0.0


def try_loss(loss_fn: Loss, reading: Reading, targets: Any, outputs: Tensor | None) -> Battery:
    """Return what a loss says of made-up answers.

    Args:
        loss_fn: the loss.
        reading: what outputs and targets are.
        targets: of the batch, as the loss gets them.
        outputs: what the net gave for it.
    """
    failures: dict[str, str] = {}
    answers = _answers(reading)
    raw = {name: _taken(loss_fn, answer, targets, name, failures) for name, answer in answers.items()}
    own = raw
    if reading.given in ("softmax", "log_softmax", "sigmoid"):
        mapped = {name: _mapped(reading.given, answer) for name, answer in answers.items()}
        own = {name: _taken(loss_fn, answer, targets, name, failures) for name, answer in mapped.items()}
    return Battery(own, raw, _doubled(loss_fn, outputs, targets), _guess(reading), failures)


def _answers(reading: Reading) -> dict[str, Tensor]:
    """Return scores of the right shape for every answer."""
    score, target = reading.score, reading.target
    if score is None or target is None or reading.task == "unknown":
        return {}
    zeros = torch.zeros_like(score, dtype=torch.float32)
    if reading.task == "classes":
        right = _one_hot(zeros, target, reading)
        wrong = right.roll(1, 1)
        return _scaled(right, zeros, wrong)
    if target.numel() != score.numel():
        return {}
    values = target.reshape(score.shape).float()
    if reading.task == "labels":
        signs = values * 2 - 1
        return _scaled(signs, zeros, -signs)
    mean = values.mean()
    return {"perfect": values, "uniform": zeros + mean, "wrong": 2 * mean - values}


def _scaled(right: Tensor, zeros: Tensor, wrong: Tensor) -> dict[str, Tensor]:
    return {
        "perfect": CONFIDENT * right,
        "uniform": zeros,
        "wrong": CONFIDENT * wrong,
        "sharp": 10 * CONFIDENT * right,
    }


def _one_hot(zeros: Tensor, target: Tensor, reading: Reading) -> Tensor:
    if not reading.indices:
        return target.float().reshape(zeros.shape)
    index = target.long().clamp(0, zeros.shape[1] - 1)
    index = index if index.dim() == zeros.dim() else index.unsqueeze(1)
    return zeros.scatter(1, index, 1.0)


def _mapped(given: str, answer: Tensor) -> Tensor:
    if given == "sigmoid":
        return answer.sigmoid()
    return answer.softmax(1) if given == "softmax" else answer.log_softmax(1)


def _taken(loss_fn: Loss, answer: Tensor, targets: Any, name: str, failures: dict[str, str]) -> float:
    value = math.nan
    with Attempt("loss") as attempt, torch.no_grad():
        value = float(torch.as_tensor(loss_of(loss_fn, answer.clone(), targets)).mean())
    if attempt.failure is not None:
        failures[name] = str(attempt.failure)
    return value


def _doubled(loss_fn: Loss, outputs: Tensor | None, targets: Any) -> float:
    """Return the ratio of the losses with every sample twice and once."""
    if outputs is None or outputs.dim() == 0:
        return math.nan
    once, both = 0.0, math.nan
    twice = map_tensors(lambda tensor: torch.cat([tensor, tensor]) if tensor.dim() else tensor, targets)
    with Attempt("loss"), torch.no_grad():
        once = float(torch.as_tensor(loss_of(loss_fn, outputs.clone(), targets)).mean())
        both = float(torch.as_tensor(loss_of(loss_fn, torch.cat([outputs, outputs]), twice)).mean())
    return both / once if once else math.nan


def _guess(reading: Reading) -> float | None:
    if reading.loss in ("cross_entropy", "nll_loss") and reading.width:
        return math.log(reading.width)
    return math.log(2) if reading.loss.startswith("binary_cross_entropy") else None
