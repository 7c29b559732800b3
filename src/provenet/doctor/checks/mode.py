"""Training and evaluation mode, and dropout."""

from __future__ import annotations

from collections.abc import Iterator

from provenet.doctor.chains import batch_norms, normalizes_batch
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.dependence import SAME
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import DROPOUT, LINEAR
from provenet.doctor.laws import is_touched
from provenet.doctor.recorder import Op
from provenet.doctor.remedies import lighter_dropout
from provenet.records.finding import Finding

HIGH = 0.7
"""Probability above which a dropout is suspected: 0.5 is the most that its authors recommend for hidden units."""
TOO_HIGH = 0.8
"""Probability from which it is named also where a short training shows no gain: common values to keep, 0.8 to 0.95."""
USUAL = 0.2
_COMPARES = frozenset({"gt", "ge", "lt", "le", "floor", "bernoulli"})


def _dropouts(examination: Examination) -> list[tuple[Op, float]]:
    """Return the dropouts of what depends on the inputs, with their probabilities."""
    trace, live = examination.walk.trace, examination.chains.live
    ops = [op for op in trace.ops if op.function in DROPOUT and op.function != "bernoulli" and op.index in live]
    return [(op, float(op.argument("p", 1, 0.5))) for op in ops if op.layer != "loss"]


def _in_training(op: Op) -> bool:
    return bool(op.argument("training", 2, True))


def _still(examination: Examination) -> tuple[list[Op], list[Op]]:
    """Return batch norms with trained inputs that use running statistics, and dropouts that drop nothing."""
    trainable = set(examination.walk.trainable)
    modules = examination.modules
    norms = []
    for op in batch_norms(examination.walk.trace, examination.chains):
        trained = op.inputs[0].requires_grad or any(f"{op.layer}.{name}" in trainable for name in ("weight", "bias"))
        if trained and op.grad and not normalizes_batch(op) and not modules[op.layer].training:
            norms.append(op)
    dropouts = [op for op, p in _dropouts(examination) if p > 0 and not _in_training(op) and op.inputs[0].requires_grad]
    return norms, [op for op in dropouts if not modules[op.layer].training]


def _eval_mode_training(examination: Examination) -> Iterator[Finding]:
    model = examination.double.model
    norms, dropouts = _still(examination)
    modules = examination.modules
    unseen = [op for op in norms if is_touched(modules[op.layer]) is False]
    whole = not model.training
    if not (norms or dropouts) or not (whole or unseen):
        # Batch norm held at learnt statistics in a net in training mode is a known way to fine-tune.
        return
    first = (unseen or norms or dropouts)[0]
    what = f"{len(norms)} batch norms use running statistics" + (", never updated" if unseen else "")
    said = " and ".join(
        part for part in (what if norms else "", f"{len(dropouts)} dropouts do nothing" if dropouts else "") if part
    )
    yield Finding(
        id="eval-mode-training",
        severity="error" if unseen else "warning",
        layer="" if whole else first.layer,
        evidence={"batch_norms": len(norms), "never_updated": len(unseen), "dropouts": len(dropouts)},
        message=f"{'The net' if whole else 'A part of the net'} is trained in evaluation mode: {said}.",
        fix="model.train()  # before every epoch; model.eval() of the validation stays in force until then",
    )


def _dropout_always_on(examination: Examination) -> Iterator[Finding]:
    chance = examination.dependence.chance
    if chance.amount <= 10 * SAME:
        return
    ops = examination.walk.trace.of_layer(chance.layer)
    drops = chance.function in DROPOUT or any(op.function in DROPOUT for op in ops)
    masks = any(op.function.startswith("rand") for op in ops) and any(op.function in _COMPARES for op in ops)
    if not drops and not masks:
        return
    yield Finding(
        id="dropout-always-on",
        severity="warning",
        layer=chance.layer,
        evidence={"difference": round(chance.amount, 4), "function": chance.function, "limit": 10 * SAME},
        message="In evaluation mode two passes over the same inputs differ by "
        f"{chance.amount:.0%} of the largest output: dropout goes on.",
        fix="F.dropout(x, p, training=self.training), or an nn.Dropout made in __init__",
    )


