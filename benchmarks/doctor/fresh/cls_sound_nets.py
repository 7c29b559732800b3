"""Sound nets of unusual layers, initial weights, optimizers and schedules."""

# N batch, C channels, H W pixels, K classes, T steps, F features

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from benchmarks.doctor.cases import Batch, Given, LossFn, sound
from benchmarks.doctor.fresh.cls_makers import Samples, arrows, fruits, given, series, table, vision_transformer
from benchmarks.doctor.nets import ConvNet, PlainNet, adam, classify, conv_bn_relu, sgd
from benchmarks.doctor.pictures import digits
from benchmarks.doctor.scores import fit, outputs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adadelta, AdamW
from torch.optim.lr_scheduler import LambdaLR


class _SkipInit(nn.Module):
    """A residual block without normalization, whose branch is multiplied by a weight that starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.conv2(F.relu(self.conv1(F.relu(x))))


@sound("De & Smith 2020, SkipInit (arXiv 2002.10444)", score=0.8, updates=100)
def residual_net_that_starts_as_identity(seed: int) -> Given:
    """At the start no block does anything, and all but the gains have no gradient."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 24, 3, 2, 1), *(_SkipInit(24) for _ in range(8)), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(24 * 16, 10)),
    )
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.02))


@sound("Klambauer et al. 2017, self-normalizing networks", score=0.75, updates=250)
def self_normalizing_depth(seed: int) -> Given:
    """Eight layers of SELU with LeCun's initial weights and alpha dropout, and no normalization."""
    layers: list[nn.Module] = []
    for place in range(8):
        linear = nn.Linear(64 if place else 8, 64)
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SELU(), nn.AlphaDropout(0.02)]
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 1e-3))


class _Sine(nn.Module):
    """Linear, then the sine of 15 times that in the first layer."""

    def __init__(self, fan_in: int, fan_out: int, omega: float, bound: float) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        nn.init.uniform_(self.linear.weight, -bound, bound)
        self.omega = omega

    def forward(self, x: Tensor) -> Tensor:
        return (self.omega * self.linear(x)).sin()


@sound("Sitzmann et al. 2020, SIREN", score=0.7, updates=500)
def sines_that_draw_a_picture(seed: int) -> Given:
    """Places in [-1, 1] in, grey values of one picture out: samples are its pixels."""
    first, second = _Sine(2, 64, 15.0, 0.5), _Sine(64, 64, 1.0, (6 / 64) ** 0.5)
    model = nn.Sequential(first, second, _Sine(64, 64, 1.0, (6 / 64) ** 0.5), nn.Linear(64, 1))
    picture = F.interpolate(fruits(seed).inputs[:1], size=32, mode="bicubic").mean(1).flatten()
    axis = torch.linspace(-1, 1, 32)
    places = torch.cartesian_prod(axis, axis)
    order = torch.randperm(1024)
    values = ((picture - picture.mean()) / picture.std())[:, None]
    data = Samples(places[order], values[order], (places, values))
    return replace(given(model, data, nn.MSELoss(), adam(model, 1e-3)), score=fit)


class _Fourier(nn.Module):
    """Cosines of fixed random projections, with a linear layer on top that learns."""

    projection: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(4, 400) * 0.7)
        self.register_buffer("shift", 6.2832 * torch.rand(400))
        self.out = nn.Linear(400, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((x[:, :4] @ self.projection + self.shift).cos())


@sound("Rahimi & Recht 2007, random features for kernel machines", score=0.7, updates=200)
def random_features_on_purpose(seed: int) -> Given:
    """The features are random and stay so, as buffers; only the last layer learns."""
    model = _Fourier()
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 2e-2))


class _Recurrent(nn.Module):
    """A two-way GRU with a class for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.gru(x.transpose(1, 2))
        return self.fc(found).transpose(1, 2)


@sound("common practice: a GRU that labels steps", score=0.75, updates=120)
def steps_labelled_both_ways(seed: int) -> Given:
    """Gates of sigmoids and tanhs, logits N K T."""
    model = _Recurrent()
    return given(model, series(seed), nn.CrossEntropyLoss(), adam(model, 1e-2), 16)


@sound("pytorch/examples, mnist/main.py: Adadelta with lr=1.0", score=0.8, updates=100)
def adadelta_at_one(seed: int) -> Given:
    """A rate of 1.0, which is that optimizer's own."""
    model = PlainNet(1, 10, 16)
    return classify(model, digits(seed).normalized(), optimizer=Adadelta(model.parameters(), lr=1.0))


