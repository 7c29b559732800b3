"""Our own encoders: a stem and stages of blocks, each stage at half the size of the one before."""

# N batch, C channels, H W pixels

from __future__ import annotations

from torch import Tensor, nn

from provenet.nets.backbone import PREFIX, TimmEncoder
from provenet.nets.net import Encoder
from provenet.nets.parts import BodyParts


class StagedEncoder(nn.Module):
    """Stem, pooling where there is one, and stages; gives the features of every resolution, finest first.

    The body of a residual classifier and the contracting half of a U-Net are both of this class, under the same
    names, so that the weights of one fit the other wherever the shapes agree.

    Args:
        stem: from images to the first stage, or to `pool`.
        stages: each from the features of the one before.
        sizes: channels and reduction (pixels of the image per pixel) of every feature map: after the stem where `pool`
            is given, then after each stage.
        last: after the last stage: norm and activation behind pre-activation blocks, else the identity.
        pool: pooling between stem and stages.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: list[nn.Module],
        sizes: list[tuple[int, int]],
        last: nn.Module,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.pool = pool
        self.stages = nn.ModuleList(stages)
        self.last = last
        self.channels = [channels for channels, _ in sizes]
        self.reductions = [reduction for _, reduction in sizes]

    def sections(self) -> list[tuple[str, nn.Module]]:
        stages = [(f"stage{index + 1}", stage) for index, stage in enumerate(self.stages)]
        return [("stem", self.stem), *stages, ("last", self.last)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images N C H W, finest first."""
        features = self.stem(images)
        maps = []
        if self.pool is not None:
            maps.append(features)
            features = self.pool(features)
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        maps[-1] = self.last(features)
        return maps


def halving_encoder(in_channels: int, depth: int, width: int, max_width: int, parts: BodyParts) -> StagedEncoder:
    """Return the contracting half of a U-Net with its bottleneck: one block a level, 2 x 2 max-pooling between.

    The channels double from level to level up to `max_width`. A plain block is two convolutions, each with norm and
    activation, as in the paper.

    Args:
        in_channels: C.
        depth: number of halvings; there are depth + 1 levels, the last being the bottleneck.
        width: channels of the first level.
        max_width: most channels of any level.
        parts: what the blocks are made of.

    Source:
        Ronneberger et al. 2015 (arXiv 1505.04597), section 2.
    """
    # A pre-activation block would cut the negative half of the image off, so a convolution goes first.
    stem = parts.layers().conv(in_channels, width) if parts.block.ends_open else nn.Identity()
    channels = width if parts.block.ends_open else in_channels
    stages: list[nn.Module] = []
    sizes = []
    for level in range(depth + 1):
        block = parts.block_to(channels, min(width * 2**level, max_width), (level + 1) / (depth + 1))
        stages.append(nn.Sequential(nn.MaxPool2d(2), block) if level else nn.Sequential(block))
        channels = block.out_channels
        sizes.append((channels, 2**level))
    return StagedEncoder(stem, stages, sizes, parts.last(channels))


def find_encoder(encoder: str | Encoder, in_channels: int) -> Encoder:
    """Return the encoder that a name stands for ("timm:NAME", random weights), or the one given."""
    return TimmEncoder(encoder.removeprefix(PREFIX), in_channels) if isinstance(encoder, str) else encoder
