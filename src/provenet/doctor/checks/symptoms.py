"""Symptoms, for faults whose cause no check names: gradients, first loss and outputs that are odd."""

# N batch, K classes

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, median

import torch
from torch import nn

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.probe import LONG_STEPS
from provenet.doctor.slopes import DEEP, VANISHES, relative_gradients
from provenet.doctor.trial import Fix, Trial
from provenet.records.finding import Finding

EXPLODES = 1e4
HIGH_LOSS = 2.0
"""Loss before training over that of an uninformed guess: from here on an info."""
WILD_LOSS = 5.0
"""The same, from which it is tried whether a short training gets over it: ten logits spread by 5 and more."""
ABSURD_LOSS = 50.0
"""The same, which is said loudly whether training gets over it or not."""
KEPT = 0.5
"""Share of what the loss is above that of a guess, which is left after a short training that does not get over it."""
SAME = 1e-5
"""Change of the outputs, relative to their size, when a sample is replaced: what float32 leaves of none."""
FITS = 0.7
"""Share of its first loss to which one batch of 16 samples must come down within the probe."""
FIT_RATES = (1e-3, 1e-2)
FIT_STEPS = 60
"""Updates without which it cannot be told: nets so slow that there is no time for them are left alone."""
SPECKLE = 0.1
"""By how much neighbouring pixels of masks must agree more often than any two pixels do, to be worth learning."""
LEARNS = 0.3
"""Share of the gap that training as it is closes: a net that does so can fit a batch."""


def _vanishing(examination: Examination) -> Iterator[Finding]:
    early, late = relative_gradients(examination)
    if not early or _gated(examination):
        return
    most, usual = max(early.values()), median(late.values())
    if usual <= 0 or most >= VANISHES * usual:
        return
    yield _gradients_differ("vanishing-gradients", min(early, key=lambda name: early[name]), most, usual)


def _exploding(examination: Examination) -> Iterator[Finding]:
    early, late = relative_gradients(examination)
    if not early:
        return
    usual, most = median(early.values()), max(late.values())
    if most <= 0 or usual <= EXPLODES * most:
        return
    yield _gradients_differ("exploding-gradients", max(early, key=lambda name: early[name]), usual, most)


def _gradients_differ(id: str, name: str, early: float, late: float) -> Finding:
    return Finding(
        id=id,
        severity="warning",
        layer=name.rpartition(".")[0],
        evidence={"early_gradient_to_weight": early, "late_gradient_to_weight": late, "ratio": early / late},
        message=f"Gradients of the first layers are {early / late:.1e} times those of the last, each relative to its "
        "weights: one rate cannot fit both.",
        fix="Normalisation layers, skip connections, and He initialisation keep gradients of one size.",
    )


def _gated(examination: Examination) -> bool:
    """Return whether some weights are all zero, as gates that open later and zero heads are."""
    return any(not tensor.any() for name, tensor in examination.walk.trainable.items() if not name.endswith("bias"))


def _bad_initial_loss(examination: Examination) -> Iterator[Finding]:
    reading, losses = examination.reading, examination.passes.losses
    guess = examination.battery.own.get("uniform", math.nan)
    if reading.task not in ("classes", "labels") or not losses or not guess > 0:
        return
    ratio = fmean(losses) / guess
    if not math.isfinite(ratio) or ratio < HIGH_LOSS:
        return
    stays = ratio > ABSURD_LOSS or (ratio > WILD_LOSS and _stays_above(examination, guess))
    yield Finding(
        id="bad-initial-loss",
        severity="warning" if stays else "info",
        layer="loss",
        evidence={"loss": fmean(losses), "loss_of_a_guess": guess, "ratio": ratio, "ratio_allowed": HIGH_LOSS},
        message=f"Before training the loss is {fmean(losses):.3g}, that of a guess {guess:.3g}: the net begins by "
        "being sure of wrong answers.",
        fix="Initialise the last layer small: nn.init.normal_(head.weight, std=0.01); nn.init.zeros_(head.bias).",
    )


