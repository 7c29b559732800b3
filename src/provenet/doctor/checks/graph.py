"""What the loss hangs on, and whether samples stay apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.inventory import holder, listed
from provenet.doctor.kinds import LINEAR
from provenet.doctor.recorder import Call, Op, Trace
from provenet.doctor.walk import Walk
from provenet.records.finding import Finding

SMALL = 0.01
"""Share of the parameters below which unused ones are only an info: a scale or token that this loss spares."""
MIXING = 1e-4
"""Change of other samples' outputs, relative to their scale, above what float32 leaves of a batch computed anew."""


def _detached_graph(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    if walk.failure is not None:
        return
    unreached = _unreached(walk)
    cut = _cut_behind(walk.trace, {name for name in unreached if name in _used(walk.trace)})
    held = walk.held
    if cut is None or (held and not held & set(cut.names)):
        return
    share = walk.share(cut.names)
    yield Finding(
        id="detached-graph",
        severity="error" if share > SMALL else "warning",
        layer=cut.op.layer,
        evidence={
            "cut_by": cut.words,
            "tensors_without_gradient": len(cut.names),
            "share_of_parameters": round(share, 4),
        },
        message=f"{cut.words} in {cut.op.layer or 'forward'} cuts the graph: {listed(cut.names)} come before it and "
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
    share = walk.share(names)
    if not names:
        return
    never = [name for name in names if name not in used]
    yield Finding(
        id="unused-params",
        severity="warning" if share > SMALL else "info",
        layer=holder(names[0]),
        evidence={
            "tensors": len(names),
            "never_ran": len(never),
            "share_of_parameters": round(share, 4),
            "from": SMALL,
        },
        message=f"The loss does not depend on {listed(names)} ({share:.1%} of the trainable parameters): "
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
    place = holder(names[0]) if names else (made[0] if made else "")
    what = listed(names) if names else f"{len(walk.foreign)} tensors" + (f" of {made[0]}" if made else "")
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
