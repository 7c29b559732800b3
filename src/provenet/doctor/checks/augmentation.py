"""What the transform does to samples: another class, or nothing left to see."""

# N samples, K classes

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from provenet.doctor.alignment import regions
from provenet.doctor.augmented import Augmented
from provenet.doctor.case import forward
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.likeness import blank
from provenet.doctor.probe import Fix, Trial
from provenet.doctor.samples import Samples
from provenet.doctor.tree import map_tensors
from provenet.records.finding import Evidence, Finding

FEW_PIXELS = 0.002
BLANKED = 0.2
"""Share of pictures that the transform may empty; one in five without content caps what can be learned."""
OBJECTS_LEFT = 0.3
"""Share of the masks' foreground that has to be left; crops of half the side leave a quarter of what lies evenly, and
about a half of what lies in the middle, as things do."""
LEARNED = 0.9
"""Accuracy on the samples that is wanted before the net's answers to transformed ones say anything."""
SWAPPED = 0.3
"""Share of a class's samples that turn into one other class, and back: mirroring half of them turns half."""
ONE_CLASS = 0.7
"""Share of the wrong answers that are this one class: distortion spreads them, a change of label does not."""
LEAST_OF_CLASS = 4
DESTROYED, KEPT = 0.1, 0.5
"""Share of the loss gap that training on transformed samples closes, where training on the samples as they are closes
five times as much."""
Transform = Callable[..., Tensor]
STEPS = 60
DRAWS = 12
"""Different draws of the transform in the arm that trains on it: a twelfth of them is easily learned by heart."""
SAMPLES = 32


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
    """What a net that learned the samples answers.

    Args:
        given: answers for the samples, (N,).
        moved: answers for the same samples after the transform, (N,).
        labels: their classes, (N,).
    """

    given: Tensor
    moved: Tensor
    labels: Tensor

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
    """Train on the samples as they are, and ask for them after the transform."""
    probe, transform = examination.probe, examination.case.transform
    seconds = probe.step_s * SAMPLES * (STEPS + 8 + DRAWS)
    if transform is None or not examination.clock.allows(2 * seconds):
        return
    asked: list[_Asked] = []
    plain = probe.arm(_asking(transform, asked), 0, STEPS, SAMPLES)
    if plain.failure is not None or not asked:
        return
    right = float((asked[0].given == asked[0].labels).float().mean())
    if (swap := asked[0].swaps()) is not None and right >= LEARNED:
        one, other, share = swap
        evidence: dict[str, Evidence] = {"accuracy_as_given": round(right, 3), "turned": round(share, 3)}
        what = f"turns class {one} into class {other} and back, in {share:.0%} of their samples and more: the net that "
        yield _finding(what + "knows both takes one for the other", evidence | {"limit": SWAPPED}, "warning")
        return
    kept = sum(plain.closed(probe.floor)) / len(plain.start)
    if kept < KEPT:
        return
    moved = probe.arm(_transforming(transform), 0, STEPS, SAMPLES)
    if moved.failure is not None:
        return
    closed = sum(moved.closed(probe.floor)) / len(moved.start)
    if closed < DESTROYED:
        evidence = {"share_closed": round(closed, 3), "limit": DESTROYED, "share_closed_without": round(kept, 3)}
        what = (
            f"leaves nothing to learn from: {STEPS} steps close {closed:.0%} of the loss gap, and {kept:.0%} without it"
        )
        yield _finding(what, evidence, "warning")


def _asking(transform: Transform, asked: list[_Asked]) -> Fix:
    """Return the change of a trial that asks the net at the end, as it stands and after the transform."""

    def fix(trial: Trial) -> None:
        def ask(step: int) -> None:
            if step == STEPS:
                asked.append(_answers(trial, transform))

        trial.after_step = ask

    return fix


def _answers(trial: Trial, transform: Transform) -> _Asked:
    given: list[Tensor] = []
    moved: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.no_grad():
        for inputs, targets in trial.batches:
            for found, batch in ((given, inputs), (moved, _moved(transform, inputs))):
                scores = forward(trial.model, batch)
                found.append(scores.argmax(1) if scores.dim() > 1 and scores.shape[1] > 1 else scores.flatten() > 0)
            labels.append(targets.argmax(1) if targets.dim() > 1 and targets.shape[1] > 1 else targets.flatten())
    one, other, right = (torch.cat([part.long() for part in parts]).cpu() for parts in (given, moved, labels))
    return _Asked(one, other, right)


def _moved(transform: Transform, inputs: Tensor) -> Tensor:
    """Return inputs after the transform, drawn for each sample."""
    return torch.cat([transform(inputs[row : row + 1].clone()) for row in range(len(inputs))])


def _transforming(transform: Transform) -> Fix:
    """Return the change of a trial that trains on transformed samples, drawn anew in every round."""

    def fix(trial: Trial) -> None:
        rounds = max(1, DRAWS // len(trial.batches))
        trial.batches = [
            (map_tensors(lambda tensor: _moved(transform, tensor), inputs), targets)
            for _ in range(rounds)
            for inputs, targets in trial.batches
        ]

    return fix


CHECKS = (
    Check(
        id="augmentation-changes-label",
        look=_augmentation_changes_label,
        cost="probe",
        shows="Training accuracy stays far below what the net reaches without the transform, for all or for a pair of "
        "classes; masks hold next to nothing.",
        signal=f"Pictures that are blank after the transform ({BLANKED:.0%} more than before), or foreground of masks "
        f"of which less than {OBJECTS_LEFT:.0%} is left. Else a net is trained on the samples as they are: of two "
        f"classes it takes each for the other, in {SWAPPED:.0%} and more, once the transform is applied; or training "
        f"on transformed samples closes less than {DESTROYED:.0%} of the loss gap, and more than {KEPT:.0%} without.",
        fix="Leave out transforms that classes do not survive (mirrored arrows and digits), and milden crops and "
        "noise.",
        before="transform = RandomHorizontalFlip()    # classes: left arrow, right arrow",
        after="transform = RandomAffine(degrees=5, translate=(0.1, 0.1))",
        silent="Strong transforms that are learned, if slowly; tasks that the net does not learn in the probe; "
        "transforms of inputs and labels together.",
        source="TheDeepChecker's augmentation shift, as a training with and without; limits are ours",
        thresholds={"BLANKED": BLANKED, "OBJECTS_LEFT": OBJECTS_LEFT, "SWAPPED": SWAPPED, "ONE_CLASS": ONE_CLASS}
        | {"DESTROYED": DESTROYED, "KEPT": KEPT},
    ),
)
