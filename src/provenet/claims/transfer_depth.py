"""Claim 14: early layers are general and late ones special; fewer labelled images make transfer worth more."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above
from provenet.claims.donor import among, bench_of, halve, transplanted
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, both_goals, fit
from provenet.data.dataset import Ids
from provenet.nets.net import Net
from provenet.records.claim import Dots, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.transfer import FeatureExtraction, FineTune, NoTransfer, Transfer

SIZES = {"quick": (100, 2000, 4000), "full": (500, 10_000, 10_000)}
"""Images of the learnt classes: few, more, and those that a donor is trained on."""
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "steps=300", "full": "steps=6000 net.depth=20 batch_size=128"}
FINE = "optimizer.lr=0.01"
"""A tenth of the rate from scratch, for fine-tuning."""
NO_LOSS = -0.03
"""Accuracy: general layers may cost at most so much against layers of one's own."""


@dataclass
class Arms:
    """All trainings, one a seed in every list.

    Args:
        same: score with k frozen groups of a donor of the same classes, by k; few images.
        other: score with k frozen groups of a donor of the other classes, by k; few images.
        few: from scratch, and fine-tuned from all groups of the donor of other classes; few images.
        more: the same two; more images.
        images: how many few and more are.
    """

    same: list[list[float]] = field(default_factory=list)
    other: list[list[float]] = field(default_factory=list)
    few: tuple[list[Trained], list[Trained]] = field(default_factory=lambda: ([], []))
    more: tuple[list[Trained], list[Trained]] = field(default_factory=lambda: ([], []))
    images: tuple[int, int] = (0, 0)

    def gain(self, pair: tuple[list[Trained], list[Trained]]) -> list[float]:
        """Return what transfer gains on test images, one a seed."""
        return [tuned.score("test") - own.score("test") for own, tuned in zip(*pair, strict=True)]


def frozen(num_groups: int, body: int) -> Transfer:
    """Return the technique that freezes the first groups of a body of `body` groups and trains the rest at one rate.

    Example:
        >>> frozen(0, 4).name, frozen(1, 4).unfreeze, frozen(4, 4).name
        ('none', 3, 'feature_extraction')
    """
    if num_groups == 0:
        return NoTransfer()
    if num_groups == body:
        return FeatureExtraction()
    return FineTune(head_first_frac=0, decay=1, unfreeze=body - num_groups)


def measure(lab: Lab) -> Finding:
    """Draw the curve over transferred layers, and compare the worth of transfer with few and more images."""
    bench, n = bench_of(lab), len(lab.seeds)
    arms = Arms()
    for seed in lab.seeds:
        _train(lab, bench, seed, arms)
    special = [
        [one - other for one, other in zip(*pair, strict=True)] for pair in zip(arms.same, arms.other, strict=True)
    ]
    last, first = [curve[-1] for curve in special], [curve[1] for curve in special]
    early = [curve[1] - curve[0] for curve in arms.other]
    few, more = arms.gain(arms.few), arms.gain(arms.more)
    return Finding(
        checks=(
            above("all groups frozen: accuracy, donor of the same classes less of others", mean_interval(last), 0, n),
            above("the same difference, all groups less the first group alone", paired_difference(last, first), 0, n),
            above("first group of other classes less none, accuracy", mean_interval(early), NO_LOSS, n),
            above("gain of transfer with few images less with more, accuracy", paired_difference(few, more), 0, n),
        ),
        said=_said(arms, special, (mean_interval(few), mean_interval(more))),
        charts=(_curves(arms), _gains(arms, mean_interval(few), mean_interval(more))),
        tables=(_table(arms, special),),
        effects=both_goals("transfer.fine_tune (few images) against scratch", arms.few[1], arms.few[0]),
        trainings=n * (2 + 2 * len(arms.same[0]) - 1 + 3),
    )


