"""Faults of the first weights and of normalisation: scales of signals, and statistics of batches."""

# N batch, C channels, H W pixels

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, Given, Score, accuracy, batched, evaluating, fault
from benchmarks.doctor.unseen.nets import Unet, body, conv
from benchmarks.doctor.unseen.pictures import digits, foreground, normalized, overlap, scenes, textures
from torch import Tensor, nn

POOL = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _digits(seed: int, model: nn.Module, lr: float = 1e-3, score: Score = accuracy) -> Given:
    """Read digits."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    batches, held_out = batched(normalized(images), labels), (normalized(test), truth)
    return Given(model, batches, F.cross_entropy, adam, test=held_out, score=score)


def _discs(seed: int, model: nn.Module, batch_size: int = 8) -> Given:
    """Find discs with one output channel."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = batched(normalized(images), foreground(masks), batch_size)
    return Given(
        model, batches, nn.BCEWithLogitsLoss(), adam, test=(normalized(test), foreground(truth)), score=overlap
    )


def _mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for from_size, to_size in pairwise(sizes):
        layers += [nn.Linear(from_size, to_size), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _stack(depth: int, activation: type[nn.Module] = nn.ReLU, *, norm: bool = False) -> nn.Sequential:
    """Return convolutions with torch's own start, two of them strided, and a linear layer."""
    layers: list[nn.Module] = []
    for number in range(depth):
        stride = 2 if number in (1, depth // 2) else 1
        layers.append(nn.Conv2d(16 if number else 1, 16, 3, stride, 1, bias=not norm))
        layers += [nn.BatchNorm2d(16)] * norm + [activation()]
    return nn.Sequential(*layers, *POOL, nn.Linear(16, 10))


@fault(
    "https://github.com/kazuto1011/deeplab-pytorch/issues/44",
    ("symmetric-init", "dead-relu", "init-too-small"),
)
def gamma_zeroed_for_beta(seed: int, broken: bool) -> Given:
    """A slip in the start of batch norm: the weight, not the bias, is set to 0 after it was set to 1."""
    model = nn.Sequential(body(1), nn.Linear(32, 10))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, 1)
            nn.init.constant_(layer.weight if broken else layer.bias, 0)
    return _digits(seed, model, 3e-3)


class Gated(nn.Module):
    """Raw features plus what a gate lets through of deep ones; the gate starts at 0 by one layer, or by two."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 4, 4)
        self.deep = nn.Sequential(conv(32, 32), conv(32, 32))
        self.gate = nn.Sequential(
            nn.Conv2d(32, 32, 1, bias=False), nn.ReLU(), nn.Conv2d(32, 32, 1, bias=False), nn.Tanh()
        )
        self.head = nn.Linear(32, 10)
        for layer in (self.gate[0], self.gate[2])[0 if both else 1 :]:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        raw = self.stem(images)
        deep = self.deep(raw)
        return self.head((raw + self.gate(deep) * deep).mean((2, 3)))


@fault("https://github.com/yz93/LAVT-RIS/issues/25", ("symmetric-init", "dead-relu"), updates=120)
def gate_shut_twice(seed: int, broken: bool) -> Given:
    """Both layers of a gate start at zero with a ReLU between: neither ever gets a gradient."""
    return _digits(seed, Gated(both=broken), 3e-3)


@fault("https://github.com/wagonhelm/NaNmnist/issues/2", ("symmetric-init", "dead-relu"))
def weights_of_zero(seed: int, broken: bool) -> Given:
    """All weights of an MLP start at zero."""
    model = _mlp((256, 64, 32, 10))
    for weight in model.parameters():
        if broken:
            nn.init.zeros_(weight)
    return _digits(seed, model)


@fault("https://github.com/aiUIUC/pyAIUtils/issues/25", "init-too-large")
def deviation_given_as_mean(seed: int, broken: bool) -> Given:
    """The deviation is given where the mean is expected, so that weights are drawn from N(0.02, 1)."""
    model = _mlp((256, 128, 128, 128, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            spread = math.sqrt(2 / layer.in_features)
            nn.init.normal_(layer.weight, spread) if broken else nn.init.normal_(layer.weight, 0, spread)
    return _digits(seed, model)


@fault("https://github.com/LeelaChessZero/lczero-training/pull/43", "init-too-large", updates=150)
def fan_without_the_kernel(seed: int, broken: bool) -> Given:
    """The fans of a convolution leave out its 3x3 kernel: every layer enlarges the signal about twice."""
    model = _stack(12)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fans = layer.in_channels + layer.out_channels
            nn.init.normal_(layer.weight, 0, math.sqrt(2 / fans) if broken else math.sqrt(4 / (9 * fans)))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return _digits(seed, model)


@fault(
    "https://github.com/BVLC/caffe/issues/1396",
    ("init-too-small", "missing-normalization"),
    allowed=("deep-plain-net",),
)
def gaussian_of_a_hundredth(seed: int, broken: bool) -> Given:
    """Every layer starts from a Gaussian of 0.01, as AlexNet's configuration has it: any input gives one output."""
    model = _stack(8)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.01 if broken else math.sqrt(2 / (9 * layer.in_channels)))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return _digits(seed, model)


