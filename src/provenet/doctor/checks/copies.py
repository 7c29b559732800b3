"""Samples that are there more than once: within the training data, and in training and validation data both."""

# N samples, D features

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.likeness import blank, fingerprints, small
from provenet.doctor.samples import Samples, pool
from provenet.records.finding import Finding

LEAST_VALUES = 16
"""Inputs of fewer numbers may be equal by chance."""
NOTHING = 0.002
DISTINCT_FEW, DISTINCT_SOME = 0.5, 0.95
"""Share of different pictures among all: at most a half is a warning. Drawing n of n with replacement leaves 0.63, and
0.55 where rare classes are drawn more often, both on purpose; a twentieth of copies is worth an info."""
ONE_SHARE, ONE_COUNT = 0.1, 8
"""One picture that is a tenth of all samples stands for others: a loader that answers failures with its first file.
Drawing with replacement gives one picture eight times in one of a million draws."""
CONFLICTS, CONFLICTS_MANY = 0.01, 0.1
"""Share of samples whose picture occurs with another label too: a warning, and an error."""
NEAR = 0.13
"""Distance to the nearest training picture, over the median of such distances within the training data: what cleanlab
takes for a near duplicate."""
NEAR_SHARE, NEAR_LEAST = 0.01, 2
SIDE = 16
MOST_SAID = 3


def _duplicate_samples(examination: Examination) -> Iterator[Finding]:
    samples = examination.samples
    if samples is None or len(samples) < 4 or samples.inputs[0].numel() < LEAST_VALUES:
        return
    rows = torch.nonzero(~blank(samples.inputs, NOTHING)).flatten().tolist()
    if len(rows) < 4:
        return
    inputs = samples.inputs[rows]
    words = fingerprints(inputs, float(inputs.min()), float(inputs.max()))
    groups: dict[str, list[int]] = defaultdict(list)
    for row, word in zip(rows, words, strict=True):
        groups[word].append(row)
    conflict = _conflict(samples, groups, len(rows))
    if conflict is not None:
        yield conflict
        return
    most = max(groups.values(), key=len)
    distinct = len(groups) / len(rows)
    one = len(most) >= ONE_COUNT and len(most) / len(rows) > ONE_SHARE
    if distinct >= DISTINCT_SOME and not one:
        return
    yield Finding(
        id="duplicate-samples",
        severity="warning" if distinct <= DISTINCT_FEW or one else "info",
        layer="inputs",
        evidence={
            "samples": len(rows),
            "different": len(groups),
            "limit": DISTINCT_FEW,
            "most_copies": len(most),
            "their_places": _listed(most),
        },
        message=f"Of {len(rows)} pictures only {len(groups)} are different; one occurs {len(most)} times.",
        fix="print(len(dataset), len(set(dataset.files))), and look at how __getitem__ uses its index",
    )


def _conflict(samples: Samples, groups: dict[str, list[int]], num: int) -> Finding | None:
    """Return the finding of equal pictures that have different labels."""
    if samples.labels is None:
        return None
    labels = samples.labels.tolist()
    torn = [rows for rows in groups.values() if len({labels[row] for row in rows}) > 1]
    share = sum(len(rows) for rows in torn) / num
    if share <= CONFLICTS:
        return None
    first = torn[0]
    told = ", ".join(str(labels[row]) for row in first[:MOST_SAID])
    return Finding(
        id="duplicate-samples",
        severity="error" if share > CONFLICTS_MANY else "warning",
        layer="targets",
        evidence={"share": round(share, 4), "limit": CONFLICTS, "pictures": len(torn), "samples": num},
        message=f"{share:.0%} of the samples show a picture that occurs with another label as well: samples "
        f"{_listed(first)} are equal, their labels are {told}.",
        fix="make picture and label come from one record: for path, label in records",
    )


def _listed(rows: list[int]) -> str:
    more = ", ..." if len(rows) > MOST_SAID else ""
    return ", ".join(str(row) for row in rows[:MOST_SAID]) + more


