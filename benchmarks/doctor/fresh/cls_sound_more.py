"""Sound nets of unusual inputs: tokens, counts, coordinates, double precision; and with codes and constraints."""

# N batch, C channels, H W pixels, K classes, T steps, F features

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, sound
from benchmarks.doctor.fresh.cls_makers import Samples, arrows, given, sentences, slopes
from benchmarks.doctor.nets import adam, classify, mlp
from benchmarks.doctor.pictures import Pictures, digits
from benchmarks.doctor.scores import fit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class _Text(nn.Module):
    """Embeddings, convolutions of two widths, the largest answer of each: Kim's net for sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(200, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 24, width) for width in (1, 3))
        self.fc = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.embed(x).transpose(1, 2)
        return self.fc(torch.cat([F.relu(conv(vectors)).mean(2) for conv in self.convs], 1))


@sound("Kim 2014, convolutions for sentences", score=0.7, updates=150)
def tokens_into_embeddings(seed: int) -> Given:
    """Inputs are whole numbers, and most rows of the embedding are words that never come."""
    model = _Text()
    return given(model, sentences(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))


@sound("common practice: a bag of words", score=0.7, updates=150)
def counts_of_words(seed: int) -> Given:
    """Inputs are counts N 60, four of five are zero."""
    data = sentences(seed)
    counted, tried = (F.one_hot(one, 60).sum(1).float() for one in (data.inputs, data.test[0]))
    model = mlp(60, 4)
    return given(model, Samples(counted, data.targets, (tried, data.test[1])), nn.CrossEntropyLoss())


def _with_places(images: Tensor) -> Tensor:
    axis = torch.linspace(-1, 1, images.shape[-1])
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
    return torch.cat([images, places.expand(len(images), -1, -1, -1)], 1)


@sound("Liu et al. 2018, CoordConv: channels of coordinates", score=0.8, updates=150)
def channels_of_coordinates(seed: int) -> Given:
    """Two of three channels are the same in every picture; the answer is where the picture is brightest."""
    draw = torch.Generator().manual_seed(seed)
    centers = torch.rand(768, 2, generator=draw) * 1.6 - 0.8
    axis = torch.linspace(-1, 1, 20)
    away = (axis[:, None] - centers[:, :1, None]).square() + (axis[None] - centers[:, 1:, None]).square()
    images = _with_places((-away * 12).exp()[:, None] + 0.1 * torch.randn(768, 1, 20, 20, generator=draw))
    body = [nn.Conv2d(3, 24, 5, 2, 2), nn.ReLU(), nn.Conv2d(24, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(2)]
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 2))
    data = Samples(images[:512], centers[:512], (images[512:], centers[512:]))
    return replace(given(model, data, nn.MSELoss()), score=fit)


@sound("common practice in physics: double precision", score=0.6, updates=200)
def double_precision(seed: int) -> Given:
    """Weights, inputs and targets are float64; the target is a column."""
    data, model = slopes(seed), mlp(6, 1).double()
    wide = Samples(data.inputs.double(), data.targets.double()[:, None], data.test)
    wide = wide._replace(test=(data.test[0].double(), data.test[1].double()[:, None]))
    return replace(given(model, wide, nn.SmoothL1Loss()), score=fit)


class _Codes(nn.Module):
    """An auto-encoder with a code book, and the gradient of a code is that of what it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 8, 4, 2, 1))
        up = [nn.ConvTranspose2d(8, 24, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, 2, 1)]
        self.decoder = nn.Sequential(*up)
        self.book = nn.Parameter(torch.randn(48, 8) * 0.3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.encoder(x).movedim(1, -1)
        nearest = self.book[torch.cdist(found.detach().flatten(0, 2), self.book).argmin(1)].reshape(found.shape)
        stray = F.mse_loss(nearest, found.detach()) + 0.25 * F.mse_loss(found, nearest.detach())
        through = found + (nearest - found).detach()
        return self.decoder(through.movedim(-1, 1)), stray


def _drawn_and_stray(outs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    return F.mse_loss(outs[0], targets) + outs[1]


@sound("van den Oord et al. 2017, VQ-VAE: a straight-through gradient", score=0.5, updates=200)
def codes_with_gradients_put_through(seed: int) -> Given:
    """`detach` and `argmin` are there on purpose, and every part gets a gradient."""
    pictures, model = digits(seed), _Codes()
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))
    return replace(given(model, data, _drawn_and_stray, adam(model, 3e-3)), score=fit)


@sound("Miyato et al. 2018, spectral normalization", score=0.75, updates=120)
def spectral_norms(seed: int) -> Given:
    """Weights are divided by their largest singular value, whose estimate is a buffer that training moves."""
    model = nn.Sequential(
        *(spectral_norm(nn.Conv2d(1, 24, 3, 2, 1)), nn.LeakyReLU(0.2)),
        *(spectral_norm(nn.Conv2d(24, 48, 3, 2, 1)), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(48 * 25, 4)),
    )
    return classify(model, arrows(seed), optimizer=adam(model, 2e-3))


class _Depthwise(nn.Module):
    """A ConvNeXt block: depthwise 7 x 7, layer norm over channels, a wide layer, and a tiny scale at its end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        found = self.norm(self.conv(x).movedim(1, -1))
        return x + (self.scale * self.back(F.gelu(self.wide(found)))).movedim(-1, 1)


@sound("Liu et al. 2022, ConvNeXt: layer scale of 1e-6", score=0.8, updates=120)
def branches_scaled_by_a_millionth(seed: int) -> Given:
    """Each branch is multiplied by 1e-6 at the start, so that its weights have hardly any gradient."""
    stem, down = nn.Conv2d(1, 24, 4, 4), nn.Conv2d(24, 32, 2, 2)
    model = nn.Sequential(stem, _Depthwise(24), _Depthwise(24), down, _Depthwise(32), nn.Flatten(), nn.Linear(128, 10))
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 4e-3))


@sound("common practice: pictures as float32 in [-1, 1], a clean but small set", score=0.7, updates=60)
def few_pictures(seed: int) -> Given:
    """Six batches of sixteen pictures, each seen many times."""
    pictures = digits(seed, num=96)
    data = Pictures(pictures.inputs * 2 - 1, pictures.targets, (pictures.test[0] * 2 - 1, pictures.test[1]))
    return given(mlp(256, 10), data, nn.CrossEntropyLoss(), size=16)
