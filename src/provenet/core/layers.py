"""What blocks and nets are wired from: makers of the small layers, filled from the slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Layers:
    """Makers of the layers that a block needs. Blocks see makers, never techniques.

    Args:
        norm: num_channels -> normalisation layer (`nn.Identity` for none).
        activation: () -> activation layer.
        dropout: () -> dropout layer inside the body (`nn.Identity` for none).
        conv_bias: whether convolutions in front of a norm have a bias (true when the norm is none).
    """

    norm: Callable[[int], nn.Module]
    activation: Callable[[], nn.Module]
    dropout: Callable[[], nn.Module]
    conv_bias: bool = False

    def conv(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
        """Return a convolution that keeps the size at stride 1 (odd kernels)."""
        padding = kernel_size // 2
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=self.conv_bias)