def _train(lab: Lab, bench: Bench, seed: int, arms: Arms) -> None:
    """Make all trainings of a seed."""
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])} inputs=scale01"
    halves = halve(bench, seed, SIZES[lab.scale])
    same, other = (_donor(bench, shared, seed, ids) for ids in (halves.same, halves.other))
    body = len(other.groups()) - 1

    def learn(setting: str, ids: Ids, donor: Net, num_groups: int, transfer: Transfer) -> Trained:
        session = among(bench.session_on(f"{shared} {setting}", seed, ids), halves.classes)
        return fit(transplanted(session, donor, num_groups, transfer))

    scratch = learn("", halves.few, other, 0, NoTransfer())
    start = scratch.score("test")
    for donor, curves in ((same, arms.same), (other, arms.other)):
        kept = [learn("", halves.few, donor, k, frozen(k, body)).score("test") for k in range(1, body + 1)]
        curves.append([start, *kept])
    arms.few[0].append(scratch)
    arms.few[1].append(learn(FINE, halves.few, other, body, FineTune()))
    arms.more[0].append(learn("", halves.more, other, 0, NoTransfer()))
    arms.more[1].append(learn(FINE, halves.more, other, body, FineTune()))
    arms.images = (len(halves.few), len(halves.more))


def _donor(bench: Bench, shared: str, seed: int, ids: Ids) -> Net:
    """Train a donor and return its net."""
    session = bench.session_on(shared, seed, ids)
    fit(session, looks=1)
    return session.net


def _said(arms: Arms, special: list[list[float]], gains: tuple[Figure, Figure]) -> str:
    """Return what came out, in words."""
    last, first = mean_interval([curve[-1] for curve in special]), mean_interval([curve[1] for curve in special])
    means = [fmean(scores) for scores in zip(*arms.other, strict=True)]
    best = max(range(len(means)), key=means.__getitem__)
    few, more = arms.images
    return (
        f"With {few:,} labelled images of half of the classes, a frozen first group from other classes is worse than "
        f"one from the same classes by {words(first)}, all frozen groups by {words(last)} of accuracy. The curve of "
        f"other classes is highest with {best} of {len(means) - 1} groups ({means[best]:.3f}; {means[0]:.3f} without "
        f"transfer, {means[-1]:.3f} with all). Fine-tuning all groups gains {words(gains[0])} with {few:,} images and "
        f"{words(gains[1])} with {more:,}, at equal updates. The donors are small and saw few images themselves, and "
        f"the classes of a data set are more alike than those of two."
    )


def _curves(arms: Arms) -> Lines:
    """Return the score over the number of transferred groups."""
    lines = {
        f"donor of the {name} classes": tuple(
            (float(k), fmean(scores)) for k, scores in enumerate(zip(*curves, strict=True))
        )
        for name, curves in (("same", arms.same), ("other", arms.other))
    }
    note = "Groups that are transferred are frozen; the others begin at random. Other images in any case."
    return Lines(
        title=f"Transferred groups, {arms.images[0]:,} labelled images",
        x="groups transferred, input first",
        y="test accuracy, mean of the seeds",
        lines=lines,
        note=note,
    )


def _gains(arms: Arms, few: Figure, more: Figure) -> Dots:
    """Return what transfer gains by the number of labelled images."""
    rows = tuple(
        (f"{images:,} images", gain.value, gain.low, gain.high)
        for images, gain in zip(arms.images, (few, more), strict=True)
    )
    return Dots(title="Gain of fine-tuning over training from scratch, test accuracy", rows=rows)


def _table(arms: Arms, special: list[list[float]]) -> Grid:
    """Return the curves as a table."""
    columns = (zip(*curves, strict=True) for curves in (arms.same, arms.other, special))
    rows = tuple(
        (str(k), *(words(mean_interval(list(scores))) for scores in row))
        for k, row in enumerate(zip(*columns, strict=True))
    )
    head = ("groups transferred", "donor of the same classes", "donor of other classes", "difference")
    return Grid(title="Test accuracy with frozen groups", head=head, rows=rows)


CLAIM = Claim(
    statement=(
        "The early layers of a net are general and the late ones special to its task, so the first layers of a net "
        "for other classes serve as well as one's own and the last do not; and transfer is worth more the fewer "
        "labelled images there are."
    ),
    experiment=(
        "The classes are halved at random, another way for each seed. A donor learns one half, another donor the other "
        "half from as many images; then a net learns one half from few other images, with the first k groups of "
        "layers of either donor, frozen, k = 0 to all. Both donors freeze as much, so the difference between them is "
        "what the layers know of their own classes. The worth of transfer is the gain of fine-tuning all groups of the "
        "donor of other classes over training from scratch, with few and with more images. Images, order, weights and "
        "updates are the same for a seed; small residual nets, pixels divided by 255."
    ),
    task="classification",
    measure=measure,
)
