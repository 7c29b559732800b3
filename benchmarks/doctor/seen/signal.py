"""Faults in the strength of the signal: initial weights, saturation, dead units, normalisation, dropout."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.nets import (
    BasicBlock,
    ConvNet,
    PlainNet,
    classify,
    conv_bn_relu,
    mlp,
    sgd,
)
from benchmarks.doctor.pictures import digits, photos
from torch import Tensor, nn
from torch.nn import functional as F


def he_(model: nn.Module) -> None:
    """Fill convolutions and linear layers as He et al. do, biases with 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@fault("https://github.com/wagonhelm/NaNmnist/issues/2 (weights of 0)", "symmetric-init")
def weights_of_zero(seed: int, faulty: bool) -> Given:
    model = mlp(256, 10)
    if faulty:
        for weight in model.parameters():
            nn.init.zeros_(weight)
    return classify(model, digits(seed), optimizer=sgd(model, 0.1))


@fault(
    "https://github.com/nndl/nndl-discussion/issues/14 (one constant for all weights: one hidden unit)",
    "symmetric-init",
    allowed={"init-too-large"},
)
def weights_of_one_constant(seed: int, faulty: bool) -> Given:
    model = ConvNet(1, 10)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and faulty:
            nn.init.constant_(layer.weight, 0.05)
    return classify(model, digits(seed), optimizer=sgd(model))


class OwnLinear(nn.Module):
    """A linear layer of one's own with weights from N(0, scale)."""

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features) * scale)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


@fault(
    "common pattern: nn.Parameter(torch.randn(n, m)) in a layer of one's own",
    "init-too-large",
    allowed={"lr-too-high", "dead-relu"},
)
def layers_from_standard_normal(seed: int, faulty: bool) -> Given:
    sizes = ((256, 128), (128, 128), (128, 128), (128, 10))
    pairs = [(OwnLinear(*size, 1.0 if faulty else (2 / size[0]) ** 0.5), nn.ReLU()) for size in sizes]
    model = nn.Sequential(nn.Flatten(), *[layer for pair in pairs for layer in pair][:-1])
    return classify(model, digits(seed), optimizer=sgd(model, 0.01))


@fault(
    "common pattern: nn.init.normal_(weight) for all convolutions",
    "init-too-large",
    allowed={"lr-too-high", "dead-relu", "missing-normalization"},
)
def convolutions_from_standard_normal(seed: int, faulty: bool) -> Given:
    model = PlainNet(3, 4, 32)
    he_(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and faulty:
            nn.init.normal_(layer.weight)
    return classify(model, photos(seed).normalized(), optimizer=sgd(model, 0.01))


class VGG(nn.Module):
    """Ten convolutions in a row, without norm."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU()]
        for index in range(9):
            layers += [
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                *([nn.MaxPool2d(2)] if index in (2, 5) else []),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@fault(
    "https://forums.fast.ai/t/broken-default-cnn-behaviour/48936 (VGG16 without norm, the framework's default weights)",
    "init-too-small",
    allowed={"missing-normalization", "deep-plain-net"},
    updates=150,
)
def vgg_with_default_weights(seed: int, faulty: bool) -> Given:
    model = VGG(1, 10)
    if not faulty:
        he_(model)
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))


@fault(
    "common pattern: weight.data.normal_(0.0, 0.01), as in AlexNet's time, in a deep net",
    "init-too-small",
    allowed={"missing-normalization", "deep-plain-net"},
    updates=100,
)
def small_normal_in_a_deep_mlp(seed: int, faulty: bool) -> Given:
    pairs = [(nn.Linear(96, 96), nn.ReLU()) for _ in range(7)]
    layers = [layer for pair in pairs for layer in pair]
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 96), nn.ReLU(), *layers, nn.Linear(96, 10))
    he_(model)
    for layer in model:
        if isinstance(layer, nn.Linear) and faulty:
            nn.init.normal_(layer.weight, 0.0, 0.01)
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))


def _deep(activation: type[nn.Module], depth: int) -> nn.Sequential:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(64, 64), activation())]
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 64), activation(), *layers, nn.Linear(64, 10))


@fault(
    "common pattern: sigmoid in every hidden layer, as in old tutorials",
    "saturating-activations",
    allowed={"init-too-small", "deep-plain-net", "missing-normalization"},
    updates=100,
)
def sigmoids_in_a_deep_mlp(seed: int, faulty: bool) -> Given:
    model = _deep(nn.Sigmoid if faulty else nn.ReLU, 5)
    if not faulty:
        he_(model)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@fault(
    "common pattern: tanh units with weights from N(0, 1)",
    {"saturating-activations", "init-too-large"},
    allowed={"saturating-activations", "init-too-large"},
    updates=80,
)
def tanh_in_its_flat_range(seed: int, faulty: bool) -> Given:
    model = _deep(nn.Tanh, 3)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight) if faulty else nn.init.xavier_normal_(layer.weight)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@fault(
    "https://github.com/yhenon/pytorch-retinanet/issues/41 (the prior of the last bias), here in every layer",
    "dead-relu",
    allowed={"init-too-small"},
    updates=80,
)
def prior_bias_in_every_layer(seed: int, faulty: bool) -> Given:
    model = PlainNet(1, 10, 16)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer is not model.fc2 and layer.bias is not None:
            nn.init.constant_(layer.bias, -4.6 if faulty else 0.0)
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))


def _thrown_away(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train for a few updates at a rate that is far too high."""
    optimizer = sgd(model, 3.0)
    for step in range(4):
        part = slice(step * 32, step * 32 + 32)
        optimizer.zero_grad()
        F.cross_entropy(model(images[part]), labels[part]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


@fault(
    "common pattern: training is taken up again from weights that a far too high rate had thrown away",
    "dead-relu",
    allowed={"init-too-large", "lr-too-high", "symmetric-init"},
    updates=80,
)
def weights_of_a_diverged_run(seed: int, faulty: bool) -> Given:
    model, pictures = PlainNet(1, 10, 16), digits(seed)
    if faulty:
        _thrown_away(model, pictures.inputs, pictures.targets)
    return classify(model, pictures, optimizer=sgd(model, 0.02))


class NoNormBlock(BasicBlock):
    """A basic block whose batch norms were taken out."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.bn1, self.bn2 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        if isinstance(self.shortcut, nn.Sequential):
            self.shortcut = self.shortcut[0]


@fault(
    "common pattern: batch norm taken out of a residual net, for small batches, and nothing put in its place",
    {"missing-normalization", "init-too-large"},
    allowed={"missing-normalization", "init-too-large", "lr-too-high"},
)
def residual_net_without_norm(seed: int, faulty: bool) -> Given:
    block = NoNormBlock if faulty else BasicBlock
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU()) if faulty else conv_bn_relu(1, 16, 2)
    body = [*(block(16, 16) for _ in range(8)), block(16, 32, 2), *(block(32, 32) for _ in range(7))]
    model = nn.Sequential(stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))
