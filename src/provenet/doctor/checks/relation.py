"""Whether targets go with the inputs that they stand beside."""

# N samples, K classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from provenet.doctor.alignment import Alignment, align, regions
from provenet.doctor.case import Pair, forward
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.likeness import agreement, features, neighbours
from provenet.doctor.probe import MOST_BATCHES
from provenet.doctor.reading import Reading
from provenet.doctor.samples import Samples
from provenet.doctor.tree import fresh, main_tensor
from provenet.doctor.trial import Fix, Trial
from provenet.records.finding import Finding

LEAST, LEAST_MASKS = 120, 24
"""Samples that are wanted: with fewer even right labels of a middling task cannot be told from wrong ones."""
A_CLASS = 8
"""Samples a class that are wanted."""
RELATED, SURELY = 0.02, 0.006
"""p values of neighbours at which labels and pictures are related, so that no training is needed: two of the five kinds
of likeness below the first, or one at the smallest that 199 shuffles give. One below the first is found by chance in a
tenth of all shuffled lists."""
SHIFTS = (1, -1, 2, -2)
OUTLIER, BETTER, OTHERS = 5.0, 1.5, 0.3
"""A mask belongs to another picture that it fits by five (robust) standard deviations above the masks of the rest and
half as well again as its own; three in ten of them are no chance."""
LEARNED = 0.3
"""Share of the loss gap that must be closed on the batches trained on, for failing on the other to mean something."""
UNRELATED = 0.05
"""p value on samples held out above which targets cannot be told from others in random order."""
ENOUGH = 96
"""Samples beyond those of the probe's trainings from which one training will do; else batches are left out in turn."""
STEPS, FEWEST_STEPS, FOLDS, SHUFFLES = 200, 30, 3, 999
"""Updates of a training, as many as there is time for: learning by heart takes more of them than learning."""
SHARE = 0.4
"""Of the time that is left, for these trainings."""


