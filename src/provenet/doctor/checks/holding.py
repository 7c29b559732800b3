"""What the optimizer holds, and what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.inventory import holder, listed
from provenet.records.finding import Finding


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
            message=f"The loss has trainable weights of its own, {listed(names)}, and the optimizer does not hold "
            "them: they stay as they were drawn.",
            fix="optimizer = SGD([*model.parameters(), *loss_fn.parameters()], ...)",
        )


def _optimizer_missing_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    held = walk.held
    reached = walk.reached if walk.failure is None else frozenset(walk.trainable)
    missing = [name for name in walk.trainable if name in reached and name not in held]
    if held and not missing:
        yield from _loss_left_out(examination)
    if not held or not missing:
        return
    share = walk.share(missing)
    resting = _resting(examination, missing)
    yield Finding(
        id="optimizer-missing-params",
        severity="info" if resting else "warning",
        layer=holder(missing[0]),
        evidence={"tensors": len(missing), "held": len(held), "share_of_parameters": round(share, 4)},
        message=f"The optimizer does not hold {listed(missing)} ({share:.2%} of the parameters that get gradients): "
        "they stay as they are." + (" Their layers are in evaluation mode, so this may be meant." if resting else ""),
        fix="optimizer = SGD(model.parameters(), ...), made after the net is complete; requires_grad_(False) if meant.",
    )


def _resting(examination: Examination, names: Sequence[str]) -> bool:
    """Return whether all modules of some parameters are in evaluation mode while the net is being trained."""
    modules = dict(examination.double.model.named_modules())
    holders = [modules[holder(name)] for name in names if holder(name) in modules]
    return bool(holders) and examination.double.model.training and not any(module.training for module in holders)


def _optimizer_stale_params(examination: Examination) -> Iterable[Finding]:
    walk = examination.walk
    strangers = [shape for group in walk.groups for shape in group.strangers]
    if not strangers:
        return
    held = walk.held
    missing = [name for name in walk.trainable if name not in held]
    yield Finding(
        id="optimizer-stale-params",
        severity="error" if missing else "info",
        layer="optimizer",
        evidence={"tensors_of_others": len(strangers), "tensors_of_the_net": len(held), "missing": len(missing)},
        message=f"The optimizer holds {len(strangers)} tensors that are not the net's"
        + (f", and lacks {listed(missing)}: it was made for another or an older net." if missing else "."),
        fix="Make the optimizer after the net, and anew whenever layers are replaced: SGD(model.parameters(), ...).",
    )


CHECKS: tuple[Check, ...] = (
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
        "optimizer that holds nothing of the net is optimizer-stale-params.",
        source="torch.optim: parameter groups hold objects, not names.",
        hides=("lr-too-low",),
    ),
)
