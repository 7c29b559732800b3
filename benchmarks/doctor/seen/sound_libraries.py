"""Sound nets of torchvision, timm and provenet, from scratch, and in the manner of segmentation_models_pytorch."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import timm
import torch
from benchmarks.doctor.cases import Given, accuracy, sound
from benchmarks.doctor.libraries import precise
from benchmarks.doctor.nets import BasicBlock, adam, classify, conv_bn_relu, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from benchmarks.doctor.scores import iou_above, mean_iou
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torchvision import models

from provenet import nets

SLOW = "scored with the statistics of the test pictures, as those of training move slowly"


def large(seed: int) -> Pictures:
    """Return photographs of 64 x 64 pixels."""
    return photos(seed, num=256, size=64).normalized()


def masks_of_one(seed: int, size: int = 48) -> Pictures:
    """Return nuclei with masks N 1 H W of floats."""
    found = cells(seed, size=size).normalized()
    return Pictures(found.inputs, found.targets[:, None].float(), (found.test[0], found.test[1][:, None].float()))


@sound("https://github.com/pytorch/vision: models.resnet18", score=0.35, updates=24)
def torchvision_resnet18(seed: int) -> Given:
    model = models.resnet18(num_classes=4)
    return classify(model, large(seed), optimizer=sgd(model, 0.01, weight_decay=1e-4))


@sound(f"https://github.com/pytorch/vision: models.mobilenet_v3_small; {SLOW}", score=0.35, updates=60)
def torchvision_mobilenet_v3(seed: int) -> Given:
    model = models.mobilenet_v3_small(num_classes=4)
    return classify(model, large(seed), score=precise(accuracy))


@sound(f"https://github.com/pytorch/vision: models.efficientnet_b0; {SLOW}", score=0.35, updates=80)
def torchvision_efficientnet_b0(seed: int) -> Given:
    model = models.efficientnet_b0(num_classes=4)
    return classify(model, large(seed), score=precise(accuracy))


@sound(f"https://github.com/pytorch/vision: models.shufflenet_v2_x0_5; {SLOW}", score=0.35, updates=60)
def torchvision_shufflenet(seed: int) -> Given:
    model = models.shufflenet_v2_x0_5(num_classes=4)
    return classify(model, large(seed), optimizer=sgd(model), score=precise(accuracy))


class Out(nn.Module):
    """Cross-entropy of a segmenter of torchvision, whose answer is a dict."""

    def forward(self, found: dict[str, Tensor], masks: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], masks)


@sound(f"https://github.com/pytorch/vision: segmentation.lraspp_mobilenet_v3_large; {SLOW}", score=0.5, updates=48)
def torchvision_lraspp(seed: int) -> Given:
    model = models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    return segment(model, cells(seed, size=64).normalized(), Out(), adam(model), score=precise(mean_iou))


def _timm(name: str, seed: int, lr: float = 1e-3) -> Given:
    model = timm.create_model(name, pretrained=False, num_classes=4)
    return classify(model, large(seed), optimizer=AdamW(model.parameters(), lr, weight_decay=0.05))


@sound("https://github.com/huggingface/pytorch-image-models: test_vit", score=0.3, updates=80)
def timm_vit(seed: int) -> Given:
    return _timm("test_vit", seed)


@sound(
    "https://github.com/huggingface/pytorch-image-models: test_convnext (layer scale of 1e-6)", score=0.3, updates=80
)
def timm_convnext(seed: int) -> Given:
    return _timm("test_convnext", seed, 2e-3)


@sound("https://github.com/huggingface/pytorch-image-models: test_efficientnet", score=0.3)
def timm_efficientnet(seed: int) -> Given:
    return _timm("test_efficientnet", seed, 2e-3)


@sound("https://github.com/huggingface/pytorch-image-models: test_nfnet (no norm, standardised weights)", score=0.3)
def timm_nfnet(seed: int) -> Given:
    return _timm("test_nfnet", seed)


@sound("https://github.com/huggingface/pytorch-image-models: resnet10t", score=0.35, updates=24)
def timm_resnet10t(seed: int) -> Given:
    return _timm("resnet10t", seed)


@sound("provenet.nets.resnet", score=0.5)
def provenet_resnet20(seed: int) -> Given:
    model = nets.resnet(10, in_channels=1, depth=20)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@sound("provenet.nets.convnet (whitening filters that are a buffer)", score=0.5)
def provenet_convnet(seed: int) -> Given:
    pictures = photos(seed).normalized()
    model = nets.convnet(4)
    model.prepare_(pictures.inputs)
    return classify(model, pictures, optimizer=sgd(model, 0.02))


@sound("provenet.nets.unet", score=0.6)
def provenet_unet(seed: int) -> Given:
    return segment(nets.unet(2, depth=3, width=8), cells(seed).normalized())


@sound("provenet.nets.fcn (one upsampling at the end)", score=0.3, updates=80)
def provenet_fcn(seed: int) -> Given:
    return segment(nets.fcn(5, in_channels=1, depth=2, width=16), shapes(seed).normalized())


class Encoder(nn.Module):
    """A residual encoder that returns its features, the finest first."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, 16)
        self.layer1, self.layer2, self.layer3 = BasicBlock(16, 32, 2), BasicBlock(32, 48, 2), BasicBlock(48, 64, 2)
        self.channels = (16, 32, 48, 64)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.stem(x)]
        for layer in (self.layer1, self.layer2, self.layer3):
            found.append(layer(found[-1]))
        return found