def _train_val_leakage(examination: Examination) -> Iterator[Finding]:
    train, case = examination.samples, examination.case
    if train is None or not case.val_batches:
        return
    val = pool(case.val_batches, None)
    if val is None or val.inputs.shape[1:] != train.inputs.shape[1:] or val.inputs[0].numel() < LEAST_VALUES:
        return
    seen, new = train.inputs[~blank(train.inputs, NOTHING)], val.inputs[~blank(val.inputs, NOTHING)]
    if len(new) == 0 or len(seen) == 0:
        return
    ends = float(min(seen.min(), new.min())), float(max(seen.max(), new.max()))
    known = Counter(fingerprints(seen, *ends))
    same = torch.tensor([word in known for word in fingerprints(new, *ends)])
    near = same | _near(seen, new) if train.pictures else same
    exact, close = int(same.sum()), int(near.sum())
    if exact == 0 and (close < NEAR_LEAST or close / len(new) <= NEAR_SHARE):
        return
    yield Finding(
        id="train-val-leakage",
        severity="warning",
        layer="inputs",
        evidence={
            "validation_samples": len(new),
            "equal": exact,
            "nearly_equal": close - exact,
            "first": int(torch.nonzero(near)[0]),
            "near_limit": NEAR,
        },
        message=f"{close} of {len(new)} validation pictures are in these training batches too ({exact} of them number "
        "for number): validation scores say how well they are remembered.",
        fix="split files (patients, scenes, videos) before anything is cut, copied or augmented, and compare the lists",
    )


def _near(seen: Tensor, new: Tensor) -> Tensor:
    """Return which new pictures are nearly one that was seen, as it is or mirrored, (N,).

    Where training pictures are as near to each other, the data are like that, and nothing is said.
    """
    known = small(seen, SIDE)
    among = torch.cdist(known, known).fill_diagonal_(torch.inf).amin(1)
    usual = float(among.median())
    if len(seen) < 4 or usual == 0:
        return torch.zeros(len(new), dtype=torch.bool)
    faces = (new, new.flip(-1))
    nearest = torch.stack([torch.cdist(small(face, SIDE), known).amin(1) for face in faces]).amin(0)
    near = nearest < NEAR * usual
    inside = among[among > 0]
    own = float((inside < NEAR * usual).float().mean())
    return near if float(near.float().mean()) > 2 * own else torch.zeros_like(near)


CHECKS = (
    Check(
        id="duplicate-samples",
        look=_duplicate_samples,
        cost="static",
        shows="The loss falls fast and means little: the net learns a few pictures by heart. With contradictory labels "
        "it cannot fall below what the contradictions leave.",
        signal="Pictures equal to a ten-thousandth of the range. "
        f"Different pictures are at most {DISTINCT_FEW:.0%} of all, or one makes more than {ONE_SHARE:.0%}; or more "
        f"than {CONFLICTS:.0%} of the samples have an equal picture with another label (above {CONFLICTS_MANY:.0%}: an "
        "error).",
        fix="Check the index arithmetic of the data set, and what it does with files that cannot be read.",
        before="def __getitem__(self, index): return self.images[index % 10], self.labels[index]",
        after="def __getitem__(self, index): return self.images[index], self.labels[index]",
        silent="A batch that is given twice; blank pictures (input-constant); drawing with replacement; equal pictures "
        "with different masks (several annotators).",
        source="cleanlab and CleanVision (exact duplicates); shares are ours",
        thresholds={"DISTINCT_FEW": DISTINCT_FEW, "ONE_SHARE": ONE_SHARE, "CONFLICTS": CONFLICTS},
        hides=("labels-uninformative", "constant-output", "cannot-overfit-batch"),
    ),
    Check(
        id="train-val-leakage",
        look=_train_val_leakage,
        cost="static",
        shows="Validation scores are better than those on truly new data, and overfitting does not show.",
        signal="Validation pictures equal to a training picture of these batches: any; or nearly equal, as they are or "
        f"mirrored: nearer than {NEAR:g} of the usual distance between training pictures, more than {NEAR_SHARE:.0%}.",
        fix="Split by file, patient or scene before pictures are cut or copied; check with sets of names.",
        before="train, val = random_split(patches, [0.8, 0.2])    # patches of one picture fall on both sides",
        after="train_files, val_files = train_test_split(files); train, val = patches(train_files), patches(val_files)",
        silent="Data whose training pictures are as near to each other; blank pictures.",
        source="cleanlab's near-duplicate rule; deepchecks' sample leakage",
        thresholds={"NEAR": NEAR, "NEAR_SHARE": NEAR_SHARE},
    ),
)