def _stays_above(examination: Examination, guess: float) -> bool:
    """Return whether a short training does not get over a start far above a guess; no where there is no time for it."""
    arm = examination.probe.single()
    if arm is None or arm.failure is not None:
        return False
    kept = fmean(arm.end) - guess > KEPT * (fmean(arm.start) - guess)
    return arm.diverged or kept or (len(arm.losses) >= LONG_STEPS and fmean(arm.end) > HIGH_LOSS * guess)


def _constant_output(examination: Examination) -> Iterator[Finding]:
    own, outputs = examination.dependence.own.amount, examination.passes.outputs
    if own >= SAME or not outputs or _gated(examination):
        return
    output = outputs[0].float()
    if output.dim() < 1 or len(output) < 2 or not output.is_floating_point():
        return
    spread, size = float(output.std(0).max()), float(output.abs().max())
    if not spread < SAME * max(size, 1e-12):
        return
    yield Finding(
        id="constant-output",
        severity="warning",
        layer="",
        evidence={"spread_across_samples": spread, "largest_output": size, "change_with_other_sample": own},
        message=f"Every sample gets the same output: it changes by {own:.1e} of its size when a sample is replaced.",
        fix="Look for the first layer whose outputs are alike for all samples, and mend its scale or its inputs.",
    )


def _cannot_overfit_batch(examination: Examination) -> Iterator[Finding]:
    probe = examination.probe
    if examination.loud or _speckled(examination):
        return
    plain = probe.single()
    if plain is None or (plain.failure is None and fmean(plain.closed(probe.floor)) > LEARNS):
        return
    ends: dict[float, float] = {}
    for lr in FIT_RATES:
        arm = probe.single(_one_batch(lr))
        if arm is None or arm.failure is not None or not arm.losses:
            return
        gap = max(abs(fmean(arm.start) - probe.floor), 1e-6)
        ends[lr] = (min(arm.losses) - probe.floor) / gap
        if ends[lr] < FITS or (len(arm.losses) < FIT_STEPS and not arm.diverged):
            return
    yield Finding(
        id="cannot-overfit-batch",
        severity="warning",
        layer="",
        evidence={f"loss_left_at_lr_{lr:g}": left for lr, left in ends.items()} | {"loss_left_allowed": FITS},
        message=f"A batch of at most 16 samples cannot be learned by heart: {min(ends.values()):.0%} of its loss is "
        "left.",
        fix="Take parts of the net away until one batch can be fitted; the part that made the difference is the cause.",
        gain=0.0,
    )


def _speckled(examination: Examination) -> bool:
    """Return whether masks are noise from pixel to pixel, which no net of a few convolutions can learn by heart."""
    samples = examination.samples
    if samples is None or samples.masks is None:
        return False
    masks = samples.masks
    classes, counts = masks.unique(return_counts=True)
    if len(classes) < 2:
        return False
    by_chance = float((counts / counts.sum()).square().sum())
    agree = float((masks[..., 1:] == masks[..., :-1]).float().mean())
    return agree < by_chance + SPECKLE * (1 - by_chance)


def _one_batch(lr: float) -> Fix:
    """Return the fix that trains on the first batch alone, with Adam and without dropout, until it is fitted."""

    def fix(trial: Trial) -> None:
        trial.batches = trial.batches[:1]
        trial.until = FITS
        for module in trial.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
        trial.optimizer = torch.optim.Adam([p for p in trial.model.parameters() if p.requires_grad], lr=lr)

    return fix