@sound("Goyal et al. 2017: warm-up from zero", score=0.75, updates=120)
def warm_up_from_zero(seed: int) -> Given:
    """The first step has the rate 0, which then rises in a line for 20 steps and falls slowly."""
    model = vision_transformer(10)
    optimizer = AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = LambdaLR(optimizer, lambda step: min(step / 20, 1 - step / 1000))
    return classify(model, digits(seed).normalized(), optimizer=optimizer, schedule=schedule)


class _Early(nn.Module):
    """A net with a second head halfway, which answers in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = conv_bn_relu(1, 24, 2), conv_bn_relu(24, 48, 2)
        self.aux, self.fc = nn.Linear(24, 10), nn.Linear(48 * 16, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        low = self.low(x)
        logits = self.fc(self.high(low).flatten(1))
        return (logits, self.aux(low.mean((2, 3)))) if self.training else logits


def _both(outs: Tensor | tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    if isinstance(outs, Tensor):
        return F.cross_entropy(outs, targets)
    return F.cross_entropy(outs[0], targets) + 0.3 * F.cross_entropy(outs[1], targets)


@sound("torchvision GoogLeNet: auxiliary logits in training only", score=0.8, updates=80)
def second_head_in_training(seed: int) -> Given:
    """Two answers in training mode, one in eval mode."""
    loss_fn: LossFn = _both
    return classify(_Early(), digits(seed).normalized(), loss_fn)


class _Bag(nn.Module):
    """Attention over the pictures of a bag N P C H W: its weights are a softmax in the middle of the net."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU(), nn.Flatten())
        self.embed = nn.Linear(24 * 4, 32)
        self.value, self.gate, self.weigh = nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(16, 1)
        self.fc = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = F.relu(self.embed(self.body(x.flatten(0, 1)))).reshape(*x.shape[:2], -1)
        weights = self.weigh(self.value(found).tanh() * self.gate(found).sigmoid()).softmax(1)
        return self.fc((weights * found).sum(1)).flatten()


def _bag_right(model: nn.Module, test: Batch) -> float:
    return float(((outputs(model, test[0]) > 0) == (test[1] > 0.5)).float().mean())


@sound("Ilse, Tomczak & Welling 2018, attention-based multiple-instance learning", score=0.75, updates=200)
def attention_over_a_bag(seed: int) -> Given:
    """Bags of four digits; a bag is positive if it holds a zero."""
    pictures = digits(seed, num=1200, num_test=400).normalized()
    parts = []
    for images, labels in ((pictures.inputs, pictures.targets), pictures.test):
        chosen = torch.randint(len(images), (len(images) * 2 // 3, 4))
        zeros = (labels == 0).nonzero()[:, 0]
        some = torch.rand(len(chosen)) < 0.35
        chosen[some, 0] = zeros[torch.randint(len(zeros), (int(some.sum()),))]
        parts.append((images[chosen], (labels[chosen] == 0).any(1).float()))
    model = _Bag()
    data = Samples(*parts[0], parts[1])
    return replace(given(model, data, nn.BCEWithLogitsLoss(), adam(model, 2e-3)), score=_bag_right)


@sound("Brock et al. 2021, NF-Nets (timm test_nfnet): scaled weights, no normalization", score=0.75, updates=80)
def norm_free_library_net(seed: int) -> Given:
    """Weight standardization and fixed gains in the place of normalization layers."""
    model = timm.create_model("test_nfnet", pretrained=False, in_chans=1, num_classes=4)
    return classify(model, arrows(seed, size=32), optimizer=adam(model, 2e-3))


@sound("common practice: a large rate without momentum under batch norm", score=0.8, updates=100)
def half_as_rate_without_momentum(seed: int) -> Given:
    """SGD at 0.5 without momentum is fine for a net in which all scales are normalized."""
    model = ConvNet(3, 4)
    return classify(model, fruits(seed).normalized(), optimizer=SGD(model.parameters(), 0.5))
