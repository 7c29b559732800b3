"""Faults around nets of torchvision and timm, and of one in the manner of segmentation_models_pytorch."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from benchmarks.doctor.cases import Given, accuracy, batched, fault
from benchmarks.doctor.libraries import ResNetUNet, colored, precise
from benchmarks.doctor.nets import adam, classify, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits
from benchmarks.doctor.scores import iou_above, mean_iou
from benchmarks.doctor.seen.sound_libraries import large, masks_of_one
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torchvision import models


def large_digits(seed: int) -> Pictures:
    """Return digits of 64 x 64 pixels in three channels."""
    found = digits(seed, size=64, num_test=200).normalized()
    return Pictures(colored(found.inputs), found.targets, (colored(found.test[0]), found.test[1]))


def _read(model: nn.Module, pictures: Pictures, **more: object) -> Given:
    """Read pictures in batches of 16."""
    return classify(model, pictures, batches=batched(pictures.inputs, pictures.targets, 16), **more)  # type: ignore[arg-type]


@fault(
    "https://github.com/pytorch/vision/issues/3815 (why does training do without softmax?), here with it",
    "softmax-before-ce",
    updates=32,
)
def softmax_behind_resnet18(seed: int, faulty: bool) -> Given:
    net = models.resnet18(num_classes=10)
    model = nn.Sequential(net, nn.Softmax(dim=1)) if faulty else net
    return _read(model, large_digits(seed), optimizer=adam(model))


@fault(
    "https://github.com/qubvel-org/segmentation_models.pytorch/issues/50 (is it right to use sigmoid twice?)",
    "sigmoid-before-bce-logits",
    updates=32,
)
def smp_activation_and_loss_of_logits(seed: int, faulty: bool) -> Given:
    model = ResNetUNet(1, nn.Sigmoid() if faulty else None)
    score = iou_above(0.5 if faulty else 0.0)
    return segment(model, masks_of_one(seed, 64), nn.BCEWithLogitsLoss(), adam(model), score=score)


@fault(
    "https://github.com/seanXYZ/SegDecNet/issues/7 (take away the ReLU behind the last convolution), here of a U-Net",
    "activation-on-logits",
    allowed={"dead-relu"},
    harm="static",
)
def smp_head_with_relu(seed: int, faulty: bool) -> Given:
    """Of two classes one score alone can say which it is, as long as it does not die; with more it costs more."""
    model = ResNetUNet(2, nn.ReLU() if faulty else None)
    return segment(model, cells(seed, size=64).normalized(), nn.CrossEntropyLoss(), adam(model))


@fault(
    "https://github.com/pytorch/pytorch/issues/3980 (the last layer was replaced, the output still has 1000 values)",
    {"unused-params", "head-size-mismatch"},
    allowed={"unused-params", "head-size-mismatch"},
    harm="static",
)
def head_replaced_under_another_name(seed: int, faulty: bool) -> Given:
    """MobileNet's head is `classifier`, so that `model.fc` is a layer of nobody; the old one learns all the same."""
    model = models.mobilenet_v3_small(num_classes=1000 if faulty else 4)
    if faulty:
        model.fc = nn.Linear(1024, 4)
    return classify(model, large(seed), score=precise(accuracy))


@fault(
    "https://github.com/TonyXuQAQ/RNGDetPlusPlus/issues/17 (parameters that were not used, such as those of aux_loss)",
    "unused-params",
    harm="static",
)
def auxiliary_head_without_a_loss(seed: int, faulty: bool) -> Given:
    """`aux_loss=True`, and the loss takes `out` only: a head for nothing, while the other learns as well as ever."""
    model = models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2, aux_loss=faulty
    )

    def loss(found: dict[str, Tensor], masks: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], masks)

    return segment(model, cells(seed, size=64).normalized(), loss, adam(model))


@fault(
    "https://github.com/msminhas93/DeepLabv3FineTuning/issues/5 (more than 1 value per channel: the last batch of one)",
    "bn-small-batch",
    updates=40,
)
def deeplab_with_a_last_batch_of_one(seed: int, faulty: bool) -> Given:
    pictures = cells(seed, num=65, size=64).normalized()
    model = models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    batches = batched(pictures.inputs, pictures.targets, 8)
    if faulty:
        batches.append((pictures.inputs[64:], pictures.targets[64:]))

    def loss(found: dict[str, Tensor], masks: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], masks)

    return segment(model, pictures, loss, adam(model), batches=batches, score=precise(mean_iou))


@fault(
    "https://github.com/pytorch/pytorch/issues/15666 (labels 1..K for K outputs), here of torchvision's ResNet-18",
    {"label-out-of-range", "head-size-mismatch"},
    allowed={"label-out-of-range", "head-size-mismatch"},
    harm="raises",
    updates=12,
)
def resnet18_with_labels_from_one(seed: int, faulty: bool) -> Given:
    model, pictures = models.resnet18(num_classes=10), large_digits(seed)
    return _read(model, replace(pictures, targets=pictures.targets + int(faulty)))


class Extracted(nn.Module):
    """Features of a timm net, and a new linear layer; the features may be taken without gradients."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.body = timm.create_model("resnet10t", pretrained=False, num_classes=0)
        self.fc, self.frozen = nn.Linear(512, 10), frozen

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
            found = self.body(x)
        return self.fc(found)


@fault(
    "https://github.com/hushell/sib_meta_learn/issues/3 (features under no_grad, and nothing pretrained is loaded)",
    "detached-graph",
    allowed={"unused-params", "frozen-layers"},
    updates=96,
)
def timm_features_without_gradients(seed: int, faulty: bool) -> Given:
    model = Extracted(faulty)
    return _read(model, large_digits(seed), optimizer=adam(model))


def _vit(seed: int) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=4, depth=6)


@fault(
    "https://github.com/huggingface/pytorch-image-models/issues/270 (ViT with a decay of 0.3 does not learn), by Adam",
    "weight-decay-too-high",
    updates=64,
)
def timm_vit_with_the_decay_of_adamw(seed: int, faulty: bool) -> Given:
    model = _vit(seed)
    optimizer = Adam(model.parameters(), 5e-4, weight_decay=0.3 if faulty else 0.0)
    return _read(model, large(seed), optimizer=optimizer)


@fault(
    "https://github.com/lucidrains/vit-pytorch/issues/16 (it does not fall at 1e-1 and 3e-2), rates of SGD",
    "lr-too-high",
    updates=64,
)
def timm_vit_at_the_rate_of_sgd(seed: int, faulty: bool) -> Given:
    model = _vit(seed)
    return _read(model, large(seed), optimizer=adam(model, 3e-2 if faulty else 5e-4))


@fault(
    "https://github.com/Cadene/pretrained-models.pytorch/issues/5 (BatchNorm2d(momentum=0): train and eval differ)",
    "bn-bad-momentum",
    updates=40,
)
def resnet18_with_a_momentum_of_zero(seed: int, faulty: bool) -> Given:
    model = models.resnet18(num_classes=10)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and faulty:
            layer.momentum = 0.0
    return _read(model, large_digits(seed), optimizer=sgd(model, 0.02))
