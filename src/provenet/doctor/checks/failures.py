"""What breaks off: exceptions, and numbers that are none."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from statistics import fmean

from provenet.doctor.attempt import Failure
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.records.finding import Finding

_HINTS: tuple[tuple[str, str], ...] = (
    (r"mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)", "nn.Linear({0}, ...) in place of {1}"),
    (r"to have (\d+) channels, but got (\d+) channels", "nn.Conv2d({1}, ...) in place of {0}, or other inputs"),
    (r"normalized_shape=\[(\d+)", "nn.LayerNorm of the size of the last axis, in place of {0}"),
    (r"running_mean should contain (\d+) elements not (\d+)", "num_features={0} in place of {1}"),
    (r"must match the size of tensor b \((\d+)\) at non-singleton dimension", "make both tensors of one shape"),
    (
        r"Sizes of tensors must match except in dimension",
        "bring maps to one size: F.interpolate(x, size=skip.shape[-2:])",
    ),
    (r"mat1 and mat2 must have the same dtype", "model.float(), inputs.float(): one dtype for both"),
    (r"Input type \(.*\) and (?:weight|bias) type|expected (?:m1 and m2|scalar type)", "model.float(), inputs.float()"),
    (r"same device|on different devices|but found at least two devices", "model.to(device), inputs.to(device)"),
    (r"Expected more than 1 value per channel when training", "larger batches, or drop_last=True"),
    (r"can be implicitly created only for scalar outputs", "loss.mean(): reduction='none' gives one loss a sample"),
    (r"modified by an inplace operation", "write x = x + y in place of x += y, and inplace=False"),
    (r"view size is not compatible", ".reshape(...) in place of .view(...)"),
    (r"multi-target not supported|0D or 1D target tensor expected", "targets.squeeze(1) or targets.argmax(1)"),
    (r"(?:expected .*Long|not implemented for '(?:Int|Float|Byte|Char|Bool|Double)')", "targets.long()"),
)
"""What torch's messages mean in code, the most telling ones."""


def _forward_fails(examination: Examination) -> Iterator[Finding]:
    failure = examination.walk.failure or examination.passes.failure
    if failure is None:
        return
    yield Finding(
        id="forward-fails",
        severity="error",
        layer=failure.layer or ("loss" if failure.stage == "loss" else ""),
        evidence={"stage": failure.stage, "exception": failure.kind},
        message=f"{failure}.",
        fix=hint(failure),
    )


def hint(failure: Failure) -> str:
    """Return what an exception of torch asks for.

    Example:
        >>> hint(Failure("forward", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (8x512 and 256x10)"))
        'nn.Linear(512, ...) in place of 256'
    """
    for pattern, words in _HINTS:
        if found := re.search(pattern, failure.text):
            return words.format(*found.groups())
    return "Run the same batch through the layer alone, and look at the shapes and types that it is given."


def _loss_not_finite(examination: Examination) -> Iterator[Finding]:
    passes = examination.passes
    bad = next((number for number, loss in enumerate(passes.losses) if not math.isfinite(loss)), None)
    names = [name for norms in passes.norms for name, norm in norms.items() if not math.isfinite(norm)]
    if bad is not None or names:
        broken = examination.lost
        place = broken.layer if broken is not None else names[-1].rpartition(".")[0] if names else "loss"
        what = "The loss" if bad is not None else "The loss is finite, but its gradient"
        where = "" if broken is None else f"; the first number that is none comes from {broken.function}"
        yield Finding(
            id="loss-not-finite",
            severity="error",
            layer=place,
            evidence={"loss": passes.losses[bad or 0], "tensors_with_bad_gradient": len(set(names))},
            message=f"{what} is not finite before any training{where}.",
            fix="Keep log, sqrt and divisions away from 0: torch.log(x.clamp(min=1e-6)), torch.sqrt(x + 1e-12).",
        )
        return
    arm = examination.probe.single()
    if arm is None or arm.failure is not None or all(math.isfinite(loss) for loss in (*arm.losses, *arm.end)):
        return
    step = next((number for number, loss in enumerate(arm.losses, 1) if not math.isfinite(loss)), len(arm.losses))
    yield Finding(
        id="loss-not-finite",
        severity="warning",
        layer="loss",
        evidence={"first_loss": fmean(arm.start), "update": step},
        message=f"The loss is {fmean(arm.start):.3g} at first, and not finite after {step} updates.",
        fix="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) before optimizer.step(), or a lower rate.",
        gain=0.0,
    )


CHECKS: tuple[Check, ...] = (
    Check(
        id="forward-fails",
        look=_forward_fails,
        cost="passes",
        shows="Training stops with an exception before the first update.",
        signal="The net, the loss or the backward pass raises on a batch as it was given; the finding names the "
        "innermost module that was running.",
        fix="Read the message with the shapes and types that this module is given.",
        before="self.fc = nn.Linear(256, 10)      # 512 numbers arrive",
        after="self.fc = nn.Linear(512, 10)",
        silent="Nothing: an exception is proof. Causes with a name of their own hide it.",
        source="PyTorch's messages.",
    ),
    Check(
        id="loss-not-finite",
        look=_loss_not_finite,
        cost="probe",
        shows="The loss is NaN or infinite, at once or after some updates, and every weight with it.",
        signal="A loss or a gradient of the first batches is not finite (error), or the loss of a short training as "
        "the caller trains becomes so (warning).",
        fix="Keep log, sqrt and divisions away from zero, give logits to losses that want them, clip gradients.",
        before="loss = -(y * torch.log(p)).mean()",
        after="loss = -(y * torch.log(p.clamp(min=1e-6))).mean()",
        silent="Large finite losses.",
        source="PyTorch's anomaly detection names the function only in a backward pass; forward is read from the "
        "passes.",
    ),
)
