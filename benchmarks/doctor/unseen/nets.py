"""Small nets that many cases of the unseen part start from."""

# N batch, C channels, H W pixels

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, stride: int = 1, *, norm: bool = True) -> nn.Sequential:
    """Return a 3x3 convolution with batch norm, or without it and with He's start, and a ReLU."""
    layer = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=not norm)
    if norm:
        return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU())
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU())


def body(in_channels: int, width: int = 16, *, norm: bool = True) -> nn.Sequential:
    """Return three convolutions, two of them strided, and global average pooling: 2 * width features."""
    layers = [conv(in_channels, width, norm=norm), conv(width, 2 * width, 2, norm=norm)]
    layers += [conv(2 * width, 2 * width, 2, norm=norm), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())]
    return nn.Sequential(*layers)


def classifier(in_channels: int, num_classes: int, width: int = 16, *, norm: bool = True) -> nn.Sequential:
    """Return `body` with a linear layer behind it."""
    return nn.Sequential(body(in_channels, width, norm=norm), nn.Linear(2 * width, num_classes))


class Unet(nn.Module):
    """A U-Net of three levels.

    Args:
        out_channels: of the last 1x1 convolution.
        width: channels of the first level.
        norm: whether there is batch norm.
    """

    def __init__(self, out_channels: int = 1, width: int = 8, *, norm: bool = True) -> None:
        super().__init__()
        self.first, self.second = conv(3, width, norm=norm), conv(width, 2 * width, norm=norm)
        self.middle = conv(2 * width, 4 * width, norm=norm)
        self.up_second = conv(6 * width, 2 * width, norm=norm)
        self.up_first = conv(3 * width, width, norm=norm)
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the pictures' size, which four divides."""
        first = self.first(images)
        second = self.second(F.max_pool2d(first, 2))
        deep = self.middle(F.max_pool2d(second, 2))
        deep = self.up_second(torch.cat([F.interpolate(deep, scale_factor=2.0), second], 1))
        return self.head(self.up_first(torch.cat([F.interpolate(deep, scale_factor=2.0), first], 1)))