def _labels_uninformative(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or reading.task not in ("classes", "labels"):
        return
    if samples.masks is not None:
        found = align(samples.inputs, regions(samples.masks, reading.ignore_index)) if _same_size(samples) else None
        if found is None or len(found) < 4 or _own_fits(found):
            return
        elsewhere = _elsewhere(found)
        if elsewhere is not None:
            yield elsewhere
            return
        enough = len(samples) >= LEAST_MASKS
    else:
        labels = samples.labels
        if labels is None or len(torch.unique(labels)) < 2 or not _structured(samples):
            return
        shift = _shift(samples, labels)
        if shift is None:
            return
        if shift:
            yield _shifted_finding(shift, len(labels))
            return
        enough = len(labels) >= max(LEAST, A_CLASS * len(torch.unique(labels)))
    if enough and len(examination.batches) > 1:
        yield from _tried(examination)


def _same_size(samples: Samples) -> bool:
    masks = samples.masks
    return masks is not None and samples.pictures and masks.shape[-2:] == samples.inputs.shape[-2:]


def _structured(samples: Samples) -> bool:
    """Return whether inputs are more than noise: of noise nobody expects labels to follow."""
    if not samples.pictures:
        return False
    centred = samples.inputs - samples.inputs.mean((-2, -1), keepdim=True)
    along = (centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean().clamp(min=1e-12)
    return float(along) > 0.1


def _shift(samples: Samples, labels: Tensor) -> int | None:
    """Return by how many samples labels are off; 0 where no shift explains them, None where they fit as they are."""
    near = [neighbours(rows) for rows in features(samples.inputs)]
    given = [agreement(one, labels) for one in near]
    if min(given) < SURELY or sum(p <= RELATED for p in given) > 1:
        return None
    fits = {shift: [agreement(one, labels.roll(shift)) for one in near] for shift in SHIFTS}
    best = min(SHIFTS, key=lambda shift: fmean(fits[shift]))
    return best if sum(p < SURELY for p in fits[best]) > 1 else 0


def _shifted_finding(shift: int, num: int) -> Finding:
    return Finding(
        id="labels-uninformative",
        severity="error",
        layer="targets",
        evidence={"shift": shift, "samples": num, "p_as_given_above": RELATED, "p_shifted_below": SURELY},
        message=f"Pictures that look alike have no labels in common, but do when labels move by {shift} samples: the "
        "lists of pictures and labels are off against each other.",
        fix="for path in sorted(paths): label = labels[path.stem]  # by name, not by place",
    )


def _own_fits(found: Alignment) -> bool:
    """Return whether masks fit their own pictures better than those of others."""
    num = len(found)
    own = found.others.diagonal()
    rest = (found.others.sum(1) - own) / (num - 1)
    difference = own - rest
    spread = float(difference.std()) / num**0.5
    return float(difference.mean()) > 3 * max(spread, 1e-12)


def _elsewhere(found: Alignment) -> Finding | None:
    """Return the finding that masks belong to other pictures of the batches."""
    own, away = found.others.diagonal(), found.others.clone().fill_diagonal_(-torch.inf)
    best, place = away.max(1)
    rest = found.others.clone().fill_diagonal_(0.0)
    middle = rest.median(1).values
    spread = 1.4826 * (rest - middle[:, None]).abs().median(1).values.clamp(min=1e-6)
    outlying = (best > middle + OUTLIER * spread) & (best > BETTER * own.clamp(min=0))
    share = float(outlying.float().mean())
    if len(found) < 6 or share < OTHERS:
        return None
    first = int(torch.nonzero(outlying)[0])
    return Finding(
        id="labels-uninformative",
        severity="error",
        layer="targets",
        evidence={
            "masks": len(found),
            "share_that_fits_another_picture": round(share, 3),
            "limit": OTHERS,
            "picture": int(found.rows[first]),
            "its_mask_stands_beside": int(found.rows[place[first]]),
        },
        message=f"{share:.0%} of the pictures fit the mask of another sample of these batches, and not their own: "
        f"picture {int(found.rows[first])} goes with mask {int(found.rows[place[first]])}.",
        fix="pair files by name: mask = masks[image.stem]; two sorted lists differ when one has a file more",
    )


@dataclass(eq=False)
class _HeldOut:
    """Answers of a net for samples that it was not trained on.

    Args:
        fits: log-likelihood of every sample's answer under every sample's target, (N, N), one matrix a fold.
        learned: share of the loss gap closed on the other batches, one a fold.
    """

    fits: list[Tensor] = field(default_factory=list)
    learned: list[float] = field(default_factory=list)

    def p(self) -> float:
        """Return the p value of the hypothesis that targets go with answers no better than in random order."""
        generator = torch.Generator().manual_seed(0)
        own = sum(float(fit.diagonal().sum()) for fit in self.fits)
        above = 0
        for _ in range(SHUFFLES):
            total = 0.0
            for fit in self.fits:
                order = torch.randperm(len(fit), generator=generator)
                total += float(fit[torch.arange(len(fit)), order].sum())
            above += total >= own
        return (above + 1) / (SHUFFLES + 1)


def _tried(examination: Examination) -> Iterator[Finding]:
    """Yield the finding that what is learned on some batches says nothing of another."""
    probe, reading, held = examination.probe, examination.reading, _HeldOut()
    size, batches, unseen = probe.batch_size, probe.batches[:MOST_BATCHES], probe.unseen(ENOUGH)
    folds = 1 if unseen else min(FOLDS, len(batches))
    room = probe.room(SHARE * examination.clock.left, folds, size, STEPS + 2 * len(batches))
    steps = min(STEPS, room - 2 * len(batches))
    if steps < FEWEST_STEPS:
        raise Unavailable("no time left for a training")
    for fold in range(folds):
        arm = probe.arm(_holding(fold, steps, reading, held, unseen), 0, steps, size)
        if arm.failure is not None or arm.diverged or len(held.fits) <= fold:
            return
        held.learned.append(fmean(arm.closed(probe.floor)))
    if not held.fits or min(held.learned) < LEARNED:
        return
    p = held.p()
    if p <= UNRELATED:
        return
    num = sum(len(fit) for fit in held.fits)
    yield Finding(
        id="labels-uninformative",
        severity="warning",
        layer="targets",
        evidence={
            "held_out": num,
            "p": round(p, 3),
            "limit": UNRELATED,
            "share_closed_on_trained": round(fmean(held.learned), 3),
            "steps": steps,
        },
        message=f"Targets cannot be told from targets in random order: the net learns some batches by heart "
        f"({fmean(held.learned):.0%} of the loss gap in {steps} steps), and what it learned says nothing of {num} "
        f"samples that it has not seen (p = {p:.2f}).",
        fix="look at ten pictures with their targets; pair files by name, and shuffle pairs, never one list alone",
    )


def _holding(fold: int, steps: int, reading: Reading, held: _HeldOut, unseen: list[Pair]) -> Fix:
    """Return the change of a trial that asks the net, after the last step, for samples that it has not seen.

    Args:
        fold: number of the batch that is left out of the training where none is unseen.
        steps: of the trial.
        reading: what targets are.
        held: where answers go.
        unseen: batches that are not trained on in any case.
    """

    def fix(trial: Trial) -> None:
        asked = unseen or [trial.batches.pop(fold % len(trial.batches))]

        def ask(step: int) -> None:
            if step == steps:
                with torch.no_grad():
                    scores = [main_tensor(forward(trial.model, fresh(inputs, _device(trial)))) for inputs, _ in asked]
                given = [one.float().cpu() for one in scores if one is not None]
                targets = [one.cpu() for one in (main_tensor(part) for _, part in asked) if one is not None]
                if len(given) == len(targets) == len(asked):
                    held.fits.append(_fits(torch.cat(given), torch.cat(targets), reading))

        trial.after_step = ask

    return fix


def _device(trial: Trial) -> torch.device:
    return next(trial.model.parameters()).device


def _fits(scores: Tensor, target: Tensor, reading: Reading) -> Tensor:
    """Return the log-likelihood of each answer under each target, up to a constant of the answer, (N, N).

    Args:
        scores: (N, K, ...); what a net with a map at its end gives orders targets as well.
        target: (N, ...).
        reading: what targets are.
    """
    if reading.task == "labels":
        signs = target.reshape(len(target), -1).float() * 2 - 1
        return scores.reshape(len(scores), -1) @ signs.T
    width = scores.shape[1]
    if reading.indices:
        index = target.reshape(len(target), -1).long()
        hot = F.one_hot(index.clamp(0, width - 1), width).float() * ((index >= 0) & (index < width))[..., None]
        answers = scores.log_softmax(1).flatten(2) if scores.dim() > 2 else scores.log_softmax(1)[..., None]
        return torch.einsum("nkp,mpk->nm", answers, hot)
    return scores.log_softmax(1).flatten(1) @ target.float().flatten(1).T


CHECKS = (
    Check(
        id="labels-uninformative",
        look=_labels_uninformative,
        cost="probe",
        shows="The training loss falls as the net learns by heart, and validation stays at chance.",
        signal="First without training: do samples that look alike share labels, do masks lie on edges of their "
        "pictures? If so, nothing is said. If they do after moving labels by one or two samples, or if masks fit other "
        f"pictures of the batches ({OTHERS:.0%} of them), that is proof. Else the net is trained on four batches, or "
        f"on all but one in turn: it closes at least {LEARNED:.0%} of the loss gap there, and targets of the other "
        f"samples fit its answers no better than in random order (p > {UNRELATED:g}).",
        fix="Pair inputs and targets by name; look at some of them.",
        before="images, masks = glob('images/*'), glob('masks/*')    # in the order of the file system",
        after="pairs = [(path, masks / path.name) for path in sorted(images.iterdir())]",
        silent=f"Fewer than {LEAST} labelled samples, or {LEAST_MASKS} masks; inputs that are noise; tasks that this "
        "net does not learn in the time of the probe.",
        source="ours; the permutation test is Ojala and Garriga's (2010), Permutation tests for classifier performance",
        thresholds={"LEAST": LEAST, "RELATED": RELATED, "LEARNED": LEARNED, "UNRELATED": UNRELATED}
        | {"OUTLIER": OUTLIER, "OTHERS": OTHERS},
        hides=("cannot-overfit-batch",),
    ),
)
