"""What the transform does to samples: another class, or nothing left to see."""

# N samples, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from provenet.doctor.alignment import regions
from provenet.doctor.augmented import Augmented
from provenet.doctor.case import Pair, forward
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.likeness import blank
from provenet.doctor.probe import MOST_BATCHES
from provenet.doctor.samples import Samples
from provenet.doctor.trial import Fix, Trial
from provenet.records.finding import Evidence, Finding

FEW_PIXELS = 0.002
BLANKED = 0.2
"""Share of pictures that the transform may empty; one in five without content caps what can be learned."""
OBJECTS_LEFT = 0.3
"""Share of the masks' foreground that has to be left; crops of half the side leave a quarter of what lies evenly, and
about a half of what lies in the middle, as things do."""
LEARNED, HALF_LEARNED = 0.8, 0.6
"""Accuracy on batches held out that is wanted before the net's answers to transformed ones say anything; before they
say that two classes are swapped, for which only samples count that it knows."""
SWAPPED = 0.3
"""Share of a class's samples that turn into one other class, and back: mirroring half of them turns half."""
ONE_CLASS = 0.7
"""Share of the wrong answers that are this one class: distortion spreads them, a change of label does not."""
LEAST_OF_CLASS = 4
CONFUSED = 0.8
"""Share of two classes that a net trained on transformed samples must know, for them not to be confused."""
SURVIVED = 0.85
"""Share of right answers that stay right under the transform, from which it is none that changes labels."""
PUT_OFF, SPOILED = 0.6, 0.65
"""Share of right answers that survive the transform at most, and share of the accuracy beyond chance that a net trained
on transformed samples has at most, on these and on those as they are, for the transform to mix classes up: a net that
has seen a sound transform knows both, whatever it did to one that had not."""
DESTROYED = 0.25
"""Share of the accuracy beyond chance that has to be left where both training and test are transformed; strong but
sound transforms leave more than half of it."""
Transform = Callable[..., Tensor]
STEPS, FEWEST_STEPS = 200, 30
"""Updates of a training, as many as there is time for."""
LONGER = 3
"""So many times as many before a transform is said to mix classes up."""
SHARE = 0.4
"""Of the time that is left, for these trainings."""
SAMPLES = 32
ENOUGH = 96
"""Samples beyond those of the probe's trainings from which none of these is kept back."""


def _augmentation_changes_label(examination: Examination) -> Iterator[Finding]:
    samples, augmented = examination.samples, examination.augmented
    if samples is None or augmented is None or augmented.inputs is None:
        return
    emptied = _emptied(samples, augmented)
    if emptied is not None:
        yield emptied
    elif samples.labels is not None and not augmented.joint and augmented.inputs.shape[1:] == samples.inputs.shape[1:]:
        yield from _tried(examination, samples)


def _emptied(samples: Samples, augmented: Augmented) -> Finding | None:
    """Return the finding that pictures or masks are empty after the transform."""
    assert augmented.inputs is not None
    if not bool(torch.isfinite(augmented.inputs).all()):
        return _finding("gives NaN or infinite values", {"finite": False}, "error")
    if not samples.pictures or augmented.inputs.dim() != 4:
        return None
    before = float(blank(samples.inputs[augmented.rows], FEW_PIXELS).float().mean())
    after = float(blank(augmented.inputs, FEW_PIXELS).float().mean())
    if after - before > BLANKED:
        evidence: dict[str, Evidence] = {"blank_before": round(before, 3), "blank_after": round(after, 3)}
        return _finding(f"leaves {after:.0%} of the pictures without content", evidence | {"limit": BLANKED}, "warning")
    if samples.masks is None or not augmented.joint or augmented.targets is None:
        return None
    planes = augmented.targets if augmented.targets.dim() == 4 else augmented.targets.unsqueeze(1)
    there = float((regions(samples.masks[augmented.rows]) > 0).float().mean())
    left = float((regions(planes) > 0).float().mean())
    if there > 0 and left < OBJECTS_LEFT * there:
        evidence = {"foreground_before": round(there, 4), "foreground_after": round(left, 4), "limit": OBJECTS_LEFT}
        return _finding(f"leaves {left / there:.0%} of the foreground in the masks", evidence, "warning")
    return None


def _finding(what: str, evidence: dict[str, Evidence], severity: str) -> Finding:
    return Finding(
        id="augmentation-changes-label",
        severity="error" if severity == "error" else "warning",
        layer="transform",
        evidence=evidence,
        message=f"The transform {what}.",
        fix="look at it: grid of transform(image) for one image, twelve times; make it milder, or leave it out",
    )


