"""Segmentation masks: their values at borders, their place, and what of them the loss never sees."""

# N pictures, H W pixels, P planes of a mask, K classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from provenet.doctor.alignment import Alignment, Alternative, align, regions
from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.ribbons import Fractions, enlarged, read_fractions, read_ribbons
from provenet.records.finding import Finding

LEAST = 20
"""Pixels that are wanted before shares mean anything."""
FRACTIONS_AT_BORDERS = 0.9
BORDERS_BLURRED = 0.5
LEVELS = 3
"""Different values between 0 and 1: the mean of three annotators has two, bilinear weights by halves three."""
WHOLE = 0.2
"""Pixels of the highest value over those between: heat maps have one such pixel a peak, masks have areas."""
RIBBONS = 0.2
"""Share of the changes between classes that lie apart which lead through a thin ribbon of a class between: halving a
mask leaves them where a border does not meet the grid, which is every other one."""
ORDER = 3
"""So many times as many thin runs lie between the classes beside them as below both. Of things that are thin as many
lie below as between, whatever the order of the classes."""
CLEAN = 0.2
"""Share of exact zeros that soft masks made of hard ones keep, and a net's probabilities never have."""
THICK = 0.2
"""Share of a class's pixels in areas, for it to be a class of things: a class of outlines has none."""
BETTER = 1.25
CHANCE = 0.05
VOTES, LEVEL = 0.15, 1e-3
"""Share of the pictures whose mask fits elsewhere, and how rare that may be among aligned ones, of which one in twenty
passes the limit by chance."""
MOST_PICTURES = 0.5
FEWEST = 6


def _mask_interpolated(examination: Examination) -> Iterator[Finding]:
    samples, reading = examination.samples, examination.reading
    if samples is None or samples.masks is None or reading.loss in ("mse_loss", "l1_loss", "smooth_l1_loss"):
        return
    masks = samples.masks
    if masks.is_floating_point() and not bool((masks == masks.round()).all()):
        fractions = read_fractions(masks)
        times = enlarged(masks) if float((masks == 0).float().mean()) >= CLEAN else 0
        if fractions is not None and (times or _smeared(fractions)):
            yield Finding(
                id="mask-interpolated",
                severity="warning",
                layer="targets",
                evidence={
                    "between_share": round(fractions.share, 4),
                    "between_at_borders": round(fractions.at_borders, 3),
                    "borders_blurred": round(fractions.blurred, 3),
                    "limit": BORDERS_BLURRED,
                    "enlarged_times": times,
                },
                message=f"{fractions.share:.1%} of the mask values lie between the classes, "
                + (f"on straight lines of {times} pixels" if times else f"along {fractions.blurred:.0%} of the borders")
                + ": masks were resized with interpolation.",
                fix=_NEAREST,
            )
        return
    ignored = reading.ignore_index if masks.shape[1] == 1 else None
    ribbons = read_ribbons(masks.flatten(0, 1).long(), ignored)
    real = [label for label in ribbons.classes if ribbons.thick[label] >= THICK]
    ordered = ribbons.passages >= max(LEAST, ORDER * ribbons.below)
    if not ordered or ribbons.share <= RIBBONS or not (real or len(ribbons.classes) > 1):
        return
    between = ", ".join(str(label) for label in ribbons.classes[:5])
    yield Finding(
        id="mask-interpolated",
        severity="warning",
        layer="targets",
        evidence={
            "ribbons": ribbons.passages,
            "share_of_changes": round(ribbons.share, 3),
            "limit": RIBBONS,
            "thin_runs_below": ribbons.below,
            "classes_between": between,
        },
        message=f"Where classes meet that lie apart, {ribbons.share:.0%} of the changes lead through a ribbon one or "
        f"two pixels wide of a class between ({between}): masks were resized with interpolation, and rounded.",
        fix=_NEAREST,
    )


_NEAREST = "F.interpolate(mask, size, mode='nearest'), or Resize(size, interpolation=InterpolationMode.NEAREST)"


def _smeared(fractions: Fractions) -> bool:
    borders = fractions.at_borders >= FRACTIONS_AT_BORDERS and fractions.blurred >= BORDERS_BLURRED
    areas = fractions.whole >= WHOLE and fractions.levels >= LEVELS
    return fractions.count >= LEAST and borders and areas


def _mask_misaligned(examination: Examination) -> Iterator[Finding]:
    samples = examination.samples
    if samples is None or samples.masks is None or not samples.pictures:
        return
    if samples.masks.shape[-2:] != samples.inputs.shape[-2:]:
        return
    ignored = examination.reading.ignore_index
    found = align(samples.inputs, regions(samples.masks, ignored))
    if found is None:
        return
    if (moved := _moved(found)) is not None:
        yield _misaligned_finding(found, moved, "targets", _SAME_DRAW)
        return
    augmented = examination.augmented
    if augmented is None or augmented.inputs is None or augmented.joint:
        return
    after = align(augmented.inputs, regions(samples.masks[augmented.rows], ignored))
    if after is not None and (moved := _moved(after)) is not None:
        yield _misaligned_finding(after, moved, "transform", "let the transform take (image, mask), and move both")


