"""Sound designs with ties, gates, branches that are left out at random, and other upsampling."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, sound
from benchmarks.doctor.nets import PlainNet, ResNet, UNet, classify, conv_bn_relu, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits
from benchmarks.doctor.scores import fit, iou_above, labels_right
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam


class DropPathNet(ResNet):
    """Residual branches are left out at random while training."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in (self.layer1, self.layer2, self.layer3):
            for block in stage:
                straight = block.shortcut(x)
                full = block(x)
                kept = (
                    torch.rand(len(x), 1, 1, 1) < 0.8
                    if self.training
                    else torch.ones(len(x), 1, 1, 1, dtype=torch.bool)
                )
                x = torch.where(kept, full, F.relu(straight))
        return self.fc(x.mean((2, 3)))


@sound("Huang et al. 2016, Stochastic Depth (arXiv 1603.09382)", updates=80)
def stochastic_depth(seed: int) -> Given:
    model = DropPathNet(1, 10, blocks=2)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


class Siamese(nn.Module):
    """One encoder for both pictures of a pair; the answer says whether they show the same digit."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PlainNet(1, 16, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        first, second = self.encoder(pairs[:, :1]), self.encoder(pairs[:, 1:])
        return self.head((first - second).abs())


def _pairs(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    half = len(images) // 2
    order = labels[half:].argsort(stable=True)
    first = torch.cat([images[:half], images[half:][order][:-1]])
    second = torch.cat([images[half : 2 * half], images[half:][order][1:]])
    same = torch.cat([labels[:half] == labels[half : 2 * half], labels[half:][order].diff() == 0])
    mixed = torch.randperm(len(first), generator=torch.Generator().manual_seed(0))
    return torch.cat([first, second], 1)[mixed], same.float()[mixed, None]


@sound("Bromley et al. 1993, Signature Verification using a Siamese Network: weights are tied on purpose", score=0.6)
def siamese_pairs(seed: int) -> Given:
    found = digits(seed)
    pictures = Pictures(*_pairs(found.inputs, found.targets), _pairs(*found.test))
    return classify(Siamese(), pictures, nn.BCEWithLogitsLoss(), score=labels_right)


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, 256) / 16)
        self.inner, self.outer = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(256))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(F.linear(x.flatten(1), self.weight, self.inner))
        return F.linear(hidden, self.weight.T, self.outer).view(x.shape)


@sound("Vincent et al. 2010, Stacked Denoising Autoencoders (JMLR 11): tied weights", score=0.3, updates=120)
def tied_autoencoder(seed: int) -> Given:
    images, test = (F.interpolate(one, size=16) for one in (digits(seed).inputs, digits(seed).test[0]))
    model = Tied()
    return classify(
        model, Pictures(images, images, (test, test)), nn.MSELoss(), Adam(model.parameters(), 3e-3), score=fit
    )


@sound("LeCun et al. 1998, Gradient-Based Learning (LeNet-5): tanh units", updates=100)
def lenet_with_tanh(seed: int) -> Given:
    conv = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    model = nn.Sequential(*conv, nn.Flatten(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.05))


class Gated(nn.Module):
    """Squeeze and excitation: a sigmoid weighs the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]


@sound("Hu et al. 2018, Squeeze-and-Excitation Networks (arXiv 1709.01507); dropout of 0.5 in the head", updates=120)
def gates_and_a_dropped_head(seed: int) -> Given:
    body = [conv_bn_relu(1, 16), Gated(16), conv_bn_relu(16, 32, 2), Gated(32), conv_bn_relu(32, 64, 2), Gated(64)]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


class PixelShuffled(UNet):
    """Upsampling by rearranged channels on one level, by transposed convolutions of 2 / 2 on the other."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.shuffle = nn.Sequential(nn.Conv2d(32, 128, 1), nn.PixelShuffle(2))
        self.transposed = nn.ConvTranspose2d(16, 16, 2, 2)

    def decode(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        x = self.up1(torch.cat([x2, self.shuffle(x3)], 1))
        return self.outc(self.up2(torch.cat([x1, self.transposed(x)], 1)))


@sound("Shi et al. 2016, Sub-Pixel Convolution (arXiv 1609.05158); a U-Net with one output and binary loss", score=0.6)
def unet_with_one_output(seed: int) -> Given:
    found = cells(seed).normalized()
    pictures = Pictures(found.inputs, found.targets[:, None].float(), found.test)
    return segment(PixelShuffled(), pictures, nn.BCEWithLogitsLoss(), score=iou_above(0.0))
