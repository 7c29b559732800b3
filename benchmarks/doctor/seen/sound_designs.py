"""Sound designs that look odd: no norm, zeros, constants and ties on purpose."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, batched, sound
from benchmarks.doctor.nets import BasicBlock, ConvNet, ResNet, UNet, classify, conv_bn_relu, segment, sgd
from benchmarks.doctor.pictures import cells, digits, photos, shapes
from benchmarks.doctor.seen.batchnorm import group_norms
from benchmarks.doctor.seen.signal import VGG, he_
from benchmarks.doctor.seen.training import FrozenBody, other_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam


@sound("He et al. 2015, Delving Deep into Rectifiers (arXiv 1502.01852)", updates=150)
def ten_convolutions_from_he(seed: int) -> Given:
    model = VGG(1, 10)
    he_(model)
    return classify(model, digits(seed).normalized(), optimizer=Adam(model.parameters(), 2e-3))


@sound("Goyal et al. 2017, Accurate, Large Minibatch SGD (arXiv 1706.02677): gamma of 0 in the last norm", updates=150)
def zero_gamma(seed: int) -> Given:
    model = ResNet(1, 10, blocks=2)
    for block in model.modules():
        if isinstance(block, BasicBlock):
            nn.init.zeros_(block.bn2.weight)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@sound("https://github.com/huggingface/pytorch-image-models: head_init_scale; a head of zeros", updates=120)
def head_of_zeros(seed: int) -> Given:
    model = ConvNet(1, 10)
    nn.init.zeros_(model.fc.weight)
    nn.init.zeros_(model.fc.bias)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


class FixupBlock(nn.Module):
    """Two convolutions without norm, the second of zeros, with scalar biases and a scale."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(self.conv1.weight, 0, (2 / (9 * channels)) ** 0.5 * depth**-0.5)
        nn.init.zeros_(self.conv2.weight)
        self.biases = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x + self.biases[0])
        out = self.conv2(F.relu(out + self.biases[1]) + self.biases[2])
        return F.relu(out * self.scale + self.biases[3] + x)


@sound("Zhang et al. 2019, Fixup Initialization (arXiv 1901.09321)", updates=120)
def fixup(seed: int) -> Given:
    stem = nn.Conv2d(1, 24, 3, 2, 1)
    nn.init.kaiming_normal_(stem.weight, nonlinearity="relu")
    blocks = [FixupBlock(24, 8) for _ in range(8)]
    model = nn.Sequential(stem, nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))
    nn.init.zeros_(model[-1].weight)
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.05))


@sound("Klambauer et al. 2017, Self-Normalizing Neural Networks (arXiv 1706.02515)")
def selu_without_norm(seed: int) -> Given:
    layers: list[nn.Module] = []
    for size in (256, *(96,) * 7):
        layers += [nn.Linear(size, 96), nn.SELU(), nn.AlphaDropout(0.05)]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(96, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.02))


class ReZero(nn.Module):
    """A transformer whose branches start at 0 times."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 4, 4)
        self.place = nn.Parameter(torch.zeros(1, 16, 32))
        self.attend = nn.ModuleList(nn.MultiheadAttention(32, 4, batch_first=True) for _ in range(2))
        self.think = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2))
        self.gains = nn.Parameter(torch.zeros(4))
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for index, (attend, think) in enumerate(zip(self.attend, self.think, strict=True)):
            tokens = tokens + self.gains[2 * index] * attend(tokens, tokens, tokens)[0]
            tokens = tokens + self.gains[2 * index + 1] * think(tokens)
        return self.fc(tokens.mean(1))


@sound("Bachlechner et al. 2020, ReZero is All You Need (arXiv 2003.04887)", updates=240)
def rezero_transformer(seed: int) -> Given:
    return classify(model := ReZero(), digits(seed).normalized(), optimizer=Adam(model.parameters(), 3e-3))


@sound("Wu & He 2018, Group Normalization (arXiv 1803.08494); batches of two", score=0.6)
def group_norm_unet(seed: int) -> Given:
    pictures = cells(seed).normalized()
    return segment(group_norms(UNet(3, 2)), pictures, batches=batched(pictures.inputs, pictures.targets, 2))


@sound("Ba et al. 2016, Layer Normalization (arXiv 1607.06450); one picture a batch", score=0.6, updates=192)
def layer_norm_with_one_picture(seed: int) -> Given:
    pictures = cells(seed).normalized()
    model = group_norms(UNet(3, 2), groups=1)
    return segment(model, pictures, batches=batched(pictures.inputs, pictures.targets, 1))


@sound(
    "https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html: the net as a fixed feature extractor"
)
def pretrained_body_frozen(seed: int) -> Given:
    model = FrozenBody(norms_frozen=True)
    return classify(model, other_digits(seed), optimizer=Adam(model.body.fc.parameters(), 3e-3))


@sound("https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html: the body at a tenth of the rate")
def pretrained_body_at_a_lower_rate(seed: int) -> Given:
    model = FrozenBody(norms_frozen=False)
    model.body.requires_grad_(True)
    body = [weight for name, weight in model.body.named_parameters() if not name.startswith("fc")]
    groups = [{"params": body, "lr": 1e-4}, {"params": model.body.fc.parameters()}]
    return classify(model, other_digits(seed), optimizer=Adam(groups, 3e-3))


@sound("Howard et al. 2017, MobileNets (arXiv 1704.04861): depthwise and pointwise convolutions", updates=80)
def depthwise_convolutions(seed: int) -> Given:
    def pair(before: int, after: int, stride: int) -> list[nn.Module]:
        deep = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)
        return [
            deep,
            nn.BatchNorm2d(before),
            nn.ReLU6(),
            nn.Conv2d(before, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]

    body = [conv_bn_relu(1, 16), *pair(16, 32, 2), nn.ReLU6(), *pair(32, 64, 2), nn.ReLU6()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@sound("Sandler et al. 2018, MobileNetV2 (arXiv 1801.04381): linear bottlenecks, no activation on purpose", updates=80)
def linear_bottlenecks(seed: int) -> Given:
    class Inverted(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            wide = channels * 4
            deep = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
            self.body = nn.Sequential(
                *(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
                *(deep, nn.BatchNorm2d(wide), nn.ReLU6()),
                *(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    body = [conv_bn_relu(3, 16, 2), *(Inverted(16) for _ in range(3)), conv_bn_relu(16, 48, 2)]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4))
    return classify(model, photos(seed).normalized(), optimizer=sgd(model, 0.05))


@sound("Yu & Koltun 2016, Dilated Convolutions (arXiv 1511.07122)", score=0.3, updates=100)
def dilated_segmenter(seed: int) -> Given:
    layers: list[nn.Module] = [conv_bn_relu(1, 16)]
    for rate in (1, 2, 4, 8):
        layers += [nn.Conv2d(16, 16, 3, 1, rate, rate, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return segment(nn.Sequential(*layers, nn.Conv2d(16, 5, 1)), shapes(seed).normalized())
