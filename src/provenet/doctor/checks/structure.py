"""How layers are put together: runs without a shortcut, maps that vanish, and uneven upsampling."""

# N batch, C channels, H W pixels

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from provenet.doctor.chains import is_wide
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.examination import Examination
from provenet.doctor.kinds import CONVOLUTION, NORM, TRANSPOSED
from provenet.doctor.recorder import Op, Trace
from provenet.doctor.remedies import skip_around
from provenet.records.finding import Finding

DEEP = 19
"""Full layers without a shortcut: VGG-19, which trains; at 34 plain nets are worse than at 18 (He et al. 2015)."""
VERY_DEEP = 40
"""The same, named without a gain in the probe as well."""
REST, HEAVY, FEWEST = 0.25, 0.5, 2
"""Share of the convolutions wider than 1 x 1 (or of their weights) that run on single pixels, where they see their own
padding, and how many these are at least: one behind the last stride is the end of many a net. ResNet-18 on 32 x 32 has
three of seventeen there, with 63 % of the weights."""
UNEVEN = 2.0
"""Power of the strongest phase of an upsampled map over that of the weakest; a kernel of 3 at stride 2 has 4, one of
the stride's multiples 1."""
TOO_SMALL = ("Output size is too small", "Kernel size can't be greater than actual input size")
"""What PyTorch says where nothing is left of a map."""


def _deep_plain_net(examination: Examination) -> Iterator[Suspicion]:
    path = max(examination.chains.path.values(), key=len, default=())
    if len(path) <= DEEP:
        return
    finding = Finding(
        id="deep-plain-net",
        severity="warning",
        layer=path[0].layer,
        evidence={"layers": len(path), "limit": DEEP},
        message=f"{len(path)} layers follow each other from {path[0].layer} to {path[-1].layer} without a shortcut: "
        "deeper plain nets train worse, not better.",
        fix="return F.relu(x + self.block(x))  # a shortcut around every two layers",
        overrides=("block.name=residual", "net.name=resnet"),
    )
    ends = {op.layer: _end(examination.walk.trace, op) for op in path}
    yield Suspicion(finding, skip_around(ends), "keep" if len(path) > VERY_DEEP else "drop")


def _end(trace: Trace, op: Op) -> str:
    """Return the path of the norm layer right behind a layer, else the layer's own."""
    after = trace.after(op)
    if not after or after[0].function not in NORM:
        return op.layer
    # A batch norm counts its batches besides; what does more is no norm layer.
    ran = {one.function for one in trace.of_layer(after[0].layer)}
    return after[0].layer if ran <= NORM | {"add"} else op.layer


def _spatial_collapse(examination: Examination) -> Iterator[Finding]:
    failure, chains = examination.walk.failure, examination.chains
    if failure is not None and any(text in failure.text for text in TOO_SMALL):
        yield Finding(
            id="spatial-collapse",
            severity="error",
            layer=failure.layer,
            evidence={"pixels_left": 0},
            message=f"Nothing is left of the map in {failure.layer}: {failure.text}",
            fix="fewer strides and poolings, padding, or larger pictures",
            overrides=("net.stem=small",),
        )
        return
    convolutions = [op for op in chains.weighted if op.function in CONVOLUTION and is_wide(op)]
    collapsed = [op for op in chains.collapsed if is_wide(op)]
    heavy = _weights(collapsed) >= HEAVY * _weights(convolutions)
    if len(collapsed) < FEWEST or (len(collapsed) < REST * len(convolutions) and not heavy):
        return
    first, entry = collapsed[0], convolutions[0].inputs[0].shape
    yield Finding(
        id="spatial-collapse",
        severity="warning",
        layer=first.layer,
        evidence={"on_single_pixels": len(collapsed), "convolutions": len(convolutions), "limit": REST}
        | {"share_of_weights": round(_weights(collapsed) / _weights(convolutions), 2), "weights_limit": HEAVY}
        | {"height": entry[-2], "width": entry[-1]},
        message=f"Pictures of {entry[-2]} x {entry[-1]} have shrunk to 1 x 1 at {first.layer}; "
        f"{len(collapsed)} of {len(convolutions)} convolutions work on a single pixel.",
        fix="stride 1 in the first layers and no pooling behind them, or larger pictures",
        overrides=("net.stem=small",),
    )


def _weights(ops: list[Op]) -> int:
    return sum(math.prod(op.inputs[1].shape) for op in ops)


