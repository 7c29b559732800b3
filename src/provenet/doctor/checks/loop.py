"""Faults of the loop around the net: what `diagnose` can tell from a schedule, and what only `watch` sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provenet.doctor.check import Check
from provenet.doctor.course import LOW, Course
from provenet.doctor.examination import Examination
from provenet.doctor.watchers import CARRIED, LOOKED, NO_GAIN
from provenet.records.finding import Finding


def _lr_never_decayed(examination: Examination) -> Iterator[Finding]:
    course = examination.course
    if course is None:
        return
    if not course.bound:
        yield _constant(
            course,
            "warning",
            f"The {course.kind} changes the rates of another optimizer: those of this one stay as they are.",
            "scheduler = Scheduler(optimizer, ...) after the optimizer that the loop steps has been made",
        )
    elif course.complete and course.constant:
        yield _constant(
            course,
            "warning",
            f"The {course.kind} gives the same rate at every step: nothing is decayed.",
            "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps)",
        )
    elif course.complete and course.factors and not course.decays:
        yield _constant(
            course,
            "info",
            f"The {course.kind} never falls below {min(course.factors[-1:]):.0%} of its highest rate.",
            "Let a decay to 0 follow the warm-up: SequentialLR of LinearLR and CosineAnnealingLR.",
        )


def _constant(course: Course, severity: str, message: str, fix: str) -> Finding:
    return Finding(
        id="lr-never-decayed",
        severity="warning" if severity == "warning" else "info",
        layer="optimizer",
        evidence={"schedule": course.kind, "steps_played": len(course.factors), "decayed_below": LOW},
        message=message,
        fix=fix,
        overrides=("schedule.name=cosine",),
    )


def _seen_in_a_loop(examination: Examination) -> Iterable[Finding]:
    """Find nothing: one batch, net, loss and optimizer do not show it."""
    return ()


CHECKS: tuple[Check, ...] = (
    Check(
        id="lr-never-decayed",
        look=_lr_never_decayed,
        cost="static",
        shows="The loss falls, then keeps jumping about one level; metrics of neighbouring epochs differ by more than "
        "the last ten epochs brought. It falls once more as soon as the rate is lowered.",
        signal="A schedule that was given is played for 2000 steps on a copy: it belongs to another optimizer, or "
        "gives one rate throughout (warning), or only warms up (info). In `watch`: the rate of the last update is the "
        "highest of all, and the loss of the last quarter is no lower than that of the third.",
        fix="Decay the rate to zero by the end of training, and step the scheduler.",
        before="scheduler = CosineAnnealingLR(optimizer, T_max=epochs)\nfor epoch in range(epochs):\n    train(...)",
        after="scheduler = CosineAnnealingLR(optimizer, T_max=epochs)\nfor epoch in range(epochs):\n    train(...)\n"
        "    scheduler.step()",
        silent="No schedule in `diagnose`: the loop may set rates itself. Schedules that follow the loss, and those "
        "whose settings speak of later steps than were played. Watched trainings whose loss still falls.",
        source="Loshchilov & Hutter (2017), SGDR; ours: docs/findings/schedule.md.",
        thresholds={"LOW": LOW, "NO_GAIN": NO_GAIN},
    ),
    Check(
        id="missing-zero-grad",
        look=_seen_in_a_loop,
        cost="static",
        shows="The loss falls for a few updates, then rises or jumps: every update goes along the sum of all gradients "
        "so far, and gradients seem to grow in proportion to the number of updates.",
        signal="In `watch`: when a backward pass begins after an update, parameters still hold the gradient of that "
        "update (cosine at least 0.99), in every one of at least five updates.",
        fix="optimizer.zero_grad() in every step.",
        before="loss = loss_fn(model(x), y)\nloss.backward()\noptimizer.step()",
        after="optimizer.zero_grad()\nloss = loss_fn(model(x), y)\nloss.backward()\noptimizer.step()",
        silent="Gradients gathered over several batches on purpose: they are cleared after the update. Losses of "
        "several nets, where gradients are cleared between two backward passes.",
        source="Karpathy (2018), most common neural net mistakes.",
        thresholds={"CARRIED": CARRIED, "LOOKED": LOOKED},
        hides=("lr-too-high", "exploding-gradients", "loss-not-finite"),
    ),
    Check(
        id="inference-in-train-mode",
        look=_seen_in_a_loop,
        cost="static",
        shows="Validation scores depend on the batch size and differ from run to run; they are worse with dropout, and "
        "running statistics of batch norm learn from validation data.",
        signal="In `watch`: between the last update and `validated()` the net ran in training mode, with batch norm or "
        "dropout among its layers.",
        fix="model.eval() before validation, model.train() after it.",
        before="with torch.no_grad():\n    scores = [metric(model(x), y) for x, y in val_loader]",
        after="model.eval()\nwith torch.no_grad():\n    scores = [metric(model(x), y) for x, y in val_loader]\n"
        "model.train()",
        silent="Dropout alone in training mode, as for Monte-Carlo prediction; nets whose layers know no modes.",
        source="PyTorch's documentation of nn.Module.eval; Karpathy (2018), most common neural net mistakes.",
        thresholds={},
    ),
)
