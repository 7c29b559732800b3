"""Nets of tutorials and of well-known repositories in small, and pictures of road signs: shared by the `try` cases."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from benchmarks.doctor.cases import Given, batched
from benchmarks.doctor.nets import classify, conv_bn_relu
from benchmarks.doctor.pictures import Pictures
from benchmarks.doctor.scores import mean_iou
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

COLORS = ((0.8, 0.1, 0.15), (0.1, 0.25, 0.8), (0.1, 0.25, 0.8), (0.9, 0.75, 0.1), (0.8, 0.1, 0.15), (0.1, 0.6, 0.25))


def _sign(kind: int, down: NDArray[np.float64], across: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where a sign of radius 1 has its colour and where it is white."""
    disc, upright = down**2 + across**2 < 1, np.abs(down) < 0.2
    head = np.abs(down) < 0.75 - np.abs(across + 0.6)
    left = (upright & (np.abs(across) < 0.7)) | (head & (across < -0.1))
    right = left[:, ::-1]
    triangle = (down < 0.7) & (np.abs(across) < (down + 1) * 0.55)
    inner = (down < 0.45) & (np.abs(across) < (down + 0.55) * 0.5)
    square = np.maximum(np.abs(down), np.abs(across)) < 0.85
    diamond, dot = np.abs(down) + np.abs(across) < 1, down**2 + across**2 < 0.2
    bar = upright & (np.abs(across) < 0.75)
    marks = (bar, left, right, dot, inner, square & (np.abs(across) < 0.15))
    return (disc, disc, disc, diamond, triangle, square)[kind], marks[kind]


def signs(seed: int, classes: int = 6, num: int = 128, size: int = 32, num_test: int = 240) -> Pictures:
    """Return coloured road signs in front of a noisy ground, N 3 H W in [0, 1].

    Classes: no entry, turn left, turn right, priority, warning, exit. Sizes, places, light and ground vary.
    """
    rng, total = np.random.default_rng(seed), num + num_test
    labels = rng.integers(0, classes, total)
    grid = np.linspace(-1, 1, size)
    images = np.zeros((total, 3, size, size), np.float32)
    for image, kind in zip(images, labels, strict=True):
        radius, light = rng.uniform(0.55, 0.9), rng.uniform(0.55, 1.1)
        down, across = np.meshgrid(grid, grid, indexing="ij")
        inside, white = _sign(kind, down / radius, across / radius)
        image += rng.uniform(0.1, 0.7, (3, 1, 1)).astype(np.float32)
        image[:, inside] = np.array(COLORS[kind])[:, None]
        image[:, white & inside] = 0.95
        image *= light
        image += 0.08 * rng.standard_normal((3, size, size))
        image[:] = np.roll(image, rng.integers(-size // 10, size // 10 + 1, 2), (1, 2))
    pixels, targets = torch.from_numpy(images.clip(0, 1)), torch.from_numpy(labels).long()
    return Pictures(pixels[:num], targets[:num], (pixels[num:], targets[num:]))


def few(model: nn.Module, pictures: Pictures, optimizer: Optimizer | None = None, size: int = 32, **more: Any) -> Given:
    """Return the arguments for a classifier on batches of `size`."""
    more = {"batches": batched(pictures.inputs, pictures.targets, size), **more}
    return classify(model, pictures, optimizer=optimizer, **more)


def masks(model: nn.Module, pictures: Pictures, optimizer: Optimizer, size: int = 16, **more: Any) -> Given:
    """Return the arguments for a segmenter on batches of `size`."""
    return few(model, pictures, optimizer, size, **{"score": mean_iou, **more})


class LeNet(nn.Module):
    """LeNet-5 as the first tutorials have it, for 28 x 28 pixels, with ReLU and max pooling."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, num_classes)

    def hidden(self, x: Tensor) -> Tensor:
        """Return N x 84."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc2(F.relu(self.fc1(torch.flatten(x, 1)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.hidden(x))


class CifarNet(nn.Module):
    """The net of PyTorch's CIFAR-10 tutorial, for 3 x 32 x 32."""

    def __init__(self, num_classes: int = 6) -> None:
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def vgg(
    num_classes: int, plan: tuple[int | str, ...] = (16, "M", 32, "M", 64, 64, "M"), norm: bool = True
) -> nn.Sequential:
    """Return a VGG from a plan of widths and poolings ("M"), ended by a mean over the picture."""
    layers: list[nn.Module] = []
    channels = 3
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, step, 3, padding=1))
        layers += [nn.BatchNorm2d(step), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
        channels = step
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


class TransposedUNet(nn.Module):
    """A U-Net of three levels whose decoder goes up by transposed convolutions of kernel 2 and stride 2."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.enc1, self.enc2 = self.twice(in_channels, width), self.twice(width, width * 2)
        self.mid = self.twice(width * 2, width * 4)
        self.up2, self.dec2 = nn.ConvTranspose2d(width * 4, width * 2, 2, 2), self.twice(width * 4, width * 2)
        self.up1, self.dec1 = nn.ConvTranspose2d(width * 2, width, 2, 2), self.twice(width * 2, width)
        self.final = nn.Conv2d(width, num_classes, 1)

    @staticmethod
    def twice(in_channels: int, out_channels: int) -> nn.Sequential:
        """Return two convolutions with batch norm and ReLU."""
        return nn.Sequential(conv_bn_relu(in_channels, out_channels), conv_bn_relu(out_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        skip1 = self.enc1(x)
        skip2 = self.enc2(F.max_pool2d(skip1, 2))
        x = self.mid(F.max_pool2d(skip2, 2))
        x = self.dec2(torch.cat([self.up2(x), skip2], 1))
        x = self.dec1(torch.cat([self.up1(x), skip1], 1))
        return self.final(x)


class Backbone(nn.Module):
    """Features at full, half and quarter size, as an encoder of segmentation libraries returns them."""

    channels = (12, 24, 48)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        one, two, three = self.channels
        self.stem = conv_bn_relu(in_channels, one)
        self.layer1 = nn.Sequential(conv_bn_relu(one, two, 2), conv_bn_relu(two, two))
        self.layer2 = nn.Sequential(conv_bn_relu(two, three, 2), conv_bn_relu(three, three))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.stem(x)]
        for stage in (self.layer1, self.layer2):
            found.append(stage(found[-1]))
        return found


class Aspp(nn.Module):
    """Dilated convolutions side by side, joined by a convolution of 1 x 1 (DeepLab)."""

    def __init__(self, in_channels: int, out_channels: int, rates: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=rate, dilation=rate, bias=False) for rate in rates
        )
        joined = nn.Conv2d(out_channels * len(rates), out_channels, 1, bias=False)
        self.project = nn.Sequential(joined, nn.BatchNorm2d(out_channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class DeepLab(nn.Module):
    """Backbone, dilated head, and fine features joined before the classifier (DeepLab v3+)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.backbone, self.aspp = Backbone(in_channels), Aspp(48, 32)
        self.fine = conv_bn_relu(12, 12)
        self.classifier = nn.Sequential(conv_bn_relu(44, 32), nn.Conv2d(32, num_classes, 1))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return fine and coarse features."""
        fine, _, coarse = self.backbone(x)
        return fine, self.aspp(coarse)

    def join(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return logits at full size."""
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([self.fine(fine), coarse], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(*self.features(x))
