"""Normalisation layers: what they are given, what they keep, and nets that lack them."""

# N batch, C channels

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_low

from provenet.doctor.chains import WEIGHTED, batch_norms, normalizes_batch, weight_of
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import DROPOUT, MERGE, NORM, POOL, RECTIFIER, SHAPE
from provenet.doctor.recorder import Op, Trace
from provenet.doctor.remedies import with_norm, wrap
from provenet.doctor.travel import loss_over_guess
from provenet.doctor.tree import num_samples
from provenet.records.finding import Finding, Severity

FEW_VALUES = 16
"""Values a channel from which mean and variance are taken: the variance of 16 is off by a third."""
FEW_SHARE = 0.25
"""Share of the batch norms that see so few: a single one, on a pooled branch, does little harm."""
PAIR_VALUES = 256
"""Values a channel below which a batch of two is a warning: of two pictures more values tell little more, but
segmentation of large pictures with two a batch is done with some success (Wu and He 2018, figure 1, for classes)."""
FAST, SLOW = 0.5, 1e-4
"""Weights of the new batch. Above a half the running statistics are the last two batches; with 1e-4 they need 10 000
steps. PyTorch's 0.1, 0.01 and EfficientNet's 0.001 lie between."""
SWELLING = 1.5
"""Variance with dropout over that without, from which batch norm's statistics are off. Published nets that train well
with dropout before batch norm have 1.25 (DenseNet, p = 0.2) and 1.43 (Wide ResNet, p = 0.3)."""
MOST_NORMS = 0.3
"""Share of the batch norms that are off from which it is loud: one among many only scales its features a little, as in
DeepLabV3, whose head drops half of what goes into its last batch norm."""
DEEP = 8
"""Layers from which a net wants a norm; shallower ones train without."""
UNSTABLE = 3.0
"""Doublings or halvings of the signal on its way from which its scale counts as unstable."""
LOSS_RATIO = 3.0
"""Loss before training over that of a guess, from which a scale that grows does harm."""
_LONE = ("more than 1 value per channel", "single value a channel")
"""What PyTorch and provenet say where batch norm is given one value."""


def _norms(examination: Examination) -> list[Op]:
    """Return the batch norms that use the batch's statistics."""
    ops = batch_norms(examination.walk.trace, examination.chains)
    return [op for op in ops if normalizes_batch(op) and op.layer != "loss"]


def _values(op: Op) -> int:
    """Return how many values a channel a batch norm is given."""
    shape = op.inputs[0].shape
    values = shape[0]
    for size in shape[2:]:
        values *= size
    return values


