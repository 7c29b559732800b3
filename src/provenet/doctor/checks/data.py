"""The scale of inputs as they reach the first weights."""

# N samples, C channels

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.scaling import Scaling, read_scaling
from provenet.doctor.trial import Fix, Trial
from provenet.records.finding import Evidence, Finding

STD_HIGH = 10.0
"""Ten times the unit scale for which initial weights and rates are made: weights for unit inputs then give outputs ten
times too large. Pixels of 0..255 have about 60, standardised pictures 1, inputs in [-1, 1] a half."""
STD_LOW = 0.02
"""Pixels of [0, 1] have about 0.25, dark microscopy 0.05 to 0.1; pixels divided by 255 twice have 0.001."""
RANGE_LOW = 0.1
OFFSET = 3.0
"""Mean over standard deviation. Pixels of [0, 1] have 1 to 2, which trains; beyond 3 what is common to all pictures
outweighs what tells them apart by ten in the square, and steps follow it."""
OFFSET_CERTAIN = 20.0
"""Pictures that differ by a twentieth of what they share: no data set looks so, a mean of another range does."""
LATTICE_SHARE = 0.99


@dataclass(frozen=True)
class _Scale:
    """Mean, spread and range of what reaches the first weights; `offset` is mean over spread."""

    mean: float
    std: float
    low: float
    high: float
    offset: float

    @property
    def evidence(self) -> dict[str, Evidence]:
        """The figures."""
        return {
            "mean": round(self.mean, 4),
            "std": round(self.std, 5),
            "min": round(self.low, 4),
            "max": round(self.high, 4),
            "mean_over_std": round(self.offset, 2),
        }


def _measure(values: Tensor) -> _Scale:
    """Return the scale; means and spreads by channel where there are channels, all values together elsewhere."""
    rows = values.transpose(0, 1).flatten(1) if values.dim() >= 4 else values.reshape(1, -1)
    std = float(rows.var(1, unbiased=False).mean().sqrt())
    offset = float(rows.mean(1).square().mean().sqrt())
    return _Scale(float(values.mean()), std, float(values.min()), float(values.max()), offset / max(std, 1e-12))


def _standardizing(values: Tensor) -> Fix:
    """Return the fix that gives inputs of this form mean 0 and standard deviation 1 by channel."""
    dims = [0, *range(2, values.dim())] if values.dim() >= 4 else list(range(values.dim()))
    mean, std = values.mean(dims, keepdim=True), values.std(dims, keepdim=True).clamp(min=1e-8)

    def change(tensor: Tensor) -> Tensor:
        if tensor.shape[1:] != values.shape[1:] or not tensor.is_floating_point():
            return tensor
        return (tensor - mean.to(tensor)) / std.to(tensor)

    def fix(trial: Trial) -> None:
        trial.map_inputs(change)

    return fix


def _story(examination: Examination) -> Scaling | None:
    samples = examination.samples
    return read_scaling(samples.inputs) if samples is not None and samples.pictures else None


def _seen(examination: Examination) -> _Scale | None:
    """Return the scale of what reaches the first weights; None where it is constant or is no kind of picture."""
    entry = examination.entry
    scale = None if entry is None else _measure(entry.values)
    return None if scale is None or scale.std == 0 else scale


def _suspected(examination: Examination, finding: Finding, certain: bool) -> Suspicion:
    """Return a suspicion whose fix standardises; where a norm refits every batch, only the probe makes it loud."""
    entry, samples = examination.entry, examination.samples
    assert entry is not None and samples is not None
    if certain and not entry.refits:
        return Suspicion(finding, _standardizing(samples.inputs), "keep")
    return Suspicion(finding, _standardizing(samples.inputs), "info" if certain else "drop")