_SAME_DRAW = "image, mask = transform(tv_tensors.Image(image), tv_tensors.Mask(mask))  # one draw for both"


@dataclass(frozen=True, eq=False)
class _Moved:
    """Pictures whose mask fits elsewhere: which, (N,), and how its masks were moved."""

    votes: Tensor
    way: Alternative

    @property
    def share(self) -> float:
        """Share of the pictures."""
        return float(self.votes.float().mean())


def _moved(found: Alignment) -> _Moved | None:
    """Return what moves masks to where they fit; None where that may be chance."""
    if len(found) < FEWEST:
        return None
    for way in (found.turned, found.anywhere):
        chance = torch.quantile(way.chance, 1 - CHANCE)
        moved = _Moved((way.moved > BETTER * found.here) & (way.moved > chance), way)
        rare = float(binom.sf(int(moved.votes.sum()) - 1, len(found), CHANCE)) < LEVEL
        if rare and moved.share >= VOTES:
            return moved
    return None


def _misaligned_finding(found: Alignment, moved: _Moved, layer: str, fix: str) -> Finding:
    votes, share = moved.votes, moved.share
    how = [name for name, vote in zip(moved.way.how, votes.tolist(), strict=True) if vote]
    said = max(set(how), key=how.count)
    return Finding(
        id="mask-misaligned",
        severity="error" if share >= MOST_PICTURES else "warning",
        layer=layer,
        evidence={
            "pictures": len(found),
            "share_that_fits_elsewhere": round(share, 3),
            "limit": VOTES,
            "fit_here": round(float(found.here[votes].mean()), 3),
            "fit_elsewhere": round(float(moved.way.moved[votes].mean()), 3),
            "most_often": said,
            "first": int(found.rows[votes][0]),
        },
        message=f"In {share:.0%} of the pictures the borders of the mask do not lie on edges of the picture, and do "
        f"when the mask is moved, most often when it is {said}: picture and mask were not moved alike.",
        fix=fix,
    )


CHECKS: tuple[Check, ...] = (
    Check(
        id="mask-interpolated",
        look=_mask_interpolated,
        cost="static",
        shows="Borders are learned as other classes than they are: thin rims of a wrong class in predictions, or soft "
        "ones; IoU stops short. Whole numbers above the last class come up where classes are far apart.",
        signal="Values between the classes that lie at borders "
        f"({FRACTIONS_AT_BORDERS:.0%} of them, along {BORDERS_BLURRED:.0%} of the borders), in masks with areas; or "
        "values on straight lines of three pixels and more between places that are the same in all masks. In whole "
        f"numbers, changes between classes that lie apart of which more than {RIBBONS:.0%} lead through a ribbon one "
        f"or two pixels wide of a class between, and {ORDER} times as many such ribbons as thin runs below both.",
        fix="Resize and warp masks by nearest neighbour.",
        before="mask = F.interpolate(mask[None, None].float(), size, mode='bilinear')[0, 0].long()",
        after="mask = F.interpolate(mask[None, None].float(), size, mode='nearest')[0, 0].long()",
        silent="Soft labels and heat maps, whose values are not tied to borders; label smoothing; the mean of two or "
        "three annotators; one class of outlines between inside and outside; the ignored value.",
        source="ours",
        thresholds={"FRACTIONS_AT_BORDERS": FRACTIONS_AT_BORDERS, "BORDERS_BLURRED": BORDERS_BLURRED, "WHOLE": WHOLE}
        | {"RIBBONS": RIBBONS, "ORDER": ORDER, "CLEAN": CLEAN, "THICK": THICK, "LEVELS": LEVELS},
    ),
    Check(
        id="mask-misaligned",
        look=_mask_misaligned,
        cost="static",
        shows="The loss stalls at a middling value, and predictions are blurred: the net learns the mean of where "
        "things are and where masks say they are.",
        signal="Correlation of the picture's edges with the mask's borders: as given, mirrored, transposed and turned "
        "by quarters; then also moved by any shift and turned by other angles. A picture votes where one of these "
        f"beats the mask as given by {BETTER:g} and beats what the same search finds for other pictures' masks. At "
        f"least {VOTES:.0%} vote, more than chance allows (p < {LEVEL:g}).",
        fix="Draw the parameters of a transform once, and apply it to picture and mask.",
        before="image, mask = flip(image), flip(mask)    # two draws",
        after="if random.random() < 0.5: image, mask = image.flip(-1), mask.flip(-1)",
        silent="Pictures whose edges say nothing of the mask; symmetric scenes; masks coarser than the picture.",
        source="ours; correlation for all shifts by the Fourier transform is usual in image registration",
        thresholds={"BETTER": BETTER, "VOTES": VOTES, "LEVEL": LEVEL, "CHANCE": CHANCE},
        hides=("labels-uninformative", "cannot-overfit-batch"),
    ),
)