class SmpUnet(nn.Module):
    """Encoder, decoder blocks that upsample by nearest neighbours, segmentation head."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels)
        sizes = ((64 + 48, 32), (32 + 32, 24), (24 + 16, 16))
        self.decoder = nn.ModuleList(nn.Sequential(conv_bn_relu(a, b), conv_bn_relu(b, b)) for a, b in sizes)
        self.segmentation_head = nn.Sequential(nn.Conv2d(16, num_classes, 3, padding=1), nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        *skips, x = self.encoder(x)
        for block in self.decoder:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], 1))
        return self.segmentation_head(x)


class SmpDeepLab(nn.Module):
    """Dilated branches on the deepest features, joined with finer ones: DeepLabV3+ in small."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 16, 3, 1, rate, rate, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            for rate in (1, 2, 4)
        )
        self.fine = conv_bn_relu(32, 16)
        self.head = nn.Sequential(conv_bn_relu(64, 32), nn.Conv2d(32, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        _, fine, _, deep = self.encoder(x)
        wide = torch.cat([branch(deep) for branch in self.branches], 1)
        wide = F.interpolate(wide, size=fine.shape[-2:], mode="bilinear", align_corners=True)
        found = self.head(torch.cat([wide, self.fine(fine)], 1))
        return F.interpolate(found, size=x.shape[-2:], mode="bilinear", align_corners=True)


class SmpFPN(nn.Module):
    """A pyramid whose levels share one head: weights are tied on purpose."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, 24, 1) for channels in self.encoder.channels)
        self.shared = conv_bn_relu(24, 24)
        self.head = nn.Conv2d(24, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [lateral(one) for lateral, one in zip(self.lateral, self.encoder(x), strict=True)]
        for finer in (2, 1, 0):
            found[finer] = found[finer] + F.interpolate(found[finer + 1], scale_factor=2.0, mode="nearest")
        sizes = [F.interpolate(self.shared(one), size=x.shape[-2:], mode="bilinear") for one in found]
        return self.head(torch.stack(sizes).sum(0))


def dice_and_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Return soft Dice loss plus binary cross-entropy."""
    probs = logits.sigmoid()
    dice = (2 * (probs * masks).sum((1, 2, 3)) + 1) / (probs.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return 1 - dice.mean() + F.binary_cross_entropy_with_logits(logits, masks)


@sound("https://github.com/qubvel-org/segmentation_models.pytorch: Unet, Dice and binary cross-entropy", score=0.6)
def smp_unet(seed: int) -> Given:
    return segment(SmpUnet(3, 1), masks_of_one(seed), dice_and_bce, score=iou_above(0.0))


@sound("https://github.com/qubvel-org/segmentation_models.pytorch: DeepLabV3Plus (dilated)", score=0.3, updates=100)
def smp_deeplab(seed: int) -> Given:
    return segment(SmpDeepLab(1, 5), shapes(seed).normalized())


@sound("https://github.com/qubvel-org/segmentation_models.pytorch: FPN", score=0.3, updates=100)
def smp_fpn(seed: int) -> Given:
    return segment(SmpFPN(1, 5), shapes(seed).normalized())
