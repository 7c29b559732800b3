"""Training and evaluation mode, dropout, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from provenet.doctor.chains import batch_norms, normalizes_batch, weight_of
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.dependence import SAME
from provenet.doctor.examination import Examination
from provenet.doctor.inventory import modules_of
from provenet.doctor.kinds import DROPOUT, LINEAR
from provenet.doctor.laws import drawn_law, is_drawn_bias, is_touched
from provenet.doctor.recorder import Op, Ref
from provenet.doctor.remedies import lighter_dropout
from provenet.records.finding import Finding

HIGH = 0.7
"""Probability above which a dropout is suspected: 0.5 is the most that its authors recommend for hidden units."""
TOO_HIGH = 0.8
"""Probability from which it is named also where a short training shows no gain: common values to keep, 0.8 to 0.95."""
USUAL = 0.2
UNTRAINED_SHARE = 0.2
"""Share of the layers (or of their weights) that are frozen as they were drawn: less is a fixed filter or a stem."""
UNANIMOUS = 0.75
"""Share of the frozen layers that must look drawn: a law fits a trained weight by chance now and then."""
HEAD_LR = {"SGD": 1e-2, "Adam": 1e-3, "AdamW": 1e-3}
"""Rates that are usual for a new head; those for pretrained weights are ten times lower and more."""
_COMPARES = frozenset({"gt", "ge", "lt", "le", "floor", "bernoulli"})


def _modules(examination: Examination) -> dict[str, nn.Module]:
    return {held.name: held.module for held in modules_of(examination.double.model)}


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
    modules = _modules(examination)
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
    modules = _modules(examination)
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


def _frozen_weights(examination: Examination) -> tuple[dict[str, str], int]:
    """Return the laws that frozen weights are samples of, by path (empty: of none), and how many weights there are."""
    walk = examination.walk
    pairs = [(weight_of(walk.trace, op), op) for op in examination.chains.weighted if op.grad]
    named = {weight.name: (weight, op) for weight, op in pairs if not weight.made}
    parameters, laws = walk.parameters, {}
    for name, (weight, op) in named.items():
        if name in parameters and not parameters[name].requires_grad:
            ref = op.argument("bias", 2)
            bias = parameters.get(walk.trace.names.get(ref.token, "")) if isinstance(ref, Ref) else None
            untrained = bias is None or is_drawn_bias(bias, weight.fan_in)
            laws[name] = drawn_law(parameters[name]) if untrained else ""
    tables = {walk.trace.names.get(op.inputs[1].token, "") for op in walk.trace.ops if op.function == "embedding"}
    frozen = [name for name in tables if name in parameters and not parameters[name].requires_grad]
    return laws | {name: drawn_law(parameters[name]) for name in frozen}, len({*named, *tables})


def _seen_data(examination: Examination) -> bool:
    """Return whether norm layers among frozen parts have been trained or have seen data."""
    called = {call.layer: call.module for call in examination.walk.trace.calls}.values()
    return any(is_touched(one) and not any(p.requires_grad for p in one.parameters()) for one in called)


def _frozen_layers(examination: Examination) -> Iterator[Finding]:
    walk = examination.walk
    if walk.parameters and not walk.trainable:
        yield Finding(
            id="frozen-layers",
            severity="error",
            evidence={"trainable": 0, "parameters": len(walk.parameters)},
            message="Every parameter has requires_grad=False: there is nothing to train.",
            fix="for p in model.head.parameters(): p.requires_grad = True",
        )
        return
    laws, num = _frozen_weights(examination)
    heads = {weight_of(walk.trace, op).name for op in examination.chains.heads}
    if _seen_data(examination):
        laws = {name: law for name, law in laws.items() if name in heads}
    drawn = [name for name, law in laws.items() if law]
    if not drawn or len(drawn) < UNANIMOUS * len(laws):
        return
    weights = sum(walk.parameters[name].numel() for name in drawn)
    share = max(len(drawn) / num, weights / sum(tensor.numel() for tensor in walk.parameters.values()))
    if share < UNTRAINED_SHARE and not heads & set(drawn):
        return
    yield Finding(
        id="frozen-layers",
        severity="warning",
        layer=drawn[0].rpartition(".")[0],
        evidence={"layers": len(drawn), "of": num, "weights": weights, "law": laws[drawn[0]], "limit": UNTRAINED_SHARE},
        message=f"{len(drawn)} of {num} layers have requires_grad=False and weights as they were drawn, "
        f"{laws[drawn[0]]} in {drawn[0]}: random features are kept.",
        fix="load the pretrained weights before freezing, or leave out requires_grad_(False)",
        overrides=("transfer.name=none",),
    )


def _bn_not_frozen(examination: Examination) -> Iterator[Finding]:
    trainable, modules = set(examination.walk.trainable), _modules(examination)
    drifting = []
    for op in batch_norms(examination.walk.trace, examination.chains):
        own = any(name.rpartition(".")[0] == op.layer for name in trainable)
        frozen = not own and not op.inputs[0].requires_grad and op.grad
        behind = any(earlier.function in LINEAR for earlier in examination.walk.trace.upstream(op))
        updates = normalizes_batch(op) and op.argument("running_mean", 1) is not None
        if frozen and behind and updates and is_touched(modules[op.layer]):
            drifting.append(op)
    if not drifting or not trainable:
        return
    drifts = [examination.intakes[op.index].drift for op in drifting if op.index in examination.intakes]
    most = max(drifts, default=0.0)
    yield Finding(
        id="bn-not-frozen",
        severity="warning",
        layer=drifting[0].layer,
        evidence={"batch_norms": len(drifting), "most_drift_in_std": round(most, 2)},
        message=f"{len(drifting)} batch norms of the frozen part are in training mode: they normalise by the batch and "
        f"overwrite the pretrained statistics, from which this batch is up to {most:.2g} standard deviations away.",
        fix="model.train(); model.backbone.eval()  # eval of the frozen part after every model.train()",
    )


def _nothing_frozen(examination: Examination) -> Iterator[Finding]:
    walk, groups = examination.walk, examination.walk.groups
    optimizer = examination.case.optimizer
    limit = HEAD_LR.get(type(optimizer).__name__)
    if limit is None or len(walk.trainable) < len(walk.parameters) or len({g.settings["lr"] for g in groups}) != 1:
        return
    called = {call.layer: call.module for call in walk.trace.calls}.values()
    heads = [walk.parameters.get(weight_of(walk.trace, op).name) for op in examination.chains.heads]
    fresh = any(weight is not None and drawn_law(weight) for weight in heads)
    lr = float(groups[0].settings["lr"])
    if not fresh or lr < limit or not any(is_touched(module) for module in called):
        return
    yield Finding(
        id="nothing-frozen",
        severity="info",
        evidence={"lr": lr, "limit": limit},
        message=f"The body has been trained before, the head is new, and both learn at {lr:g}: the first updates of a "
        "new head push pretrained features about.",
        fix="give the body a tenth of the rate or less, or freeze it for the first epochs",
        overrides=("transfer.name=fine_tune",),
    )


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
    Check(
        id="frozen-layers",
        look=_frozen_layers,
        cost="static",
        shows="The net stays worse than a smaller one: most of it is a random projection. Freezing was copied from a "
        "recipe for pretrained nets, or the weights were never loaded.",
        signal="Weights with requires_grad=False that are a sample of a known initialisation (Kolmogorov's distance, "
        f"scale, evenness of units) in at least {UNANIMOUS:.0%} of the frozen layers, norms untouched; at least "
        f"{UNTRAINED_SHARE:.0%} of the layers or weights, or the head.",
        fix="Load the weights before freezing, or train the layers.",
        before="for p in net.features.parameters(): p.requires_grad = False",
        after="net.load_state_dict(weights)\nfor p in net.features.parameters(): p.requires_grad = False",
        silent="Frozen parts whose norms have seen data, or whose weights fit no initialisation; fixed filters; nets "
        "that run without gradients (teachers).",
        source="Kolmogorov (1933); laws of torch.nn.init; thresholds are ours",
        thresholds={"UNTRAINED_SHARE": UNTRAINED_SHARE, "UNANIMOUS": UNANIMOUS},
        hides=("cannot-overfit-batch", "forward-fails", "detached-graph", "nothing-frozen", "bn-not-frozen"),
    ),
    Check(
        id="bn-not-frozen",
        look=_bn_not_frozen,
        cost="passes",
        shows="Features of the frozen part change although no weight does; validation is worse than training for no "
        "visible reason.",
        signal="Batch norms without trainable weights, behind frozen layers, with learnt statistics, in training mode.",
        fix="Put the frozen part into evaluation mode after every model.train().",
        before="for p in backbone.parameters(): p.requires_grad = False\nmodel.train()",
        after="for p in backbone.parameters(): p.requires_grad = False\nmodel.train()\nbackbone.eval()",
        silent="Batch norms that are trained themselves or whose inputs are; a norm of the inputs; nets run without "
        "gradients.",
        source="Keras' guide to transfer learning, on BatchNormalization; PyTorch's requires_grad leaves buffers alone",
    ),
    Check(
        id="nothing-frozen",
        look=_nothing_frozen,
        cost="static",
        shows="Validation falls behind feature extraction in the first epochs.",
        signal="A body with trained norms, a head as it was drawn, one rate for both, and that rate at least "
        "1e-2 (SGD) or 1e-3 (Adam).",
        fix="Two parameter groups, the body at a tenth of the rate or less; or freeze the body first.",
        before="SGD(model.parameters(), lr=0.1)",
        after='SGD([{"params": body, "lr": 0.001}, {"params": head, "lr": 0.1}], lr=0.1)',
        silent="Always an info: training all at a moderate rate is normal.",
        source="Howard and Ruder (2018), ULMFiT, section 3.2 (discriminative rates, gradual unfreezing)",
    ),
)