def _input_unnormalized(examination: Examination) -> Iterator[Finding | Suspicion]:
    samples = examination.samples
    if samples is None:
        return
    failure = examination.walk.failure
    if not samples.dtype.is_floating_point and failure is not None and failure.stage == "forward":
        yield Finding(
            id="input-unnormalized",
            severity="error",
            layer="inputs",
            evidence={"dtype": str(samples.dtype), "max": float(samples.inputs.max())},
            message=f"Inputs are whole numbers ({samples.dtype}); the net has float weights and fails on them.",
            fix="images = images.float().div(255).sub(mean).div(std)",
        )
        return
    scale = _seen(examination)
    if scale is None or _mistold(examination, scale) is not None:
        return
    certain = scale.std > STD_HIGH
    if not certain and (scale.offset <= OFFSET or _tiny(scale)):
        return
    mean, std = f"{scale.mean:.3g}", f"{scale.std:.3g}"
    bytes_ = scale.low >= 0 and 30 < scale.high <= 255
    said = " They look like bytes of 0..255." if bytes_ else ""
    limit = {"std_limit": STD_HIGH} if certain else {"mean_over_std_limit": OFFSET}
    finding = Finding(
        id="input-unnormalized",
        severity="warning",
        layer="inputs",
        evidence=scale.evidence | limit,
        message=f"Inputs have mean {mean} and standard deviation {std}; weights and rates are made for 0 and 1.{said}",
        fix="images = (images / 255 - mean) / std" if bytes_ else f"images = (images - {mean}) / {std}",
        overrides=("inputs=standardize",),
    )
    yield _suspected(examination, finding, certain)


def _tiny(scale: _Scale) -> bool:
    return scale.std < STD_LOW and scale.high - scale.low < RANGE_LOW


def _input_tiny_scale(examination: Examination) -> Iterator[Finding | Suspicion]:
    scale, entry = _seen(examination), examination.entry
    if scale is None or entry is None or not _tiny(scale) or _mistold(examination, scale) is not None:
        return
    steps = entry.values * 255 * 255
    lattice = float(((steps - steps.round()).abs() < 0.02).float().mean())
    twice = lattice > LATTICE_SHARE and float(steps.max()) <= 255.5
    where = f" as they reach {entry.layer}" if entry.changed else ""
    cause = ": pixels divided by 255 twice" if twice else ""
    finding = Finding(
        id="input-tiny-scale",
        severity="warning",
        layer=entry.layer if entry.changed else "inputs",
        evidence=scale.evidence | {"std_limit": STD_LOW, "share_of_255ths_of_255ths": round(lattice, 3)},
        message=f"Inputs span {scale.low:.3g} to {scale.high:.3g}{where}, standard deviation {scale.std:.2g}{cause}.",
        fix="divide by 255 once: ToTensor has already done it" if twice else f"images = images / {scale.std:.2g}",
        overrides=("inputs=standardize",),
    )
    yield _suspected(examination, finding, True)


_TOLD: dict[str, str] = {
    "unscaled pixels": "pixels of 0..255 were normalised with means of pixels in [0, 1]",
    "scaled twice": "pixels in [0, 1] were normalised with means of 0..255 (or divided by 255 twice before)",
    "normalized twice": "pixels were normalised twice",
}


def _mistold(examination: Examination, scale: _Scale) -> tuple[str, bool] | None:
    """Return what went wrong in normalising, and whether that is certain; None where nothing did."""
    story = _story(examination)
    if story is not None and story.story == "right":
        return None
    entry, samples = examination.entry, examination.samples
    if samples is not None and not samples.pictures:
        return None
    if story is not None and (entry is None or not entry.changed):
        return f"{_TOLD[story.story]} (those of {story.name})", True
    if scale.low < 0 < scale.high and scale.high > STD_HIGH and -scale.low < 0.05 * scale.high:
        return _TOLD["unscaled pixels"], True
    if scale.offset > OFFSET and scale.low < 0:
        return "a mean was subtracted that is not theirs", scale.offset > OFFSET_CERTAIN
    return None


def _wrong_normalization_stats(examination: Examination) -> Iterator[Finding | Suspicion]:
    scale = _seen(examination)
    told = None if scale is None else _mistold(examination, scale)
    if scale is None or told is None:
        return
    what, certain = told
    finding = Finding(
        id="wrong-normalization-stats",
        severity="warning",
        layer="inputs",
        evidence=scale.evidence | {"mean_over_std_limit": OFFSET},
        message=f"After normalising, inputs have mean {scale.mean:.3g} and standard deviation {scale.std:.3g}: {what}.",
        fix="scale pixels to [0, 1] once, then Normalize(mean, std) once, both measured on these training pictures",
        overrides=("inputs=standardize",),
    )
    yield _suspected(examination, finding, certain)


