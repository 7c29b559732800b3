"""More faults: auto-encoders, library nets, tokens and modes of single layers."""

# N batch, C channels, H W pixels, K classes, T steps

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.fresh.cls_makers import Samples, fruits, given, sentences, tags
from benchmarks.doctor.libraries import precise
from benchmarks.doctor.nets import ConvNet, adam, classify, conv_bn_relu, sgd
from benchmarks.doctor.pictures import Pictures, digits
from benchmarks.doctor.scores import accuracy_in_batches, fit, labels_right
from torch import Tensor, nn
from torch.nn import functional as F


def _noisy(images: Tensor, sigma: float) -> Tensor:
    return images + sigma * torch.randn_like(images)


@fault("cszn/DnCNN issue 27: sigma counts in bytes, the pictures do not", "augmentation-changes-label", updates=80)
def noise_in_units_of_bytes(seed: int, faulty: bool) -> Given:
    """Noise of deviation 25, as papers give it for 0..255, on pictures in 0..1."""
    model = ConvNet(1, 10)
    sigma = 25 if faulty else 25 / 255
    return classify(model, digits(seed), optimizer=adam(model, 3e-3), transform=lambda images: _noisy(images, sigma))


@fault("common pattern: BCELoss on outputs without a sigmoid", "loss-mismatch", harm="raises", updates=120)
def raw_scores_into_bce(seed: int, faulty: bool) -> Given:
    """`nn.BCELoss` wants probabilities and gets any numbers."""
    model = ConvNet(3, 4)
    loss_fn = nn.BCELoss() if faulty else nn.BCEWithLogitsLoss()
    return replace(given(model, tags(seed), loss_fn), score=labels_right)


class _Redraw(nn.Module):
    """An auto-encoder whose answers lie in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        down = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 4, 2, 1), nn.ReLU()]
        up = [nn.ConvTranspose2d(8, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid()]
        self.layers = nn.Sequential(*down, *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _redrawn(outs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * outs.clamp(min=1e-6).log() + (1 - targets) * (1 - outs).clamp(min=1e-6).log()).mean()


@fault("mlpack/mlpack issue 3601; Lasagne/Recipes issue 54", {"label-out-of-range", "loss-mismatch"}, updates=150)
def standardized_pictures_as_shares(seed: int, faulty: bool) -> Given:
    """Pictures of zero mean and unit deviation are the targets of a binary cross-entropy: it falls below zero."""
    pictures, wide = digits(seed), digits(seed).normalized()
    data = Samples(wide.inputs, (wide if faulty else pictures).inputs, (wide.test[0], pictures.test[0]))
    model = _Redraw()
    return replace(given(model, data, _redrawn, adam(model, 5e-3)), score=fit)


@fault("kazuto1011/deeplab-pytorch issue 48; princeton-vl/RAFT-Stereo issue 58", "eval-mode-training", updates=60)
def norms_frozen_from_the_start(seed: int, faulty: bool) -> Given:
    """A fine-tuning script puts the batch norms into eval mode; here they have never seen a picture."""
    layers = [conv_bn_relu(20 if place else 1, 20, 2 if place in (3, 6) else 1) for place in range(9)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(80, 10))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train(not faulty)
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.02))


class _Uncertain(nn.Module):
    """A net with dropout on maps, which it may switch on by itself."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.low, self.high = conv_bn_relu(1, 24, 2), conv_bn_relu(24, 32, 2)
        self.drop = nn.Dropout2d(0.5)
        self.fc = nn.Linear(32 * 16, 10)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        if self.always:
            self.drop.train()
        return self.fc(self.drop(self.high(self.drop(self.low(x)))).flatten(1))


@fault("common pattern: Monte Carlo dropout left in the model that is put to use", "dropout-always-on", updates=60)
def dropout_switches_itself_on(seed: int, faulty: bool) -> Given:
    """The forward puts its dropout into training mode, so that `model.eval()` does not reach it."""
    model = _Uncertain(faulty)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))


