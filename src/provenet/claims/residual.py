"""Claim 10: a residual connection cures degradation."""

# N batch, C channels, H W pixels

from __future__ import annotations

from functools import partial
from math import log10
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from provenet.claims.arms import late_loss, loss_curve, small_view, words
from provenet.claims.claim import Claim, above, below, within
from provenet.claims.depths import DEPTHS, SIDE, Arms, table, train
from provenet.claims.lab import Lab
from provenet.claims.training import both_goals
from provenet.core.rng import torch_generator
from provenet.nets.parts import BodyParts
from provenet.records.claim import Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import paired_difference
from provenet.techniques.block import PreactBlock, PreactUnit, ResidualBlock, Unit
from provenet.techniques.norm import BatchNorm

MARGIN = 0.1
"""Nats by which the deep residual net may end above the shallow one and still count as no worse."""
GRADIENT_DEPTHS = (8, 20, 56, 110)
BATCH = 64
PLAIN, BARE, PUBLISHED, ZERO = "plain, batch norm", "plain, no norm, Xavier", "residual, batch norm", "with zero gamma"
BEGINNINGS = {
    PLAIN: "block=plain",
    BARE: "block=plain norm=none init=xavier",
    PUBLISHED: "block=residual block.zero_gamma=false",
    ZERO: "block=residual block.zero_gamma=true",
}
"""Nets whose gradients are measured before the first update."""


def silenced(unit: Unit | PreactUnit) -> Unit | PreactUnit:
    """Return a block, in float64, whose function is zero: the last layer of its branch gives nothing."""
    if isinstance(unit, Unit):
        unit.zero_gamma_()
    else:
        nn.init.zeros_(unit.conv2.weight)
    return unit.double()


def identity_rows() -> list[tuple[str, float, float]]:
    """Return, for each block with its function at zero, how far its output is from its input, and from their ReLU.

    Inputs are normal draws (both signs) or their absolute values, as they come out of an activation; the block is in
    training mode, so that its norms see the batch.
    """
    layers = BodyParts(norm=BatchNorm()).layers()
    draws = torch.randn(8, 16, 10, 10, dtype=torch.float64, generator=torch_generator(0, "claims residual"))
    cases: list[tuple[str, Any, Tensor]] = [
        ("residual, behind an activation (no value below zero)", ResidualBlock(), draws.abs()),
        ("residual, any values", ResidualBlock(), draws),
        ("pre-activation residual, any values", PreactBlock(), draws),
    ]
    rows = []
    with torch.no_grad():
        for name, block, images in cases:
            output = silenced(block.build(16, 16, 1, layers)).train()(images)
            rows.append((name, _largest(output - images), _largest(output - images.relu())))
    return rows


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def first_gradient(lab: Lab, kind: str, depth: int, seed: int) -> float:
    """Return log10 of the norm of the first convolution's gradient on one batch before training, in float64."""
    bench = lab.classification
    recipe = f"steps=1 {small_view(bench, SIDE[lab.scale])} net.depth={depth} {BEGINNINGS[kind]}"
    session = bench.session(recipe, seed, BATCH)
    images, targets = bench.images(session, session.dataset.splits["train"])
    net = session.net.double().train()
    session.recipe.loss.compute(net(images.double()), targets).backward()
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    assert first.weight.grad is not None
    return log10(float(first.weight.grad.norm()))


Gradients = dict[str, dict[int, list[float]]]
"""log10 of the first layer's gradient norm: kind, depth, seed."""


def gradients(lab: Lab) -> Gradients:
    """Measure the first layer's gradient in nets of all depths."""
    measured = partial(first_gradient, lab)
    return {
        kind: {depth: [measured(kind, depth, seed) for seed in lab.seeds] for depth in GRADIENT_DEPTHS}
        for kind in BEGINNINGS
    }


def changes(found: Gradients, kind: str) -> list[float]:
    """Return log10 of the deepest net's gradient over the shallowest one's, a value a seed."""
    by_depth = found[kind]
    return [a - b for a, b in zip(by_depth[max(by_depth)], by_depth[min(by_depth)], strict=True)]


def spared(found: Gradients) -> Figure:
    """Return by how many powers of ten less the residual net's gradient changes with depth than any plain net's."""
    plain = [min(abs(a), abs(b)) for a, b in zip(changes(found, PLAIN), changes(found, BARE), strict=True)]
    return paired_difference(plain, [abs(change) for change in changes(found, PUBLISHED)])


