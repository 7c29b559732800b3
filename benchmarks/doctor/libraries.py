"""Nets of torchvision and timm, from scratch, for pictures of 64 x 64 pixels: what cases of both parts share."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import copy

import torch
from benchmarks.doctor.cases import Batch, Score
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models


class ResNetUNet(nn.Module):
    """ResNet-18 as encoder, five decoder blocks and a head, as segmentation_models_pytorch puts them together.

    Args:
        num_classes: outputs a pixel.
        activation: behind the head, as that library's argument of this name.
    """

    def __init__(self, num_classes: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = models.resnet18(num_classes=1)
        del self.encoder.fc
        sizes = ((512 + 256, 256), (256 + 128, 128), (128 + 64, 64), (64 + 64, 32), (32, 16))
        self.decoder = nn.ModuleList(self._block(*size) for size in sizes)
        head = nn.Conv2d(16, num_classes, 3, padding=1)
        self.segmentation_head = nn.Sequential(head, activation or nn.Identity())

    @staticmethod
    def _block(in_channels: int, out_channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels)]
            layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return features at a half, a quarter, ... of the size."""
        body = self.encoder
        found = [body.relu(body.bn1(body.conv1(x)))]
        x = body.maxpool(found[0])
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        *skips, x = self.encode(x)
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1) if skips else x)
        return self.segmentation_head(x)


def colored(inputs: Tensor) -> Tensor:
    """Return grey pictures N 1 H W as N 3 H W."""
    return inputs.expand(-1, 3, -1, -1).contiguous()


def precise(score: Score) -> Score:
    """Return a score of the net whose batch norms have the statistics of the test inputs.

    Running statistics that move slowly are right only after thousands of updates (Wu & Johnson 2021, Rethinking
    "Batch" in BatchNorm, arXiv 2105.07576); a short training must not be judged by them.
    """

    def settled(model: nn.Module, test: Batch) -> float:
        model = copy.deepcopy(model).eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train()
                layer.reset_running_stats()
                layer.momentum = None
        with torch.no_grad():
            model(test[0][:128])
        return score(model, test)

    return settled