class _Words(nn.Module):
    """Mean of embeddings and two layers."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 8)
        self.embed.weight.requires_grad_(not frozen)
        self.fc = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.embed(x).mean(1))


@fault(
    "common pattern: `from_pretrained(weights)` with its `freeze=True` on random vectors", "frozen-layers", updates=150
)
def random_vectors_are_frozen(seed: int, faulty: bool) -> Given:
    """Word vectors are frozen although no file of trained ones was read."""
    model = _Words(faulty)
    optimizer = adam(nn.ModuleList([model.fc]) if faulty else model, 5e-3)
    return given(model, sentences(seed), nn.CrossEntropyLoss(), optimizer)


class _Reader(nn.Module):
    """A GRU over tokens, for which N T F becomes T N F, by the right call or by a wrong one."""

    def __init__(self, viewed: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(60, 16)
        self.gru = nn.GRU(16, 32)
        self.fc = nn.Linear(32, 4)
        self.viewed = viewed

    def forward(self, x: Tensor) -> Tensor:
        num, steps = x.shape
        vectors = self.embed(x)
        vectors = vectors.reshape(steps, num, -1) if self.viewed else vectors.transpose(0, 1)
        return self.fc(self.gru(vectors)[0].mean(0))


@fault("common pattern: `view(T, N, F)` where `transpose(0, 1)` was meant", "batch-mixing", updates=120)
def viewed_as_time_first(seed: int, faulty: bool) -> Given:
    """The reshape to time first cuts the batch elsewhere: a sequence is made of pieces of several samples."""
    model = _Reader(faulty)
    found = given(model, sentences(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))
    return replace(found, score=accuracy_in_batches(50))


@fault("timm: `drop_rate` is the share that is dropped", "dropout-too-high", updates=100)
def drop_rate_of_a_library_net(seed: int, faulty: bool) -> Given:
    """`drop_rate=0.95`, where 0.05 was meant, in front of the head of an EfficientNet."""
    rate = 0.95 if faulty else 0.05
    model = timm.create_model("test_efficientnet", pretrained=False, in_chans=1, num_classes=10, drop_rate=rate)
    pictures = digits(seed, size=32).normalized()
    return classify(model, pictures, optimizer=adam(model, 2e-3), score=precise(accuracy_in_batches(64)))


@fault("common pattern: the header line of a table of labels is read as a sample", "labels-uninformative", updates=80)
def labels_shifted_by_one(seed: int, faulty: bool) -> Given:
    """Labels are off by one line: each picture gets the label of the one before."""
    pictures = fruits(seed).normalized()
    labels = pictures.targets.roll(1) if faulty else pictures.targets
    return classify(ConvNet(3, 4), Pictures(pictures.inputs, labels, pictures.test))


class _Perceptron(nn.Module):
    """A perceptron, all of whose weights may start at zero."""

    def __init__(self, zero: bool) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(256, 64), nn.Linear(64, 10)
        if zero:
            for layer in (self.fc1, self.fc2):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


@fault(
    "common pattern: `nn.Parameter(torch.zeros(...))` for all weights of a layer of one's own",
    "symmetric-init",
    updates=100,
)
def zeros_in_every_layer(seed: int, faulty: bool) -> Given:
    """Two layers of zeros: the first has no gradient, and the second none but that of its bias."""
    model = _Perceptron(faulty)
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.05))


@fault("common pattern: Tversky and Dice scores returned as the loss", "loss-sign", updates=80)
def score_is_the_loss(seed: int, faulty: bool) -> Given:
    """The share of agreement with the tags is what a metric returns; it goes into `backward` as it is."""

    def loss_fn(outs: Tensor, targets: Tensor) -> Tensor:
        probs = outs.sigmoid()
        agreed = 2 * (probs * targets).sum() / (probs.sum() + targets.sum())
        return agreed if faulty else 1 - agreed

    return replace(given(ConvNet(3, 4), tags(seed), loss_fn), score=labels_right)


@fault(
    "common pattern: `F.mse_loss(..., reduction='sum')` over a batch with SGD",
    "loss-reduction-sum",
    allowed=["lr-too-high"],
)
def batch_summed_up(seed: int, faulty: bool) -> Given:
    """`reduction="sum"` in a classifier: the step is 32 times as long as the rate was meant for."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def loss_fn(outs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outs, targets, reduction="sum" if faulty else "mean")

    return classify(model, digits(seed).normalized(), loss_fn, sgd(model, 0.1))
