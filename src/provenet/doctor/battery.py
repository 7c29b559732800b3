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
from provenet.doctor.kinds import ELEMENTWISE
from provenet.doctor.reading import Reading
from provenet.doctor.tree import map_tensors, tensors

CONFIDENT = 8.0
"""Logit of a confident answer: with ten classes its cross-entropy is 0.003, a hundredth of a guess's and less."""
_UNIT = {"classes": "softmax", "labels": "sigmoid"}


@dataclass(frozen=True, eq=False)
class Battery:
    """The loss on made-up outputs, NaN where it could not be taken.

    Answers: "perfect", "uniform", "prior" (how often classes occur, the same for every sample), "wrong", and "sharp"
    (perfect, ten times as confident).

    Args:
        own: loss by answer, answers made by the map that the net itself applies last (softmax, say).
        raw: answers as scores; equal to `own` where the net applies nothing.
        unit: answers as probabilities, by softmax or sigmoid; equal to `raw` for regression.
        doubled: loss of the net's own outputs with every sample twice, over that with every sample once.
        guess: loss of an uninformed guess in closed form (ln K for cross-entropy); None where there is none.
        failures: what the loss raised, by answer.
    """

    own: dict[str, float]
    raw: dict[str, float]
    unit: dict[str, float]
    doubled: float
    guess: float | None
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def floor(self) -> float:
        """The loss of a perfect, confident answer; 0 where unknown or where the loss prefers another."""
        best = self.own.get("perfect", math.nan)
        return best if math.isfinite(best) and best <= self.own.get("uniform", math.inf) else 0.0

    @property
    def ignorance(self) -> float:
        """The loss of the best answer that knows nothing of the inputs; NaN where unknown."""
        known = [self.own[name] for name in ("uniform", "prior") if math.isfinite(self.own.get(name, math.nan))]
        return min(known, default=math.nan)


def try_loss(loss_fn: Loss, reading: Reading, targets: Any, outputs: Any) -> Battery:
    """Return what a loss says of made-up answers.

    Args:
        loss_fn: the loss.
        reading: what outputs and targets are.
        targets: of the batch, as the loss gets them.
        outputs: all that the net gave for it: made-up answers take the place of the scores in it.
    """
    failures: dict[str, str] = {}
    scores = _answers(reading)

    def taken(by: str) -> dict[str, float]:
        answers = {name: _mapped(by, score) for name, score in scores.items()}
        return {name: _taken(loss_fn, _filled(outputs, one), targets, name, failures) for name, one in answers.items()}

    raw = taken("")
    unit = raw if _amounts(reading) else taken(_UNIT.get(reading.task, ""))
    own = taken(reading.mapped) if reading.mapped and not _amounts(reading) else raw
    return Battery(own, raw, unit, _doubled(loss_fn, outputs, targets), _guess(reading), failures)


def _answers(reading: Reading) -> dict[str, Tensor]:
    """Return scores of the right shape for every answer."""
    score, target = reading.score, reading.target
    if score is None or target is None or reading.task == "unknown":
        return {}
    zeros = torch.zeros_like(score, dtype=torch.float32)
    if _amounts(reading):
        if target.numel() != score.numel():
            return {}
        values = target.reshape(score.shape).float()
        middle = (values.max() + values.min()) / 2
        return {"perfect": values, "uniform": zeros + values.mean(), "wrong": 2 * middle - values}
    if reading.task == "classes":
        right = _one_hot(zeros, target, reading)
        counted = right if reading.ignore_index is None else right * _counted(zeros, target, reading.ignore_index)
        return _scaled(right, zeros, right.roll(1, 1)) | {"prior": zeros + _shares(counted).log()}
    if target.numel() != score.numel():
        return {}
    yes = target.reshape(score.shape).float()
    signs, column = yes * 2 - 1, yes if yes.dim() > 1 else yes[:, None]
    prior = torch.logit(_mean_of_each(column, 1 / 2)).expand_as(column).reshape(zeros.shape)
    return _scaled(signs, zeros, -signs) | {"prior": prior}


def _amounts(reading: Reading) -> bool:
    """Return whether the loss compares values: then the perfect answer is the target itself."""
    return reading.task == "regression" or reading.loss in ELEMENTWISE


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


def _shares(right: Tensor) -> Tensor:
    """Return how often each class occurs, (1, K, ...), as if each had occurred once more: none is impossible."""
    found = _mean_of_each(right, 1 / right.shape[1])
    return found / found.sum()


def _mean_of_each(values: Tensor, usual: float) -> Tensor:
    """Return the mean of each column, over all axes but the second, with one value more that is the usual."""
    others = [dim for dim in range(values.dim()) if dim != 1]
    num = values.numel() / values.shape[1]
    return (values.sum(others, keepdim=True) + usual) / (num + 1)


def _counted(zeros: Tensor, target: Tensor, ignored: int) -> Tensor:
    """Return 1 for targets that the loss does not ignore, 0 for the others, (N, 1, ...)."""
    mask = (target != ignored).to(zeros)
    return mask if mask.dim() == zeros.dim() else mask.unsqueeze(1)


def _mapped(given: str, answer: Tensor) -> Tensor:
    maps = {
        "sigmoid": Tensor.sigmoid,
        "softmax": lambda one: one.softmax(1),
        "log_softmax": lambda one: one.log_softmax(1),
    }
    return maps[given](answer) if given in maps else answer


def _filled(outputs: Any, answer: Tensor) -> Any:
    """Return outputs with an answer in place of every tensor of its shape."""
    same = [tensor for tensor in tensors(outputs) if tensor.shape == answer.shape]
    if isinstance(outputs, Tensor) or not same:
        return answer.clone()
    return map_tensors(lambda tensor: answer.clone() if tensor.shape == answer.shape else tensor, outputs)


def _taken(loss_fn: Loss, answer: Any, targets: Any, name: str, failures: dict[str, str]) -> float:
    value = math.nan
    with Attempt("loss") as attempt, torch.no_grad():
        value = float(torch.as_tensor(loss_of(loss_fn, answer, targets)).mean())
    if attempt.failure is not None:
        failures[name] = str(attempt.failure)
    return value


def _doubled(loss_fn: Loss, outputs: Any, targets: Any) -> float:
    """Return the ratio of the losses with every sample twice and once."""
    once, both = 0.0, math.nan
    with Attempt("loss"), torch.no_grad():
        once = float(torch.as_tensor(loss_of(loss_fn, map_tensors(Tensor.clone, outputs), targets)).mean())
        both = float(torch.as_tensor(loss_of(loss_fn, _twice(outputs), _twice(targets))).mean())
    return both / once if once else math.nan


def _twice(tree: Any) -> Any:
    return map_tensors(lambda tensor: torch.cat([tensor, tensor]) if tensor.dim() else tensor, tree)


def _guess(reading: Reading) -> float | None:
    if reading.loss in ("cross_entropy", "nll_loss") and reading.width:
        return math.log(reading.width)
    return math.log(2) if reading.loss.startswith("binary_cross_entropy") else None
