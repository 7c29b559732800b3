"""Layers that follow each other without an activation, and so do the work of one."""

# N batch

from __future__ import annotations

from collections.abc import Iterator

from provenet.doctor.chains import Chains, is_wide
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import CONVOLUTION, DROPOUT, NORM, RECTIFIER, SHAPE, TRANSPOSED
from provenet.doctor.recorder import Op, Trace
from provenet.doctor.remedies import with_relu, wrap
from provenet.records.finding import Finding

IN_A_ROW = 3
"""Full layers without an activation in between: two in a row are in use (an upsampling convolution and the one behind
it, a projection and a head), three are not."""
WIDENS = 1.5
"""Width of a pointwise layer over those of its input and of the next layer, from which it is there for what lies in
between: without an activation the two are one narrow map. Blocks of transformers widen four times."""


def _missing_nonlinearity(examination: Examination) -> Iterator[Finding | Suspicion]:
    chains = examination.chains
    run = max(chains.run.values(), key=len, default=())
    whole = len(run) > 1 and not chains.activations and set(chains.weighted) <= set(run)
    pairs, widened = _pairs(chains), _widened(chains, examination.walk.trace)
    everywhere = len(pairs) > 1 and 2 * len(pairs) >= len([op for op in chains.full if op not in chains.heads])
    if len(widened) > 1 and not everywhere:
        pairs, everywhere = widened, True
    if not whole and len(run) < IN_A_ROW:
        if not everywhere:
            return
        run = pairs[0]
    rectifiers = [op for op in chains.activations if op.function in RECTIFIER]
    names = ", ".join(op.layer for op in run)
    finding = Finding(
        id="missing-nonlinearity",
        severity="warning",
        layer=run[0].layer,
        evidence={"in_a_row": len(run), "full_layers": len(chains.full), "rectifiers": len(rectifiers)}
        | {"limit": IN_A_ROW},
        message=f"{names} follow each other without an activation"
        + (f", as {len(pairs)} pairs do: " if everywhere and len(run) < IN_A_ROW else ": ")
        + ("the whole net is one linear map." if whole else f"{len(run)} layers do the work of one."),
        fix=f"x = F.relu(self.{run[0].layer}(x))",
        overrides=("activation.name=relu",),
    )
    if whole:
        yield finding
    else:
        firsts = {op.layer for op in run[:-1]} | {first.layer for first, _ in pairs if everywhere}
        yield Suspicion(finding, wrap(firsts, with_relu), "keep" if everywhere or _most(chains) else "info")


def _pairs(chains: Chains) -> list[tuple[Op, ...]]:
    """Return full layers with the one right behind each, where nothing bends or joins in between, heads left out.

    One map that is split in two on purpose is no pair: a narrow middle, or a kernel of one row and one of one column.
    """
    runs = [(run[-2:], chains.path[index][-2:]) for index, run in chains.run.items() if len(run) > 1]
    joined = [run for run, path in runs if run == path and run[-1] not in chains.heads]
    return [(first, last) for first, last in joined if not _split_map(first.inputs[1].shape, last.inputs[1].shape)]


def _widened(chains: Chains, trace: Trace) -> list[tuple[Op, ...]]:
    """Return pointwise layers that widen their input for nothing: the next narrows it, and nothing bends in between."""
    found: list[tuple[Op, ...]] = []
    for op in chains.weighted:
        first = trace.maker(op.inputs[0], SHAPE | NORM | DROPOUT)
        if first in chains.weighted and first is not None and _pointwise(first) and _pointwise(op):
            before, middle, behind = first.inputs[1].shape[1], first.inputs[1].shape[0], op.inputs[1].shape[0]
            if middle >= WIDENS * max(before, behind) and op.inputs[1].shape[1] == middle:
                found.append((first, op))
    return found


def _pointwise(op: Op) -> bool:
    return op.function in CONVOLUTION - TRANSPOSED | {"linear"} and not is_wide(op)


def _split_map(first: tuple[int, ...], last: tuple[int, ...]) -> bool:
    narrow = first[0] < min(first[1], last[0])
    return narrow or any(len(set(shape[2:])) > 1 for shape in (first, last))


def _most(chains: Chains) -> bool:
    """Return whether most full layers follow another one without an activation."""
    following = sum(len(run) > 1 for run in chains.run.values())
    return 2 * following > len(chains.run) - 1 or len(max(chains.run.values(), key=len)) > IN_A_ROW


CHECKS: tuple[Check, ...] = (
    Check(
        id="missing-nonlinearity",
        look=_missing_nonlinearity,
        cost="static",
        shows="A deep net does no better than a shallow one, or than a linear one.",
        signal=f"At least {IN_A_ROW} full layers (convolutions wider than 1 x 1, linear layers of vectors) with "
        "nothing but norms, pooling, dropout, shapes and sums between them; or a net that is linear from end to end, "
        "or one in which half of the hidden full layers follow right behind another; or two pointwise layers and more "
        "that widen their input at least 1.5 times, and are narrowed again without an activation (the MLP of a "
        "transformer's block). The probe puts ReLU behind them.",
        fix="An activation behind every layer but the last.",
        before="x = self.conv2(self.conv1(x))",
        after="x = F.relu(self.conv2(F.relu(self.conv1(x))))",
        silent="Two layers in a row (upsampling convolution, projection and head); depthwise and 1 x 1 convolutions "
        "(linear bottlenecks); maps of tokens; activations that the trace does not know end a run; runs that are the "
        "exception in a net are an info unless the probe gains.",
        source="Hahnloser et al. (2000); NeuraLint's rule of missing activations (arXiv 2105.08095), in the graph",
        thresholds={"IN_A_ROW": IN_A_ROW, "WIDENS": WIDENS},
        hides=("deep-plain-net", "cannot-overfit-batch", "init-too-large"),
    ),
)