def _phase_powers(weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return the power that each phase of the upsampled map gets from inputs of one variance everywhere.

    Args:
        weight: I O k ..., of a transposed convolution.
        stride: one a spatial axis.
    """
    taps = weight.detach().float().square().sum((0, 1))
    powers = []
    for phase in itertools.product(*(range(step) for step in stride)):
        powers.append(taps[tuple(slice(first, None, step) for first, step in zip(phase, stride, strict=True))].sum())
    return torch.stack(powers)


def _checkerboard_upsampling(examination: Examination) -> Iterator[Finding]:
    parameters, names = examination.walk.parameters, examination.walk.trace.names
    worst: tuple[float, Op, tuple[int, ...], tuple[int, ...]] | None = None
    for op in examination.chains.weighted:
        weight = parameters.get(names.get(op.inputs[1].token, ""))
        if op.function not in TRANSPOSED or weight is None:
            continue
        kernel = tuple(weight.shape[2:])
        given = op.argument("stride", 3, 1)
        stride = (given,) * len(kernel) if isinstance(given, int) else tuple(given) * (len(kernel) // len(given))
        if all(size % step == 0 for size, step in zip(kernel, stride, strict=True)):
            continue
        powers = _phase_powers(weight, stride)
        ratio = float(powers.max() / powers.min().clamp(min=1e-12))
        if ratio > UNEVEN and (worst is None or ratio > worst[0]):
            worst = ratio, op, kernel, stride
    if worst is None:
        return
    ratio, op, kernel, stride = worst
    yield Finding(
        id="checkerboard-upsampling",
        severity="warning",
        layer=op.layer,
        evidence={"phase_power_ratio": round(ratio, 2), "kernel": kernel[0], "stride": stride[0], "limit": UNEVEN},
        message=f"The transposed convolution {op.layer} has a kernel of {kernel[0]} at a stride of {stride[0]}: its "
        f"steps overlap unevenly, some pixels get {ratio:.2g} times the power of their neighbours.",
        fix=f"nn.ConvTranspose2d(..., kernel_size={2 * stride[0]}, stride={stride[0]}, padding={stride[0] // 2}), or "
        "nn.Upsample and a convolution",
        overrides=("upsample.name=bilinear",),
    )


CHECKS = (
    Check(
        id="deep-plain-net",
        look=_deep_plain_net,
        cost="probe",
        shows="The training loss of a deeper net is higher than that of a shallower one.",
        signal=f"More than {DEEP} full layers on a way without a merge; the probe adds what comes in to what each, "
        f"or the norm behind it, gives. Above {VERY_DEEP} it is named without a gain as well.",
        fix="Shortcuts around every two or three layers.",
        before="for block in self.blocks: x = block(x)",
        after="for block in self.blocks: x = x + block(x)",
        silent="Residual, dense and U-shaped nets; depthwise separable stacks; VGG; deep plain nets that the probe "
        "does not find faster with shortcuts.",
        source="He, Zhang, Ren and Sun (2015), Deep Residual Learning, section 4.1: plain nets of 18 and 34 layers",
        thresholds={"DEEP": DEEP, "VERY_DEEP": VERY_DEEP},
        hides=("vanishing-gradients", "cannot-overfit-batch", "missing-normalization", "lr-too-low"),
    ),
    Check(
        id="spatial-collapse",
        look=_spatial_collapse,
        cost="static",
        shows="The net sees no places in its later layers; or PyTorch says that an output size is too small.",
        signal=f"At least {REST:.0%} of the convolutions wider than 1 x 1, or {HEAVY:.0%} of their weights, and "
        f"{FEWEST} of them, run on maps that strides and poolings have shrunk to one pixel.",
        fix="Fewer strides at the beginning: stems for photographs are not made for small pictures.",
        before="net = resnet18()    # on pictures of 16 x 16",
        after="net = resnet18()\nnet.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)\n"
        "net.maxpool = nn.Identity()",
        silent="Global pooling, gates and pooled branches of 1 x 1 convolutions; kernels that cover a whole map; a "
        "single layer behind the last stride.",
        source="Theia's rule of shrinking maps (arXiv 2412.05775); the share is ours",
        thresholds={"REST": REST, "HEAVY": HEAVY, "FEWEST": FEWEST},
        hides=("forward-fails", "bn-small-batch"),
    ),
    Check(
        id="checkerboard-upsampling",
        look=_checkerboard_upsampling,
        cost="static",
        shows="Predicted maps have a regular pattern of squares.",
        signal="Transposed convolutions whose kernel is no multiple of the stride: the squared weights that reach each "
        f"phase of the larger map differ by more than {UNEVEN:g} times.",
        fix="A kernel of 2 or 4 at stride 2, or interpolation and a convolution.",
        before="nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1)",
        after="nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)",
        silent="Kernels that are multiples of the stride, whatever their weights; trained weights that have evened "
        "it out.",
        source="Odena, Dumoulin and Olah (2016), Deconvolution and Checkerboard Artifacts",
        thresholds={"UNEVEN": UNEVEN},
    ),
)
