"""Momentum and weight decay: updates that remember too long, and updates that only shrink the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from provenet.doctor.arm import GAIN
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.pace import trained
from provenet.doctor.trial import Trial
from provenet.records.finding import Finding

LONG = 0.98
"""Momentum above which it is tried whether less is better: fifty updates and more are felt at a time."""
USUAL_MOMENTUM = 0.9
SHRINKS = 0.3
"""Cosine between update and the way to zero weights, from which decay is suspected to rule: 0 to 0.1 is usual."""
RULES = 0.6
"""The same, from which it is beyond doubt: three quarters as long as the way that the loss asks for, and more. An
update of equal steps towards zero, as Adam's, reaches 0.8 and no more."""
LOSES = 1e-3
"""Share of the weights' length lost in an update beyond which decay acts within a training: a tenth in 100 updates."""
LONG_STEPS = 120
"""Updates of arms that try momentum and decay, where there is time: both act slowly."""


def _momentum_too_high(examination: Examination) -> Iterable[Finding | Suspicion]:
    memory = _Memory.of(examination)
    if memory is None:
        return
    finding = Finding(
        id="momentum-too-high",
        severity="error" if memory.endless else "warning",
        layer="optimizer",
        evidence={memory.name: memory.value, "updates_felt": memory.updates, "usual": USUAL_MOMENTUM} | memory.evidence,
        message=memory.message,
        fix=memory.fix,
        overrides=(f"optimizer.momentum={USUAL_MOMENTUM}",) if memory.name == "momentum" else (),
    )
    if memory.endless:
        yield finding
    else:
        yield Suspicion(finding, _usual_momentum, "keep" if memory.unstable else "drop", steps=LONG_STEPS)


@dataclass(frozen=True)
class _Memory:
    """A momentum, or the first of two betas, that is longer than usual.

    Args:
        name: "momentum" or "beta1".
        value: in the group where it is largest.
        beta2: the other beta; None where there is none.
    """

    name: str
    value: float
    beta2: float | None = None

    @classmethod
    def of(cls, examination: Examination) -> _Memory | None:
        """Return the longest memory of all groups, where it is longer than usual or Adam's condition fails."""
        found: list[_Memory] = []
        for group in examination.walk.groups:
            betas = group.settings.get("betas")
            if isinstance(betas, tuple | list) and len(betas) >= 2:
                found.append(cls("beta1", float(betas[0]), float(betas[1])))
            if isinstance(value := group.settings.get("momentum"), float | int):
                found.append(cls("momentum", float(value)))
        worst = max(found, key=lambda one: (one.unstable, one.value), default=None)
        return worst if worst is not None and (worst.value > LONG or worst.unstable) else None

    @property
    def endless(self) -> bool:
        """Whether no gradient is ever forgotten."""
        return self.value >= 1

    @property
    def unstable(self) -> bool:
        """Whether beta1^2 / sqrt(beta2) is 1 or more: Adam's step is then longer than its scale allows."""
        return self.beta2 is not None and self.beta2 > 0 and self.value**2 / math.sqrt(self.beta2) >= 1

    @property
    def updates(self) -> float:
        """Return how many updates a gradient is felt."""
        return math.inf if self.endless else 1 / (1 - self.value)

    @property
    def evidence(self) -> dict[str, float]:
        """Return the figures of Adam's condition."""
        if self.beta2 is None:
            return {}
        return {"beta2": self.beta2, "beta1^2/sqrt(beta2)": self.value**2 / math.sqrt(max(self.beta2, 1e-12))}

    @property
    def message(self) -> str:
        """Say what is wrong."""
        if self.endless:
            return f"With {self.name}={self.value:g} no gradient is ever forgotten: updates only grow."
        if self.unstable:
            return (
                f"beta1={self.value:g} remembers gradients longer than beta2={self.beta2:g} remembers their size: "
                "the two seem to be swapped."
            )
        return f"With {self.name}={self.value:g} a gradient is felt for {self.updates:.0f} updates: steps overshoot."

    @property
    def fix(self) -> str:
        """Say what to write."""
        return "momentum=0.9" if self.name == "momentum" else "betas=(0.9, 0.999)"


def _usual_momentum(trial: Trial) -> None:
    for group in trial.optimizer.param_groups:
        if group.get("momentum", 0.0) > USUAL_MOMENTUM:
            group["momentum"] = USUAL_MOMENTUM
        if "betas" in group:
            group["betas"] = (USUAL_MOMENTUM, 0.999, *group["betas"][2:])