def _dropout_too_high(examination: Examination) -> Iterator[Finding | Suspicion]:
    trace = examination.walk.trace
    high = [
        (op, p)
        for op, p in _dropouts(examination)
        if p > HIGH and _in_training(op) and any(earlier.function in LINEAR for earlier in trace.upstream(op))
    ]
    if not high:
        return
    op, most = max(high, key=lambda pair: pair[1])
    finding = Finding(
        id="dropout-too-high",
        severity="error" if most >= 1 else "warning",
        layer=op.layer,
        evidence={"p": most, "dropouts": len(high), "limit": HIGH},
        message=f"Dropout removes {most:.0%} of the units; p is the probability to drop, not to keep.",
        fix=f"nn.Dropout(p={max(1 - most, 0.1):.2g})",
        overrides=("dropout.p=0.2",),
    )
    if most >= 1:
        yield finding
    else:
        yield Suspicion(finding, lighter_dropout(HIGH, USUAL), "keep" if most >= TOO_HIGH else "info")


CHECKS = (
    Check(
        id="eval-mode-training",
        look=_eval_mode_training,
        cost="static",
        shows="Batch norm does not normalise by the batch (with fresh statistics not at all) and dropout does nothing; "
        "often only from the second epoch on, after a validation.",
        signal="Batch norms and dropouts in evaluation mode whose inputs or own weights are trained. Error where the "
        "running statistics have never been updated: mean 0, variance 1, no batch counted.",
        fix="Call model.train() at the start of every epoch; validation calls model.eval().",
        before="model.eval()\nfor images, targets in loader: ...",
        after="model.train()\nfor images, targets in loader: ...",
        silent="A frozen body in evaluation mode; batch norm held at learnt statistics while the net is in training "
        "mode; nets with neither batch norm nor dropout.",
        source="Karpathy (2019), A Recipe for Training Neural Networks; PyTorch's documentation of Module.eval",
        hides=(
            *("exploding-gradients", "vanishing-gradients", "bad-initial-loss", "loss-not-finite", "constant-output"),
            *("cannot-overfit-batch", "init-too-large", "init-too-small", "missing-normalization", "lr-too-high"),
        ),
    ),
    Check(
        id="dropout-always-on",
        look=_dropout_always_on,
        cost="passes",
        shows="Two predictions for one picture differ, and validation is worse than it need be.",
        signal="The largest difference between two passes over the same inputs in evaluation mode, relative to the "
        "largest output, begins in a module that drops or masks by chance.",
        fix="Tie dropout to the mode: nn.Dropout as a module, or training=self.training.",
        before="x = F.dropout(x, 0.5)",
        after="x = F.dropout(x, 0.5, training=self.training)",
        silent="Nets that draw noise without dropping anything (sampling of latent variables).",
        source="PyTorch's documentation of functional.dropout: training=True by default",
        thresholds={"LIMIT": 10 * SAME},
        hides=("dropout-before-bn",),
    ),
    Check(
        id="dropout-too-high",
        look=_dropout_too_high,
        cost="passes",
        shows="The training loss falls slowly or not, while the loss in evaluation mode is lower than it.",
        signal=f"Dropout with p above {HIGH:g} behind the first layer; the probe tries p = {USUAL:g}. From "
        f"{TOO_HIGH:g} on it is named without a gain as well.",
        fix="nn.Dropout takes the probability to drop. 0.1 to 0.5 is usual.",
        before="nn.Dropout(0.9)  # meant: keep 0.9",
        after="nn.Dropout(0.1)",
        silent="Noise on the inputs themselves (masking); stochastic depth; dropout in evaluation mode.",
        source="Srivastava et al. (2014), Dropout, section 7.3; TensorFlow 1 counted the share to keep",
        thresholds={"HIGH": HIGH, "TOO_HIGH": TOO_HIGH},
        hides=("cannot-overfit-batch", "dropout-before-bn", "lr-too-low", "lr-too-high", "bad-initial-loss")
        + ("vanishing-gradients",),
    ),
)
