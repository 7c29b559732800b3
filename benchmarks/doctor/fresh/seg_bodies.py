"""Faults inside nets for dense prediction: how layers are put together, joined, normalised and initialised."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from itertools import pairwise

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.fresh.seg_nets import (
    EncoderDecoder,
    FullyConv,
    PatchSegmenter,
    PointNet,
    Pyramid,
)
from benchmarks.doctor.fresh.seg_shared import binary, contrasts, distances, found_points, multiclass, points, regress
from benchmarks.doctor.nets import adam, conv_bn_relu, sgd
from benchmarks.doctor.pictures import Pictures, cells, shapes
from torch import Tensor, nn
from torch.nn import functional as F


class _ValidUNet(nn.Module):
    """A U-Net without padding, whose skips are cropped to the size of the decoder's features."""

    def __init__(self, in_channels: int, num_classes: int, corner: bool, width: int = 12) -> None:
        super().__init__()
        self.down1, self.down2 = self._block(in_channels, width), self._block(width, width * 2)
        self.up = nn.ConvTranspose2d(width * 2, width, 2, 2)
        self.up1 = self._block(width * 2, width)
        self.out = nn.Conv2d(width, num_classes, 1)
        self.corner = corner

    @staticmethod
    def _block(in_channels: int, out_channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [nn.Conv2d(channels, out_channels, 3, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down1(x)
        x = self.up(self.down2(F.max_pool2d(skip, 2)))
        first = 0 if self.corner else (skip.shape[-1] - x.shape[-1]) // 2
        side = x.shape[-1]
        return self.out(self.up1(torch.cat([skip[:, :, first : first + side, first : first + side], x], 1)))


@fault("https://github.com/hayashimasa/UNet-PyTorch/issues/3 (crop of the skip)", "skip-misaligned", updates=80)
def skips_cropped_at_the_corner(seed: int, faulty: bool) -> Given:
    """Convolutions without padding, and skips cropped from the upper left corner instead of the middle."""
    pictures = shapes(seed, num=160, size=44, sides=(3, 6)).normalized()
    inner = slice(8, 36)
    test = pictures.test[0], pictures.test[1][:, inner, inner]
    cut = Pictures(pictures.inputs, pictures.targets[:, inner, inner], test)
    return multiclass(_ValidUNet(1, 5, corner=faulty), cut)


class _ListUNet(nn.Module):
    """The upward half of a U-Net in a list."""

    def __init__(self, in_channels: int, num_classes: int, plain_list: bool) -> None:
        super().__init__()
        widths = (12, 24, 48)
        self.downs = nn.ModuleList(conv_bn_relu(a, b) for a, b in zip((in_channels, *widths), widths, strict=False))
        ups = [nn.Sequential(conv_bn_relu(a + b, b), conv_bn_relu(b, b)) for a, b in ((48, 24), (24, 12))]
        self.ups = ups if plain_list else nn.ModuleList(ups)
        self.final = nn.Conv2d(12, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        x = skips.pop()
        for up in self.ups:
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1))
        return self.final(x)


@fault("https://github.com/pytorch/pytorch/issues/666 (modules in a list)", "unregistered-params")
def decoder_in_a_plain_list(seed: int, faulty: bool) -> Given:
    """The decoder's blocks are in a Python list."""
    return multiclass(_ListUNet(1, 5, plain_list=faulty), shapes(seed, num=128).normalized())


class _AddedBlock(nn.Module):
    """Convolution, batch norm and ReLU, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


@fault(
    "https://github.com/deep-learning-with-pytorch/dlwpt-code/issues/89 (n_blocks * [ResBlock])",
    "accidental-weight-sharing",
)
def multiplied_blocks(seed: int, faulty: bool) -> Given:
    """The blocks of a segmenter are one block times eight, with one batch norm for all depths."""
    blocks = 8 * [_AddedBlock(16)] if faulty else [_AddedBlock(16) for _ in range(8)]
    model = nn.Sequential(conv_bn_relu(1, 16), conv_bn_relu(16, 16, 2), *blocks, nn.ConvTranspose2d(16, 5, 2, 2))
    return multiclass(model, shapes(seed, num=128).normalized())


@fault("https://github.com/aipixel/AEMatter/issues/3 (attention without batch_first)", "batch-mixing", updates=100)
def attention_over_the_batch(seed: int, faulty: bool) -> Given:
    """Words are N L D, and attention is left at batch_first=False."""
    model = PatchSegmenter(1, 3, batch_first=not faulty)
    return multiclass(model, contrasts(seed), None, adam(model, 2e-3))


@fault("https://github.com/kazuto1011/deeplab-pytorch/issues/79 (momentum=0.999)", "bn-bad-momentum", updates=70)
def momentum_of_another_framework(seed: int, faulty: bool) -> Given:
    """Batch norms keep TensorFlow's momentum of 0.999, so that only the last batch counts, a rest of two pictures."""
    pictures, model = cells(seed, num=98, size=32).normalized(), EncoderDecoder(3, 1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.999 if faulty else 0.1
    masks = (pictures.targets > 0).float()[:, None]
    batches = list(zip(pictures.inputs.split(16), masks.split(16), strict=True))
    return binary(model, pictures, batches=batches)


@fault("https://github.com/bonlime/keras-deeplab-v3-plus/issues/4 (Dropout(0.9) for keep_prob=0.9)", "dropout-too-high")
def keep_probability_as_dropout(seed: int, faulty: bool) -> Given:
    """The 0.9 of keep_prob becomes the probability of dropping."""
    return multiclass(Pyramid(1, 5, dropout=0.9 if faulty else 0.1), shapes(seed, num=128).normalized())


@fault(
    "https://github.com/jfzhang95/pytorch-deeplab-xception/issues/41 (1x1 maps, batch of 1)",
    "bn-small-batch",
    harm="raises",
)
def pooling_branch_with_one_picture(seed: int, faulty: bool) -> Given:
    """Batches of one picture reach the batch norm behind a mean over the picture."""
    pictures = shapes(seed, num=64).normalized()
    return multiclass(Pyramid(1, 5), pictures, batches=batched(pictures.inputs, pictures.targets, 1 if faulty else 16))


@fault(
    "https://github.com/pytorch/vision/issues/4292 (aux_classifier without aux loss)", "unused-params", harm="static"
)
def auxiliary_head_without_loss(seed: int, faulty: bool) -> Given:
    """A second head answers from the encoder, and the loss leaves it out. It costs time only."""

    def loss_fn(found: dict[str, Tensor], masks: Tensor) -> Tensor:
        loss = F.cross_entropy(found["out"], masks)
        return loss if faulty else loss + 0.4 * F.cross_entropy(found["aux"], masks)

    return multiclass(TwoHeads(1, 5), shapes(seed, num=128).normalized(), loss_fn)


class TwoHeads(EncoderDecoder):
    """A dict of outputs as torchvision's segmenters return it, from the decoder and from the encoder."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.aux_classifier = nn.Sequential(conv_bn_relu(48, 24), nn.Conv2d(24, num_classes, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        features = self.encoder(x)
        aux = F.interpolate(self.aux_classifier(features[-1]), size=x.shape[-2:], mode="bilinear")
        return {"out": self.segmentation_head(self.decoder(features)), "aux": aux}


@fault(
    "https://github.com/kuangliu/pytorch-retinanet/issues/10 (weights N(0, 0.01) as in the paper)",
    "init-too-small",
    allowed=("lr-too-low",),
    updates=80,
)
def paper_deviation_in_a_narrow_net(seed: int, faulty: bool) -> Given:
    """All convolutions start at N(0, 0.01), which a paper used for heads of 256 channels; these have 16 to 32."""
    model = FullyConv(3, 1)
    if faulty:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
    return binary(model, cells(seed, num=96, size=32).normalized(), None, sgd(model, 0.02))


@fault(
    "common pattern: nn.init.normal_(m.weight) in a U-Net without norm, its default deviation of 1 kept",
    "init-too-large",
)
def normal_with_its_default_deviation(seed: int, faulty: bool) -> Given:
    """Every convolution is initialised with normal_ and its default deviation of 1."""
    model = FullyConv(1, 1)
    if faulty:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight)
    pictures = distances(seed)
    return regress(model, Pictures(pictures.inputs, pictures.targets[:, None], pictures.test), None, adam(model, 2e-3))


@fault("https://github.com/fizyr/keras-retinanet/issues/712 (convolutions of the head start at zero)", "symmetric-init")
def head_of_zeros(seed: int, faulty: bool) -> Given:
    """Both convolutions of the head start at zero, so that neither passes a gradient."""
    model = PointNet(1, 2)
    head = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 2, 1))
    if faulty:
        for layer in head:
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
    model.final = head
    return regress(model, points(seed), _heavy_peaks, None, score=found_points)


def _heavy_peaks(found: Tensor, wanted: Tensor) -> Tensor:
    return ((found - wanted).square() * (1 + 20 * wanted)).mean()


@fault(
    "common pattern: sigmoid after every convolution of a convolutional auto-encoder",
    "saturating-activations",
    updates=80,
)
def sigmoid_after_every_convolution(seed: int, faulty: bool) -> Given:
    """All hidden activations of an hourglass for distances are sigmoids."""
    layers, kind = list[nn.Module](), nn.Sigmoid if faulty else nn.ReLU
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), kind()]
    for before, after in ((32, 32), (32, 16)):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), kind()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    model, pictures = nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1)), distances(seed)
    return regress(model, Pictures(pictures.inputs, pictures.targets[:, None], pictures.test), None, adam(model, 3e-3))


@fault(
    "https://github.com/divamgupta/image-segmentation-keras/issues/136 (Conv2D layers without activation)",
    "missing-nonlinearity",
)
def convolutions_in_a_row(seed: int, faulty: bool) -> Given:
    """No activation stands between the convolutions of a segmenter with strides and transposed convolutions."""
    widths, layers = (1, 16, 32, 48), list[nn.Module]()
    for number, (before, after) in enumerate(pairwise(widths)):
        conv = nn.Conv2d(before, after, 3, 2 if number else 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
    for before, after in ((48, 32), (32, 16)):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    kept = [layer for layer in layers if not (faulty and isinstance(layer, nn.ReLU))]
    return multiclass(nn.Sequential(*kept, nn.Conv2d(16, 5, 1)), shapes(seed, num=128).normalized())


@fault("https://distill.pub/2016/deconv-checkerboard (kernel 3, stride 2)", "checkerboard-upsampling", harm="static")
def transposed_kernel_of_three(seed: int, faulty: bool) -> Given:
    """Transposed convolutions of kernel 3 and stride 2. A score shows little of the pattern they leave."""
    model = PointNet(1, 2)
    if faulty:
        for number in (0, 3):
            old = model.up[number]
            assert isinstance(old, nn.ConvTranspose2d)
            model.up[number] = nn.ConvTranspose2d(old.in_channels, old.out_channels, 3, 2, 1, 1, bias=False)
    return regress(model, points(seed), _heavy_peaks, None, score=found_points)
