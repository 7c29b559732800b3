"""Claim 18: what skips bring a U-Net, by concatenation, by addition, and at equal numbers of parameters."""

from __future__ import annotations

from provenet.claims.arms import words
from provenet.claims.claim import Claim, above, within
from provenet.claims.lab import Lab
from provenet.claims.segmenters import HEAD, Arms, Segmenter, effects, gain, row_of, train_arms
from provenet.claims.training import mean_curve
from provenet.nets.count import count_parameters
from provenet.records.claim import Dots, Finding, Grid, Lines
from provenet.stats.intervals import Figure

CONCAT, ADD, NONE, MATCHED = "concat", "add", "none", "add, matched"
STEPS = {"quick": 200, "full": 10_000}
SETTINGS = {CONCAT: "skip=concat", ADD: "skip=add", NONE: "skip=none", MATCHED: "skip=matched_add"}
MARGIN = 0.02
"""IoU by which one way of joining may be worse than another and still count as as good."""
MATCH = 0.02
"""Share by which the parameters of the matched arm may differ."""
PAIRS = (
    (CONCAT, NONE, "skip.concat against skip.none"),
    (ADD, NONE, "skip.add against skip.none"),
    (CONCAT, ADD, "skip.concat against skip.add"),
    (CONCAT, MATCHED, "skip.concat against skip.matched_add"),
)


def measure(lab: Lab) -> Finding:
    """Train the four arms and compare them in pairs."""
    arms, n = train_arms(lab, SETTINGS, STEPS[lab.scale]), len(lab.seeds)
    gains = {(first, second): gain(arms[first], arms[second], "iou") for first, second, _ in PAIRS}
    sizes = {name: parameters(arm[0]) for name, arm in arms.items()}
    sharper = gain(arms[CONCAT], arms[NONE], "boundary_f1")
    return Finding(
        checks=(
            above("test IoU with skips by concatenation less none", gains[CONCAT, NONE], 0, n),
            above("boundary F1 with skips by concatenation less none", sharper, 0, n),
            above("test IoU with addition, which has the weights of none, less none", gains[ADD, NONE], 0, n),
            above("test IoU with concatenation less addition, as good at least", gains[CONCAT, ADD], -MARGIN, n),
            above("the same against addition with as many weights", gains[CONCAT, MATCHED], -MARGIN, n),
            within("weights of that arm over those of concat", Figure(sizes[MATCHED] / sizes[CONCAT]), *_matched(), 1),
        ),
        said=_said(gains, sizes),
        charts=(_dots(gains), _curves(arms)),
        tables=(_table(arms),),
        effects=tuple(one for a, b, says in PAIRS for one in effects(says, arms[a], arms[b])),
        trainings=sum(map(len, arms.values())),
    )


def _matched() -> tuple[float, float]:
    return 1 - MATCH, 1 + MATCH


def parameters(net: Segmenter) -> int:
    """Return the number of a net's parameters."""
    return count_parameters(net.trained.net)


def _said(gains: dict[tuple[str, str], Figure], sizes: dict[str, int]) -> str:
    """Return what came out, in words."""
    plain, matched = gains[CONCAT, ADD], gains[CONCAT, MATCHED]
    return (
        f"Against a U-Net without skips, concatenation changes the test IoU by {words(gains[CONCAT, NONE])} and "
        f"addition, which has {_count(sizes[ADD] - sizes[NONE])} the net without, by {words(gains[ADD, NONE])}. "
        f"Concatenation against addition: {words(plain)}, with {sizes[CONCAT]:,} weights against {sizes[ADD]:,}; "
        f"against addition that spends as many weights ({sizes[MATCHED]:,}): {words(matched)}. "
        f"{_verdict(plain, 'addition')} {_verdict(matched, 'matched addition')}"
    )


def _count(more: int) -> str:
    return "as many weights as" if not more else f"{more:+,} weights against"


def _verdict(figure: Figure, other: str) -> str:
    """Return what an interval says of concatenation against another way to join."""
    if figure.low is None or figure.high is None:
        return f"One seed does not tell concatenation and {other} apart."
    if figure.low > 0:
        return f"Here concatenation is better than {other}."
    if figure.high < 0:
        return f"Here {other} is better than concatenation."
    return f"Concatenation and {other} are not told apart here."


def _dots(gains: dict[tuple[str, str], Figure]) -> Dots:
    rows = tuple(
        (f"{first} less {second}", figure.value, figure.low, figure.high) for (first, second), figure in gains.items()
    )
    return Dots(title="Differences of test IoU, paired over seeds", rows=rows, note="95 % intervals.")


def _curves(arms: Arms) -> Lines:
    lines = {name: mean_curve([net.trained for net in arm]) for name, arm in arms.items()}
    return Lines(title="Validation on the way", x="update", y="Dice (mean IoU of several classes)", lines=lines)


def _table(arms: Arms) -> Grid:
    rows = tuple((name, *row_of(arm)) for name, arm in arms.items())
    return Grid(title="Cost and test scores, mean over seeds", head=("skips", *HEAD), rows=rows)


CLAIM = Claim(
    statement=(
        "Skips carry to the decoder what pooling loses, and masks get better, at the boundaries too. Concatenation, "
        "which lets the next convolution weigh both sets of features, does at least as well as addition, and not only "
        "because it has more weights."
    ),
    experiment=(
        "U-Nets with group norm that differ in their skips alone: concatenation, addition, none, and addition followed "
        "by one convolution that spends the weights which addition saves. Encoder, initial weights, pictures, order "
        "and number of updates are the same for a seed. At least as well means at most 0.02 of IoU worse."
    ),
    task="segmentation",
    measure=measure,
)