def measure(lab: Lab) -> Finding:
    """Train shallow and deep residual nets and a deep plain one; look at blocks and gradients before training."""
    depths, n = DEPTHS[lab.scale], len(lab.seeds)
    nets = {depth: train(lab, "residual", depth) for depth in depths}
    plain, found, rows = train(lab, "plain", max(depths)), gradients(lab), identity_rows()
    shallow, deep = nets[min(depths)], nets[max(depths)]
    late = [[late_loss(arm) for arm in arms] for arms in (shallow, deep, plain)]
    deeper, cured = paired_difference(late[1], late[0]), paired_difference(late[2], late[1])
    kept = Figure(max(abs(change) for change in changes(found, ZERO)))
    pair, ends = f"{max(depths)} layers less {min(depths)}", f"{GRADIENT_DEPTHS[0]} to {GRADIENT_DEPTHS[-1]} layers"
    return Finding(
        checks=(
            below(f"residual: training loss (nats, last fifth of the updates), {pair}", deeper, MARGIN, n),
            above(f"{max(depths)} layers: training loss, plain less residual", cured, 0, n),
            within("block with its function at zero: largest change of its input", Figure(rows[0][1]), 0, 0, 12_800),
            within(f"with zero gamma: log10 change of the first gradient from {ends}", kept, 0, 1e-6, n),
            above(f"powers of ten less that it changes from {ends} than in plain nets", spared(found), 0, n),
        ),
        said=_said(found, (deeper, cured), (min(depths), max(depths)), ends),
        charts=(_losses(nets, plain), _gradients(found)),
        tables=(_table(lab, nets, plain), _identities(rows)),
        effects=both_goals(f"block.residual against block.plain ({max(depths)} layers)", deep, plain),
        trainings=n * (len(depths) + 1),
    )


def _said(found: Gradients, differences: tuple[Figure, Figure], depths: tuple[int, int], ends: str) -> str:
    deeper, cured = (words(figure) for figure in differences)
    by = {kind: f"{fmean(changes(found, kind)):+.1f}" for kind in BEGINNINGS}
    return (
        f"From {depths[0]} to {depths[1]} residual layers the training loss changes by {deeper} nats; at {depths[1]} "
        f"layers the plain net ends {cured} nats above the residual one. From {ends} the norm of the first layer's "
        f"gradient changes by these powers of ten: plain {by[PLAIN]} with batch norm (so it does not vanish there) and "
        f"{by[BARE]} without norm and with Xavier; residual {by[PUBLISHED]} as published, {by[ZERO]} when its "
        f"branches begin at zero. The block at zero is the identity only for values that its last activation lets "
        f"through; the pre-activation block is so for all."
    )


def _losses(nets: dict[int, Arms], plain: Arms) -> Lines:
    shown = {f"residual, {depth} layers": nets[depth] for depth in (min(nets), max(nets))}
    shown[f"plain, {max(nets)} layers"] = plain
    lines = {name: loss_curve(arms) for name, arms in shown.items()}
    return Lines(title="Residual nets: training loss", x="update", y="nats, mean of the seeds", lines=lines)


def _gradients(found: Gradients) -> Lines:
    lines = {
        kind: tuple((float(depth), fmean(values)) for depth, values in by_depth.items())
        for kind, by_depth in found.items()
    }
    return Lines(
        title="The first layer's gradient before training",
        x="layers",
        y="log10 of its norm, mean of the seeds",
        lines=lines,
        note="Level is best: the first layer then learns at the same pace whatever stands behind it.",
    )


def _table(lab: Lab, nets: dict[int, Arms], plain: Arms) -> Grid:
    return table(lab, {**{("residual", depth): arms for depth, arms in nets.items()}, ("plain", max(nets)): plain})


def _identities(rows: list[tuple[str, float, float]]) -> Grid:
    head = ("block with its function at zero", "largest |output - input|", "largest |output - ReLU(input)|")
    return Grid(
        title="The identity", head=head, rows=tuple((name, f"{same:.3g}", f"{cut:.3g}") for name, same, cut in rows)
    )


CLAIM = Claim(
    statement=(
        "A shortcut around every block cures degradation: a residual net of 56 layers trains at least as well as one "
        "of 20, a block whose function is zero is the identity, and the gradient still reaches the first layer."
    ),
    experiment=(
        "Residual nets of 20 and 56 layers (at full scale also 32 and 44) and the plain net of 56, in the setting of "
        "the claim before: the same images, order, updates and common weights for a seed. At full scale branches do "
        "not begin at zero, as published; at quick scale they do, since 56 layers otherwise stay at chance for its few "
        "updates at this rate. No worse means at most 0.1 nats more training loss. A block with zeroed function is "
        "compared with its input, and the first layer's gradient is measured before training in nets of 8 to 110 "
        "layers."
    ),
    task="classification",
    measure=measure,
)
