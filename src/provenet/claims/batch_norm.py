"""Claim 7: batch normalisation does what its formula says, in training and in evaluation."""

# N batch, C channels, H W pixels, B batches

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from provenet.claims.claim import Claim, below
from provenet.claims.lab import Lab
from provenet.core.rng import numpy_generator, torch_generator
from provenet.records.claim import Check, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.techniques.init import He
from provenet.techniques.norm import BatchNorm

TECHNIQUE = BatchNorm()
BATCHES = {"quick": 30, "full": 200}
BATCH = 32
CHANNELS = 16
EXACT = 1e-9
"""Differences below are rounding: values are near 1, in float64."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of each channel, C."""

    mean: Array
    var: Array


def statistics(features: Array, unbiased: bool = False) -> Statistics:
    """Return mean and variance over batch and pixels of features N C H W."""
    columns = features.transpose(1, 0, 2, 3).reshape(features.shape[1], -1)
    mean = columns.mean(1)
    squares = ((columns - mean[:, None]) ** 2).sum(1)
    return Statistics(mean, squares / (columns.shape[1] - unbiased))


def normalized(features: Array, by: Statistics, gamma: Array, beta: Array, eps: float) -> Array:
    """Return gamma (x - mean) / sqrt(var + eps) + beta of features N C H W, channel by channel.

    Source: Ioffe and Szegedy (2015), algorithm 1.

    Example:
        >>> one = np.ones(1)
        >>> normalized(np.array([[[[3.0]]], [[[7.0]]]]), Statistics(5 * one, 4 * one), 3 * one, one, 0.0).ravel()
        array([-2.,  4.])
    """
    mean, scale, gamma, beta = (values[None, :, None, None] for values in (by.mean, np.sqrt(by.var + eps), gamma, beta))
    result: Array = gamma * (features - mean) / scale + beta
    return result


def running(batches: list[Statistics], momentum: float) -> Statistics:
    """Return the running statistics after B batches, written out: no recursion.

    (1 - m)^B start + m sum_b (1 - m)^(B - b) statistic_b, b = 1..B; the mean starts at 0 and the variance at 1.

    Args:
        batches: each batch's mean and unbiased variance, in order.
        momentum: m, weight of the new batch.
    """
    shares = momentum * (1 - momentum) ** np.arange(len(batches) - 1, -1, -1)
    mean, var = (np.array([getattr(batch, name) for batch in batches]) for name in ("mean", "var"))
    return Statistics(shares @ mean, (1 - momentum) ** len(batches) + shares @ var)


def largest(first: Array, second: Array) -> float:
    """Return the largest difference of two arrays."""
    return float(np.abs(first - second).max())


@dataclass(frozen=True, eq=False)
class Watch:
    """A layer in training, batch by batch, beside the formula.

    Args:
        layer: the layer after all batches.
        features: the batches, B of N C H W.
        gamma, beta: the layer's scale and shift, C.
        outputs: what it gave in training, B of N C H W.
        kept: its running statistics after each batch.
    """

    layer: nn.Module
    features: list[Array]
    gamma: Array
    beta: Array
    outputs: list[Array]
    kept: list[Statistics]

    def formula(self, features: Array, by: Statistics) -> Array:
        """Return what the formula gives with these statistics."""
        return normalized(features, by, self.gamma, self.beta, TECHNIQUE.eps)

    def running(self, num: int) -> Statistics:
        """Return the running statistics after so many batches, from the batches alone."""
        return running([statistics(batch, unbiased=True) for batch in self.features[:num]], TECHNIQUE.momentum)


def feature_maps(lab: Lab) -> list[Array]:
    """Return batches of real images behind one convolution with He's weights, float64."""
    bench, num = lab.classification, lab.pick(*BATCHES.values())
    session = bench.session("steps=1", lab.seeds[0])
    conv = nn.Conv2d(bench.dataset.store.channels, CHANNELS, 3, padding=1, dtype=torch.float64)
    He(mode="fan_in").fill_(conv.weight, torch_generator(0, "claims/batch_norm"))
    ids = numpy_generator(0, "claims/batch_norm").choice(bench.dataset.splits["train"], (num, BATCH))
    with torch.no_grad():
        return [conv(bench.images(session, np.sort(batch))[0].cpu().double()).numpy() for batch in ids]


def watch(features: list[Array]) -> Watch:
    """Send batches through a layer in training."""
    draws, channels = numpy_generator(0, "claims/batch_norm/affine"), int(features[0].shape[1])
    gamma, beta = draws.uniform(0.5, 2.0, channels), draws.normal(size=channels)
    layer = TECHNIQUE.layer(channels).double()
    layer.load_state_dict({**layer.state_dict(), "weight": torch.from_numpy(gamma), "bias": torch.from_numpy(beta)})
    outputs, kept = [], []
    for batch in features:
        outputs.append(answer(layer.train(), batch))
        kept.append(Statistics(*(layer.get_buffer(f"running_{name}").numpy().copy() for name in ("mean", "var"))))
    return Watch(layer, features, gamma, beta, outputs, kept)


def answer(layer: nn.Module, features: Array) -> Array:
    """Return a layer's output."""
    with torch.no_grad():
        output: Tensor = layer(torch.from_numpy(features))
    return output.numpy()


def measure(lab: Lab) -> Finding:
    """Compare the layer with the formula, in training and in evaluation."""
    watched = watch(feature_maps(lab))
    alone = {mode: apart(watched, training=mode == "training") for mode in ("training", "evaluation")}
    checks = (*_training(watched), _running(watched), _evaluation(watched), _alone(alone["evaluation"]))
    return Finding(
        checks=checks,
        said=_said(watched, checks, alone["training"]),
        charts=(_chart(watched),),
        tables=(_table(watched, alone),),
    )