def _bn_small_batch(examination: Examination) -> Iterator[Finding]:
    failure = examination.walk.failure
    if failure is not None and any(text in failure.text for text in _LONE):
        yield _small(failure.layer, "error", {"values": 1}, "Batch norm is given one value a channel and fails")
        return
    norms = _norms(examination)
    ran = num_samples(examination.batches[0][0])
    if not norms or not ran:
        return
    sizes = [num_samples(inputs) for inputs, _ in examination.case.batches]
    fewest = min(norms, key=_values)
    values = {op.index: _values(op) // ran * median_low(sizes) for op in norms}
    least, batch = values[fewest.index], median_low(sizes)
    few = sum(one < FEW_VALUES for one in values.values())
    evidence = {"batch_size": batch, "values": least, "few_values": few, "batch_norms": len(norms), "limit": FEW_VALUES}
    said = f"Batches of {batch}: batch norm takes mean and variance of {least} values a channel in {fewest.layer}"
    if _values(fewest) // ran * min(sizes) == 1:
        last = f"A batch of one sample leaves {fewest.layer} one value a channel, and training stops there"
        yield _small(fewest.layer, "error", evidence | {"smallest_batch": min(sizes)}, last)
    elif batch == 1 or (batch == 2 and least < PAIR_VALUES) or (batch <= 4 and few >= FEW_SHARE * len(norms)):
        yield _small(fewest.layer, "warning", evidence, said)
    elif batch == 2:
        yield _small(fewest.layer, "info", evidence, said)


def _small(layer: str, severity: Severity, evidence: dict[str, int], said: str) -> Finding:
    return Finding(
        id="bn-small-batch",
        severity=severity,
        layer=layer,
        evidence=dict(evidence),
        message=f"{said}.",
        fix="DataLoader(..., batch_size=16, drop_last=True), or nn.GroupNorm(8, channels) in place of batch norm",
        overrides=("norm.name=group",),
    )


def _bn_no_running_stats(examination: Examination) -> Iterator[Finding]:
    without = [op for op in _norms(examination) if op.argument("running_mean", 1) is None]
    if not without:
        return
    yield Finding(
        id="bn-no-running-stats",
        severity="warning",
        layer=without[0].layer,
        evidence={"batch_norms": len(without)},
        message=f"{len(without)} batch norms keep no running statistics: what is predicted for a picture depends on "
        "the pictures beside it, and a single one is normalised by itself.",
        fix="nn.BatchNorm2d(channels)  # track_running_stats=True is the default",
    )


def _bn_bad_momentum(examination: Examination) -> Iterator[Finding]:
    modules, bad = examination.modules, []
    for op in _norms(examination):
        # A module without momentum averages over all batches, and gives the function 1 for the first one.
        momentum = getattr(modules[op.layer], "momentum", op.argument("momentum", 6, 0.1))
        kept = op.argument("running_mean", 1) is not None
        if kept and isinstance(momentum, int | float) and not SLOW <= momentum <= FAST:
            bad.append((op, float(momentum)))
    if not bad:
        return
    op, momentum = bad[0]
    fast = momentum > FAST
    ends = "are those of the last batch or two" if fast else "hardly leave 0 and 1"
    yield Finding(
        id="bn-bad-momentum",
        severity="warning",
        layer=op.layer,
        evidence={"momentum": momentum, "batch_norms": len(bad), "low": SLOW, "high": FAST},
        message=f"Batch norm has momentum {momentum:g}, the weight of the new batch: running statistics {ends}.",
        fix=f"nn.BatchNorm2d(channels, momentum={1 - momentum if fast and momentum < 1 else 0.1:.3g})",
        overrides=("norm.momentum=0.1",),
    )


def _bias_before_bn(examination: Examination) -> Iterator[Finding]:
    trace = examination.walk.trace
    makers = [trace.makers.get(op.inputs[0].token) for op in _norms(examination)]
    biased = [op for op in makers if op is not None and op.function in WEIGHTED and op.argument("bias", 2) is not None]
    if not biased:
        return
    yield Finding(
        id="bias-before-bn",
        severity="info",
        layer=biased[0].layer,
        evidence={"layers": len(biased)},
        message=f"{len(biased)} {'layers have' if len(biased) > 1 else 'layer has'} a bias that the batch norm behind "
        "subtracts again. It does no harm.",
        fix="nn.Conv2d(..., bias=False) in front of batch norm",
    )


def _dropout_ahead(trace: Trace, norm: Op) -> Op | None:
    """Return the dropout whose values reach a batch norm directly or through one linear map."""
    queue = [(op, True) for op in trace.before(norm)[:1]]
    while queue:
        op, direct = queue.pop()
        if op.function in DROPOUT and op.function != "bernoulli":
            return op
        if op.function in WEIGHTED and direct:
            queue += [(other, False) for other in trace.before(op)[:1]]
        elif op.function in SHAPE | POOL | MERGE or (direct and op.function in RECTIFIER):
            queue += [(other, direct) for other in trace.before(op)]
    return None


def _dropout_before_bn(examination: Examination) -> Iterator[Finding]:
    ahead = [(norm, _dropout_ahead(examination.walk.trace, norm)) for norm in _norms(examination)]
    pairs = [(norm, op) for norm, op in ahead if op is not None and op.argument("training", 2, True)]
    pairs = [(norm, op) for norm, op in pairs if op.argument("p", 1, 0.5) > 0]
    if not pairs:
        return
    intakes = examination.intakes
    swollen = [(intakes[norm.index].swelling, norm, op) for norm, op in pairs if norm.index in intakes]
    if not swollen:
        return
    swelling, norm, op = max(swollen, key=lambda one: one[0])
    off = sum(one[0] >= SWELLING for one in swollen)
    yield Finding(
        id="dropout-before-bn",
        severity="warning" if off >= max(1, MOST_NORMS * len(ahead)) else "info",
        layer=norm.layer,
        evidence={
            "variance_ratio": round(swelling, 2),
            "p": float(op.argument("p", 1, 0.5)),
            "batch_norms_off": off,
            "batch_norms": len(ahead),
            "limit": SWELLING,
            "share_limit": MOST_NORMS,
        },
        message=f"Dropout in {op.layer or 'forward'} feeds batch norm: in training the variance is {swelling:.2f} "
        "times that of inference, and the running statistics fit training only.",
        fix="put dropout behind the last batch norm, just before the last layer",
        overrides=("dropout.name=dropout",),
    )


def _missing_normalization(examination: Examination) -> Iterator[Suspicion]:
    trace, chains = examination.walk.trace, examination.chains
    layers = [op for op in chains.full if op not in chains.heads]
    normed = any(op.function in NORM and op.layer != "loss" for op in trace.ops)
    # Weights that are made in the pass are normalised themselves (weight norm, spectral norm, standardised).
    made = any(weight_of(trace, op).made for op in chains.weighted)
    way = examination.travel
    if len(layers) <= DEEP or normed or made or way is None:
        return
    ratio = loss_over_guess(examination.passes, examination.battery)
    blown = way.swell > UNSTABLE and ratio > LOSS_RATIO
    if abs(way.change) <= UNSTABLE and not blown:
        return
    finding = Finding(
        id="missing-normalization",
        severity="warning",
        evidence={"layers": len(layers), "doublings": round(way.change, 2), "doublings_of_scale": round(way.swell, 2)}
        | {"loss_over_guess": round(ratio, 2), "limit": UNSTABLE, "loss_limit": LOSS_RATIO},
        message=f"{len(layers)} layers and no normalisation: "
        + (
            f"values grow {2.0**way.swell:.3g} times on their way, and the loss begins at {ratio:.2g} times a guess's."
            if blown
            else f"the signal changes {way.factor:.2f} times a layer."
        ),
        fix="nn.BatchNorm2d(channels) behind every convolution but the last",
        overrides=("norm.name=batch",),
    )
    yield Suspicion(finding, wrap({op.layer for op in layers}, with_norm), "drop")


CHECKS = (
    Check(
        id="bn-small-batch",
        look=_bn_small_batch,
        cost="static",
        shows="The loss jumps from batch to batch, and evaluation is far worse than training; or PyTorch says "
        '"Expected more than 1 value per channel".',
        signal=f"Values a channel that batch norm sees in training: one is an error. Batches of one, of two with fewer "
        f"than {PAIR_VALUES} values, of three or four where {FEW_SHARE:.0%} of the batch norms see fewer than "
        f"{FEW_VALUES}, are warnings.",
        fix="Larger batches, drop_last=True, or a norm within each picture. Accumulating gradients does not help.",
        before="DataLoader(data, batch_size=2)  # with nn.BatchNorm2d",
        after="DataLoader(data, batch_size=2)  # with nn.GroupNorm(8, channels)",
        silent="Batch norm in evaluation mode; norms within a sample; few values on a single branch (pooled context).",
        source="Wu and He (2018), Group Normalization, figure 1: errors rise from batches of 8 downwards",
        thresholds={"FEW_VALUES": FEW_VALUES, "FEW_SHARE": FEW_SHARE, "PAIR_VALUES": PAIR_VALUES},
        hides=("forward-fails",),
    ),
    Check(
        id="bn-no-running-stats",
        look=_bn_no_running_stats,
        cost="static",
        shows="Evaluation depends on batch size and order; predictions for single pictures are poor.",
        signal="Batch norm that is called without running statistics.",
        fix="Leave track_running_stats at its default, or use instance or group norm where that is what is meant.",
        before="nn.BatchNorm2d(64, track_running_stats=False)",
        after="nn.BatchNorm2d(64)",
        silent="Instance norm; standardised weights, which some nets compute by the same function.",
        source="PyTorch's documentation of BatchNorm2d",
    ),
    Check(
        id="bn-bad-momentum",
        look=_bn_bad_momentum,
        cost="static",
        shows="Training looks well, evaluation is wild (momentum near 1) or stays poor (near 0).",
        signal=f"Momentum above {FAST:g} or below {SLOW:g} in training mode.",
        fix="PyTorch's momentum is 1 minus that of TensorFlow and Keras: their 0.99 is 0.01 here.",
        before="nn.BatchNorm2d(64, momentum=0.99)",
        after="nn.BatchNorm2d(64, momentum=0.01)",
        silent="momentum=None, the mean over all batches; batch norm in evaluation mode.",
        source="PyTorch's and Keras' documentation of batch norm, which define momentum the opposite way",
        thresholds={"FAST": FAST, "SLOW": SLOW},
    ),
    Check(
        id="bias-before-bn",
        look=_bias_before_bn,
        cost="static",
        shows="Nothing: parameters without an effect.",
        signal="A linear layer or convolution with a bias whose values go into batch norm directly.",
        fix="bias=False saves the memory.",
        before="nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)",
        after="nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64)",
        silent="Always an info.",
        source="Ioffe and Szegedy (2015), Batch Normalization, section 3.2",
    ),
    Check(
        id="dropout-before-bn",
        look=_dropout_before_bn,
        cost="passes",
        shows="Evaluation is worse than training although the net does not overfit; leaving dropout out helps.",
        signal="Dropout whose values reach batch norm directly or through one linear map; the variance that batch norm "
        f"is given with dropout over that without is at least {SWELLING:g} in {MOST_NORMS:.0%} of the batch norms (an "
        "info below).",
        fix="Dropout behind the last batch norm, or Dropout2d with a small p.",
        before="nn.Conv2d(64, 64, 3), nn.Dropout(0.5), nn.BatchNorm2d(64)",
        after="nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64)  # and nn.Dropout(0.5) before the head",
        silent="Dropout behind the last batch norm; an activation and a linear layer in between; small p; stochastic "
        "depth.",
        source="Li, Chen, Hu and Yang (2018), Understanding the Disharmony between Dropout and Batch Normalization",
        thresholds={"SWELLING": SWELLING, "MOST_NORMS": MOST_NORMS},
    ),
    Check(
        id="missing-normalization",
        look=_missing_normalization,
        cost="passes",
        shows="A deep net begins slowly or blows up, and only very small rates work.",
        signal=f"More than {DEEP} layers, no norm layer, and a signal that changes by more than {UNSTABLE:g} doublings "
        f"from the inputs to the head, or values that do while the loss begins at over {LOSS_RATIO:g} times that of a "
        "guess; the probe normalises what every layer gives.",
        fix="Batch norm or group norm behind every convolution, or an initialisation that keeps the scale.",
        before="nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()",
        after="nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()",
        silent="Nets whose scale is stable without (Fixup, SELU, good initialisation); weight norm and its kin; "
        "shallow nets. Where the initialisation alone explains it, that is named.",
        source="Ioffe and Szegedy (2015); Zhang, Dauphin and Ma (2019), Fixup Initialization",
        thresholds={"DEEP": DEEP, "UNSTABLE": UNSTABLE, "LOSS_RATIO": LOSS_RATIO},
        hides=("vanishing-gradients", "exploding-gradients", "cannot-overfit-batch", "bad-initial-loss", "lr-too-high"),
    ),
)
