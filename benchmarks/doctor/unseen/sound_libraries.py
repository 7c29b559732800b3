"""Sound nets of torchvision and timm of millions of weights, from scratch, at 64 x 64 pixels."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, accuracy, sound
from benchmarks.doctor.libraries import ResNetUNet, precise
from benchmarks.doctor.scores import iou_above
from benchmarks.doctor.unseen.library_faults import find_discs, read_digits, tell_textures
from torch import Tensor, nn
from torchvision import models

VISION = "https://github.com/pytorch/vision/blob/main/torchvision/models/"
TIMM = "https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/"


def _sgd(model: nn.Module, lr: float = 0.02) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)


def _adamw(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)


@sound(VISION + "mnasnet.py", updates=64)
def momentum_of_three_ten_thousandths(seed: int) -> Given:
    """Batch norm with momentum 0.0003, which is 1 - 0.9997: right after thousands of updates, as its authors train."""
    model = models.mnasnet0_5(num_classes=10, dropout=0.2)
    return replace(read_digits(seed, model, _adamw(model, 3e-3)), score=precise(accuracy))


@sound(VISION + "regnet.py", updates=48)
def grouped_convolutions(seed: int) -> Given:
    """RegNetY: grouped convolutions with squeeze-and-excitation."""
    model = models.regnet_y_400mf(num_classes=10)
    return replace(read_digits(seed, model, _adamw(model)), score=precise(accuracy))


class WithAuxiliaries(nn.Module):
    """Cross-entropy of an answer and, at 0.3 each, of those from the middle of the net."""

    def forward(self, found: Any, labels: Tensor) -> Tensor:
        sides = F.cross_entropy(found.aux_logits1, labels) + F.cross_entropy(found.aux_logits2, labels)
        return F.cross_entropy(found.logits, labels) + 0.3 * sides


@sound(VISION + "googlenet.py", updates=48)
def answers_from_the_middle(seed: int) -> Given:
    """GoogLeNet returns a named tuple of three logits in training, one tensor in eval mode."""
    model = models.googlenet(num_classes=10, aux_logits=True, init_weights=False, dropout=0.2)
    given = read_digits(seed, model, torch.optim.Adam(model.parameters(), lr=1e-3))
    return replace(given, loss_fn=WithAuxiliaries(), score=precise(accuracy))


@sound(VISION + "resnet.py, zero_init_residual", updates=64)
def resnet18_with_zero_gammas(seed: int) -> Given:
    """The last norm of every residual branch starts at 0, eleven million weights."""
    model = models.resnet18(num_classes=10, zero_init_residual=True)
    return replace(read_digits(seed, model, _sgd(model)), score=precise(accuracy))


@sound(TIMM + "vision_transformer.py", updates=64)
def tiny_vision_transformer(seed: int) -> Given:
    """ViT-Ti with class token and drop path, by AdamW."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=4, drop_path_rate=0.1)
    return tell_textures(seed, model, _adamw(model, 5e-4))


@sound(TIMM + "ghostnet.py", updates=64)
def half_of_the_features_are_cheap(seed: int) -> Given:
    """GhostNet: half of the features come from depthwise convolutions of the other half."""
    model = timm.create_model("ghostnet_050", num_classes=10)
    return replace(read_digits(seed, model, _adamw(model, 3e-3)), score=precise(accuracy))


@sound(TIMM + "mlp_mixer.py", updates=64)
def perceptrons_over_patches(seed: int) -> Given:
    """MLP-Mixer: no convolution beyond the first, no attention, eighteen million weights."""
    model = timm.create_model("mixer_s16_224", img_size=64, num_classes=10)
    return read_digits(seed, model, _adamw(model))


@sound("https://github.com/qubvel-org/segmentation_models.pytorch, Unet with resnet18, Dice and focal loss", updates=40)
def unet_on_resnet18(seed: int) -> Given:
    """Fourteen million weights; the sum of a Dice loss and a focal loss of logits."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        probs, axes = logits.sigmoid(), (1, 2, 3)
        dice = (2 * (probs * masks).sum(axes) + 1) / (probs.sum(axes) + masks.sum(axes) + 1)
        each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return 1 - dice.mean() + ((1 - (-each).exp()) ** 2 * each).mean()

    return find_discs(seed, ResNetUNet(1), loss)


class First(nn.Module):
    """Binary cross-entropy of `out`, and of `aux` at 0.4."""

    def forward(self, found: dict[str, Tensor], masks: Tensor) -> Tensor:
        losses = {name: F.binary_cross_entropy_with_logits(one, masks) for name, one in found.items()}
        return losses["out"] + 0.4 * losses["aux"]


def _out(model: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    return iou_above(0.0)(model, test)


@sound(VISION + "segmentation/deeplabv3.py", score=0.4, updates=48)
def deeplab_with_an_auxiliary_head(seed: int) -> Given:
    """DeepLabV3 on MobileNetV3: dilated convolutions, a dict of two answers, hard-swish, one picture-level branch."""
    model = models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=1, aux_loss=True
    )
    given = find_discs(seed, model, First())
    return replace(given, score=precise(_out))
