"""How often classes occur: in batches, and overall."""

# N targets, K classes, B batches

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy.stats import beta
from torch import Tensor

from provenet.doctor.alignment import regions
from provenet.doctor.check import Check
from provenet.doctor.checks.weights import HARD, pull_of
from provenet.doctor.examination import Examination
from provenet.doctor.pull import Pull
from provenet.doctor.reading import Reading
from provenet.doctor.samples import Samples
from provenet.records.finding import Finding

SORTED = 0.7
"""Entropy of labels within batches over what the same labels have in shuffled batches."""
SHUFFLES = 1000
LEAST_LABELS = 16
MAJORITY, MAJORITY_PIXELS = 0.9, 0.98
"""Share of the most frequent class that counts as certain (95 %) or is seen (pixels): one to nine trains as it is, and
so do pixels of one to thirty."""
RARE_SHARE = 0.1
"""A class this share of its due, 1/K, or less."""
TEN_TO_ONE = 10.0
WEIGHED = 2.0
"""A loss that pulls this much harder at a target of a rare class is not a plain one."""


def _unshuffled_batches(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or samples.labels is None or len(samples) < LEAST_LABELS:
        return
    labels, width = samples.labels, max(reading.width or 2, 2)
    classes = torch.unique(labels)
    if len(classes) == 1:
        yield _one_class(int(classes[0]), len(labels), width)
        return
    table = torch.nn.functional.one_hot(torch.searchsorted(classes, labels)).float()
    within = _entropy_within(table, samples.batch)
    generator = torch.Generator().manual_seed(0)
    shuffled = [
        _entropy_within(table[torch.randperm(len(labels), generator=generator)], samples.batch) for _ in range(SHUFFLES)
    ]
    expected = sum(shuffled) / SHUFFLES
    if expected == 0 or within / expected >= SORTED or within >= min(shuffled):
        return
    drawn = _drawn_evenly(table, samples.batch) and not bool((labels.diff() >= 0).all())
    most = max(len(torch.unique(labels[samples.batch == number])) for number in torch.unique(samples.batch))
    yield Finding(
        id="unshuffled-batches",
        severity="info" if drawn else "warning",
        layer="targets",
        evidence={
            "classes": len(classes),
            "most_classes_in_a_batch": most,
            "entropy_over_shuffled": round(within / expected, 3),
            "limit": SORTED,
            "p_below": 1 / SHUFFLES,
        },
        message=f"Batches hold at most {most} of {len(classes)} classes each; shuffled ones would hold more: every "
        "step forgets the classes that it does not see, and batch norm sees one class at a time.",
        fix="DataLoader(dataset, batch_size, shuffle=True)",
    )


def _one_class(label: int, num: int, width: int) -> Finding:
    return Finding(
        id="unshuffled-batches",
        severity="warning",
        layer="targets",
        evidence={"samples": num, "classes": 1, "outputs": width, "label": label},
        message=f"All {num} labels are {label}: the batches are sorted by class, or labels are lost.",
        fix="DataLoader(dataset, batch_size, shuffle=True)",
    )


def _entropy_within(table: Tensor, batch: Tensor) -> float:
    """Return the entropy of labels within batches, the mean over samples, in nats.

    Args:
        table: one-hot labels, (N, K).
        batch: number of the batch, (N,).
    """
    counts = torch.zeros(int(batch.max()) + 1, table.shape[1]).index_add_(0, batch, table)
    sizes = counts.sum(1, keepdim=True).clamp(min=1)
    return float(-(torch.xlogy(counts, counts / sizes)).sum() / len(table))


def _drawn_evenly(table: Tensor, batch: Tensor) -> bool:
    """Return whether every batch holds the same number of several classes: a sampler made it so."""
    counts = torch.zeros(int(batch.max()) + 1, table.shape[1]).index_add_(0, batch, table)
    return all(len(set(row[row > 0].tolist())) == 1 and int((row > 0).sum()) > 1 for row in counts if row.sum() > 0)


def _class_imbalance(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or reading.task not in ("classes", "labels"):
        return
    if samples.masks is not None:
        yield from _rare_foreground(examination, samples, reading)
    elif samples.labels is not None and len(samples) >= LEAST_LABELS:
        yield from _rare_class(examination, samples.labels, max(reading.width or 2, 2))


def _rare_class(examination: Examination, labels: Tensor, width: int) -> Iterator[Finding]:
    """Yield the finding that some class is rare beyond doubt."""
    num, counts = len(labels), torch.bincount(labels.clamp(min=0))
    seen = {label: int(count) for label, count in enumerate(counts.tolist()) if count}
    if len(seen) < 2:
        return
    most, least = max(seen, key=lambda label: seen[label]), min(seen, key=lambda label: seen[label])
    at_least = float(beta.ppf(0.05, seen[most], num - seen[most] + 1))
    at_most = float(beta.ppf(0.95, seen[least] + 1, num - seen[least]))
    rare = at_most < RARE_SHARE / width and seen[most] > TEN_TO_ONE * seen[least]
    if not (rare or at_least > MAJORITY) or _compensated(pull_of(examination), most, least):
        return
    yield Finding(
        id="class-imbalance",
        severity="warning",
        layer="targets",
        evidence={
            "samples": num,
            "most_frequent": most,
            "its_count": seen[most],
            "rarest": least,
            "its_number": seen[least],
            "share_at_least": round(at_least, 3),
            "limit": MAJORITY,
        },
        message=f"Class {most} has {seen[most]} of {num} samples, class {least} has {seen[least]}, and the loss weighs "
        "all alike: answering the frequent class costs next to nothing.",
        fix="nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts)), or a WeightedRandomSampler",
        overrides=("imbalance=weights",),
    )


def _rare_foreground(examination: Examination, samples: Samples, reading: Reading) -> Iterator[Finding]:
    """Yield the finding that nearly all pixels are of one class."""
    assert samples.masks is not None
    areas = regions(samples.masks, reading.ignore_index)
    areas = areas[(areas >= 0).flatten(1).any(1)]
    if len(areas) < 2:
        return
    counts = torch.bincount(areas[areas >= 0])
    most = int(counts.argmax())
    share = float(counts[most]) / max(int(counts.sum()), 1)
    shares = (areas == most).sum((1, 2)) / (areas >= 0).sum((1, 2))
    at_least = float(shares.mean() - 1.645 * shares.std() / math.sqrt(len(shares)))
    others = [label for label, count in enumerate(counts.tolist()) if count and label != most]
    if share <= MAJORITY_PIXELS or at_least <= 1 - 2 * (1 - MAJORITY_PIXELS):
        return
    if others and all(_compensated(pull_of(examination), most, label) for label in others):
        return
    yield Finding(
        id="class-imbalance",
        severity="warning" if others else "error",
        layer="targets",
        evidence={"share_of_one_class": round(share, 5), "class": most, "limit": MAJORITY_PIXELS, "masks": len(areas)},
        message=f"{share:.2%} of the mask pixels are of class {most}"
        + (
            ", and the loss weighs all alike: an empty mask is a good answer." if others else ": there is nothing else."
        ),
        fix="add an overlap loss: bce(scores, masks) + dice(scores.sigmoid(), masks); or weigh the rare class"
        if others
        else "print(mask.unique()) of one file, and compare it with what the loader makes of it",
    )


def _compensated(pull: Pull | None, most: int, least: int) -> bool:
    """Return whether the loss pulls harder at the rare class, by weights or because it is hard."""
    if pull is None or not bool((pull.classes == least).any()):
        return False
    strengths = pull.strengths(max(most, least) + 1)
    ratio = float(strengths[least] / strengths[most])
    return ratio >= WEIGHED or pull.total(least) > HARD


CHECKS = (
    Check(
        id="unshuffled-batches",
        look=_unshuffled_batches,
        cost="static",
        shows="The loss saws: it falls within a class and jumps at the next; accuracy is that of the class seen last.",
        signal="Entropy of labels within batches over what the same labels have in shuffled ones: below "
        f"{SORTED:g}, and below all of {SHUFFLES} shuffles. Or all labels are one.",
        fix="Shuffle: DataLoader(dataset, batch_size, shuffle=True).",
        before="loader = DataLoader(ImageFolder(root, transform), batch_size=32)",
        after="loader = DataLoader(ImageFolder(root, transform), batch_size=32, shuffle=True)",
        silent="One batch, and few samples; segmentation; samplers that put the same number of several classes into "
        "every batch are an info.",
        source="after cleanlab's test of order (non-iid); limits are ours",
        thresholds={"SORTED": SORTED, "SHUFFLES": SHUFFLES},
        hides=("class-imbalance", "head-size-mismatch", "labels-uninformative", "class-weights-inverted"),
    ),
    Check(
        id="class-imbalance",
        look=_class_imbalance,
        cost="static",
        shows="Accuracy is high at once and rare classes are never answered; masks stay empty.",
        signal=f"The most frequent class has more than {MAJORITY:.0%} of the samples, or the rarest less than "
        f"{RARE_SHARE:g} / K, both with 95 % certainty; or one class has more than {MAJORITY_PIXELS:.0%} of the mask "
        "pixels. And the loss is plain: at an uninformed answer it pulls less than "
        f"{WEIGHED:g} times harder at the rare class's targets, and it does not look at hard ones.",
        fix="Weigh classes by inverse frequency, draw them evenly, or add an overlap loss.",
        before="loss_fn = nn.BCEWithLogitsLoss()",
        after="loss_fn = nn.BCEWithLogitsLoss(pos_weight=(1 - masks).sum() / masks.sum())",
        silent="Up to one to nine, which trains as it is; pixels up to one to fifty; weights, Dice, focal losses; "
        "classes that are drawn evenly.",
        source="ours; Amazon SageMaker Debugger counts classes too, and fires at ten to one",
        thresholds={"MAJORITY": MAJORITY, "MAJORITY_PIXELS": MAJORITY_PIXELS, "RARE_SHARE": RARE_SHARE}
        | {"WEIGHED": WEIGHED, "HARD": HARD},
        hides=("constant-output",),
    ),
)
