"""Claim 9: a deeper plain net has the higher training error."""

from __future__ import annotations

from statistics import fmean

from provenet.claims.arms import late_loss, loss_curve, words
from provenet.claims.claim import Claim, above
from provenet.claims.depths import DEPTHS, Arms, errors, table, train
from provenet.claims.lab import Lab
from provenet.records.claim import Finding, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import paired_difference


def measure(lab: Lab) -> Finding:
    """Train plain nets of several depths and compare the shallowest with the deepest."""
    depths, n = DEPTHS[lab.scale], len(lab.seeds)
    nets = {depth: train(lab, "plain", depth) for depth in depths}
    shallow, deep = nets[min(depths)], nets[max(depths)]
    loss = paired_difference([late_loss(arm) for arm in deep], [late_loss(arm) for arm in shallow])
    error, test = (paired_difference(errors(deep, split), errors(shallow, split)) for split in ("train", "test"))
    pair = f"{max(depths)} layers less {min(depths)}"
    return Finding(
        checks=(
            above(f"training loss (nats, last fifth of the updates), {pair}", loss, 0, n),
            above(f"training error (clean pictures, evaluation mode), {pair}", error, 0, n),
        ),
        said=_said(lab, nets, (loss, error, test)),
        charts=(_chart(nets),),
        tables=(table(lab, {("plain", depth): arms for depth, arms in nets.items()}),),
        trainings=n * len(depths),
    )


def _said(lab: Lab, nets: dict[int, Arms], differences: tuple[Figure, Figure, Figure]) -> str:
    loss, error, test = (words(figure) for figure in differences)
    updates = nets[min(nets)][0].looks[-1].step
    classes = len(lab.classification.dataset.classes)
    scale = lab.pick(
        f" This is after {updates} updates on few and small pictures, where a deeper net may only be slower to fit; "
        f"what is left of it after the published 64,000 updates, the full scale shows.",
        " The published gap in test error is about 0.04.",
    )
    return (
        f"From {min(nets)} to {max(nets)} plain layers the training loss changes by {loss} nats, the training error by "
        f"{error} and the test error by {test}. A net that overfits would have a lower training error, whatever "
        f"its test error. (The deepest net's training error is {fmean(errors(nets[max(nets)], 'train')):.3f}, that of "
        f"guessing {1 - 1 / classes:.3f}.){scale}"
    )


def _chart(nets: dict[int, Arms]) -> Lines:
    lines = {f"plain, {depth} layers": loss_curve(arms) for depth, arms in nets.items()}
    return Lines(title="Plain nets: training loss", x="update", y="nats, mean of the seeds", lines=lines)


CLAIM = Claim(
    statement=(
        "Plain nets degrade with depth: 56 layers have a higher training error than 20, though the deeper net could "
        "copy the shallower one; so this is not overfitting, it is harder to optimise."
    ),
    experiment=(
        "Plain nets with batch normalisation of 20 and 56 layers (at full scale also 32 and 44) as in the published "
        "comparison: SGD with momentum 0.9, rate 0.1, a tenth after a half and three quarters of the updates; at quick "
        "scale behind a warm-up of a tenth. Images, order and number of updates are shared for a seed, and so are the "
        "weights of the layers that both have. At full scale: CIFAR-10 with shifts and flips, 64,000 updates of 128."
    ),
    task="classification",
    measure=measure,
)
