"""Classifiers that look unusual and are as they should be."""

# N batch, C channels, H W pixels, K classes, D features

from __future__ import annotations

from dataclasses import replace

import timm
import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, accuracy, batched, sound
from benchmarks.doctor.libraries import precise
from benchmarks.doctor.unseen.nets import body, classifier, conv
from benchmarks.doctor.unseen.pictures import digits, normalized, recall, single, textures
from benchmarks.doctor.unseen.training_faults import Probe
from torch import Tensor, nn

TIMM = "https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/"


def _digits(seed: int, model: nn.Module) -> Given:
    """Read digits."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(normalized(images), labels), F.cross_entropy, adam, test=(normalized(test), truth))


def _textures(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Given:
    """Tell textures of 64 pixels apart."""
    (images, labels), (test, truth) = (textures(seed, 96, size=64, held_out=part) for part in (False, True))
    batches, held_out = batched(normalized(images), labels, 24), (normalized(test), truth)
    return Given(model, batches, F.cross_entropy, optimizer, test=held_out)


@sound(TIMM + "nfnet.py")
def timm_without_norm(seed: int) -> Given:
    """A normaliser-free net: standardised weights, scaled activations, gains of residual branches that start at 0."""
    model = timm.create_model("test_nfnet", num_classes=4)
    return _textures(seed, model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.02))


@sound(TIMM + "efficientnet.py")
def timm_depthwise(seed: int) -> Given:
    """Depthwise convolutions, squeeze-and-excitation, and projections with no activation behind them."""
    model = timm.create_model("test_efficientnet", num_classes=4, drop_path_rate=0.1)
    return _textures(seed, model, torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02))


@sound(TIMM + "convnext.py")
def timm_layer_scale(seed: int) -> Given:
    """Residual branches that start at a millionth of their size, and layer norm over channels."""
    model = timm.create_model("test_convnext", num_classes=4)
    return _textures(seed, model, torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05))


@sound(TIMM + "vision_transformer.py")
def timm_transformer(seed: int) -> Given:
    """A transformer of patches, warmed up, with weight decay 0.05."""
    model = timm.create_model("test_vit", img_size=64, patch_size=16, num_classes=4)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    warm = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: min(1.0, (step + 1) / 10))
    return replace(_textures(seed, model, adamw), schedule=warm)


@sound("https://github.com/lukemelas/EfficientNet-PyTorch/issues/3")
def slow_running_statistics(seed: int) -> Given:
    """Batch norm with momentum 0.01, which is 1 - 0.99 of the other convention; its mean over batches comes in time."""
    model = classifier(1, 10)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
    return replace(_digits(seed, model), score=precise(accuracy))


@sound("https://github.com/princeton-vl/SimpleView/issues/13")
def log_softmax_twice(seed: int) -> Given:
    """Log-probabilities go into cross-entropy, whose own log-softmax leaves them as they are."""
    return _digits(seed, nn.Sequential(classifier(1, 10), nn.LogSoftmax(1)))


@sound("https://github.com/jthickstun/pytorch_musicnet/issues/4", score=0.7)
def linear_from_zero(seed: int) -> Given:
    """One linear layer whose weights start at zero: nothing in it is symmetric."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 10, bias=False))
    nn.init.zeros_(model[1].weight)
    return _digits(seed, model)


class Gate(nn.Module):
    """A gated linear unit: one half of the channels lets the other half through."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(in_channels, 2 * out_channels, 3, 2, 1)
        self.norm = nn.GroupNorm(4, out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of half the size."""
        return self.norm(F.glu(self.both(images), 1))


@sound("https://github.com/JiahuiYu/generative_inpainting, gated convolutions")
def gates_for_activations(seed: int) -> Given:
    """Gated convolutions: no layer is an activation."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _digits(seed, nn.Sequential(Gate(1, 16), Gate(16, 32), Gate(32, 32), pool, nn.Linear(32, 10)))


class Recurrent(nn.Module):
    """One block that refines its features several times, on purpose with the same weights."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.stem, self.step, self.times = conv(1, 24, 2), nn.Conv2d(24, 24, 3, padding=1), times
        self.norms = nn.ModuleList(nn.BatchNorm2d(24) for _ in range(times))
        self.head = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        features = self.stem(images)
        for norm in self.norms:
            features = features + F.relu(norm(self.step(features)))
        return self.head(features.mean((2, 3)))


@sound("https://github.com/dreamquark-ai/tabnet/pull/76")
def one_step_with_own_norms(seed: int) -> Given:
    """A shared convolution, used three times with a batch norm for each use."""
    return _digits(seed, Recurrent(3))


@sound("https://github.com/kdexd/virtex/issues/16, as it was mended", score=0.6)
def linear_probe(seed: int) -> Given:
    """A pretrained body, frozen and kept in eval mode, with a head that learns."""
    model = Probe(4, alive=False)
    (images, labels), (test, truth) = textures(seed), textures(seed, held_out=True)
    sgd = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)
    return Given(model, batched(single(images), labels), F.cross_entropy, sgd, test=(single(test), truth))


class Cosine(nn.Module):
    """Scores are scaled cosines between features and a direction for each class."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body(1), scale
        self.directions = nn.Parameter(torch.randn(10, 32))

    def forward(self, images: Tensor) -> Tensor:
        """Return scores N 10 in -scale..scale."""
        return self.scale * F.linear(F.normalize(self.body(images)), F.normalize(self.directions))


@sound("https://github.com/deepinsight/insightface, normalised classifiers", allowed=["bad-initial-loss"])
def cosines_for_logits(seed: int) -> Given:
    """Features and weights are normalised, and a scale of 12 stands before the softmax."""
    return _digits(seed, Cosine(12.0))


@sound("https://github.com/simonmeister/UnFlow/issues/44, pictures in -1..1", score=0.6)
def unit_range_and_three_to_one(seed: int) -> Given:
    """Grey pictures in -1..1, three pictures of one class for each of the other, and no weights."""
    parts = [digits(seed, 240, classes=(4, 9), held_out=part) for part in (False, True)]
    (images, labels), test = parts
    kept = (labels == 0) | (torch.arange(len(labels)) % 3 == 0)
    model = classifier(1, 2)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    held_out = 2 * test[0] - 1, test[1]
    batches = batched(2 * images[kept] - 1, labels[kept], 24)
    return Given(model, batches, F.cross_entropy, adam, test=held_out, score=recall)


@sound("https://github.com/pytorch/vision/tree/main/references/classification, label smoothing and mixup")
def mixed_and_smoothed(seed: int) -> Given:
    """Pictures and their one-hot labels are mixed with one partner each, and labels are smoothed."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    partner, share = torch.randperm(len(images)), 0.5 + 0.5 * torch.rand(len(images), 1)
    one_hot = F.one_hot(labels, 10).float()
    mixed = share[..., None, None] * images + (1 - share[..., None, None]) * images[partner]
    targets = share * one_hot + (1 - share) * one_hot[partner]
    model = classifier(1, 10)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return Given(model, batched(normalized(mixed), targets), loss, adam, test=(normalized(test), truth))


@sound("common design: a net of a few hundred weights, after LeNet", score=0.6)
def tiny_net(seed: int) -> Given:
    """A net of 500 weights with tanh and average pooling."""
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 6)]
    (images, labels), (test, truth) = (digits(seed, classes=range(6), held_out=part) for part in (False, True))
    model = nn.Sequential(*layers)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    held_out = normalized(test), truth
    return Given(model, batched(normalized(images), labels, 16), F.cross_entropy, adam, test=held_out)
