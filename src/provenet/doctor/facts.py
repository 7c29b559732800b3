"""What an examination saw, in a few plain figures beside the findings."""

from __future__ import annotations

from provenet.doctor.examination import Examination

Fact = bool | int | float | str | None


def facts_of(examination: Examination) -> dict[str, Fact]:
    """Return facts of net, batches, loss and optimizer; only instruments that were read anyway are asked."""
    case, double = examination.case, examination.double
    facts: dict[str, Fact] = {
        "parameters": sum(tensor.numel() for tensor in case.model.parameters()),
        "trainable": sum(tensor.numel() for tensor in case.model.parameters() if tensor.requires_grad),
        "training_mode": case.model.training,
        "batches": len(case.batches),
        "batch_size": case.batch_size,
        "optimizer": type(case.optimizer).__name__ if case.optimizer is not None else None,
        "device": str(case.device),
        "examined": "a copy" if double.copied else "the net itself, put back afterwards",
    }
    if "walk" in vars(examination):
        walk = examination.walk
        facts["loss"] = walk.loss
        facts["output_shape"] = None if walk.output is None else str(tuple(walk.output.shape))
        facts["failure"] = None if walk.failure is None else str(walk.failure)
    if "reading" in vars(examination):
        facts["task"] = examination.reading.task
        facts["loss_function"] = examination.reading.loss or None
    return facts
