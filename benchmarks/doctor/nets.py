"""Small sound nets, written the way they are usually written; the cases change a piece of them."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import Any

import torch
from benchmarks.doctor.cases import Given, LossFn, batched
from benchmarks.doctor.pictures import Pictures
from benchmarks.doctor.scores import mean_iou
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer


def conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


def mlp(in_features: int, num_classes: int, width: int = 64) -> nn.Sequential:
    """Return a perceptron with two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(in_features, width), nn.ReLU()),
        *(nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, num_classes),
    )


class ConvNet(nn.Module):
    """Three convolutions with batch norm, a mean over the picture, and a linear layer."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.conv1 = conv_bn_relu(in_channels, width)
        self.conv2 = conv_bn_relu(width, width * 2, 2)
        self.conv3 = conv_bn_relu(width * 2, width * 4, 2)
        self.fc = nn.Linear(width * 4, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return N x 4 width."""
        maps: Tensor = self.conv3(self.conv2(self.conv1(x)))
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


class PlainNet(nn.Module):
    """LeNet's way: convolutions without norm, pooling, two linear layers."""

    def __init__(self, in_channels: int, num_classes: int, size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.fc1 = nn.Linear(32 * (size // 4) ** 2, 64)
        self.fc2 = nn.Linear(64, num_classes)

    def hidden(self, x: Tensor) -> Tensor:
        """Return N x 64."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc1(torch.flatten(x, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.hidden(x))


class BasicBlock(nn.Module):
    """Two convolutions around which a shortcut leads."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of basic blocks on small pictures."""

    def __init__(self, in_channels: int, num_classes: int, blocks: int = 1, width: int = 16) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, width)
        self.layer1 = self._stage(width, width, blocks, 1)
        self.layer2 = self._stage(width, width * 2, blocks, 2)
        self.layer3 = self._stage(width * 2, width * 4, blocks, 2)
        self.fc = nn.Linear(width * 4, num_classes)

    def _stage(self, in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, out_channels, stride)
        return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class DoubleConv(nn.Sequential):
    """(convolution, batch norm, ReLU) twice."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(conv_bn_relu(in_channels, out_channels), conv_bn_relu(out_channels, out_channels))


class UNet(nn.Module):
    """Two levels down and up, skips joined by concatenation, bilinear upsampling."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 8, block: type[nn.Module] = DoubleConv) -> None:
        super().__init__()
        self.inc = block(in_channels, width)
        self.down1 = block(width, width * 2)
        self.down2 = block(width * 2, width * 4)
        self.up1 = block(width * 6, width * 2)
        self.up2 = block(width * 3, width)
        self.outc = nn.Conv2d(width, num_classes, 1)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features at full, half and quarter size."""
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        return x1, x2, self.down2(self.pool(x2))

    def decode(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        """Return logits N K H W."""
        x = self.up1(torch.cat([x2, self.up(x3)], 1))
        x = self.up2(torch.cat([x1, self.up(x)], 1))
        return self.outc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(*self.encode(x))


def adam(model: nn.Module, lr: float = 1e-3) -> Optimizer:
    """Return Adam over all parameters."""
    return Adam(model.parameters(), lr=lr)


def sgd(model: nn.Module, lr: float = 0.05, **more: Any) -> Optimizer:
    """Return SGD with momentum 0.9 over all parameters."""
    return SGD(model.parameters(), lr=lr, **{"momentum": 0.9, **more})


def classify(
    model: nn.Module, pictures: Pictures, loss_fn: LossFn | None = None, optimizer: Optimizer | None = None, **more: Any
) -> Given:
    """Return the arguments for a classifier: batches of 32, cross-entropy and Adam unless said otherwise."""
    batches = batched(pictures.inputs, pictures.targets)
    given = {"model": model, "batches": batches, "loss_fn": loss_fn or nn.CrossEntropyLoss()}
    return Given(**{**given, "optimizer": optimizer or adam(model), "test": pictures.test, **more})


def segment(
    model: nn.Module, pictures: Pictures, loss_fn: LossFn | None = None, optimizer: Optimizer | None = None, **more: Any
) -> Given:
    """Return the arguments for a segmenter: batches of 8, cross-entropy and Adam at 3e-3 unless said otherwise."""
    batches = batched(pictures.inputs, pictures.targets, 8)
    more = {"batches": batches, "score": mean_iou, **more}
    return classify(model, pictures, loss_fn, optimizer or adam(model, 3e-3), **more)