CHECKS: tuple[Check, ...] = (
    Check(
        id="vanishing-gradients",
        look=_vanishing,
        cost="passes",
        shows="The last layers learn, the first ones stay as they were drawn; the loss stops at a plateau.",
        signal="Gradient relative to weight, of one weight tensor each: the largest of the first third of the layers "
        "is below 1e-4 of the median of the last third.",
        fix="ReLU in place of sigmoid, He initialisation, normalisation, skip connections.",
        before="layers = [nn.Linear(64, 64), nn.Sigmoid()] * 12",
        after="layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]",
        silent="Weights that begin at zero, as gates and heads do: nothing passes them in the first update. Layers "
        "behind a small gate beside a skip connection: the first layers then still get a gradient. Frozen layers.",
        source="Glorot & Bengio (2010); AutoTrainer and SageMaker Debugger use absolute sizes, which depend on the "
        "loss.",
        thresholds={"VANISHES": VANISHES, "DEEP": DEEP},
    ),
    Check(
        id="exploding-gradients",
        look=_exploding,
        cost="passes",
        shows="The first layers change beyond recognition in a few updates, and the loss jumps.",
        signal="The median of gradient over weight of the first third of the layers is above 1e4 times the largest of "
        "the last third.",
        fix="Normalisation, smaller initial weights, torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).",
        before="nn.init.normal_(layer.weight, std=1.0)",
        after="nn.init.kaiming_normal_(layer.weight)",
        silent="Small gates anywhere: the largest of the last third counts.",
        source="Glorot & Bengio (2010); ratio in place of a size, as for vanishing gradients.",
        thresholds={"EXPLODES": EXPLODES, "DEEP": DEEP},
    ),
    Check(
        id="bad-initial-loss",
        look=_bad_initial_loss,
        cost="probe",
        shows="The first loss is several times ln K, and falls to it within some updates: a hockey stick.",
        signal="The loss before training is more than twice that of an uninformed answer, which is taken with the same "
        "loss and targets. Loud where it is more than five times that, and a short training leaves half of what it is "
        "above a guess, or one of 90 updates more than twice a guess; also where it is more than fifty times a guess.",
        fix="Draw the last layer's weights small, and its bias 0 or the log of the classes' shares.",
        before="nn.init.normal_(self.head.weight, std=1.0)",
        after="nn.init.normal_(self.head.weight, std=0.01)",
        silent="Losses below that of a guess: the net knows something. Regression, where a guess has no natural loss.",
        source="Karpathy (2019), A recipe for training neural networks (verify loss at init).",
        thresholds={"HIGH_LOSS": HIGH_LOSS, "WILD_LOSS": WILD_LOSS} | {"ABSURD_LOSS": ABSURD_LOSS, "KEPT": KEPT},
    ),
    Check(
        id="constant-output",
        look=_constant_output,
        cost="passes",
        shows="Every picture gets the same answer, and the loss stays at that of a guess.",
        signal="Replacing a sample by noise changes its output by less than 1e-5 of its size in evaluation mode, and "
        "the outputs of a batch in the mode of training differ no more.",
        fix="Find the first layer whose outputs are alike for all samples.",
        before="x = torch.zeros_like(x) + self.norm(x).mean()",
        after="x = self.norm(x)",
        silent="Heads and gates of zeros: they open with the first update.",
        source="Karpathy (2019), A recipe for training neural networks (input-independent baseline).",
        thresholds={"SAME": SAME},
        hides=("cannot-overfit-batch", "vanishing-gradients"),
    ),
    Check(
        id="cannot-overfit-batch",
        look=_cannot_overfit_batch,
        cost="probe",
        shows="Not even sixteen samples can be learned by heart.",
        signal="Nothing else was found, training as it is closes less than 30 % of the loss gap, and Adam at 1e-3 and "
        "1e-2 on one batch of 16 samples without dropout leaves more than 70 % of its loss.",
        fix="Take parts away until a batch can be fitted.",
        before="x = x.mean(dim=(1, 2, 3), keepdim=True)",
        after="x = x.mean(dim=(2, 3))",
        silent="Nets that learn as they are. Nets too slow for such a training within the budget. Masks drawn at "
        "random pixel by pixel, as for a first try of a net.",
        source="Karpathy (2019), A recipe for training neural networks (overfit one batch).",
        thresholds={"FITS": FITS, "LEARNS": LEARNS, "SPECKLE": SPECKLE},
    ),
)
