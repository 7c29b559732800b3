"""Faults in how layers are put together."""

# N batch, C channels, H W pixels, K classes, L tokens

from __future__ import annotations

from itertools import pairwise

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.nets import (
    BasicBlock,
    ConvNet,
    DoubleConv,
    UNet,
    adam,
    classify,
    conv_bn_relu,
    segment,
    sgd,
)
from benchmarks.doctor.pictures import digits, photos, shapes
from torch import Tensor, nn
from torch.nn import functional as F


@fault("common pattern: nn.Linear after nn.Linear in a Sequential", "missing-nonlinearity", updates=150)
def linear_layers_only(seed: int, faulty: bool) -> Given:
    def activation() -> list[nn.Module]:
        return [] if faulty else [nn.ReLU()]

    sizes = ((768, 128), (128, 128), (128, 128))
    layers = [layer for size in sizes for layer in (nn.Linear(*size), *activation())]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(128, 4))
    return classify(model, photos(seed, size=16).normalized(), optimizer=sgd(model, 0.02))


class Unassigned(nn.Module):
    """Five convolutions; in the faulty one the result of F.relu is thrown away."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty = faulty
        channels = (3, 16, 16, 32, 32, 32)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.fc = nn.Linear(32, 4)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if self.faulty:
                F.relu(x)
            else:
                x = F.relu(x)
            if index in (1, 3):
                x = F.avg_pool2d(x, 2)
        return self.fc(x.mean((2, 3)))


@fault(
    "https://github.com/Cadene/pretrained-models.pytorch/issues/90 (results of ReLU are never used again)",
    "missing-nonlinearity",
    updates=120,
)
def relu_without_assignment(seed: int, faulty: bool) -> Given:
    model = Unassigned(faulty)
    return classify(model, photos(seed).normalized(), optimizer=adam(model, 2e-3))


class LinearPair(nn.Sequential):
    """Two convolutions with batch norm and nothing else."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        pairs = pairwise((in_channels, out_channels, out_channels))
        convs = [(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)) for a, b in pairs]
        super().__init__(*(layer for pair in convs for layer in pair))


@fault(
    "https://github.com/divamgupta/image-segmentation-keras/issues/136 (Conv2D of a U-Net without activation)",
    "missing-nonlinearity",
    updates=160,
)
def unet_without_relu(seed: int, faulty: bool) -> Given:
    return segment(UNet(1, 5, block=LinearPair if faulty else DoubleConv), shapes(seed).normalized())


@fault(
    "https://github.com/weiaicunzai/pytorch-cifar100/issues/29 (ImageNet's stem and max-pooling on 32 x 32)",
    "spatial-collapse",
    harm="static",
)
def imagenet_stem_on_small_pictures(seed: int, faulty: bool) -> Given:
    """There it costs fifteen points of CIFAR-100 after 200 epochs; four classes and a short training show nothing."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    small = conv_bn_relu(3, 16)
    stages = [BasicBlock(16, 32, 2), BasicBlock(32, 32, 2), BasicBlock(32, 64, 2), BasicBlock(64, 64)]
    if not faulty:
        stages = [BasicBlock(16, 32, 2), BasicBlock(32, 32), BasicBlock(32, 64, 2), BasicBlock(64, 64)]
    model = nn.Sequential(stem if faulty else small, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4))
    return classify(model, photos(seed).normalized(), optimizer=sgd(model, 0.02))


@fault("common pattern: a fifth max-pooling copied from VGG for pictures of 16 pixels", "spatial-collapse")
def vgg_pools_to_one_pixel(seed: int, faulty: bool) -> Given:
    pools = {0, 1, 2, 3} if faulty else {1, 3}
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(((1, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32))):
        layers += [conv_bn_relu(before, after), *([nn.MaxPool2d(2)] if index in pools else [])]
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))


@fault(
    "common pattern: the head of a net for ImageNet is kept, 1000 outputs for ten classes",
    "head-size-mismatch",
)
def thousand_outputs_for_ten_classes(seed: int, faulty: bool) -> Given:
    """The outputs that no label has must be pushed down first; they cost memory and time."""
    return classify(ConvNet(1, 1000 if faulty else 10), digits(seed))


@fault(
    "common pattern: num_classes without the ground",
    {"head-size-mismatch", "label-out-of-range"},
    allowed={"label-out-of-range"},
    harm="raises",
)
def ground_forgotten_in_the_head(seed: int, faulty: bool) -> Given:
    return segment(UNet(1, 4 if faulty else 5), shapes(seed).normalized())


@fault(
    "He et al. 2015, Deep Residual Learning (arXiv 1512.03385), figure 1: more layers, a higher training error",
    "deep-plain-net",
    allowed={"missing-normalization"},
    updates=100,
)
def forty_layers_without_shortcuts(seed: int, faulty: bool) -> Given:
    class Straight(BasicBlock):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

    block = Straight if faulty else BasicBlock
    stages = [block(8, 8) for _ in range(9)], [block(8, 16, 2), *(block(16, 16) for _ in range(12))]
    body = [conv_bn_relu(1, 8, 2), *stages[0], *stages[1]]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


class Tokens(nn.Module):
    """A small transformer over patches; its layers want the batch first, or get it first though they do not."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 16, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=not faulty)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.place
        return self.fc(self.encoder(tokens).mean(1))