def _weight_decay_too_high(examination: Examination) -> Iterable[Finding | Suspicion]:
    if examination.case.optimizer is None:
        return
    decay = max((float(group.settings.get("weight_decay") or 0.0) for group in examination.walk.groups), default=0.0)
    penalized = decay == 0 and _penalty(examination)
    stride = examination.stride
    if not (decay > 0 or penalized) or trained(examination) or stride.pull < SHRINKS or stride.lost < LOSES / 10:
        return
    sure = stride.pull > RULES and stride.lost > LOSES
    if penalized and not sure:
        return
    what = f"weight_decay={decay:g}" if decay else "The penalty on weights in the loss"
    finding = Finding(
        id="weight-decay-too-high",
        severity="warning",
        layer="optimizer" if decay else "loss",
        evidence={"weight_decay": decay, "lost_an_update": stride.lost, "pull": stride.pull, "pull_suspected": SHRINKS},
        message=f"{what} rules the updates: they point towards zero weights (cosine {stride.pull:.2f}), and take "
        f"{stride.lost:.1%} of the weights' length each, whatever the loss asks for.",
        fix="weight_decay=5e-4 for SGD, 0.05 for AdamW" if decay else "divide the penalty's factor by 100 or more",
        overrides=("optimizer.weight_decay=0.0005",),
    )
    if penalized:
        yield finding
    else:
        yield Suspicion(finding, _without_decay, "keep" if sure else "drop", steps=LONG_STEPS)


def _without_decay(trial: Trial) -> None:
    for group in trial.optimizer.param_groups:
        group["weight_decay"] = 0.0


def _penalty(examination: Examination) -> bool:
    """Return whether the loss computes with the net's own weights."""
    trace = examination.walk.trace
    return any(ref.token in trace.names for op in trace.ops if op.layer == "loss" for ref in op.inputs)


CHECKS: tuple[Check, ...] = (
    Check(
        id="momentum-too-high",
        look=_momentum_too_high,
        cost="passes",
        shows="The loss falls at first, then swings ever wider; each swing lasts as long as gradients are remembered.",
        signal="Momentum or beta1 above 0.98, confirmed by a training with 0.9 that closes at least 20 % more of the "
        "loss gap; beta1^2 / sqrt(beta2) of 1 or more, as with swapped betas; a momentum of 1 or more is proof.",
        fix="momentum=0.9; betas=(0.9, 0.999).",
        before="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.999, 0.9))",
        after="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999))",
        silent="Momentum 0.99 at a rate that is low enough for it, as nnU-Net uses.",
        source="Kingma & Ba (2015), Adam, theorem 4.1 (beta1^2 / sqrt(beta2) < 1); Sutskever et al. (2013).",
        thresholds={"LONG": LONG, "USUAL_MOMENTUM": USUAL_MOMENTUM, "GAIN": GAIN},
        hides=("lr-too-high", "loss-not-finite", "exploding-gradients"),
    ),
    Check(
        id="weight-decay-too-high",
        look=_weight_decay_too_high,
        cost="passes",
        shows="The norm of the weights falls steadily, the loss goes to that of a guess and stays there, and outputs "
        "become alike for all inputs.",
        signal="One update is measured: over the layers its median cosine with the way to zero weights is at least "
        "0.3, and it takes at least 1e-4 of their length. Confirmed by a training without decay that closes at least "
        "20 % more of the loss gap; from a cosine of 0.6 and 1e-3 on it is said in any case.",
        fix="weight_decay of 5e-4 for SGD, 0.05 for AdamW; for Adam use AdamW, whose decay is not scaled by gradients.",
        before="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0.1)",
        after="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)",
        silent="AdamW with 0.05 to 0.3: its update points to zero with a cosine below 0.05. Trained nets, whose "
        "gradient has become small. Optimizers and losses without any decay.",
        source="Loshchilov & Hutter (2019), Decoupled weight decay; thresholds are ours, measured on sound nets.",
        thresholds={"SHRINKS": SHRINKS, "RULES": RULES, "LOSES": LOSES, "GAIN": GAIN},
        hides=("constant-output", "cannot-overfit-batch", "lr-too-low", "lr-too-high", "vanishing-gradients"),
    ),
)
