"""What pictures hold: numbers at all, something to see, and pixels in their places."""

# N samples, C channels, H W pixels

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from provenet.doctor.check import Check
from provenet.doctor.examination import Examination
from provenet.doctor.likeness import blank
from provenet.doctor.tree import tensors
from provenet.records.finding import Finding

FEW_PIXELS = 0.002
"""Share of pixels that may differ from the rest of a blank picture: eight of 64 x 64, the saturated ones that whole
division by 255 leaves."""
BLANK, BLANK_DENSE, BLANK_MOST = 0.2, 0.5, 0.8
"""Shares of blank pictures from which it is a warning; the same for segmentation, where empty tiles and slices are
usual; and an error. Blank pictures of several classes cannot be told apart: a fifth of them caps what is learned."""
USUAL_CHANNELS = 3
FLATTER = 0.9
"""Undoing a wrong view must leave at most this share of the differences between a pixel and the one below it. On
pictures with noise it leaves 0.5 to 0.87, without 0.05 to 0.3; a right view undone has more than before."""
ALIKE = 0.1
"""Correlation of a pixel and the one below after undoing: noise has none whatever its order."""
AGREE = 0.9
"""Share of the pictures in which undoing must bring neighbours nearer."""
MOST_PICTURES = 64


def _input_nonfinite(examination: Examination) -> Iterator[Finding]:
    loss = examination.walk.loss
    masked = loss is not None and torch.isfinite(torch.tensor(loss)).item()
    for number, (inputs, targets) in enumerate(examination.case.batches):
        for part, tree in (("inputs", inputs), ("targets", targets)):
            if part == "targets" and number == 0 and masked:
                continue  # the loss leaves missing targets out, as it does for measurements with gaps
            for tensor in tensors(tree):
                bad = ~torch.isfinite(tensor) if tensor.is_floating_point() else None
                if bad is None or not bool(bad.any()):
                    continue
                first = bad.nonzero()[0].tolist()
                yield Finding(
                    id="input-nonfinite",
                    severity="error",
                    layer=part,
                    evidence={"batch": number, "share": round(float(bad.float().mean()), 6), "first": str(first)},
                    message=f"The {part} of batch {number} hold NaN or infinite values, the first at {first}: one of "
                    "them makes every weight NaN within a step.",
                    fix=f"assert torch.isfinite({part}).all(), file by file; a division by a standard deviation of 0?",
                )
                return


def _input_constant(examination: Examination) -> Iterator[Finding]:
    samples = examination.samples
    if samples is None or len(samples) < 2:
        return
    inputs = samples.inputs
    if not samples.pictures:
        if float(inputs.max()) == float(inputs.min()):
            yield _blank_finding(1.0, len(samples), float(inputs.max()), 0.0)
        return
    share = float(blank(inputs, FEW_PIXELS).float().mean())
    limit = BLANK if samples.masks is None else BLANK_DENSE
    if share > limit:
        yield _blank_finding(share, len(samples), float(inputs.median()), limit)
        return
    span = max(float(inputs.max() - inputs.min()), 1e-12) * 1e-4
    flat = [number for number, plane in enumerate(inputs.transpose(0, 1)) if float(plane.max() - plane.min()) <= span]
    if flat:
        channels = ", ".join(str(number) for number in flat)
        yield Finding(
            id="input-constant",
            severity="warning" if inputs.shape[1] <= USUAL_CHANNELS else "info",
            layer="inputs",
            evidence={"channels": channels, "value": float(inputs[0, flat[0]].flatten()[0]), "samples": len(samples)},
            message=f"Of {inputs.shape[1]} channels, {channels} hold one value in all {len(samples)} pictures.",
            fix="look at one sample: print(images.amin((0, 2, 3)), images.amax((0, 2, 3)))",
        )


def _blank_finding(share: float, samples: int, value: float, limit: float) -> Finding:
    return Finding(
        id="input-constant",
        severity="error" if share >= BLANK_MOST else "warning",
        layer="inputs",
        evidence={"blank_share": round(share, 3), "limit": limit, "samples": samples, "value": value},
        message=f"{share:.0%} of the pictures hold one value ({value:.3g}) and nothing else: what they showed was lost "
        "before they reached the net.",
        fix="divide as floats: image.astype(np.float32) / 255; // 255, or a cast back to uint8, leaves zeros",
    )


def _input_layout(examination: Examination) -> Iterator[Finding]:
    failed = _channels_last(examination)
    if failed is not None:
        yield failed
        return
    samples = examination.samples
    if samples is None or not samples.pictures or not 2 <= samples.inputs.shape[1] <= 4:
        return
    pictures = samples.inputs[:MOST_PICTURES]
    pictures = pictures[~blank(pictures, FEW_PIXELS)]
    if len(pictures) < 2:
        return
    num, channels, height, width = pictures.shape
    undone = {
        "(H, W, C) data were viewed as (C, H, W)": (
            pictures.reshape(num, height, width, channels).permute(0, 3, 1, 2),
            "images.permute(0, 3, 1, 2)  # not reshape or view",
        ),
        "(C, H, W) data were viewed as (H, W, C), then permuted": (
            pictures.permute(0, 2, 3, 1).reshape(num, channels, height, width),
            "images.reshape(-1, C, H, W)  # they are (C, H, W) already",
        ),
    }
    before = _differences(pictures)
    for what, (after, fix) in undone.items():
        ratio = _differences(after) / before.clamp(min=1e-12)
        alike = _likeness(after)
        if float(ratio.median()) < FLATTER and float((ratio < 1).float().mean()) >= AGREE and alike > ALIKE:
            yield Finding(
                id="input-layout",
                severity="warning",
                layer="inputs",
                evidence={
                    "differences_left_when_undone": round(float(ratio.median()), 3),
                    "limit": FLATTER,
                    "pixels_below_correlate": round(_likeness(pictures), 3),
                    "when_undone": round(alike, 3),
                },
                message=f"Pixels are not in their places: {what}. Undone, a pixel and the one below differ by "
                f"{float(ratio.median()):.0%} of what they do now.",
                fix=fix,
            )
            return


