"""Claim 14: early layers are general and late ones special; fewer labelled images make transfer worth more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from statistics import fmean

from provenet.claims.arms import small_view, words
from provenet.claims.claim import Claim, above, effect
from provenet.claims.donor import FINE_RATES, Half, among, bench_of, fine_tuned, halve, transplanted
from provenet.claims.lab import Bench, Lab
from provenet.claims.training import Trained, fit
from provenet.nets.net import Net
from provenet.recipe.build import Session
from provenet.records.claim import Dots, Effect, Finding, Grid, Lines
from provenet.stats.intervals import Figure
from provenet.stats.paired import mean_interval, paired_difference
from provenet.techniques.transfer import FeatureExtraction, FineTune, NoTransfer, Transfer

Scores = tuple[float, ...]

SIZES = {"quick": (100, 2000, 4000), "full": (500, 10_000, 10_000)}
"""Images of a half of the classes: few, more, and those that a donor is trained on."""
SIDE = {"quick": 16, "full": 32}
SHARED = {"quick": "", "full": "net.depth=20 batch_size=128"}
STEPS = {"quick": {"donor": 300, "few": 120, "more": 200}, "full": {"donor": 6000, "few": 2000, "more": 6000}}
NO_LOSS = -0.03
"""Accuracy: general layers may cost at most so much against layers of one's own."""


@dataclass(frozen=True)
class Worth:
    """What layers of donors were worth to the nets of one half of the classes, or to those of both on average.

    Args:
        same: test score with k frozen groups of a donor of the same classes, by k; few images.
        other: the same with a donor of the other classes.
        few: test score from scratch, and fine-tuned from all groups of the donor of the other classes; few images.
        more: the same two; more images.
        areas: mean validation score over the run, of the two with few images.
    """

    same: Scores
    other: Scores
    few: Scores
    more: Scores
    areas: Scores


def mean_of(parts: Sequence[Worth]) -> Worth:
    """Return the mean of several, figure by figure.

    Example:
        >>> one, other = (Worth((value,), (0.0,), (), (), ()) for value in (0.25, 0.75))
        >>> mean_of([one, other]).same
        (0.5,)
    """
    columns = (zip(*(getattr(part, kind.name) for part in parts), strict=True) for kind in fields(Worth))
    return Worth(*(tuple(map(fmean, column)) for column in columns))


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
    found = [_seed(lab, bench, seed) for seed in lab.seeds]
    half = halve(bench, lab.seeds[0], SIZES[lab.scale])[0]
    images = (len(half.few), len(half.more))
    last, first = ([one.same[k] - one.other[k] for one in found] for k in (-1, 1))
    early = mean_interval([one.other[1] - one.other[0] for one in found])
    few, more = ([pair[1] - pair[0] for pair in pairs] for pairs in zip(*((o.few, o.more) for o in found), strict=True))
    return Finding(
        checks=(
            above("all groups frozen: accuracy, donor of the same classes less of others", mean_interval(last), 0, n),
            above("the same difference, all groups less the first group alone", paired_difference(last, first), 0, n),
            above("first group of other classes less none, accuracy", early, NO_LOSS, n),
            above("gain of transfer with few images less with more, accuracy", paired_difference(few, more), 0, n),
        ),
        said=_said(found, images, (mean_interval(few), mean_interval(more))),
        charts=(_curves(found, images[0]), _gains(images, (mean_interval(few), mean_interval(more)))),
        tables=(_table(found),),
        effects=_effects(found),
        trainings=2 * n * (3 + 2 * len(FINE_RATES) + 2 * (len(found[0].same) - 1)),
    )


def _seed(lab: Lab, bench: Bench, seed: int) -> Worth:
    """Train a donor for each half of the classes, and nets for each half from both; return the mean of the halves."""
    halves = halve(bench, seed, SIZES[lab.scale])
    shared = f"{SHARED[lab.scale]} {small_view(bench, SIDE[lab.scale])} inputs=scale01"
    donors = []
    for half in halves:
        session = bench.session_on(f"{shared} steps={STEPS[lab.scale]['donor']}", seed, half.donor)
        donors.append(fit(session, looks=1).session.net)
    body = len(donors[0].groups()) - 1

    def begin(half: Half, size: str, donor: Net, num_groups: int, transfer: Transfer, setting: str = "") -> Session:
        ids = half.few if size == "few" else half.more
        session = bench.session_on(f"{shared} steps={STEPS[lab.scale][size]} {setting}", seed, ids)
        return transplanted(among(session, half.classes), donor, num_groups, transfer)

    found = []
    for half, same, other in zip(halves, donors, reversed(donors), strict=True):
        few, more = (
            (
                fit(begin(half, size, other, 0, NoTransfer())),
                fine_tuned(partial(begin, half, size, other, body, FineTune())),
            )
            for size in ("few", "more")
        )
        kept = [
            [fit(begin(half, "few", donor, k, frozen(k, body)), looks=1) for k in range(1, body + 1)]
            for donor in (same, other)
        ]
        found.append(
            Worth(
                same=_scores([few[0], *kept[0]]),
                other=_scores([few[0], *kept[1]]),
                few=_scores(few),
                more=_scores(more),
                areas=tuple(run.area for run in few),
            )
        )
    return mean_of(found)


