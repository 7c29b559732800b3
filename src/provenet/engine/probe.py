"""Measurements before a run that leave no trace in it: seconds an update takes, and the range of usable rates."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from provenet.core.batch import Batch
from provenet.engine.job import Job
from provenet.engine.step import clip_, forward_loss
from provenet.techniques.optimizer import set_lr

Build = Callable[[nn.Module], torch.optim.Optimizer]


def prepared(job: Job, count: int) -> list[Batch]:
    """Return the first `count` batches of epoch 0, ready for the net."""
    batches: list[Batch] = []
    for batch in job.loader.batches(0):
        batches.append(job.feed.train(batch, 0))
        if len(batches) == count:
            break
    return batches


def _sandbox(net: nn.Module) -> tuple[nn.Module, torch.Tensor]:
    """Return a copy of a net and the state of the global generator, to be put back afterwards."""
    return copy.deepcopy(net), torch.get_rng_state()


def step_seconds(job: Job, net: nn.Module, build: Build, updates: int = 8) -> float:
    """Return the median seconds of an update with its data, measured on a copy of the net.

    The first two updates warm up and do not count.
    """
    copied, rng = _sandbox(net)
    copied.train()
    optimizer = build(copied)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < updates + 2:
        for batch in job.loader.batches(0):
            forward_loss(job, copied, job.feed.train(batch, 0)).backward()
            clip_(copied, job.clip).item()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            now = time.perf_counter()
            times.append(now - started)
            started = now
            if len(times) >= updates + 2:
                break
    torch.set_rng_state(rng)
    return statistics.median(times[2:])


@dataclass(frozen=True)
class LrRange:
    """What a range test found.

    Args:
        lrs: the rates that were tried, ascending.
        losses: the smoothed loss after each.
        suggestion: a tenth of the rate at which the loss was lowest; None when the loss never fell.
        limit: the first rate at which the loss blew up; None when none of them did.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None
    limit: float | None


def lr_range(job: Job, net: nn.Module, build: Build, low: float, high: float, updates: int = 30) -> LrRange:
    """Raise the rate from `low` to `high` in equal ratios, one update each, on a copy of the net.

    Source: Smith 2017, "Cyclical learning rates for training neural networks", section 3.3.
    """
    copied, rng = _sandbox(net)
    copied.train()
    optimizer = build(copied)
    batches = prepared(job, min(updates, 8))
    lrs: list[float] = []
    losses: list[float] = []
    average = 0.0
    limit: float | None = None
    for i in range(updates):
        lr = low * (high / low) ** (i / (updates - 1))
        set_lr(optimizer, lr)
        torch.manual_seed(i)
        loss = forward_loss(job, copied, batches[i % len(batches)])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average = 0.8 * average + 0.2 * loss.item()
        smoothed = average / (1 - 0.8 ** (i + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > 2 * losses[0]):
            limit = lr
            break
        lrs.append(lr)
        losses.append(smoothed)
    torch.set_rng_state(rng)
    return LrRange(tuple(lrs), tuple(losses), _suggest(lrs, losses), limit)


def _suggest(lrs: list[float], losses: list[float]) -> float | None:
    if not losses or min(losses) >= losses[0]:
        return None
    return lrs[losses.index(min(losses))] / 10
