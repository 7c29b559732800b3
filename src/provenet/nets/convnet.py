"""A fast net for small images: frozen whitening filters, a few wide convolutions, pooling early."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from provenet.nets.net import Net
from provenet.nets.pad import pad_to_size
from provenet.nets.parts import LayerParts, LayerSlots, check_counts
from provenet.techniques.activation import GELU

_KERNEL = 2
_MOST_IMAGES = 5000
_CHUNK = 100
_EPS = 5e-4
"""Added to the eigenvalues, as in the source; images have a variance near 1."""
_SMALLEST_POOLED = 6
"""A side shorter than this is not halved, so that at least 3 pixels are left to convolve."""


def whitening_filters(images: Tensor, eps: float = _EPS) -> Tensor:
    """Return filters that make 2 x 2 patches uncorrelated with variance 1, and their negatives.

    A filter is v / sqrt(eigenvalue + eps), v an eigenvector of the patches' second moments; largest eigenvalue first.

    Args:
        images: N C H W, normalised, sides of at least 2 pixels.
        eps: keeps directions without variance from being blown up, above 0.

    Returns:
        8 C filters, shape (8 C, C, 2, 2), float32.

    Source:
        Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (arXiv 2404.00498), section 3.2.
    """
    channels = images.shape[1]
    size = channels * _KERNEL**2
    moments = torch.zeros(size, size, dtype=torch.float64)
    num_patches = 0
    for chunk in images.split(_CHUNK):
        windows = chunk.float().unfold(2, _KERNEL, 1).unfold(3, _KERNEL, 1)
        patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, size)
        moments += (patches.T @ patches).double().cpu()
        num_patches += len(patches)
    values, vectors = torch.linalg.eigh(moments / num_patches)
    filters = (vectors / (values.clamp_min(0) + eps).sqrt()).T.flip(0).reshape(size, channels, _KERNEL, _KERNEL)
    return torch.cat([filters, -filters]).float()


class Whitening(nn.Module):
    """A convolution with frozen 2 x 2 filters and a bias that is trained; the filters are a buffer.

    Until `prepare_` has seen images, the filters are those for pixels that are white already: the pixels themselves.

    Args:
        in_channels: C; there are 8 C filters.
    """

    weight: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        pixels = torch.eye(in_channels * _KERNEL**2).reshape(-1, in_channels, _KERNEL, _KERNEL)
        self.register_buffer("weight", torch.cat([pixels, -pixels]))
        self.bias = nn.Parameter(torch.zeros(len(self.weight)))

    def prepare_(self, images: Tensor) -> None:
        """Set the filters from normalised images, N C H W; the first 5000 are used."""
        filters = whitening_filters(pad_to_size(images[:_MOST_IMAGES], _KERNEL, _KERNEL))
        self.weight.copy_(filters)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(pad_to_size(images, _KERNEL, _KERNEL), self.weight, self.bias)


class ConvGroup(nn.Module):
    """Convolutions at one size, the first followed by 2 x 2 max-pooling, each by norm and activation.

    From three convolutions on, the output of the first is added to that of the last before its activation.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        num_convs: 3 x 3 convolutions, at least 1.
        depth_frac: where the group stands, in (0, 1].
        parts: what the layers are made of.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_convs: int, depth_frac: float, parts: LayerParts
    ) -> None:
        super().__init__()
        layers = parts.layers(depth_frac)
        self.conv1 = layers.conv(in_channels, out_channels)
        self.first = parts.norm_activation(out_channels)
        rest: list[nn.Module] = []
        for _ in range(num_convs - 1):
            rest += [layers.conv(out_channels, out_channels), layers.norm(out_channels), layers.activation()]
        self.rest = nn.Sequential(*rest[:-1], layers.dropout())
        self.activation = layers.activation() if rest else nn.Identity()
        self.shortcut = num_convs >= 3

    def forward(self, features: Tensor) -> Tensor:
        features = self.first(_halved(self.conv1(features)))
        deeper = self.rest(features)
        joined: Tensor = self.activation(features + deeper if self.shortcut else deeper)
        return joined


def _halved(features: Tensor) -> Tensor:
    """Return features max-pooled 2 x 2, except along a side that is too short."""
    height, width = (2 if side >= _SMALLEST_POOLED else 1 for side in features.shape[-2:])
    return features if height == width == 1 else F.max_pool2d(features, (height, width))


class ConvNet(Net):
    """Whitening, groups of convolutions, the maximum over the image and a linear layer; see `convnet`."""

    def __init__(self, whitening: Whitening, body: nn.Sequential, num_classes: int, scale: float, parts: LayerParts):
        super().__init__()
        self.num_classes = num_classes
        self.scale = scale
        self.whitening = whitening
        self.activation = parts.activation.layer()
        self.body = body
        self.dropout = parts.head_dropout()
        self.head = nn.Linear(body[-1].conv1.out_channels, num_classes, bias=False)  # type: ignore[arg-type, union-attr]

    def sections(self) -> list[tuple[str, nn.Module]]:
        groups = [(f"group{index + 1}", group) for index, group in enumerate(self.body)]
        return [("whitening", self.whitening), *groups]

    def prepare_(self, images: Tensor) -> None:
        """Set the whitening filters from normalised training images, N C H W, float32; see `net.NeedsImages`."""
        self.whitening.prepare_(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K of normalised images N C H W."""
        features = self.body(self.activation(self.whitening(images)))
        features = F.adaptive_max_pool2d(features, 1).flatten(1)
        logits: Tensor = self.head(self.dropout(features)) * self.scale
        return logits


def convnet(
    num_classes: int,
    in_channels: int = 3,
    widths: tuple[int, ...] = (64, 256, 256),
    convs_per_group: int = 2,
    scale: float = 1 / 9,
    **slots: Unpack[LayerSlots],
) -> ConvNet:
    """Return a net that learns small images in few epochs.

    2 x 2 whitening without padding, then groups of conv - max-pool - norm - activation - conv - norm - activation, the
    maximum of each channel over the image, a linear layer without bias, the logits scaled. Each group halves the size
    as long as at least 3 pixels are left, so that digits of 8 pixels and photographs work alike.

    Args:
        num_classes: K.
        in_channels: C.
        widths: channels of each group.
        convs_per_group: 2, or 3 with a shortcut, at least 1.
        scale: factor on the logits; below 1 it makes the net start out undecided.
        slots: norm (batch), activation (GELU), dropout (none; on the pooled features, or in the groups).

    Returns:
        A net from images N C H W of any size to logits N K. Call its `prepare_` on training images before training.

    Source:
        Jordan 2024 (arXiv 2404.00498), section 3.1. Unlike there, norms keep their scale and running averages are the
        norm's own: `norm=BatchNorm(momentum=0.4)` comes near.

    Example:
        >>> net = convnet(10)
        >>> net.prepare_(torch.randn(100, 3, 32, 32))
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    check_counts(num_classes=num_classes, in_channels=in_channels, convs_per_group=convs_per_group)
    check_counts(groups=len(widths), narrowest_group=min(widths, default=1))
    slots.setdefault("activation", GELU())
    parts = LayerParts(**slots)
    whitening = Whitening(in_channels)
    channels = [len(whitening.weight), *widths]
    groups = [
        ConvGroup(channels[index], channels[index + 1], convs_per_group, (index + 1) / len(widths), parts)
        for index in range(len(widths))
    ]
    return ConvNet(whitening, nn.Sequential(*groups), num_classes, scale, parts)
