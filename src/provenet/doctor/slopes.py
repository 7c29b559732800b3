"""Gradients of the first layers and of the last, each relative to its weights."""

from __future__ import annotations

import math
from statistics import median

from provenet.doctor.examination import Examination
from provenet.doctor.kinds import LINEAR

VANISHES = 1e-4
"""Relative gradient of the first third of the layers over that of the last third; see the catalogue of such rules."""
DEEP = 4
"""Layers with weights below which there is no early and no late."""


def vanish(examination: Examination) -> bool:
    """Return whether the gradients of all early layers are far below those of the late ones."""
    early, late = relative_gradients(examination)
    usual = median(late.values()) if late else 0.0
    return bool(early) and usual > 0 and max(early.values()) < VANISHES * usual


def relative_gradients(examination: Examination) -> tuple[dict[str, float], dict[str, float]]:
    """Return gradient over weight, by path, of the first and the last third of the layers in order of execution."""
    norms, parameters, trace = examination.passes.norms, examination.walk.trainable, examination.walk.trace
    names = [trace.names.get(ref.token, "") for op in trace.ops if op.function in LINEAR for ref in op.inputs]
    sizes = {name: float(parameters[name].detach().norm()) for name in names if name in parameters}
    found = {
        name: sum(norm.get(name, 0.0) for norm in norms) / max(len(norms), 1) / size
        for name, size in sizes.items()
        if parameters[name].dim() > 1 and size > 0
    }
    if len(found) < DEEP or not all(math.isfinite(value) for value in found.values()):
        return {}, {}
    rows, third = list(found.items()), len(found) // 3
    return dict(rows[:third]), dict(rows[-third:])
