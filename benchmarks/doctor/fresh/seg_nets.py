"""Small nets for dense prediction, in the ways in which libraries and repositories build them; the cases share them."""

# N batch, C channels, H W pixels, K classes, L patches, D width of a patch

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from benchmarks.doctor.nets import BasicBlock, conv_bn_relu
from torch import Tensor, nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """A stem and residual blocks of stride 2, which return features at every scale."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, widths[0])
        self.stages = nn.ModuleList(BasicBlock(before, after, 2) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.stem(x)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found


class Decoder(nn.Module):
    """Blocks that enlarge, join with the encoder's features of that size, and convolve twice."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = list(pairwise(reversed(widths)))
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_bn_relu(below + skip, skip), conv_bn_relu(skip, skip)) for below, skip in sizes
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, x = features
        for block in self.blocks:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], 1))
        return x


class EncoderDecoder(nn.Module):
    """Encoder, decoder and head, as segmentation_models_pytorch names them.

    Args:
        in_channels: of the pictures.
        num_classes: outputs a pixel.
        activation: behind the head, as that library's argument of this name.
        widths: channels at full size, half size, and so on.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        activation: nn.Module | None = None,
        widths: Sequence[int] = (12, 24, 48),
    ) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, widths)
        self.decoder = Decoder(widths)
        head = nn.Conv2d(widths[0], num_classes, 3, padding=1)
        self.segmentation_head = nn.Sequential(head, activation or nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.segmentation_head(self.decoder(self.encoder(x)))


class FullyConv(nn.Module):
    """Convolutions without norm, scores at three scales, added after transposed convolutions, as in FCN-8s."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 16) -> None:
        super().__init__()
        sizes = ((in_channels, width), (width, width * 2), (width * 2, width * 2))
        self.stages = nn.ModuleList(self._stage(*size) for size in sizes)
        self.scores = nn.ModuleList(nn.Conv2d(after, num_classes, 1) for _, after in sizes)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1) for _ in sizes[1:])
        self.pool = nn.MaxPool2d(2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    @staticmethod
    def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        scores = []
        for number, (stage, score) in enumerate(zip(self.stages, self.scores, strict=True)):
            x = stage(self.pool(x) if number else x)
            scores.append(score(x))
        out: Tensor = scores.pop()
        for enlarge in self.enlarge:
            out = enlarge(out) + scores.pop()
        return out


class Pyramid(nn.Module):
    """Dilated convolutions and a mean over the picture side by side, as in DeepLab v3.

    Args:
        in_channels: of the pictures.
        num_classes: outputs a pixel.
        dropout: of the channels before the last layer.
        width: channels of each branch.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.1, width: int = 24) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            conv_bn_relu(in_channels, 16), conv_bn_relu(16, width, 2), conv_bn_relu(width, width)
        )
        self.branches = nn.ModuleList(self._branch(width, rate) for rate in (1, 2, 4))
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.project = nn.Sequential(conv_bn_relu(width * 4, width), nn.Dropout(dropout))
        self.classifier = nn.Conv2d(width, num_classes, 1)

    @staticmethod
    def _branch(width: int, rate: int) -> nn.Sequential:
        conv = nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        size, x = x.shape[-2:], self.backbone(x)
        whole = self.pooling(x).expand_as(x)
        x = self.project(torch.cat([*(branch(x) for branch in self.branches), whole], 1))
        return F.interpolate(self.classifier(x), size=size, mode="bilinear", align_corners=False)


class TransformerBlock(nn.Module):
    """Attention between patches and a perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, batch_first: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width * 2), nn.GELU(), nn.Linear(width * 2, width))

    def forward(self, x: Tensor) -> Tensor:
        query = self.norm1(x)
        x = x + self.attention(query, query, query, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class PatchSegmenter(nn.Module):
    """Patches of 4 x 4 pixels as words, transformer blocks, and all pixels of a patch from its word.

    Args:
        in_channels: of the pictures.
        num_classes: outputs a pixel.
        size: pixels a side.
        width: of a word.
        depth: blocks.
        batch_first: as in `nn.MultiheadAttention`; the words are N L D.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        size: int = 32,
        width: int = 64,
        depth: int = 3,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_channels, width, 4, 4)
        self.position = nn.Parameter(torch.randn(1, (size // 4) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4, batch_first) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes * 16)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.embed(x)
        words = self.norm(self.blocks(maps.flatten(2).transpose(1, 2) + self.position))
        scores = self.head(words).transpose(1, 2).unflatten(2, tuple(maps.shape[-2:]))
        return F.pixel_shuffle(scores, 4)


class PointNet(nn.Module):
    """Down by strides, up by transposed convolutions, a map for each kind of point: the simple baseline of poses."""

    def __init__(self, in_channels: int, num_points: int, width: int = 16) -> None:
        super().__init__()
        self.down = nn.Sequential(
            conv_bn_relu(in_channels, width), conv_bn_relu(width, width * 2, 2), conv_bn_relu(width * 2, width * 2, 2)
        )
        up: list[nn.Module] = []
        for before, after in ((width * 2, width * 2), (width * 2, width)):
            up += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.up = nn.Sequential(*up)
        self.final = nn.Conv2d(width, num_points, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.up(self.down(x)))


class InvertedResidual(nn.Module):
    """Wider, filtered channel by channel, and narrower again without an activation, as in MobileNet v2."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, expand: int = 3) -> None:
        super().__init__()
        hidden = in_channels * expand
        self.conv = nn.Sequential(
            *(nn.Conv2d(in_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()),
            *(nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()),
            *(nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)),
        )
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)