_DIVERGES = (
    *("exploding-gradients", "loss-not-finite", "bad-initial-loss", "cannot-overfit-batch", "constant-output"),
    *("lr-too-high", "init-too-large", "saturating-activations", "dead-relu"),
)
_STALLS = (
    *("vanishing-gradients", "constant-output", "cannot-overfit-batch", "lr-too-low", "init-too-small"),
    *("missing-normalization",),
)
_SOURCE = "LeCun, Bottou, Orr, Müller (1998), Efficient BackProp, section 4.3; limits are ours, said at each"

CHECKS = (
    Check(
        id="input-unnormalized",
        look=_input_unnormalized,
        cost="static",
        shows="The loss is large at the start, and blows up or sticks at rates that are usual; first-layer gradients "
        "dwarf all others.",
        signal="Mean, standard deviation and range of what reaches the first layer with weights, by channel: a "
        f"standard deviation above {STD_HIGH:g}, or a mean of more than {OFFSET:g} standard deviations. The probe "
        "tries the inputs standardised.",
        fix="Scale pixels to [0, 1], subtract the training pictures' mean and divide by their standard deviation.",
        before="image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()",
        after="image = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255\nimage = (image - mean) / std",
        silent="Nets that normalise within their forward; pixels in [0, 1] and [-1, 1]; large scales where batch norm "
        "follows the first layer, unless the probe gains; offsets from which the probe gains nothing.",
        source=_SOURCE,
        thresholds={"STD_HIGH": STD_HIGH, "OFFSET": OFFSET},
        hides=_DIVERGES,
    ),
    Check(
        id="input-tiny-scale",
        look=_input_tiny_scale,
        cost="static",
        shows="Outputs hardly depend on the picture, the loss stays at that of a guess, and gradients of the first "
        "layers are tiny.",
        signal=f"A standard deviation below {STD_LOW:g} and a range below {RANGE_LOW:g} of what reaches the first "
        "layer with weights; values that are whole multiples of 1/255/255 say why.",
        fix="Divide by 255 once: torchvision's ToTensor and to_dtype(scale=True) have done it already.",
        before="image = ToTensor()(picture) / 255",
        after="image = ToTensor()(picture)",
        silent="Dark pictures with a range above the limit; nets that normalise within their forward; nets with batch "
        "norm behind the first layer, unless the probe gains.",
        source=_SOURCE,
        thresholds={"STD_LOW": STD_LOW, "RANGE_LOW": RANGE_LOW},
        hides=_STALLS,
    ),
    Check(
        id="wrong-normalization-stats",
        look=_wrong_normalization_stats,
        cost="static",
        shows="After normalising the inputs are not near mean 0 and standard deviation 1; the net learns late or not.",
        signal="The sets of means and standard deviations that are in use (ImageNet, CIFAR, CLIP, MNIST, a half) are "
        "undone, for pixels in [0, 1], for pixels of 0..255, in the wrong range and twice: the story after which all "
        "values are whole 255ths, or fill [0, 1], is what happened. Without one: values below 0 and a mean of more "
        f"than {OFFSET:g} standard deviations.",
        fix="Bring pixels into the range that mean and standard deviation were measured in, and normalise once.",
        before="image = Normalize([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])(ToTensor()(picture))",
        after="image = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(ToTensor()(picture))",
        silent="Pictures that a known set turns back into pixels of [0, 1], however dark; another data set's "
        "statistics that leave mean and scale near 0 and 1; inputs standardised in any other way.",
        source="ours; the sets are those of the documentation of torchvision, CLIP and the data sets' usual scripts",
        thresholds={"OFFSET": OFFSET, "OFFSET_CERTAIN": OFFSET_CERTAIN, "STD_HIGH": STD_HIGH},
        hides=(*_DIVERGES, *_STALLS, "input-unnormalized", "input-tiny-scale"),
    ),
)