@dataclass(eq=False)
class _Asked:
    """What a trained net answers for batches held out.

    Args:
        given: answers for the samples as they are, (N,).
        moved: answers for the same samples after the transform, (N,).
        labels: their classes, (N,).
    """

    given: Tensor
    moved: Tensor
    labels: Tensor

    @property
    def accuracy(self) -> float:
        """Share of the samples, as they are, that the net answers rightly."""
        return float((self.given == self.labels).float().mean())

    @property
    def accuracy_moved(self) -> float:
        """Share of the transformed samples that the net answers rightly."""
        return float((self.moved == self.labels).float().mean())

    @property
    def chance(self) -> float:
        """Share of the most frequent class."""
        return float(torch.bincount(self.labels).max()) / len(self.labels)

    @property
    def survived(self) -> float:
        """Share of the right answers that the transform leaves right."""
        return float((self.moved == self.labels)[self.given == self.labels].float().mean())

    def knows(self, one: int, other: int) -> float:
        """Return the share of the transformed samples of two classes that the net answers rightly."""
        mine = (self.labels == one) | (self.labels == other)
        return float((self.moved == self.labels)[mine].float().mean())

    def knew(self, one: int, other: int) -> float:
        """Return the same of the samples as they are."""
        mine = (self.labels == one) | (self.labels == other)
        return float((self.given == self.labels)[mine].float().mean())

    def spoiled(self, plain: _Asked) -> bool:
        """Return whether this net, trained on transformed samples, knows neither those nor others as `plain` does."""
        best = max(self.accuracy, self.accuracy_moved) - self.chance
        return plain.survived < PUT_OFF and best < SPOILED * (plain.accuracy - plain.chance)

    def swaps(self) -> tuple[int, int, float] | None:
        """Return two classes that the transform turns into each other, and the smaller share that it turns."""
        classes = torch.unique(self.labels).tolist()
        turned = {(a, b): self._turned(a, b) for a in classes for b in classes if a != b}
        pairs = [(a, b, min(turned[a, b], turned[b, a])) for a, b in turned if a < b]
        best = max(pairs, key=lambda pair: pair[2], default=None)
        return best if best is not None and best[2] >= SWAPPED else None

    def _turned(self, label: int, into: int) -> float:
        """Return the share of a class's known samples that become another one; 0 where mistakes are spread."""
        mine = self.moved[(self.labels == label) & (self.given == label)]
        wrong = mine[mine != label]
        share = float((mine == into).float().mean()) if len(mine) >= LEAST_OF_CLASS else 0.0
        return share if len(wrong) and float((wrong == into).float().mean()) >= ONE_CLASS else 0.0


def _tried(examination: Examination, samples: Samples) -> Iterator[Finding]:
    """Train on the samples as they are, and on transformed ones, and ask for both."""
    probe, transform = examination.probe, examination.case.transform
    if transform is None or len(examination.batches) < 2:
        return
    measures = 2 * len(probe.batches[:MOST_BATCHES])
    room = probe.room(SHARE * examination.clock.left, 2, SAMPLES, STEPS + measures)
    steps = min(STEPS, room - measures)
    if steps < FEWEST_STEPS:
        raise Unavailable("no time left for a training")
    asked: list[_Asked] = []
    unseen = probe.unseen(ENOUGH)
    probe.arm(_asking(transform, steps, asked, unseen, drawn=False), 0, steps, SAMPLES)
    swap = asked[0].swaps() if asked else None
    if not asked or asked[0].accuracy < (HALF_LEARNED if swap else LEARNED):
        return
    if swap is None and asked[0].survived > SURVIVED:
        return
    arm = probe.arm(_asking(transform, steps, asked, unseen, drawn=True), 0, steps, SAMPLES)
    if len(asked) > 1 and asked[1].spoiled(asked[0]) and examination.clock.allows(LONGER * arm.seconds):
        # What is strong takes its time, what mixes classes up is not learned in more of it either.
        probe.arm(_asking(transform, LONGER * steps, asked, unseen, drawn=True), 0, LONGER * steps, SAMPLES)
    if len(asked) > 1:
        yield from _compared(asked[0], asked[-1], swap, longer=len(asked) > 2)