def _channels_last(examination: Examination) -> Finding | None:
    """Return the finding that the net refuses pictures whose channels come last."""
    failure, samples = examination.walk.failure, examination.samples
    if failure is None or failure.stage != "forward" or samples is None or samples.inputs.dim() != 4:
        return None
    shape = tuple(samples.inputs.shape)
    first = next((part for part in examination.double.model.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or shape[-1] != first.in_channels or shape[1] == first.in_channels:
        return None
    return Finding(
        id="input-layout",
        severity="error",
        layer="inputs",
        evidence={"shape": str(shape), "channels_wanted": first.in_channels},
        message=f"Inputs are {shape}: channels come last, where the net wants them in the second place.",
        fix="images = images.permute(0, 3, 1, 2)",
    )


def _differences(pictures: Tensor) -> Tensor:
    """Return the mean absolute difference between a pixel and the one below it, (N,).

    Below, not beside: in a wrong view channels of one pixel lie side by side, and in grey pictures these are equal.
    """
    return pictures.diff(dim=-2).abs().mean((1, 2, 3))


def _likeness(pictures: Tensor) -> float:
    """Return the correlation of a pixel and the one below it, the median over pictures."""
    centred = pictures - pictures.mean((2, 3), keepdim=True)
    power = centred.square().mean((1, 2, 3)).clamp(min=1e-12)
    return float(((centred[..., 1:, :] * centred[..., :-1, :]).mean((1, 2, 3)) / power).median())


CHECKS = (
    Check(
        id="input-nonfinite",
        look=_input_nonfinite,
        cost="static",
        shows="The loss is NaN at once, or from the first batch that holds the bad sample; then every weight is NaN.",
        signal="Any NaN or infinity in inputs or targets.",
        fix="Find the files, and what made them: a division by zero in normalising, a gap in measurements, overflow.",
        before="image = (image - image.mean()) / image.std()",
        after="image = (image - image.mean()) / image.std().clamp(min=1e-6)",
        silent="Missing targets that the loss leaves out: its value on that batch is finite.",
        source="every list of such checks has it; the exemption is ours",
        hides=(
            *("loss-not-finite", "exploding-gradients", "bad-initial-loss", "constant-output", "cannot-overfit-batch"),
            *("vanishing-gradients", "lr-too-high", "input-unnormalized", "wrong-normalization-stats", "dead-relu"),
            *("init-too-large", "init-too-small", "saturating-activations"),
        ),
    ),
    Check(
        id="input-constant",
        look=_input_constant,
        cost="static",
        shows="The net gives (nearly) the same answer for every picture, and the loss stays at that of a guess.",
        signal=f"The share of pictures in which fewer than {FEW_PIXELS:.1%} of the pixels differ from the usual value: "
        f"above {BLANK:.0%}, or {BLANK_DENSE:.0%} where targets are masks. Channels with one value in all pictures.",
        fix="Look at the arrays step by step, from the file on: minimum, maximum and dtype.",
        before="image = np.array(picture) // 255",
        after="image = np.array(picture).astype(np.float32) / 255",
        silent="Some empty tiles or slices; equal channels (grey as RGB); a constant channel beside more than three is "
        "an info, as alpha is.",
        source="after Amazon SageMaker Debugger's AllZero rule and CleanVision's low information; limits are ours",
        thresholds={"FEW_PIXELS": FEW_PIXELS, "BLANK": BLANK, "BLANK_DENSE": BLANK_DENSE, "BLANK_MOST": BLANK_MOST},
        hides=(
            *("constant-output", "cannot-overfit-batch", "labels-uninformative", "duplicate-samples", "dead-relu"),
            *("input-tiny-scale", "input-unnormalized", "wrong-normalization-stats", "vanishing-gradients"),
        ),
    ),
    Check(
        id="input-layout",
        look=_input_layout,
        cost="static",
        shows="Training runs and gets somewhere, but convolutions look at scrambled pixels, and masks do not fit. Or "
        "the first convolution refuses its input.",
        signal="Differences between a pixel and the one below, before and after undoing a wrong view: undone they are "
        f"below {FLATTER:g} of what they were, smaller in {AGREE:.0%} of the pictures, and correlate above {ALIKE:g}. "
        "Or the net raises, and the channels that it wants come last.",
        fix="Move axes with permute or transpose; reshape and view only rename them.",
        before="images = torch.from_numpy(array).view(-1, 3, 32, 32)    # array is (N, 32, 32, 3)",
        after="images = torch.from_numpy(array).permute(0, 3, 1, 2)",
        silent="Noise and textures without likeness of neighbours; grey pictures as RGB; nets that take channels last.",
        source="ours",
        thresholds={"FLATTER": FLATTER, "ALIKE": ALIKE, "AGREE": AGREE},
        hides=("forward-fails", "mask-misaligned", "labels-uninformative"),
    ),
)
