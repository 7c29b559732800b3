"""Faults between the last layer and the loss of nets for dense prediction."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Batch, Given, fault
from benchmarks.doctor.fresh.seg_nets import EncoderDecoder, FullyConv, PatchSegmenter
from benchmarks.doctor.fresh.seg_shared import (
    binary,
    distances,
    multiclass,
    overlap,
    regress,
    soft_dice,
)
from benchmarks.doctor.nets import UNet, adam
from benchmarks.doctor.pictures import Pictures, cells, shapes
from benchmarks.doctor.scores import iou_above, mean_iou
from torch import Tensor, nn
from torch.nn import functional as F


@fault("https://github.com/say4n/pytorch-segnet/issues/5 (cross entropy on softmax output)", "softmax-before-ce")
def softmax2d_as_activation(seed: int, faulty: bool) -> Given:
    """The library's activation is set to softmax2d for several classes, and the loss is cross-entropy."""
    model = EncoderDecoder(1, 5, nn.Softmax2d() if faulty else None)
    return multiclass(model, shapes(seed, num=128).normalized())


@fault(
    "https://github.com/qubvel-org/segmentation_models.pytorch/issues/50 (sigmoid twice)", "sigmoid-before-bce-logits"
)
def sigmoid_as_activation(seed: int, faulty: bool) -> Given:
    """The model ends in the library's sigmoid activation, and the loss applies its own."""
    model = EncoderDecoder(1, 1, nn.Sigmoid() if faulty else None)
    score = iou_above(0.5 if faulty else 0.0)
    return binary(model, shapes(seed, num=128, sides=(3, 5)).normalized(), None, adam(model, 1e-3), score=score)


@fault(
    "https://github.com/fxia22/pointnet.pytorch/issues/27 (log_softmax over dim 0)",
    "softmax-wrong-dim",
    allowed=("batch-mixing",),
)
def log_softmax_over_the_batch(seed: int, faulty: bool) -> Given:
    """Log-softmax runs over dimension 0, the batch, before NLLLoss."""
    model = nn.Sequential(PatchSegmenter(1, 5), nn.LogSoftmax(0 if faulty else 1))
    return multiclass(model, shapes(seed, num=128).normalized(), nn.NLLLoss(), adam(model, 2e-3))


@fault(
    "https://github.com/fizyr/keras-retinanet/pull/581 (reshape to -1 x classes takes them from the width)",
    ("softmax-wrong-dim", "loss-mismatch"),
    allowed=("softmax-wrong-dim", "loss-mismatch"),
)
def flattened_without_permute(seed: int, faulty: bool) -> Given:
    """Outputs N K H W are viewed as rows of K, which are neighbours in the picture and no classes."""

    def loss_fn(found: Tensor, masks: Tensor) -> Tensor:
        rows = found if faulty else found.permute(0, 2, 3, 1)
        return F.cross_entropy(rows.reshape(-1, 4), masks.reshape(-1))

    pictures = shapes(seed, num=128).normalized()
    merged = Pictures(pictures.inputs, pictures.targets.clamp(max=3), (pictures.test[0], pictures.test[1].clamp(max=3)))
    return multiclass(UNet(1, 4), merged, loss_fn)


@fault(
    "https://github.com/Junelin2333/LanGuideMedSeg-MICCAI2023/issues/13 (cross entropy of one channel is 0)",
    ("head-size-mismatch", "loss-mismatch"),
    allowed=("head-size-mismatch", "loss-mismatch", "softmax-wrong-dim"),
)
def cross_entropy_of_one_channel(seed: int, faulty: bool) -> Given:
    """A net with one output is trained with cross-entropy on float masks of that shape, which is 0 at once."""
    loss_fn = nn.CrossEntropyLoss() if faulty else nn.BCEWithLogitsLoss()
    return binary(EncoderDecoder(3, 1), cells(seed, num=96, size=32).normalized(), loss_fn)


class _LastBlock(UNet):
    """The usual block of convolution, norm and ReLU stands in the last place as well."""

    def __init__(self, in_channels: int, num_classes: int, faulty: bool) -> None:
        super().__init__(in_channels, num_classes)
        if faulty:
            self.outc = nn.Sequential(nn.Conv2d(8, num_classes, 1), nn.ReLU())


@fault(
    "https://github.com/Abe404/segmentation_of_roots_in_soil_with_unet/pull/11 (ReLU on the output)",
    "activation-on-logits",
)
def relu_behind_the_last_convolution(seed: int, faulty: bool) -> Given:
    """The output layer of a U-Net has a ReLU, as all others."""
    return multiclass(_LastBlock(1, 5, faulty), shapes(seed, num=128).normalized())


