"""One update: forward, loss, backward, clip, guard, optimizer, average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from provenet.core.batch import Batch
from provenet.core.rng import derive
from provenet.engine.job import Job
from provenet.engine.state import TrainState
from provenet.techniques.optimizer import set_lr


@dataclass(frozen=True)
class StepResult:
    """What an update reported: loss, learning rate, gradient norm before clipping, and whether it was made."""

    loss: float
    lr: float
    grad_norm: float
    made: bool


def train_step(job: Job, state: TrainState, batch: Batch) -> StepResult:
    """Make one update of `state` with a batch that is ready for the net.

    A loss or gradient that is not finite never reaches the weights: the update is skipped and counted.
    """
    counters = state.counters
    # Dropout draws from the global generator: seeded a step, it is a function of the step and needs no saving.
    torch.manual_seed(derive(job.seed, "step", counters.step))
    progress = counters.step / job.total_steps
    lr = job.lr * state.lr_scale * job.schedule.factor(counters.step, job.total_steps, counters.schedule)
    set_lr(state.optimizer, lr)
    set_trainable_(job, state.net, progress)
    buffers = [buffer for buffer in state.net.buffers() if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in buffers]
    loss = forward_loss(job, state.net, batch)
    loss.backward()
    norm = clip_(state.net, job.clip)
    made = math.isfinite(loss.item()) and math.isfinite(norm.item())
    if made:
        state.optimizer.step()
    elif buffers:  # running statistics saw the same numbers
        torch._foreach_copy_(buffers, before)
    state.optimizer.zero_grad(set_to_none=True)
    if made and state.averaged is not None:
        job.average.update_(state.averaged, state.net, counters.step, job.total_steps)
    return StepResult(loss.item(), lr, norm.item(), made)


def forward_loss(job: Job, net: nn.Module, batch: Batch) -> Tensor:
    """Return the training loss of a batch, float32."""
    with job.precision.context():
        logits = net(batch.images)
    return job.loss.compute(logits.float(), batch.targets, job.class_weights)


def set_trainable_(job: Job, net: nn.Module, progress: float) -> None:
    """Let learn what the transfer technique lets learn at this point of the run, and put frozen layers to rest."""
    net.train()
    if job.transfer.name != "none":
        job.transfer.set_mode_(net, job.groups, progress)


def clip_(net: nn.Module, most: float | None) -> Tensor:
    """Scale the gradients down to norm `most`; returns the norm before."""
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if most is not None:
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, factor)
    return norm
