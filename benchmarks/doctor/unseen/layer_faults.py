"""Faults of how layers are joined, registered and switched."""

# N batch, C channels, H W pixels, L patches

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, Given, batched, fault
from benchmarks.doctor.unseen.nets import body, conv
from benchmarks.doctor.unseen.pictures import (
    digits,
    explained,
    normalized,
    single,
    textures,
)
from torch import Tensor, nn


def _digits(seed: int, model: nn.Module, lr: float = 3e-3) -> Given:
    """Read digits."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    return Given(model, batched(normalized(images), labels), F.cross_entropy, adam, test=(normalized(test), truth))


def _textures(seed: int, model: nn.Module) -> Given:
    """Tell textures apart whose colours and contrasts are the same."""
    (images, labels), (test, truth) = textures(seed), textures(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(single(images), labels), F.cross_entropy, adam, test=(single(test), truth))


class BasicConv(nn.Module):
    """A convolution with batch norm whose ReLU is made and, when `silent`, never called."""

    def __init__(self, in_channels: int, out_channels: int, silent: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False), nn.BatchNorm2d(out_channels)
        self.relu, self.silent = nn.ReLU(), silent

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised convolution, with or without the ReLU."""
        found = self.norm(self.conv(images))
        return found if self.silent else self.relu(found)


@fault("https://github.com/DengPingFan/PraNet/issues/16", "missing-nonlinearity")
def relu_made_and_never_called(seed: int, broken: bool) -> Given:
    """The block that all others are made of has a ReLU that `forward` does not use."""
    blocks = [BasicConv(from_size, to_size, broken) for from_size, to_size in pairwise((3, 16, 32, 32))]
    return _textures(seed, nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)))


@fault("https://github.com/somepago/saint/issues/23", "missing-nonlinearity", updates=120)
def stack_of_linear_layers(seed: int, broken: bool) -> Given:
    """An MLP of linear layers only; odd and even digits are not linearly separable."""
    layers: list[nn.Module] = [nn.Flatten()]
    for from_size, to_size in pairwise((256, 128, 128)):
        layers += [nn.Linear(from_size, to_size), nn.Identity() if broken else nn.ReLU()]
    given = _digits(seed, nn.Sequential(*layers, nn.Linear(128, 2)), 1e-3)
    assert given.test is not None
    batches = [(images, labels % 2) for images, labels in given.batches]
    return replace(given, batches=batches, test=(given.test[0], given.test[1] % 2))


@fault("https://github.com/hassony2/kinetics_i3d_pytorch/issues/6", "dropout-too-high", updates=120)
def keep_probability(seed: int, broken: bool) -> Given:
    """A port keeps the number of `keep_prob`: 90 % of the features are dropped."""
    drop = nn.Dropout(0.9 if broken else 0.1)
    return _digits(seed, nn.Sequential(body(1), drop, nn.Linear(32, 32), nn.ReLU(), drop, nn.Linear(32, 10)))


class DropsInForward(nn.Module):
    """A classifier that makes its dropout anew in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = body(1), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(nn.Dropout(p=0.5)(self.body(images)))


@fault("https://github.com/yangze0930/NTS-Net/issues/14", "dropout-always-on")
def dropout_made_in_forward(seed: int, broken: bool) -> Given:
    """A new nn.Dropout is made in `forward`: it is in training mode whatever the model is."""
    return _digits(seed, DropsInForward() if broken else nn.Sequential(body(1), nn.Dropout(0.5), nn.Linear(32, 10)))


class HiddenLayers(nn.Module):
    """An MLP whose hidden layers lie in a list of lists, of Python or of torch."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        pairs = [[nn.Linear(from_size, to_size), nn.Tanh()] for from_size, to_size in pairwise((256, 24, 24, 24))]
        self.hidden = pairs if plain else nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.head = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        values = images.flatten(1)
        for linear, activation in self.hidden:  # type: ignore[misc]
            values = activation(linear(values))
        return self.head(values)


@fault("https://github.com/pytorch/pytorch/issues/715", "unregistered-params")
def layers_in_lists(seed: int, broken: bool) -> Given:
    """Hidden layers are kept in a list, so that the optimizer never sees them."""
    return _digits(seed, HiddenLayers(plain=broken))


