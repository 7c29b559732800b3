"""Faults around nets of torchvision and timm of millions of weights, from scratch, at 64 x 64 pixels."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from functools import partial

import timm
import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, LossFn, batched, fault
from benchmarks.doctor.libraries import ResNetUNet, colored
from benchmarks.doctor.unseen.nets import conv
from benchmarks.doctor.unseen.pictures import digits, foreground, mean_overlap, normalized, overlap, scenes, textures
from torch import Tensor, nn
from torchvision import models


def read_digits(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer, batch_size: int = 16) -> Given:
    """Read digits of 64 pixels in three channels."""
    (images, labels), (test, truth) = (digits(seed, 256, size=64, held_out=part) for part in (False, True))
    batches = batched(colored(normalized(images)), labels, batch_size)
    return Given(model, batches, F.cross_entropy, optimizer, test=(colored(normalized(test)), truth))


def tell_textures(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Given:
    """Tell textures of 64 pixels apart."""
    (images, labels), (test, truth) = (textures(seed, size=64, held_out=part) for part in (False, True))
    batches, held_out = batched(normalized(images), labels, 24), (normalized(test), truth)
    return Given(model, batches, F.cross_entropy, optimizer, test=held_out)


def find_discs(seed: int, model: nn.Module, loss: LossFn, lr: float = 1e-3, threshold: float = 0.0) -> Given:
    """Find discs in pictures of 64 pixels with one output channel."""
    (images, masks), (test, truth) = (scenes(seed, size=64, held_out=part) for part in (False, True))
    adam = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=lr)
    batches, held_out = batched(normalized(images), foreground(masks), 8), (normalized(test), foreground(truth))
    return Given(model, batches, loss, adam, test=held_out, score=partial(overlap, threshold=threshold))


@fault(
    "https://github.com/qubvel-org/segmentation_models.pytorch/issues/280",
    "frozen-layers",
    allowed=("bn-not-frozen",),
    updates=48,
)
def encoder_without_weights_frozen(seed: int, broken: bool) -> Given:
    """`encoder_weights=None` and the usual lines that freeze the encoder: a U-Net on random features."""
    model = ResNetUNet(1)
    model.encoder.requires_grad_(not broken)
    return find_discs(seed, model, nn.BCEWithLogitsLoss())


@fault(
    "https://github.com/open-mmlab/mmdetection/issues/3667",
    ("frozen-layers", "detached-graph"),
    allowed=("frozen-layers", "detached-graph", "bn-not-frozen"),
    harm="raises",
    updates=32,
)
def frozen_with_its_head(seed: int, broken: bool) -> Given:
    """All parameters are frozen after the new head has come: the loss has no gradient, backward raises."""
    model = models.resnet18(num_classes=10)
    model.requires_grad_(not broken)
    return read_digits(seed, model, torch.optim.Adam(model.parameters(), lr=1e-3))


@fault("https://github.com/pytorch/vision/issues/8250", "bn-bad-momentum", harm="static")
def momentum_of_another_framework(seed: int, broken: bool) -> Given:
    """torchvision took over the original's momentum of 0.99; digits are so alike that one batch's statistics do."""
    model = models.resnet18(num_classes=10, norm_layer=partial(nn.BatchNorm2d, momentum=0.99 if broken else 0.1))
    return read_digits(seed, model, torch.optim.Adam(model.parameters(), lr=1e-3), 8)


class TwoViews(nn.Module):
    """A net for the picture and one for its edges, kept in a dict of Python or of torch, and a head for both."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        views = {name: timm.create_model("resnet10t", num_classes=0) for name in ("picture", "edges")}
        self.views = views if plain else nn.ModuleDict(views)
        self.head = nn.Linear(2 * 512, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        edges = images - F.avg_pool2d(images, 3, 1, 1)
        return self.head(torch.cat([self.views["picture"](images), self.views["edges"](edges)], 1))


@fault(
    "https://github.com/pytorch/pytorch/issues/10817",
    "unregistered-params",
    allowed=("optimizer-missing-params",),
    updates=96,
)
def branches_in_a_dict(seed: int, broken: bool) -> Given:
    """Two backbones lie in a plain dict: the optimizer gets the head only."""
    model = TwoViews(plain=broken)
    return read_digits(seed, model, torch.optim.Adam(model.parameters(), lr=1e-3))


def _dice(probs: Tensor, masks: Tensor) -> Tensor:
    both, axes = (probs * masks).sum((1, 2, 3)), (1, 2, 3)
    return 1 - (2 * both / (probs.sum(axes) + masks.sum(axes)).clamp(min=1e-7)).mean()


@fault("https://github.com/ScrollPrize/villa/pull/1644", "dice-on-logits", allowed=("loss-sign",), updates=32)
def dice_without_its_sigmoid(seed: int, broken: bool) -> Given:
    """The Dice loss is built without the function that makes probabilities, and the net returns logits."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return _dice(logits if broken else logits.sigmoid(), masks)

    return find_discs(seed, ResNetUNet(1), loss)


@fault("https://github.com/qubvel-org/segmentation_models.pytorch/issues/1263", "softmax-before-ce", updates=32)
def focal_loss_of_probabilities(seed: int, broken: bool) -> Given:
    """`activation="softmax"` in the net; the focal loss has no `from_logits` and takes the log-softmax once more."""
    (images, masks), (test, truth) = (scenes(seed, kinds=2, size=64, held_out=part) for part in (False, True))

    def loss(outputs: Tensor, masks: Tensor) -> Tensor:
        each = F.cross_entropy(outputs, masks, reduction="none")
        return ((1 - (-each).exp()) ** 2 * each).mean()

    model = ResNetUNet(3, nn.Softmax(dim=1) if broken else None)
    sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    batches = batched(normalized(images), masks, 8)
    return Given(model, batches, loss, sgd, test=(normalized(test), truth), score=mean_overlap)


class Pyramid(nn.Module):
    """Pooled views of deep features at several scales, as in PSPNet, the coarsest of one pixel, with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 32, 2), conv(32, 64, 2), conv(64, 128))
        self.views = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(size), conv(128, 32)) for size in (1, 2, 4))
        self.head = nn.Conv2d(128 + 3 * 32, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the pictures' size."""
        deep = self.encoder(images)
        views = [F.interpolate(view(deep), deep.shape[2:], mode="bilinear") for view in self.views]
        return F.interpolate(self.head(torch.cat([deep, *views], 1)), images.shape[2:], mode="bilinear")


@fault("https://github.com/yassouali/pytorch-segmentation/issues/8", "bn-small-batch", updates=24)
def one_picture_is_left(seed: int, broken: bool) -> Given:
    """Forty-nine pictures in batches of eight: the last batch of an epoch has one, and PSPNet's pooling raises."""
    given = find_discs(seed, Pyramid(), nn.BCEWithLogitsLoss(), 3e-3)
    if broken:
        images, masks = given.batches[0]
        given.batches.append((images[:1], masks[:1]))
    return given


@fault("https://github.com/lucidrains/vit-pytorch/issues/16", "dropout-too-high", updates=64)
def transformer_that_drops_nearly_all(seed: int, broken: bool) -> Given:
    """Dropout of embeddings, attention and perceptrons far too high: the loss of a ViT does not fall."""
    drop = 0.8 if broken else 0.1
    rates = {"pos_drop_rate": drop, "proj_drop_rate": drop, "attn_drop_rate": drop, "drop_rate": drop}
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=6, num_classes=4, **rates)
    return tell_textures(seed, model, torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05))


@fault(
    "https://github.com/avalonstrel/GatedConvolution_pytorch/issues/27",
    "input-nonfinite",
    allowed=("loss-not-finite",),
    updates=24,
)
def range_of_blank_pictures(seed: int, broken: bool) -> Given:
    """Pictures are scaled by (x - min) / (max - min); some are blank, and a net of eleven million returns NaN."""

    def scaled(images: Tensor) -> Tensor:
        low, high = (end((1, 2, 3), keepdim=True) for end in (images.amin, images.amax))
        return 2 * (images - low) / (high - low + (0.0 if broken else 1e-6)) - 1

    (images, labels), (test, truth) = (digits(seed, 256, size=64, held_out=part) for part in (False, True))
    images[7::40] = 0
    model = models.resnet18(num_classes=10)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches, held_out = batched(colored(scaled(images)), labels, 16), (colored(scaled(test)), truth)
    return Given(model, batches, F.cross_entropy, adam, test=held_out)
