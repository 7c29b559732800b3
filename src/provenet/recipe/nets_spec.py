"""Slot `net`: the choice of a network, as a recipe names it. The networks themselves are in `provenet.nets`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, Field

from provenet.core.spec import Source, Technique

Task = Literal["classification", "segmentation"]
_RESIDUAL = Source(
    "He, Zhang, Ren and Sun",
    2015,
    "Deep Residual Learning for Image Recognition",
    "https://arxiv.org/abs/1512.03385",
    "sections 3.3 and 4.2",
)


def _known_depth(depth: int) -> int:
    if depth in (18, 34) or depth % 6 == 2:
        return depth
    lower = (depth - 2) // 6 * 6 + 2
    raise ValueError(f"no such depth; the nearest are {max(lower, 8)} and {lower + 6}")


def _known_encoder(encoder: str | None) -> str | None:
    if encoder is None or encoder.removeprefix("timm:") not in ("", encoder):
        return encoder
    raise ValueError("an encoder is none (the net's own) or timm:NAME, as in timm:resnet18")


Depth = Annotated[int, Ge(8), Le(1202), AfterValidator(_known_depth)]
Stem = Literal["auto", "small", "large"]
Encoder = Annotated[str | None, AfterValidator(_known_encoder)]
Levels = Annotated[int, Ge(1), Le(7)]
Width = Annotated[int, Ge(1), Le(1024)]


_LAYERS = ("init", "norm", "activation", "dropout")


class NetSpec(Technique):
    """Base of all choices of a network."""

    task: ClassVar[Task]
    slots: ClassVar[tuple[str, ...]] = (*_LAYERS, "block")

    def used(self) -> tuple[str, ...]:
        """Return the slots that the network is filled from."""
        return self.slots


class ResNet(NetSpec):
    """A residual network for classification.

    Definition  A stem, stages of blocks with halved size and raised width, global average pooling, one linear layer.
        Depths 18, 34 and 50 (with bottlenecks) have four stages of 64 to 512 channels, depths 6 n + 2 three
        stages of 16 to 64 channels.
    Default and why  depth = 18, the smallest that serves photographs of every size.
    Cost  18 layers: 11.2 million parameters; an image of 32 x 32 pixels takes 0.04 G multiply-adds with the large stem,
        0.56 G with the small.
    Fails when  There are few images and no pretrained weights: choose fewer layers or transfer.
    """

    source: ClassVar[Source] = _RESIDUAL
    task: ClassVar[Task] = "classification"
    name: Literal["resnet"] = "resnet"
    depth: Depth = 18
    """Number of weight layers: 18, 34, 50, or 6 n + 2 (20, 32, 44, 56, 110 ...)."""
    stem: Stem = "auto"
    """First layers: small (3 x 3), large (7 x 7, stride 2, max-pooling), or auto: small for views up to 64 pixels, else
    large at depths 18, 34 and 50."""


class Plain(NetSpec):
    """The residual network without its shortcuts.

    Definition  As resnet, every block without the addition.
    Default and why  depth = 20, the published comparison of depths 20, 32, 44 and 56.
    Cost  As resnet.
    Fails when  It is deep: beyond some 20 layers even the training error rises.
    """

    source: ClassVar[Source] = _RESIDUAL
    task: ClassVar[Task] = "classification"
    name: Literal["plain"] = "plain"
    depth: Depth = 20
    """Number of weight layers: 18, 34, or 6 n + 2 (20, 32, 44, 56, 110 ...) but 50."""
    stem: Stem = "auto"
    """First layers: small (3 x 3), large (7 x 7, stride 2, max-pooling), or auto: small for views up to 64 pixels, else
    large at depths 18, 34 and 50."""


class ConvNet(NetSpec):
    """A wide, shallow network for small images.

    Definition  A frozen 2 x 2 convolution that whitens patches, groups of convolution, max-pooling and further 3 x 3
        convolutions, max-pooling, one linear layer with logits scaled by 1 / 9.
    Default and why  widths = 64, 256, 256 and two convolutions a group, as published for 94 % on CIFAR-10.
    Cost  About 2 million parameters; pools before its wide layers, so it trains several times faster than a ResNet-18.
    Fails when  Images are large or objects need a wide context: it pools four times only.
    """

    source: ClassVar[Source] = Source(
        "Jordan",
        2024,
        "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
        "https://arxiv.org/abs/2404.00498",
        "section 3",
    )
    task: ClassVar[Task] = "classification"
    slots: ClassVar[tuple[str, ...]] = _LAYERS
    name: Literal["convnet"] = "convnet"
    widths: Annotated[tuple[Width, ...], MinLen(1), MaxLen(6)] = (64, 256, 256)
    """Channels of each group, input first, 1 to 1024."""
    convs_per_group: Annotated[int, Ge(1), Le(4)] = 2
    """Convolutions in a group, 1 to 4; 3 have a shortcut."""


class FCN(NetSpec):
    """The naive segmenter: an encoder, one score a class, one upsampling.

    Definition  Encoder features at 1 / 2^levels of the size, a 1 x 1 convolution, one bilinear upsampling.
    Default and why  levels = 4 and width = 32, so that it has the encoder of the default unet.
    Cost  About half of the unet's.
    Fails when  Boundaries matter: what the encoder pooled away does not come back.
    """

    source: ClassVar[Source] = Source(
        "Long, Shelhamer and Darrell",
        2015,
        "Fully Convolutional Networks for Semantic Segmentation",
        "https://arxiv.org/abs/1411.4038",
        "section 4",
    )
    task: ClassVar[Task] = "segmentation"
    name: Literal["fcn"] = "fcn"
    encoder: Encoder = None
    """none for the net's own encoder, or timm:NAME for one of timm's networks."""
    levels: Levels = 4
    """Own encoder: how often the size is halved, 1 to 7."""
    width: Width = 32
    """Own encoder: channels at full size, 1 to 1024; doubled at every level, up to 512."""

    def used(self) -> tuple[str, ...]:
        return self.slots if self.encoder is None else ("init", "dropout")


class UNet(NetSpec):
    """Encoder, bottleneck and a mirrored decoder with skips.

    Definition  The size halves and the channels double `levels` times; the decoder upsamples as often, and at each size
        joins the encoder's features to its own (slots skip and upsample); a 1 x 1 convolution gives K scores.
    Default and why  levels = 4, as published; width = 32 (half the published 64) trains on a CPU.
    Cost  At 256 x 256 and width 32 some 12 G multiply-adds an image.
    Fails when  Images are so small that the bottleneck has no pixels: take fewer levels.
    """

    source: ClassVar[Source] = Source(
        "Ronneberger, Fischer and Brox",
        2015,
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        "https://arxiv.org/abs/1505.04597",
        "section 2",
    )
    task: ClassVar[Task] = "segmentation"
    slots: ClassVar[tuple[str, ...]] = (*_LAYERS, "block", "skip", "upsample")
    name: Literal["unet"] = "unet"
    encoder: Encoder = None
    """none for the net's own encoder, or timm:NAME for one of timm's networks."""
    levels: Levels = 4
    """Own encoder: how often the size is halved, 1 to 7."""
    width: Width = 32
    """Own encoder: channels at full size, 1 to 1024; doubled at every level, up to 512."""


class Timm(NetSpec):
    """A network of the timm library, for classification.

    Definition  What timm.create_model makes of the name, with a head for the classes at hand.
    Default and why  No default: `net=timm:NAME`. The way to published pretrained weights.
    Cost  As the network named.
    Fails when  The hub cannot be reached for pretrained weights that are not in its cache.
    """

    source: ClassVar[Source] = Source(
        "Wightman", 2019, "PyTorch Image Models", "https://github.com/huggingface/pytorch-image-models"
    )
    task: ClassVar[Task] = "classification"
    slots: ClassVar[tuple[str, ...]] = ()
    name: Literal["timm"] = "timm"
    model: Annotated[str, MinLen(1)]
    """A name that timm.list_models() shows, such as resnet18."""


Net = Annotated[ResNet | Plain | ConvNet | FCN | UNet | Timm, Field(discriminator="name")]
"""The members of the slot."""
