"""Which targets the loss looks at, and how hard: weights of classes, and targets that it leaves out."""

# N targets, K classes

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy.stats import chisquare
from torch import Tensor

from provenet.doctor.alignment import regions
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.pull import Pull
from provenet.doctor.reading import Reading
from provenet.doctor.samples import Samples
from provenet.records.finding import Finding

INVERTED = 0.7
"""Correlation of the logarithms of weight and frequency, for three classes and more; two have 1 or -1."""
UNEVEN = 2.0
"""Ratio of the largest and smallest weight, and frequency, from which their order means something."""
CERTAIN = 1e-3
HARD = 3.0
"""Pull of a rare class's targets over all others' where the net answers how often classes occur: 1 for plain losses,
more for those that look at hard samples. Focal losses do, and weigh the rare class less on purpose (alpha = 0.25)."""
REAL_SHARE = 0.05
"""A class that is left out counts from a twentieth of the targets: less is what void borders have."""
MOST_IGNORED = 0.5
LEAST = 20
"""Targets of a class that are wanted to say that the loss sees none of them."""


def pull_of(examination: Examination) -> Pull | None:
    """Return how the loss pulls; None also where the net gives no output."""
    try:
        return examination.pull
    except Unavailable:
        return None


def _class_weights_inverted(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or reading.task not in ("classes", "labels"):
        return
    width = max(reading.width or 2, 2)
    weights, counts = _weights(examination, reading, width), _counts(samples, reading, width)
    if weights is None or counts is None:
        return
    known = torch.isfinite(weights) & (weights > 0) & (counts > 0)
    if int(known.sum()) < 2:
        return
    weights, counts = weights[known], counts[known]
    if float(weights.max() / weights.min()) < UNEVEN or float(counts.max() / counts.min()) < UNEVEN:
        return
    if samples.masks is None and _even(counts):
        return
    pairs = torch.stack([weights.log(), counts.log()])
    correlation = float(torch.corrcoef(pairs)[0, 1])
    labels = torch.nonzero(known).flatten()
    most, least = int(counts.argmax()), int(counts.argmin())
    pull = pull_of(examination)
    if correlation <= INVERTED or (pull is not None and pull.total(int(labels[least])) > HARD):
        return
    yield Finding(
        id="class-weights-inverted",
        severity="warning",
        layer="loss",
        evidence={
            "weight_of_most_frequent": round(float(weights[most] / weights[least]), 3),
            "weight_of_rarest": 1.0,
            "frequency_ratio": round(float(counts[most] / counts[least]), 2),
            "correlation": round(correlation, 3),
            "limit": INVERTED,
        },
        message=f"The loss weighs class {int(labels[most])}, which is {float(counts[most] / counts[least]):.1f} times "
        f"as frequent as class {int(labels[least])}, {float(weights[most] / weights[least]):.1f} times as much.",
        fix="weight = counts.sum() / (len(counts) * counts)  # the inverse of the frequency",
        overrides=("imbalance=weights",),
    )


def _weights(examination: Examination, reading: Reading, width: int) -> Tensor | None:
    """Return the weight of each class: as the loss was given it, else as it pulls."""
    if reading.weight is not None and len(reading.weight) == width:
        return reading.weight.float().cpu()
    pull = pull_of(examination)
    return None if pull is None else pull.strengths(width)


def _counts(samples: Samples, reading: Reading, width: int) -> Tensor | None:
    """Return how often each class occurs."""
    if samples.masks is not None:
        planes = samples.masks
        flat = (planes.argmax(1) if planes.shape[1] == width else regions(planes)).flatten()
    elif samples.labels is not None:
        flat = samples.labels
    else:
        return None
    flat = reading.valid(flat.long())
    flat = flat[(flat >= 0) & (flat < width)]
    return torch.bincount(flat, minlength=width).float()


def _even(counts: Tensor) -> bool:
    """Return whether classes may be equally frequent, and differ by chance."""
    return float(chisquare(counts.numpy()).pvalue) > CERTAIN


def _ignore_index_hides_data(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or samples.targets is None or reading.task != "classes":
        return
    value = reading.ignore_index
    found = None if value is None else _ignored(samples.targets, value, reading)
    found = found or _unseen(pull_of(examination), value)
    if found is not None:
        yield found


def _ignored(targets: Tensor, value: int, reading: Reading) -> Finding | None:
    """Return the finding that the ignored value is a class, or most of the targets."""
    width = reading.width or 2
    share = float((targets == value).float().mean())
    left = torch.unique(reading.valid(targets))
    real = 0 <= value < width and share > REAL_SHARE
    lonely = len(left) <= 1 and share > REAL_SHARE
    if not (real or lonely or share > MOST_IGNORED):
        return None
    # Labels moved down by one leave the last output without targets, and the first class among the ignored.
    moved = left.tolist() == list(range(width - 1))
    sparse = not real and not lonely and not moved and _everywhere(targets, value)
    what = f"class {value}" if real else "most of the targets" if share > MOST_IGNORED else "every class but one"
    ending = f"; only class {int(left[0])} is left" if len(left) == 1 else "; nothing is left" if len(left) == 0 else ""
    return Finding(
        id="ignore-index-hides-data",
        severity="error" if lonely else "info" if sparse else "warning",
        layer="loss",
        evidence={
            "ignore_index": value,
            "ignored_share": round(share, 4),
            "limit": REAL_SHARE if real else MOST_IGNORED,
            "classes_left": len(left),
            "outputs": width,
        },
        message=f"ignore_index={value} takes {what} out of the loss, {share:.1%} of the targets{ending}"
        + (f"; output {width - 1} has none, as if classes had been moved down by one." if moved else "."),
        fix="nn.CrossEntropyLoss(ignore_index=255), with 255 for void pixels only",
    )


def _everywhere(targets: Tensor, value: int) -> bool:
    """Return whether every mask has most of its pixels left out and several classes marked: scribbles, on purpose."""
    if targets.dim() < 3:
        return False
    rows = targets.flatten(1)
    marked = [row[row != value] for row in rows]
    return all(len(one) < (1 - MOST_IGNORED) * rows.shape[1] and len(torch.unique(one)) > 1 for one in marked)


def _unseen(pull: Pull | None, ignored: int | None) -> Finding | None:
    """Return the finding that a loss never looks at the targets of a class, whatever it calls them."""
    if pull is None:
        return None
    for label in torch.unique(pull.classes).tolist():
        mine = pull.classes == label
        share = float(mine.float().mean())
        if int(mine.sum()) < LEAST or share <= REAL_SHARE or float(pull.random[mine].max()) > 0 or label == ignored:
            continue
        return Finding(
            id="ignore-index-hides-data",
            severity="warning",
            layer="loss",
            evidence={"class": label, "share": round(share, 4), "limit": REAL_SHARE, "gradient": 0.0},
            message=f"The loss gives no gradient at any target of class {label}, {share:.1%} of all: it leaves the "
            "class out.",
            fix="leave out void targets only: keep = targets != 255",
        )
    return None


CHECKS = (
    Check(
        id="class-weights-inverted",
        look=_class_weights_inverted,
        cost="static",
        shows="Rare classes are answered even less than without weights.",
        signal="Weights of the loss, or the gradient that it gives at an uninformed answer, class by class, against "
        f"how often classes occur: both differ by {UNEVEN:g} times and more, and their logarithms correlate above "
        f"{INVERTED:g}.",
        fix="Weigh by the inverse of the frequency.",
        before="loss_fn = nn.CrossEntropyLoss(weight=counts / counts.sum())",
        after="loss_fn = nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))",
        silent="Weights by inverse frequency and plain losses; classes that differ by chance; weights for the cost of "
        "mistakes that do not follow frequency.",
        source="ours",
        thresholds={"INVERTED": INVERTED, "UNEVEN": UNEVEN, "CERTAIN": CERTAIN},
        hides=("class-imbalance",),
    ),
    Check(
        id="ignore-index-hides-data",
        look=_ignore_index_hides_data,
        cost="static",
        shows="A class is never answered, or always; the loss falls to 0 or is NaN where a batch holds nothing else.",
        signal=f"The ignored value is one of the classes and has more than {REAL_SHARE:.0%} of the targets, or more "
        f"than {MOST_IGNORED:.0%} of the targets are ignored, or one class is left. A loss of one's own: no gradient "
        "at any target of a class.",
        fix="Give void pixels a value of their own (255), and ignore that.",
        before="loss_fn = nn.CrossEntropyLoss(ignore_index=0)    # 0 is the background",
        after="loss_fn = nn.CrossEntropyLoss(ignore_index=255)",
        silent="Void borders; an ignored value that does not occur; scribbles (an info): several classes are marked in "
        "every mask, and the last class somewhere.",
        source="documentation of torch.nn.CrossEntropyLoss; limits are ours",
        thresholds={"REAL_SHARE": REAL_SHARE, "MOST_IGNORED": MOST_IGNORED},
        hides=("class-imbalance", "loss-not-finite", "constant-output", "labels-uninformative"),
    ),
)