@fault(
    "https://github.com/kuangliu/pytorch-cifar/issues/28",
    ("init-too-small", "missing-normalization"),
    allowed=("deep-plain-net", "lr-too-low"),
)
def vgg_without_its_batch_norm(seed: int, broken: bool) -> Given:
    """Batch norm is taken out of a deep VGG that has torch's own start: accuracy stays at chance."""
    return _digits(seed, _stack(16, norm=not broken))


@fault(
    "https://github.com/aymericdamien/TensorFlow-Examples/pull/146",
    "saturating-activations",
    allowed=("init-too-small", "missing-normalization", "deep-plain-net"),
)
def sigmoids_all_the_way(seed: int, broken: bool) -> Given:
    """Sigmoids behind every convolution: the gradient shrinks at least fourfold in each."""
    model = _stack(6, nn.Sigmoid if broken else nn.ReLU)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            (nn.init.xavier_normal_ if broken else nn.init.kaiming_normal_)(layer.weight)
    return _digits(seed, model, 3e-3)


@fault("https://github.com/xuebinqin/BASNet/issues/42", "bn-small-batch", harm="static")
def batch_of_one(seed: int, broken: bool) -> Given:
    """One picture fits into memory, and the net has batch norm; here its maps have places enough to make up for it."""
    return _discs(seed, Unet(), 1 if broken else 8)


class Pooled(nn.Module):
    """A segmentation head with an image-level branch, as in DeepLab: batch norm of a map of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(conv(3, 16), conv(16, 16))
        self.whole = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the pictures' size."""
        near = self.near(images)
        return self.head(torch.cat([near, self.whole(near).expand_as(near)], 1))


@fault("https://github.com/MrTornado24/FENeRF/issues/12", "bn-small-batch", harm="raises")
def image_level_branch_of_one(seed: int, broken: bool) -> Given:
    """A batch of one reaches batch norm over a map of one pixel, which raises."""
    return _discs(seed, Pooled(), 1 if broken else 8)


@fault("https://github.com/r9y9/tacotron_pytorch/issues/19", "bn-bad-momentum", updates=96)
def momentum_of_keras(seed: int, broken: bool) -> Given:
    """Momentum 0.99 means in torch that the running statistics are those of the last, small batch."""
    layers = [conv(from_size, to_size, stride) for from_size, to_size, stride in ((3, 16, 1), (16, 32, 2), (32, 32, 2))]
    model = nn.Sequential(*layers, conv(32, 32), conv(32, 32), *POOL, nn.Linear(32, 4))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.99 if broken else 0.1
    (images, labels), (test, truth) = textures(seed), textures(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Given(model, batched(normalized(images), labels, 6), F.cross_entropy, adam, test=(normalized(test), truth))


def _one_by_one(model: nn.Module, test: Batch) -> float:
    """Return the accuracy on pictures that come one by one."""
    with evaluating(model):
        found = torch.cat([model(image) for image in test[0].split(1)]).argmax(1)
    return float((found == test[1]).float().mean())


@fault("https://github.com/sahagobinda/GPM/issues/9", "bn-no-running-stats", updates=120)
def statistics_never_kept(seed: int, broken: bool) -> Given:
    """Batch norm keeps no statistics, and answers are asked for one picture at a time."""
    norm = partial(nn.BatchNorm2d, track_running_stats=not broken)
    layers: list[nn.Module] = []
    for from_size, to_size in pairwise((1, 16, 32)):
        layers += [nn.Conv2d(from_size, to_size, 3, 2, 1, bias=False), norm(to_size), nn.ReLU()]
    return _digits(seed, nn.Sequential(*layers, *POOL, nn.Linear(32, 10)), 3e-3, score=_one_by_one)


@fault("https://github.com/luigibonati/mlcolvar/pull/205", "dropout-before-bn")
def dropout_then_norm(seed: int, broken: bool) -> Given:
    """Dropout feeds batch norm: the variance it has learnt is not that of inference."""
    layers: list[nn.Module] = [nn.Flatten()]
    for from_size, to_size in pairwise((256, 64, 64)):
        norm = [nn.BatchNorm1d(to_size), nn.ReLU()]
        layers += [nn.Linear(from_size, to_size, bias=False), *([nn.Dropout(0.5)] if broken else []), *norm]
    last = [] if broken else [nn.Dropout(0.5)]
    return _digits(seed, nn.Sequential(*layers, *last, nn.Linear(64, 10)))