def apart(watched: Watch, training: bool) -> float:
    """Return the largest difference between answers to half a batch by itself and among the whole batch."""
    layer, batch = copy.deepcopy(watched.layer).train(training), watched.features[0]
    half = len(batch) // 2
    return largest(answer(layer, batch)[:half], answer(layer, batch[:half]))


def _training(watched: Watch) -> tuple[Check, Check]:
    """Return the checks of the mini-batch formula."""
    batches = [statistics(batch) for batch in watched.features]
    pairs = list(zip(watched.features, watched.outputs, batches, strict=True))
    formula = max(largest(output, watched.formula(batch, by)) for batch, output, by in pairs)
    shaped = max(largest(*pair) for _, output, by in pairs for pair in _shapes(watched, statistics(output), by))
    return (
        below("training gives the formula with the mini-batch's mean and variance", Figure(formula), EXACT, len(pairs)),
        below(
            "each channel comes out with mean beta and variance gamma^2 var / (var + eps)",
            Figure(shaped),
            EXACT,
            len(pairs),
        ),
    )


def _shapes(watched: Watch, output: Statistics, by: Statistics) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return means and variances that a batch came out with, each beside what it ought to be."""
    var = watched.gamma**2 * by.var / (by.var + TECHNIQUE.eps)
    return (output.mean, watched.beta), (output.var, var)


def _running(watched: Watch) -> Check:
    """Return the check of the running statistics, after every batch."""
    off = 0.0
    for num, kept in enumerate(watched.kept, start=1):
        wanted = watched.running(num)
        off = max(off, largest(kept.mean, wanted.mean), largest(kept.var, wanted.var))
    says = "the running statistics are the moving averages of the batches', written out"
    return below(says, Figure(off), EXACT, len(watched.kept))


def _evaluation(watched: Watch) -> Check:
    """Return the check of the formula in evaluation."""
    layer, by = watched.layer.eval(), watched.running(len(watched.kept))
    off = max(largest(answer(layer, batch), watched.formula(batch, by)) for batch in watched.features)
    return below("evaluation gives the formula with the running statistics", Figure(off), EXACT, len(watched.features))


def _alone(difference: float) -> Check:
    says = "in evaluation an image's answer does not depend on the images beside it"
    return below(says, Figure(difference), EXACT, 1)


def _said(watched: Watch, checks: tuple[Check, ...], training: float) -> str:
    """Return what came out, in words."""
    off = max(check.value for check in checks if check.value is not None)
    left = (1 - TECHNIQUE.momentum) ** len(watched.kept)
    return (
        f"Over {len(watched.features)} batches of real images behind a convolution the layer and a NumPy version of "
        f"the formula differ by at most {off:.1e}, in float64. Half a batch by itself is answered differently from the "
        f"same images among the whole batch by up to {training:.2f} in training. After these batches the start values "
        f"still weigh {left:.1%} in the running statistics; their variance is the unbiased one, while training divides "
        f"by the biased one, as in PyTorch."
    )


def _chart(watched: Watch) -> Lines:
    """Return the channel whose variance is furthest from its start value."""
    channel = int(np.abs(watched.kept[-1].var - 1).argmax())
    batches = [statistics(batch, unbiased=True) for batch in watched.features]
    formula = [watched.running(num + 1) for num in range(len(batches))]
    whole = statistics(np.concatenate(watched.features), unbiased=True)
    kinds = {
        "each batch": batches,
        "all batches as one": [whole] * len(batches),
        "running, formula": formula,
        "running, layer": watched.kept,
    }
    return Lines(
        title=f"Variance of channel {channel + 1}",
        x="batches",
        y="variance",
        lines={
            name: tuple((num + 1.0, float(by.var[channel])) for num, by in enumerate(kind))
            for name, kind in kinds.items()
        },
        note=f"The running variance begins at 1 and forgets it by {TECHNIQUE.momentum:.0%} a batch.",
    )


def _table(watched: Watch, alone: dict[str, float]) -> Grid:
    """Return how far the running statistics are from those of all batches, and answers from each other."""
    whole = statistics(np.concatenate(watched.features), unbiased=True)
    rows = [("all batches as one, mean over channels", f"{whole.mean.mean():.4f}", f"{whole.var.mean():.4f}")]
    for num in sorted({1, len(watched.kept) // 3 or 1, len(watched.kept)}):
        kept = watched.kept[num - 1]
        rows.append((f"running, after {num} batches", f"{kept.mean.mean():.4f}", f"{kept.var.mean():.4f}"))
    rows += [(f"half a batch alone, {mode}: answers move by up to", f"{by:.1e}", "") for mode, by in alone.items()]
    return Grid(title="Statistics and answers", head=("", "mean", "variance"), rows=tuple(rows))


CLAIM = Claim(
    statement=(
        "Batch normalisation takes the mean and the variance of each channel over the mini-batch, normalises by them, "
        "and rescales and shifts by a learnt gamma and beta; in evaluation it uses running statistics instead."
    ),
    experiment=(
        f"Nothing is trained. Batches of {BATCH} real images go through a convolution and provenet's layer, in "
        f"float64, with random gamma and beta. Outputs in training and evaluation and the running statistics after "
        f"every batch are set against the formula in NumPy, the moving average written out as a sum and not as a "
        f"recursion."
    ),
    task="classification",
    measure=measure,
)