class LayerMadeInForward(nn.Module):
    """A classifier whose hidden layer is made anew in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = body(1), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(F.relu(nn.Linear(32, 32)(self.body(images))))


@fault("https://github.com/pytorch/pytorch/issues/1291", "unregistered-params")
def layer_made_in_forward(seed: int, broken: bool) -> Given:
    """A linear layer is made in `forward`: another random one at every step."""
    sound = nn.Sequential(body(1), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    return _digits(seed, LayerMadeInForward() if broken else sound)


class ResBlock(nn.Module):
    """A residual block with one convolution."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv = conv(num_channels, num_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + self.conv(features)


@fault("https://github.com/deep-learning-with-pytorch/dlwpt-code/issues/89", "accidental-weight-sharing")
def one_block_ten_times(seed: int, broken: bool) -> Given:
    """`n_blocks * [ResBlock()]` is one block, used several times."""
    blocks = 6 * [ResBlock(16)] if broken else [ResBlock(16) for _ in range(6)]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _digits(seed, nn.Sequential(conv(1, 16, 2), *blocks, pool, nn.Linear(16, 10)))


class Extractor(nn.Module):
    """Records what a layer returns, detached from the graph or not."""

    def __init__(self, net: nn.Module, detached: bool) -> None:
        super().__init__()
        self.net, self.detached = net, detached

    def forward(self, images: Tensor) -> Tensor:
        """Return a copy of the net's features."""
        features = self.net(images).clone()
        return features.detach() if self.detached else features


@fault(
    "https://github.com/lucidrains/CoCa-pytorch/issues/6", "detached-graph", allowed=("unused-params", "frozen-layers")
)
def extractor_detaches(seed: int, broken: bool) -> Given:
    """A wrapper meant for looking at features detaches them: only the head learns."""
    return _textures(seed, nn.Sequential(Extractor(body(3), broken), nn.Linear(32, 4)))


class Peak(nn.Module):
    """Finds the row of the brightest place of a map, by argmax or as a mean."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.maps, self.hard = nn.Sequential(conv(1, 16), nn.Conv2d(16, 1, 3, padding=1)), hard

    def forward(self, images: Tensor) -> Tensor:
        """Return rows N in -1..1."""
        rows = self.maps(images).mean((1, 3))
        if self.hard:
            return 2 * rows.argmax(1).float() / (rows.shape[1] - 1) - 1
        return (rows.softmax(1) * torch.linspace(-1, 1, rows.shape[1])).sum(1)


@fault("https://github.com/LZGMatrix/BOP19_CDPN_2019ICCV/issues/4", "detached-graph", harm="raises", updates=150)
def coordinate_by_argmax(seed: int, broken: bool) -> Given:
    """The output is a place found by argmax, which has no gradient: backward raises."""

    def shifted(part: Batch) -> Batch:
        rows = torch.randint(-4, 5, (len(part[0]),))
        moved = [image.roll(int(row), 1) for image, row in zip(part[0], rows, strict=True)]
        return torch.stack(moved), rows / 5

    (images, rows), test = (shifted(digits(seed, size=16, held_out=part)) for part in (False, True))
    model = Peak(hard=broken)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(images - 0.3, rows), F.mse_loss, adam, test=(test[0] - 0.3, test[1]), score=explained)


class Context(nn.Module):
    """Three layers, of which `forward` may leave out the middle one, that with the wide view."""

    def __init__(self, skipped: bool) -> None:
        super().__init__()
        self.layer1, self.layer3 = conv(3, 16, 2), body(16)
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=4, dilation=4, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.head, self.skipped = nn.Linear(32, 4), skipped

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        near = self.layer1(images)
        wide = self.layer2(near)
        return self.head(self.layer3(near if self.skipped else wide))


@fault("https://github.com/inria-thoth/HySUPP/issues/3", "unused-params", harm="static")
def layer_without_a_way_out(seed: int, broken: bool) -> Given:
    """The second layer is made and called, and the third gets the first one's output; the rest learns well enough."""
    return _textures(seed, Context(skipped=broken))


class TinyTransformer(nn.Module):
    """A transformer layer over the patches of a digit, with or without batch first."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(1, 16, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=batch_first)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places  # N L C
        return self.head(self.layer(tokens).mean(1))


@fault("https://github.com/om-ai-lab/OmDet/issues/19", "batch-mixing", harm="static")
def attention_over_the_batch(seed: int, broken: bool) -> Given:
    """Tokens N L C go into attention that expects L N C; patches still vote, so that a short training shows little."""
    return _digits(seed, TinyTransformer(batch_first=not broken))
