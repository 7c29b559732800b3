"""Faults of the model: what is connected to what, and which layers are there."""

# N batch, C channels, H W pixels, K classes, T steps, F features

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.fresh.cls_makers import Samples, given, table
from benchmarks.doctor.nets import BasicBlock, ConvNet, adam, classify, conv_bn_relu
from benchmarks.doctor.pictures import digits
from benchmarks.doctor.scores import accuracy_in_batches, fit
from torch import Tensor, nn
from torch.nn import functional as F


class _Towers(nn.Module):
    """Two pictures N 2 1 H W, a tower for each, and a head that sees both."""

    def __init__(self, forgets: bool) -> None:
        super().__init__()
        self.left, self.right = ConvNet(1, 16), ConvNet(1, 16)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(32, 9))
        self.forgets = forgets

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x[:, 0])
        right = left if self.forgets else self.right(x[:, 1])
        return self.head(torch.cat([left, right], 1))


@fault("inria-thoth/HySUPP issue 3: a layer is defined and not used", "unused-params", updates=100)
def second_tower_is_forgotten(seed: int, faulty: bool) -> Given:
    """The answer of the first tower is joined with itself; the second one is never called."""
    pictures = digits(seed, num=700).normalized()
    parts = []
    for images, labels in ((pictures.inputs, pictures.targets), pictures.test):
        small = images[labels < 3], labels[labels < 3]
        near = torch.arange(len(small[0])).repeat(4)
        far = torch.randint(len(small[0]), (len(near),))
        parts.append((torch.stack([small[0][near], small[0][far]], 1), small[1][near] * 3 + small[1][far]))
    order = torch.randperm(len(parts[0][0]))
    model = _Towers(faulty)
    return given(model, Samples(parts[0][0][order], parts[0][1][order], parts[1]), nn.CrossEntropyLoss())


class _Listed(nn.Module):
    """Hidden layers in a list, and a head."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        sizes = (8, 64, 64)
        layers = [nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)]
        self.hidden = layers if plain else nn.ModuleList(layers)
        self.out = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.out(x)


@fault("pytorch/pytorch issue 715; meta-pytorch/torchfix issue 31", "unregistered-params", updates=150)
def hidden_layers_in_a_list(seed: int, faulty: bool) -> Given:
    """The hidden layers of a perceptron for tables are in a Python list, which no optimizer sees."""
    model = _Listed(faulty)
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))


@fault("YujiaBao/ls issue 1; nutonomy/nuscenes-devkit issue 728", "missing-nonlinearity", updates=150)
def relu_is_never_called(seed: int, faulty: bool) -> Given:
    """Three linear layers in a row: the ReLU of the constructor is not in the forward."""
    between = nn.Identity if faulty else nn.ReLU
    model = nn.Sequential(nn.Linear(8, 64), between(), nn.Linear(64, 64), between(), nn.Linear(64, 4))
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))


class _Rows(nn.Module):
    """An LSTM over the rows of a picture, its last step goes into the head."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 48, batch_first=batch_first)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.lstm(x.flatten(1, 2))
        return self.fc(found[:, -1])


@fault("discuss.pytorch.org thread 62364: nn.LSTM and `batch_first`", "batch-mixing", updates=100)
def rows_of_other_samples(seed: int, faulty: bool) -> Given:
    """The LSTM runs through the samples of a batch and not through the rows of a picture."""
    model = _Rows(batch_first=not faulty)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 1e-2))


class _Patches(nn.Module):
    """A small transformer on 4 x 4 patches, written with torch's own encoder layers."""

    def __init__(self, batch_first: bool, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 96, 0.0, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.encoder(x)).mean(1))


@fault("Exorust/TorchLeet issue 5; DaoyuanLi2816/Molecule-Generator pull 22", "batch-mixing", updates=120)
def patches_of_other_samples(seed: int, faulty: bool) -> Given:
    """`batch_first` is left at False: patches attend to the same place in the other pictures of the batch."""
    model = _Patches(batch_first=not faulty)
    pictures = digits(seed).normalized()
    return classify(model, pictures, optimizer=adam(model, 2e-3), score=accuracy_in_batches(1))