def _scores(runs: Sequence[Trained]) -> Scores:
    """Return the test score of each training."""
    return tuple(run.score("test") for run in runs)


def _effects(found: Sequence[Worth]) -> tuple[Effect, Effect]:
    """Return what fine-tuning bought with few images, for both goals."""
    area, test = (
        mean_interval([pair[1] - pair[0] for pair in pairs])
        for pairs in ([one.areas for one in found], [one.few for one in found])
    )
    technique, n = "transfer.fine_tune (few images) against scratch", len(found)
    return (
        effect(technique, "convergence", "area under the validation curve, accuracy", area, n),
        effect(technique, "generalisation", "accuracy on test images", test, n),
    )


def _said(found: Sequence[Worth], images: Sequence[int], gains: tuple[Figure, Figure]) -> str:
    """Return what came out, in words."""
    last, first = (mean_interval([one.same[k] - one.other[k] for one in found]) for k in (-1, 1))
    means = [fmean(scores) for scores in zip(*(one.other for one in found), strict=True)]
    best = max(range(len(means)), key=means.__getitem__)
    return (
        f"With {images[0]:,} labelled images of half of the classes, a frozen first group from other classes is worse "
        f"than one from the same classes by {words(first)}, all frozen groups by {words(last)} of accuracy. The curve "
        f"of other classes is highest with {best} of {len(means) - 1} groups ({means[best]:.3f}; {means[0]:.3f} "
        f"without transfer, {means[-1]:.3f} with all). Fine-tuning all groups gains {words(gains[0])} with "
        f"{images[0]:,} images and {words(gains[1])} with {images[1]:,}, against training from scratch with as many "
        f"updates; its rate is the better of two on validation images. The donors are small and saw few images "
        f"themselves, and the classes of one data set are more alike than those of two."
    )


def _curves(found: Sequence[Worth], images: int) -> Lines:
    """Return the score over the number of transferred groups."""
    curves = {"same": [one.same for one in found], "other": [one.other for one in found]}
    lines = {
        f"donor of the {name} classes": tuple((float(k), fmean(s)) for k, s in enumerate(zip(*scores, strict=True)))
        for name, scores in curves.items()
    }
    return Lines(
        title=f"Transferred groups, {images:,} labelled images",
        x="groups transferred, input first",
        y="test accuracy, mean of the seeds",
        lines=lines,
        note="Groups that are transferred are frozen; the others begin at random. Other images in any case.",
    )


def _gains(images: Sequence[int], gains: tuple[Figure, Figure]) -> Dots:
    """Return what transfer gains by the number of labelled images."""
    rows = tuple((f"{num:,} images", gain.value, gain.low, gain.high) for num, gain in zip(images, gains, strict=True))
    return Dots(title="Gain of fine-tuning over training from scratch, test accuracy", rows=rows)


def _table(found: Sequence[Worth]) -> Grid:
    """Return the curves as a table."""
    rows = []
    for k in range(len(found[0].same)):
        same, other = [one.same[k] for one in found], [one.other[k] for one in found]
        figures = mean_interval(same), mean_interval(other), paired_difference(same, other)
        rows.append((str(k), *map(words, figures)))
    head = ("groups transferred", "donor of the same classes", "donor of other classes", "difference")
    return Grid(title="Test accuracy with frozen groups", head=head, rows=tuple(rows))


CLAIM = Claim(
    statement=(
        "The early layers of a net are general and the late ones special to its task, so the first layers of a net "
        "for other classes serve as well as one's own and the last do not; and transfer is worth more the fewer "
        "labelled images there are."
    ),
    experiment=(
        "The classes are halved at random, another way for each seed, and a donor learns each half. Then nets learn "
        "each half from few other images, with the first k groups of layers of either donor, frozen, k = 0 to all; the "
        "figures of the two halves are averaged. Both donors freeze as much, so the difference between them is what "
        "the layers know of their own classes. The worth of transfer is the gain of fine-tuning all groups of the "
        "donor of other classes, at the better of two rates on validation images, over training from scratch, with few "
        "and with more images. Images, order, weights and updates are the same for a seed; small residual nets, pixels "
        "divided by 255."
    ),
    task="classification",
    measure=measure,
)
