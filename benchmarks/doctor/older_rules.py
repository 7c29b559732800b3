"""The simple rules of older tools, which the doctor is measured against.

Each has one fixed threshold, and names the id that its message comes nearest to. They are those of

* SageMaker Debugger's built-in rules (docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html):
  vanishing gradient, exploding tensor, dead ReLU, poor weight initialisation, class imbalance;
* UMLAUT (Schoop et al. 2021, CHI): inputs outside [-1, 1], learning rate, dropout, softmax, loss that is not finite;
* AutoTrainer (Zhang et al. 2021, ICSE): vanishing and exploding gradients, dying ReLU, as ten updates show them.
"""

# N batch

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, islice

import torch
from benchmarks.doctor.cases import Given
from benchmarks.doctor.harm import RAISED
from torch import Tensor, nn

UPDATES, SMALLEST, LARGEST, DEAD, BOUND = 10, 1e-7, 1e3, 0.5, 1.0
HIGHEST_RATE, LOWEST_RATE, MOST_DROPPED, VARIANCES, COUNTS = 0.01, 1e-7, 0.5, 10.0, 10.0
_LOSSES_OF_LOGITS = (nn.CrossEntropyLoss,)
_LOSSES_OF_LOGS = (nn.NLLLoss,)


def older_rules(given: Given) -> list[str]:
    """Return the ids that the rules name, each once; the model is trained for `UPDATES` updates.

    Args:
        given: is changed.
    """
    found = [*_of_inputs(given), *_of_settings(given)]
    try:
        found += [*_of_outputs(given), *_of_training(given)]
    except RAISED:
        found.append("forward-fails")
    return list(dict.fromkeys(found))


def _of_inputs(given: Given) -> Iterator[str]:
    if any(inputs.abs().max() > BOUND for inputs, _ in given.batches):
        yield "input-unnormalized"
    targets = torch.cat([targets.flatten() for _, targets in given.batches])
    if not targets.is_floating_point() or bool((targets == targets.round()).all()):
        counts = targets.unique(return_counts=True)[1].float()
        if counts.max() > COUNTS * counts.min():
            yield "class-imbalance"


def _of_settings(given: Given) -> Iterator[str]:
    assert given.optimizer is not None
    rates = [group["lr"] for group in given.optimizer.param_groups]
    if max(rates) > HIGHEST_RATE:
        yield "lr-too-high"
    if min(rates) < LOWEST_RATE:
        yield "lr-too-low"
    if any(isinstance(layer, nn.Dropout | nn.Dropout2d) and layer.p > MOST_DROPPED for layer in given.model.modules()):
        yield "dropout-too-high"
    spreads = [float(weight.detach().var()) for weight in given.model.parameters() if weight.ndim > 1]
    if spreads and max(spreads) > VARIANCES * min(spreads):
        yield "init-too-large"


def _of_outputs(given: Given) -> Iterator[str]:
    with torch.no_grad():
        found = given.model(given.batches[0][0])
    if not isinstance(found, Tensor) or found.ndim < 2 or found.shape[1] < 2:
        return
    shares = bool((found >= 0).all()) and torch.allclose(found.sum(1), torch.ones(()), atol=1e-3)
    if shares and isinstance(given.loss_fn, _LOSSES_OF_LOGITS):
        yield "softmax-before-ce"
    logs = torch.allclose(found.exp().sum(1), torch.ones(()), atol=1e-3)
    if not logs and isinstance(given.loss_fn, _LOSSES_OF_LOGS):
        yield "nll-without-logsoftmax"


def _of_training(given: Given) -> Iterator[str]:
    assert given.optimizer is not None
    zeros: dict[nn.Module, Tensor] = {}
    layers = [layer for layer in given.model.modules() if isinstance(layer, nn.ReLU)]
    hooks = [layer.register_forward_hook(lambda one, _, out: zeros.update({one: out.flatten(1)})) for layer in layers]
    loss = torch.zeros(())
    for inputs, targets in islice(cycle(given.batches), UPDATES):
        given.optimizer.zero_grad()
        loss = given.loss_fn(given.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        given.optimizer.step()
    for hook in hooks:
        hook.remove()
    if not math.isfinite(float(loss.detach())):
        yield "loss-not-finite"
    slopes = [weight.grad.abs() for weight in given.model.parameters() if weight.grad is not None]
    if any(slope.mean() < SMALLEST for slope in slopes):
        yield "vanishing-gradients"
    if any(slope.max() > LARGEST for slope in slopes):
        yield "exploding-gradients"
    if any((units <= 0).all(0).float().mean() > DEAD for units in zeros.values()):
        yield "dead-relu"
