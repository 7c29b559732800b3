"""What is frozen, and what of a trained body is not."""

from __future__ import annotations

from collections.abc import Iterator

from provenet.doctor.chains import batch_norms, normalizes_batch, weight_of
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import LINEAR
from provenet.doctor.laws import drawn_law, is_drawn_bias, is_touched
from provenet.doctor.recorder import Ref
from provenet.records.finding import Finding

UNTRAINED_SHARE = 0.2
"""Share of the layers (or of their weights) that are frozen as they were drawn: less is a fixed filter or a stem."""
UNANIMOUS = 0.75
"""Share of the frozen layers that must look drawn: a law fits a trained weight by chance now and then."""
HEAD_LR = {"SGD": 1e-2, "Adam": 1e-3, "AdamW": 1e-3}
"""Rates that are usual for a new head; those for pretrained weights are ten times lower and more."""


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
    trainable, modules = set(examination.walk.trainable), examination.modules
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


CHECKS: tuple[Check, ...] = (
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