@fault(
    "https://github.com/qubvel-org/segmentation_models.pytorch/pull/611 (thresholded, then made to require grad again)",
    "detached-graph",
)
def dice_of_thresholded_masks(seed: int, faulty: bool) -> Given:
    """Dice takes masks behind a threshold; the error message is silenced by a new tensor that requires a gradient."""

    def loss_fn(logits: Tensor, masks: Tensor) -> Tensor:
        if not faulty:
            return soft_dice(logits, masks)
        found = (logits.sigmoid() > 0.5).float().detach().requires_grad_()
        return 1 - overlap(found, masks)

    return binary(EncoderDecoder(3, 1), cells(seed, num=96, size=32).normalized(), loss_fn)


@fault("https://github.com/milesial/Pytorch-UNet/issues/74 (no sigmoid before BCELoss)", "loss-mismatch", harm="raises")
def bce_of_raw_outputs(seed: int, faulty: bool) -> Given:
    """BCELoss gets outputs that are no probabilities."""
    model = EncoderDecoder(3, 1, None if faulty else nn.Sigmoid())
    return binary(model, cells(seed, num=96, size=32).normalized(), nn.BCELoss(), score=iou_above(0.5))


@fault("https://github.com/pytorch/pytorch/pull/12703 (NLLLoss of a convolution's output)", "nll-without-logsoftmax")
def nll_of_a_convolution(seed: int, faulty: bool) -> Given:
    """NLLLoss for pictures gets the output of the last convolution, as in the documentation's old example."""
    model = nn.Sequential(FullyConv(1, 5), *([] if faulty else [nn.LogSoftmax(1)]))
    return multiclass(model, shapes(seed, num=128).normalized(), nn.NLLLoss(), adam(model, 2e-3))


@fault("https://github.com/jiwei0921/CoNet/issues/3 (depth N H W against N 1 H W)", "target-shape-broadcast")
def distances_without_channel(seed: int, faulty: bool) -> Given:
    """Outputs N 1 H W and distances N H W are broadcast to N N H W."""
    pictures = distances(seed)
    targets = pictures.targets if faulty else pictures.targets[:, None]
    return regress(EncoderDecoder(1, 1), Pictures(pictures.inputs, targets, pictures.test))


@fault(
    "https://github.com/zhengqili/MegaDepth/issues/38 (log of a ground truth of 0)",
    "input-nonfinite",
    allowed=("loss-mismatch",),
)
def logarithm_of_missing_distances(seed: int, faulty: bool) -> Given:
    """Where the sensor saw nothing the distance is 0, and the targets are its logarithm."""
    pictures = distances(seed)
    targets = pictures.targets[:, None].log()
    missing = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.05
    targets[missing] = -torch.inf if faulty else 9.0

    def loss_fn(found: Tensor, wanted: Tensor) -> Tensor:
        error = (found - wanted).square()
        return error.mean() if faulty else error[wanted < 9].mean()

    model, test = EncoderDecoder(1, 1), (pictures.test[0], pictures.test[1].log())
    return regress(model, Pictures(pictures.inputs, targets, test), loss_fn, adam(model, 5e-3))


@fault(
    "common pattern: a pix2pix generator, whose last layer is tanh, trained on depth in metres",
    ("activation-on-logits", "loss-mismatch"),
    allowed=("activation-on-logits", "loss-mismatch", "saturating-activations"),
)
def tanh_for_metres(seed: int, faulty: bool) -> Given:
    """The last layer is tanh, and distances are 1 to 8 metres."""
    pictures = distances(seed)
    last: nn.Module = nn.Tanh() if faulty else nn.Identity()
    model = EncoderDecoder(1, 1, last)
    return regress(model, Pictures(pictures.inputs, pictures.targets[:, None], pictures.test), None, adam(model, 5e-3))


@fault(
    "common pattern: class numbers regressed by a net with one output, as in many forums",
    "loss-mismatch",
    updates=60,
)
def class_numbers_by_squared_error(seed: int, faulty: bool) -> Given:
    """Five classes are one output that is to be 0 to 4, with a squared error; its rounding is the class."""
    drawn, names = shapes(seed, num=128).normalized(), torch.tensor([2, 0, 3, 1, 4])
    pictures = Pictures(drawn.inputs, names[drawn.targets], (drawn.test[0], names[drawn.test[1]]))
    if not faulty:
        return multiclass(UNet(1, 5), pictures)

    def loss_fn(found: Tensor, masks: Tensor) -> Tensor:
        return F.mse_loss(found[:, 0], masks.float())

    return multiclass(UNet(1, 1), pictures, loss_fn, score=_rounded)


class _AsClasses(nn.Module):
    """Scores N 5 H W that are 1 for the class whose number an output rounds to."""

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(x[:, 0].round().long().clamp(0, 4), 5).permute(0, 3, 1, 2)


def _rounded(model: nn.Module, test: Batch) -> float:
    return mean_iou(nn.Sequential(model, _AsClasses()), test)