def _compared(plain: _Asked, drawn: _Asked, swap: tuple[int, int, float] | None, longer: bool) -> Iterator[Finding]:
    """Yield the finding that training on transformed samples does not teach what training on the samples does.

    A strong transform puts a net off that never saw it; one that changes labels also misleads a net that learns on it.
    """
    evidence: dict[str, Evidence] = {
        "accuracy": round(plain.accuracy, 3),
        "accuracy_transformed": round(drawn.accuracy_moved, 3),
    }
    if swap is not None and drawn.knows(*swap[:2]) < CONFUSED * plain.knew(*swap[:2]):
        one, other, share = swap
        what = (
            f"turns class {one} into class {other} and back, in {share:.0%} of their samples and more: trained on what "
        )
        what += f"it gives, the net is right about {drawn.knows(one, other):.0%} of them"
        yield _finding(what, evidence | {"turned": round(share, 3), "limit": SWAPPED}, "warning")
    elif longer and drawn.spoiled(plain):
        what = "turns samples into those of other classes: a net trained on what it gives is right about "
        what += f"{drawn.accuracy_moved:.0%} of new samples with it and {drawn.accuracy:.0%} without, one trained "
        what += f"without it about {plain.accuracy:.0%}"
        yield _finding(what, evidence | {"survived": round(plain.survived, 3), "limit": SPOILED}, "warning")
    elif drawn.accuracy_moved - drawn.chance < DESTROYED * (plain.accuracy - plain.chance):
        what = "leaves nothing to learn from: trained and tested on what it gives, the net is right about "
        what += f"{drawn.accuracy_moved:.0%} of new samples, and about {plain.accuracy:.0%} without it"
        yield _finding(what, evidence | {"limit": DESTROYED}, "warning")


def _asking(transform: Transform, steps: int, asked: list[_Asked], unseen: list[Pair], drawn: bool) -> Fix:
    """Return the change of a trial that asks the net, after the last step, for samples that it has not seen.

    Args:
        transform: the caller's.
        steps: of the trial.
        asked: where answers go.
        unseen: batches that are not trained on in any case; where there are none, half of the others are kept back.
        drawn: whether the trial trains on transformed samples, drawn anew at every step.
    """

    def fix(trial: Trial) -> None:
        half = len(trial.batches) if unseen else (len(trial.batches) + 1) // 2
        given, held = trial.batches[:half], unseen or trial.batches[half:]
        trial.batches = list(given)

        def draw(step: int) -> None:
            inputs, targets = given[step % len(given)]
            trial.batches[step % len(given)] = (_moved(transform, inputs), targets)

        def after(step: int) -> None:
            if drawn:
                draw(step)
            if step == steps:
                asked.append(_answers(trial, held, transform))

        if drawn:
            draw(0)
        trial.after_step = after

    return fix


def _answers(trial: Trial, batches: list[Pair], transform: Transform) -> _Asked:
    given: list[Tensor] = []
    moved: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.no_grad():
        for inputs, targets in batches:
            for found, batch in ((given, inputs), (moved, _moved(transform, inputs))):
                scores = forward(trial.model, batch)
                found.append(scores.argmax(1) if scores.dim() > 1 and scores.shape[1] > 1 else scores.flatten() > 0)
            labels.append(targets.argmax(1) if targets.dim() > 1 and targets.shape[1] > 1 else targets.flatten())
    one, other, right = (torch.cat([part.long() for part in parts]).cpu() for parts in (given, moved, labels))
    return _Asked(one, other, right)


def _moved(transform: Transform, inputs: Tensor) -> Tensor:
    """Return inputs after the transform, drawn for each sample."""
    return torch.cat([transform(inputs[row : row + 1].clone()) for row in range(len(inputs))])


CHECKS = (
    Check(
        id="augmentation-changes-label",
        look=_augmentation_changes_label,
        cost="probe",
        shows="Training accuracy stays far below what the net reaches without the transform, for all or for a pair of "
        "classes; masks hold next to nothing.",
        signal=f"Pictures that are blank after the transform ({BLANKED:.0%} more than before), or foreground of masks "
        f"of which less than {OBJECTS_LEFT:.0%} is left. Else one net is trained on a part of the batches as they "
        f"are, until it knows {LEARNED:.0%} of the others, and one on transformed ones: the first takes two classes "
        f"for each other ({SWAPPED:.0%} and more) and the second knows less than {CONFUSED:.0%} of what the first knew "
        f"of them; or the second has less than {DESTROYED:.0%} of the accuracy beyond chance on transformed ones; or "
        f"less than {SPOILED:.0%} of it on these and on those as they are, after {LONGER} times as many updates too, "
        f"where less than {PUT_OFF:.0%} of the first's right answers survive the transform.",
        fix="Leave out transforms that classes do not survive (mirrored arrows and digits), and milden crops and "
        "noise.",
        before="transform = RandomHorizontalFlip()    # classes: left arrow, right arrow",
        after="transform = RandomAffine(degrees=5, translate=(0.1, 0.1))",
        silent="Strong transforms that are learned, if slowly; tasks that the net does not learn in the probe; "
        "transforms of inputs and labels together.",
        source="TheDeepChecker's augmentation shift, as a training with and without; limits are ours",
        thresholds={"BLANKED": BLANKED, "OBJECTS_LEFT": OBJECTS_LEFT, "SWAPPED": SWAPPED, "ONE_CLASS": ONE_CLASS}
        | {"LEARNED": LEARNED, "CONFUSED": CONFUSED, "SURVIVED": SURVIVED, "DESTROYED": DESTROYED},
    ),
)
