"""What the loss hangs on, what the optimizer holds, and whether samples stay apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import LINEAR
from provenet.doctor.recorder import Call, Op, Trace
from provenet.doctor.walk import Walk
from provenet.records.finding import Finding

SMALL = 0.01
"""Share of the parameters below which unused ones are only an info: a scale or token that this loss spares."""
MIXING = 1e-4
"""Change of other samples' outputs, relative to their scale, above what float32 leaves of a batch computed anew."""
MOST_NAMES = 4


def _detached_graph(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    if walk.failure is not None:
        return
    unreached = _unreached(walk)
    cut = _cut_behind(walk.trace, {name for name in unreached if name in _used(walk.trace)})
    held = _held(walk)
    if cut is None or (held and not held & set(cut.names)):
        return
    share = _count(walk, cut.names) / max(_count(walk, walk.trainable), 1)
    yield Finding(
        id="detached-graph",
        severity="error" if share > SMALL else "warning",
        layer=cut.op.layer,
        evidence={
            "cut_by": cut.words,
            "tensors_without_gradient": len(cut.names),
            "share_of_parameters": round(share, 4),
        },
        message=f"{cut.words} in {cut.op.layer or 'forward'} cuts the graph: {_listed(cut.names)} come before it and "
        "get "
        f"no gradient ({share:.0%} of the trainable parameters).",
        fix="Take it away: keep tensors from the layers to the loss, without detach(), .data, no_grad(), numpy or "
        "argmax.",
    )


def _unused_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    if walk.failure is not None or not walk.reached:
        return
    passes = examination.passes
    used = _used(walk.trace)
    cut = _cut_behind(walk.trace, {name for name in _unreached(walk) if name in used})
    behind = set() if cut is None else set(cut.names)
    names = [name for name in _unreached(walk) if name not in behind and name not in passes.reached]
    share = _count(walk, names) / max(_count(walk, walk.trainable), 1)
    if not names:
        return
    never = [name for name in names if name not in used]
    yield Finding(
        id="unused-params",
        severity="warning" if share > SMALL else "info",
        layer=_module(names[0]),
        evidence={
            "tensors": len(names),
            "never_ran": len(never),
            "share_of_parameters": round(share, 4),
            "from": SMALL,
        },
        message=f"The loss does not depend on {_listed(names)} ({share:.1%} of the trainable parameters): "
        + ("they never run." if len(never) == len(names) else "what they give goes into no output that it looks at."),
        fix="Call the layers in forward, or take them out of the net.",
    )


def _unregistered_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    names = [slot.name for slot in walk.slots if _loose(walk, slot.name)]
    made = [call.layer for call in walk.trace.calls if not call.registered and call.layer.endswith(">")]
    if not names and not walk.foreign:
        return
    known = {name for group in walk.groups for name in group.names}
    trained = bool(names) and set(names) <= known
    place = _module(names[0]) if names else (made[0] if made else "")
    what = _listed(names) if names else f"{len(walk.foreign)} tensors" + (f" of {made[0]}" if made else "")
    again = " Layers that are made in forward begin anew with every batch." if made and not names else ""
    yield Finding(
        id="unregistered-params",
        severity="info" if trained else "error",
        layer=place,
        evidence={"tensors": len(names) + len(walk.foreign), "in_the_optimizer": len(set(names) & known)},
        message=f"The loss depends on {what}, which model.parameters() does not list: the optimizer does not train "
        "them, "
        f"and neither .to(device) nor state_dict() knows them.{again}",
        fix="self.layers = nn.ModuleList([...]) (or ModuleDict, nn.Parameter, register_buffer), made in __init__.",
    )


def _loose(walk: Walk, name: str) -> bool:
    """Return whether the loss hangs on a tensor that is no registered parameter."""
    slot = next(slot for slot in walk.slots if slot.name == name)
    return name in walk.reached and slot.tensor.requires_grad and not (slot.registered and slot.kind == "parameter")


def _accidental_weight_sharing(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    for repeat in walk.repeats:
        calls = [call for call in walk.trace.calls if call.module is repeat.module]
        feeds = sum(_feeds(walk.trace, one, other) for one, other in pairwise(calls))
        if feeds:
            yield Finding(
                id="accidental-weight-sharing",
                severity="warning",
                layer=repeat.layer,
                evidence={"held": repeat.times, "called": len(calls), "feeds_itself": feeds},
                message=f"{repeat.layer or 'The net'} holds one {repeat.kind} {repeat.times} times: these layers "
                "share their "
                f"weights, and what was to be {repeat.times} layers learns as one.",
                fix="Make a new one each time: nn.Sequential(*[make_block() for _ in range(n)]), not [block] * n.",
            )


def _feeds(trace: Trace, one: Call, other: Call) -> bool:
    """Return whether a call is given what an earlier call made, with no other linear map between."""
    starts = [op for op in trace.ops[other.first : other.last] if op.function in LINEAR][:1]
    queue, seen = list(starts), set()
    while queue:
        for op in trace.before(queue.pop()):
            if one.first <= op.index < one.last:
                return True
            if op.index not in seen and op.function not in LINEAR:
                seen.add(op.index)
                queue.append(op)
    return False


def _loss_left_out(examination: Examination) -> Iterable[Finding]:
    """Yield that a loss has weights of its own, class centres say, that no optimizer trains."""
    case = examination.case
    if case.optimizer is None or not isinstance(case.loss_fn, nn.Module):
        return
    held = {id(one) for group in case.optimizer.param_groups for one in group["params"]}
    held |= {id(one) for one in case.model.parameters()}
    names = [name for name, one in case.loss_fn.named_parameters() if one.requires_grad and id(one) not in held]
    if names:
        yield Finding(
            id="optimizer-missing-params",
            severity="warning",
            layer="loss",
            evidence={"tensors": len(names), "held": len(held)},
            message=f"The loss has trainable weights of its own, {_listed(names)}, and the optimizer does not hold "
            "them: they stay as they were drawn.",
            fix="optimizer = SGD([*model.parameters(), *loss_fn.parameters()], ...)",
        )


def _optimizer_missing_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    held = _held(walk)
    reached = walk.reached if walk.failure is None else frozenset(walk.trainable)
    missing = [name for name in walk.trainable if name in reached and name not in held]
    if held and not missing:
        yield from _loss_left_out(examination)
    if not held or not missing:
        return
    share = _count(walk, missing) / max(_count(walk, walk.trainable), 1)
    resting = _resting(examination, missing)
    yield Finding(
        id="optimizer-missing-params",
        severity="info" if resting else "warning",
        layer=_module(missing[0]),
        evidence={"tensors": len(missing), "held": len(held), "share_of_parameters": round(share, 4)},
        message=f"The optimizer does not hold {_listed(missing)} ({share:.2%} of the parameters that get gradients): "
        "they stay as they are." + (" Their layers are in evaluation mode, so this may be meant." if resting else ""),
        fix="optimizer = SGD(model.parameters(), ...), made after the net is complete; requires_grad_(False) if meant.",
    )


def _resting(examination: Examination, names: Sequence[str]) -> bool:
    """Return whether all modules of some parameters are in evaluation mode while the net is being trained."""
    modules = dict(examination.double.model.named_modules())
    holders = [modules[_module(name)] for name in names if _module(name) in modules]
    return bool(holders) and examination.double.model.training and not any(module.training for module in holders)


def _optimizer_stale_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    strangers = [shape for group in walk.groups for shape in group.strangers]
    if not strangers:
        return
    held = _held(walk)
    missing = [name for name in walk.trainable if name not in held]
    yield Finding(
        id="optimizer-stale-params",
        severity="error" if missing else "info",
        layer="optimizer",
        evidence={"tensors_of_others": len(strangers), "tensors_of_the_net": len(held), "missing": len(missing)},
        message=f"The optimizer holds {len(strangers)} tensors that are not the net's"
        + (f", and lacks {_listed(missing)}: it was made for another or an older net." if missing else "."),
        fix="Make the optimizer after the net, and anew whenever layers are replaced: SGD(model.parameters(), ...).",
    )


def _batch_mixing(examination: Examination) -> Iterable[Finding]:
    found = examination.dependence
    others, own = found.others, found.own
    # Statistics of the batch in evaluation mode are a fault of their own, and chance would look like mixing.
    if others.amount <= MIXING or others.function in ("batch_norm", "instance_norm") or found.chance.amount > MIXING:
        return
    yield Finding(
        id="batch-mixing",
        severity="error",
        layer=others.layer,
        evidence={"change_of_other_samples": others.amount, "change_of_own_output": own.amount, "from": MIXING},
        message=f"The output for one picture changes by {others.amount:.2g} of its scale when another one of the "
        f"batch is replaced; it begins with {others.function} in {others.layer or 'forward'}.",
        fix="Keep the first axis for samples: x.flatten(1) or x.view(len(x), -1); permute axes by name, never reshape "
        "to swap.",
    )


@dataclass(frozen=True)
class _Cut:
    """Where a gradient ends, and the paths of the trainable tensors before it."""

    op: Op
    names: tuple[str, ...]

    @property
    def words(self) -> str:
        spelled = {"data.get": ".data", "item": ".item()"}.get(self.op.function, self.op.function)
        return spelled if self.op.grad else "no_grad()"


def _cut_behind(trace: Trace, names: set[str]) -> _Cut | None:
    """Return the first cut behind some tensors, with those of them that are before it; None where there is none."""
    for op in trace.ops:
        if op.cut:
            before = {op.index: op} | {earlier.index: earlier for earlier in trace.upstream(op)}
            given = {trace.names.get(ref.token, "") for one in before.values() for ref in one.inputs}
            if behind := tuple(sorted(names & given)):
                return _Cut(op, behind)
    return None


def _used(trace: Trace) -> set[str]:
    """Return the paths of the net's tensors that any op was given."""
    return {trace.names[ref.token] for op in trace.ops for ref in op.inputs if ref.token in trace.names}


def _unreached(walk: Walk) -> list[str]:
    return [name for name in walk.trainable if name not in walk.reached]


def _held(walk: Walk) -> set[str]:
    return {name for group in walk.groups for name in group.names}


def _count(walk: Walk, names: Iterable[str]) -> int:
    parameters: dict[str, Tensor] = walk.parameters
    return sum(parameters[name].numel() for name in names if name in parameters)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


_STUCK = ("vanishing-gradients", "cannot-overfit-batch", "lr-too-low")

CHECKS: tuple[Check, ...] = (
    Check(
        id="detached-graph",
        look=_detached_graph,
        cost="static",
        shows="Layers before the cut never change; the loss falls as far as those behind it allow, or backward raises.",
        signal="Trainable parameters that took part in forward and that the loss does not hang on, with an op behind "
        "them that is given a gradient and passes none on.",
        fix="Take the cut away.",
        before="features = self.body(x).detach()\nreturn self.head(features)",
        after="features = self.body(x)\nreturn self.head(features)",
        silent="Stop-gradient designs whose parameters are reached by another way; parts that the optimizer does not "
        "hold; frozen parts.",
        source="torch.autograd: leaves that are reached from loss.grad_fn.",
        thresholds={"SMALL": SMALL},
        hides=(
            "unused-params",
            "unregistered-params",
            "forward-fails",
            "frozen-layers",
            "optimizer-missing-params",
            *_STUCK,
        ),
    ),
    Check(
        id="unregistered-params",
        look=_unregistered_params,
        cost="static",
        shows="Part of the net stays as it was drawn; on a GPU tensors are on two devices; loaded nets answer "
        "otherwise.",
        signal="Leaves that the loss hangs on and that model.parameters() does not list.",
        fix="nn.ModuleList, nn.ModuleDict, nn.Parameter.",
        before="self.blocks = [Block() for _ in range(4)]",
        after="self.blocks = nn.ModuleList(Block() for _ in range(4))",
        silent="Frozen nets that are hidden in a list on purpose; parameters of the loss; tensors that the optimizer "
        "holds.",
        source="torch.nn.Module: what is assigned as Module or Parameter is registered, what stands in a list is not.",
        hides=("optimizer-missing-params", *_STUCK),
    ),
    Check(
        id="accidental-weight-sharing",
        look=_accidental_weight_sharing,
        cost="static",
        shows="A deep net learns no more than a shallow one; it has fewer parameters than layers suggest.",
        signal="A container holds one module with weights more than once, and its calls follow each other.",
        fix="One object a layer.",
        before="nn.Sequential(*[block] * 6)",
        after="nn.Sequential(*[make_block() for _ in range(6)])",
        silent="Recurrent nets, which hold a layer once; heads shared over scales, whose calls do not feed each "
        "other; tied weights.",
        source="Python: [x] * n repeats a reference.",
    ),
    Check(
        id="optimizer-stale-params",
        look=_optimizer_stale_params,
        cost="static",
        shows="The loss does not move at all, or a new head never learns.",
        signal="Tensors in the optimizer that belong neither to the net nor to the loss, while tensors of the net are "
        "missing.",
        fix="Make the optimizer last.",
        before="optimizer = SGD(model.parameters(), lr=0.1)\nmodel.fc = nn.Linear(512, 10)",
        after="model.fc = nn.Linear(512, 10)\noptimizer = SGD(model.parameters(), lr=0.1)",
        silent="Learnable parameters of the loss; an optimizer that trains another net as well is an info.",
        source="torch.optim: parameter groups hold objects, not names.",
        hides=("cannot-overfit-batch", "lr-too-low"),
    ),
    Check(
        id="optimizer-missing-params",
        look=_optimizer_missing_params,
        cost="static",
        shows="Part of the net stays as it was drawn.",
        signal="Trainable parameters that get gradients and stand in no parameter group.",
        fix="model.parameters().",
        before="SGD(model.head.parameters(), lr=0.1)",
        after="SGD(model.parameters(), lr=0.1)",
        silent="requires_grad=False says that it is meant; layers in evaluation mode may be meant: an info. An "
        "optimizer "
        "that holds nothing of the net is optimizer-stale-params.",
        source="torch.optim: parameter groups hold objects, not names.",
        hides=("lr-too-low",),
    ),
    Check(
        id="unused-params",
        look=_unused_params,
        cost="passes",
        shows="Layers that never change; DistributedDataParallel complains of unused parameters.",
        signal="Trainable, registered parameters that got a gradient in none of the passes, more than a share of all.",
        fix="Use them or take them out.",
        before="self.conv2 = nn.Conv2d(...)      # forward calls self.conv1 twice",
        after="x = self.conv2(F.relu(self.conv1(x)))",
        silent="Less than a share of all; heads that rest in this mode are seen over several passes.",
        source="torch.autograd: leaves that are reached from loss.grad_fn.",
        thresholds={"SMALL": SMALL},
    ),
    Check(
        id="batch-mixing",
        look=_batch_mixing,
        cost="passes",
        shows="Answers depend on the company a picture is in; validation with another batch size is far worse.",
        signal="In evaluation mode one sample is replaced by noise: outputs of the others change.",
        fix="Keep the first axis for samples.",
        before="x = x.view(-1, 256 * 4 * 4)     # the map is 8 x 8: samples flow into each other",
        after="x = x.flatten(1)",
        silent="Batch norm: it is in evaluation mode; without running statistics that is bn-no-running-stats.",
        source="Karpathy (2019), A recipe for training neural networks: dependencies by backpropagation.",
        thresholds={"MIXING": MIXING},
        hides=("constant-output", "cannot-overfit-batch", "labels-uninformative"),
    ),
)