@fault("common pattern: N L C into nn.TransformerEncoderLayer without batch_first", "batch-mixing", updates=120)
def attention_across_the_batch(seed: int, faulty: bool) -> Given:
    return classify(Tokens(faulty), digits(seed))


class Flattened(ConvNet):
    """Pooled maps are flattened; in the faulty one after an exchange of batch and channels."""

    def __init__(self, faulty: bool) -> None:
        super().__init__(1, 10)
        self.faulty = faulty
        self.fc = nn.Linear(64 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv3(self.conv2(self.conv1(x)))
        if self.faulty:
            maps = maps.permute(1, 0, 2, 3)
        return self.fc(maps.reshape(len(x), -1))


@fault(
    "https://github.com/vitrioil/Speech-Separation/issues/4 (view after a wrong order of dimensions mixes the data)",
    "batch-mixing",
)
def flattened_across_the_batch(seed: int, faulty: bool) -> Given:
    return classify(Flattened(faulty), digits(seed))


class ValidUNet(nn.Module):
    """Convolutions without padding, so that skips must be cut to size: in the middle, or in a corner."""

    def __init__(self, corner: bool) -> None:
        super().__init__()
        self.corner = corner
        self.down, self.deep, self.up = self._pair(1, 12), self._pair(12, 24), self._pair(36, 12)
        self.outc = nn.Conv2d(12, 5, 1)

    @staticmethod
    def _pair(in_channels: int, out_channels: int) -> nn.Sequential:
        sizes = ((in_channels, out_channels), (out_channels, out_channels))
        return nn.Sequential(
            *(layer for a, b in sizes for layer in (nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b), nn.ReLU()))
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        skip = self.down(F.pad(x, [8] * 4))
        deep = F.interpolate(self.deep(F.max_pool2d(skip, 2)), scale_factor=2, mode="bilinear")
        start = 0 if self.corner else (skip.shape[-1] - deep.shape[-1]) // 2
        skip = skip[..., start : start + deep.shape[-2], start : start + deep.shape[-1]]
        logits = self.outc(self.up(torch.cat([skip, deep], 1)))
        return F.interpolate(logits, size=size, mode="bilinear")


@fault(
    "https://github.com/hayashimasa/UNet-PyTorch/issues/3 (cropping of skips), here skip[:, :, :h, :w]",
    "skip-misaligned",
    updates=120,
)
def skips_cut_in_the_corner(seed: int, faulty: bool) -> Given:
    return segment(ValidUNet(faulty), shapes(seed, num=192).normalized())


class TurnedUNet(UNet):
    """Skips come with rows and columns exchanged, as channels-last arrays that were put back wrongly."""

    def forward(self, x: Tensor) -> Tensor:
        x1, x2, x3 = self.encode(x)
        first, second = (skip.permute(0, 2, 3, 1).permute(0, 3, 2, 1) for skip in (x1, x2))
        return self.decode(first, second, x3)


@fault(
    "https://github.com/weify627/4D-Rotor-Gaussians/issues/7 (permute(0, 3, 2, 1) exchanges height and width)",
    "skip-misaligned",
    updates=100,
)
def skip_transposed(seed: int, faulty: bool) -> Given:
    return segment((TurnedUNet if faulty else UNet)(1, 5), shapes(seed, num=192).normalized())


@fault(
    "Odena et al. 2016, Deconvolution and Checkerboard Artifacts",
    "checkerboard-upsampling",
    harm="static",
    updates=240,
)
def transposed_convolutions_of_three(seed: int, faulty: bool) -> Given:
    """The net learns around the uneven overlap; the pattern shows on smooth pictures only."""

    def up(channels: int) -> nn.Module:
        sizes = (3, 2, 1, 1) if faulty else (4, 2, 1, 0)
        return nn.ConvTranspose2d(channels, channels // 2, *sizes)

    model = nn.Sequential(
        *(conv_bn_relu(1, 16), conv_bn_relu(16, 32, 2), conv_bn_relu(32, 32, 2)),
        *(up(32), nn.ReLU(), up(16), nn.ReLU(), nn.Conv2d(8, 5, 1)),
    )
    return segment(model, shapes(seed).normalized())