class _Cosine(nn.Module):
    """Unit embeddings and unit class centers; logits are 12 times their products."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = ConvNet(1, 4)
        self.centers = nn.Parameter(torch.randn(10, 4))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return 12 * F.normalize(self.body(x), dim=self.dim) @ F.normalize(self.centers, dim=1).T


@fault("alireza-nasiri/SoundCLR issue 4: `F.normalize(..., dim=0)`", "batch-mixing", updates=250)
def embeddings_scaled_over_the_batch(seed: int, faulty: bool) -> Given:
    """Embeddings are normalized along the batch and not along their own length."""
    model = _Cosine(0 if faulty else 1)
    pictures = digits(seed, num=800).normalized()
    return classify(model, pictures, optimizer=adam(model, 5e-3), score=accuracy_in_batches(1))


class _Coder(nn.Module):
    """An auto-encoder of convolutions that answers the picture and its code."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ELU(), nn.Conv2d(8, 4, 4, 2, 1))
        up = [nn.ConvTranspose2d(4, 16, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ELU()]
        self.decoder = nn.Sequential(*up, nn.Conv2d(16, 1, 3, padding=1))
        self.detached = detached

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code.data if self.detached else code), code


def _drawn_again(outs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    return F.mse_loss(outs[0], targets)


@fault(
    "common pattern: `.data` of old tutorials where a tensor goes from one part to the next",
    "detached-graph",
    updates=150,
)
def code_taken_as_data(seed: int, faulty: bool) -> Given:
    """The decoder gets `code.data`: the encoder never learns what to keep."""
    pictures, model = digits(seed), _Coder(faulty)
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))
    return replace(given(model, data, _drawn_again, adam(model, 3e-3)), score=fit)


@fault("deep-learning-with-pytorch/dlwpt-code issue 89", "accidental-weight-sharing", harm="static")
def block_times_four(seed: int, faulty: bool) -> Given:
    """`nn.Sequential(*(4 * [block]))`: one block is run four times.

    It still learns, with a quarter of the weights that its author believes in.
    """
    block = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())
    blocks = [block] * 4
    if not faulty:
        blocks = [nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()) for _ in range(4)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), *blocks, nn.Linear(64, 10))
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))


def _stages(stem: nn.Module) -> nn.Module:
    """Return a residual net of four stages, three of which halve the size."""
    sizes = ((16, 16, 1), (16, 24, 2), (24, 32, 2), (32, 48, 2))
    blocks = [BasicBlock(*size) for size in sizes]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))


@fault("weiaicunzai/pytorch-cifar100 issue 29; pratyushmaini/ssft issue 2", "spatial-collapse", updates=80)
def stem_of_large_pictures(seed: int, faulty: bool) -> Given:
    """The stem for 224 pixels on 16: maps are 1 x 1 after half of the stages."""
    stem = conv_bn_relu(1, 16)
    if faulty:
        conv = nn.Conv2d(1, 16, 7, 2, 3, bias=False)
        stem = nn.Sequential(conv, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    model = _stages(stem)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))


class _Deconv(nn.Module):
    """An auto-encoder with transposed convolutions."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 4, 2, 1), nn.ReLU())
        more = 1 if kernel_size % 2 else 0
        up1 = nn.ConvTranspose2d(8, 16, kernel_size, 2, 1, output_padding=more)
        up2 = nn.ConvTranspose2d(16, 1, kernel_size, 2, 1, output_padding=more)
        self.up = nn.Sequential(up1, nn.ReLU(), up2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


@fault("Odena et al. 2016, distill.pub/2016/deconv-checkerboard", "checkerboard-upsampling", harm="static")
def decoder_of_odd_kernels(seed: int, faulty: bool) -> Given:
    """Transposed convolutions of kernel 3 and stride 2, as most auto-encoder tutorials have them.

    The pattern of the uneven overlap shows in pictures; the squared error hardly changes.
    """
    pictures = digits(seed)
    model = _Deconv(3 if faulty else 4)
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))
    return replace(given(model, data, nn.MSELoss(), adam(model, 5e-3)), score=fit)
