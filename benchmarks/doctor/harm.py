"""Whether a fault does harm: the faulty and the repaired code are trained alike, and tried on held-out inputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean

import torch
from benchmarks.doctor.cases import Case, Given, Sound

RAISED = (RuntimeError, ValueError, IndexError, TypeError)
"""What torch raises on shapes, ranges and types that do not fit."""
LEAST = 0.02
"""A fault costs at least this much of the score, as a mean over seeds, and something with every seed."""


@dataclass(frozen=True)
class Trained:
    """Scores of the faulty and of the repaired code, one a seed; NaN where training raised an exception."""

    faulty: tuple[float, ...]
    repaired: tuple[float, ...]

    @property
    def cost(self) -> float:
        """What the fault costs on average; a training that raises is worth 0."""
        return fmean(self.repaired) - fmean(0.0 if math.isnan(one) else one for one in self.faulty)

    @property
    def harmful(self) -> bool:
        """Whether the repaired code is better with every seed, and by `LEAST` on average."""
        pairs = zip(self.faulty, self.repaired, strict=True)
        return self.cost >= LEAST and all(math.isnan(bad) or good > bad for bad, good in pairs)


def train(given: Given, updates: int) -> float:
    """Train as the code that was given says, and return its score on its test inputs.

    Args:
        given: is changed: its model is trained, in the mode in which it comes.
        updates: optimizer steps; batches are taken in turn.
    """
    assert given.optimizer is not None and given.test is not None
    torch.manual_seed(1)
    for inputs, targets in islice(cycle(given.batches), updates):
        given.optimizer.zero_grad()
        found = given.model(inputs if given.transform is None else given.transform(inputs))
        given.loss_fn(found, targets).backward()  # type: ignore[no-untyped-call]
        given.optimizer.step()
        if given.schedule is not None:
            given.schedule.step()
    score = given.score(given.model, given.test)
    return score if math.isfinite(score) else 0.0


def score_of(case: Case | Sound, seed: int, repaired: bool = False) -> float:
    """Return the score after training; NaN where it raises."""
    make = case.repaired if repaired and isinstance(case, Case) else case.make
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return train(make(seed), case.updates)
        except RAISED:
            return math.nan


def compare(case: Case, seeds: Sequence[int]) -> Trained:
    """Train the faulty and the repaired code with each seed."""
    return Trained(*(tuple(score_of(case, seed, repaired) for seed in seeds) for repaired in (False, True)))
