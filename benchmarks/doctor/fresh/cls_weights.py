"""Faults of the initial weights, of normalization and of dropout."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.fresh.cls_makers import given, slopes, table, tags
from benchmarks.doctor.nets import BasicBlock, ConvNet, adam, classify, conv_bn_relu, mlp, sgd
from benchmarks.doctor.pictures import digits
from benchmarks.doctor.scores import accuracy_in_batches, fit, labels_right
from torch import Tensor, nn
from torch.nn import functional as F


def _filled(
    model: nn.Module, fill: Callable[[Tensor], object], kinds: tuple[type, ...] = (nn.Linear, nn.Conv2d)
) -> None:
    """Fill the weights of all layers of some kinds, and set their biases to zero."""
    for layer in model.modules():
        if isinstance(layer, kinds):
            fill(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@fault("common pattern: `nn.init.constant_(m.weight, 0.01)` in `init_weights`", "symmetric-init", updates=120)
def constant_in_init_weights(seed: int, faulty: bool) -> Given:
    """`model.apply(init_weights)` gives every weight of a regression net the same value."""
    model = mlp(6, 1, 48)
    if faulty:
        _filled(model, lambda weight: nn.init.constant_(weight, 0.01))
    data = slopes(seed)
    data = data._replace(targets=data.targets[:, None], test=(data.test[0], data.test[1][:, None]))
    return replace(given(model, data, nn.MSELoss(), adam(model, 5e-3)), score=fit)


class _Affine(nn.Module):
    """A linear layer written by hand, its weights times `scale`."""

    def __init__(self, fan_in: int, fan_out: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_in, fan_out) * scale)
        self.bias = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


@fault("AdaptInfer/Contextualized issue 33: weights straight from `torch.randn`", "init-too-large", updates=120)
def weights_straight_from_randn(seed: int, faulty: bool) -> Given:
    """Layers of one's own with weights of unit deviation, whatever the number of inputs is."""
    sizes = (256, 96, 96, 96, 10)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [_Affine(fan_in, fan_out, 1.0 if faulty else (2 / fan_in) ** 0.5), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 1e-3))


@fault(
    "BVLC/caffe issue 1396: std 0.01 for all layers",
    "init-too-small",
    allowed=["missing-normalization", "lr-too-low"],
    updates=100,
)
def gaussian_of_a_hundredth(seed: int, faulty: bool) -> Given:
    """AlexNet's deviation of 0.01 in a net of eight convolutions without normalization."""
    widths = (1, 16, 16, 24, 24, 32, 32, 32)
    layers: list[nn.Module] = []
    for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, 2 if place in (2, 4) else 1, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    if faulty:
        _filled(model, lambda weight: nn.init.normal_(weight, std=0.01))
    else:
        _filled(model, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 1e-3))


@fault(
    "common pattern: nets of sigmoids after old textbooks",
    "saturating-activations",
    allowed=["init-too-small", "missing-normalization"],
    updates=120,
)
def sigmoids_all_the_way(seed: int, faulty: bool) -> Given:
    """Sigmoids between six layers: what the input says is squashed from layer to layer."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(256, 64)]
    for _ in range(4):
        layers += [nn.Sigmoid() if faulty else nn.ReLU(), nn.Linear(64, 64)]
    model = nn.Sequential(*layers, nn.Sigmoid() if faulty else nn.ReLU(), nn.Linear(64, 10))
    _filled(model, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.01))


@fault(
    "xingyizhou/CenterNet issue 590: the prior bias of -2.19, set in a loop over all convolutions",
    "dead-relu",
    allowed=["class-imbalance"],
    updates=100,
)
def prior_bias_in_every_layer(seed: int, faulty: bool) -> Given:
    """The bias -log(9), meant for the last layer of a detector, goes to each convolution: no ReLU opens."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, 2, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(32, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    places = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    for layer in places if faulty else places[-1:]:
        nn.init.constant_(layer.bias, -2.19)
    data = tags(seed, p=0.1)
    return replace(given(model, data, nn.BCEWithLogitsLoss(), adam(model, 2e-3)), score=labels_right)


class _Deep(nn.Module):
    """Eighteen blocks of two convolutions each, with or without the way around them."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.stem = conv_bn_relu(1, 12, 2)
        self.blocks = nn.ModuleList(BasicBlock(12, 12) for _ in range(18))
        self.fc = nn.Linear(48, 10)
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))) if self.plain else block(x)
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


@fault("He et al. 2016, section 1: a deeper plain net trains worse", "deep-plain-net", updates=120)
def shortcuts_left_out(seed: int, faulty: bool) -> Given:
    """Thirty-seven convolutions in a row, written without the sum at the end of a block."""
    model = _Deep(faulty)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 3e-3))


@fault("pytorch/vision issue 8250: MaxViT with 0.99; ludwig-ai/ludwig pull 2100", "bn-bad-momentum", updates=180)
def momentum_of_another_library(seed: int, faulty: bool) -> Given:
    """The momentum 0.99 of Keras is the weight of the newest batch in torch, and the last batch is a small one."""
    model = ConvNet(1, 10)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.99 if faulty else 0.1
    pictures = digits(seed, num=258).normalized()
    found = classify(model, pictures, optimizer=sgd(model, 0.02))
    return replace(found, batches=[*found.batches, (pictures.inputs[256:], pictures.targets[256:])])


@fault("dbolya/yolact issue 325; microsoft/CNTK issue 905", "bn-small-batch", updates=500)
def two_pictures_behind_pooling(seed: int, faulty: bool) -> Given:
    """A batch norm on pooled maps of two pictures: all that is left of a value is which one was larger."""
    norm: nn.Module = nn.BatchNorm1d(48) if faulty else nn.LayerNorm(48)
    layers = [nn.Conv2d(1, 24, 5, 2, 2), nn.ReLU(), nn.Conv2d(24, 48, 5, 2, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), norm, nn.ReLU(), nn.Linear(48, 10))
    return given(model, digits(seed).normalized(), nn.CrossEntropyLoss(), adam(model, 1e-3), size=2)


@fault(
    "aymericdamien/TensorFlow-Examples issue 205; hunkim/DeepLearningZeroToAll issue 204",
    "dropout-too-high",
    updates=120,
)
def keep_probability_as_rate(seed: int, faulty: bool) -> Given:
    """`keep_prob = 0.9` of an older library is handed to `nn.Dropout`, which drops nine of ten."""
    p = 0.9 if faulty else 0.1
    layers = [nn.Linear(8, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 4)]
    model = nn.Sequential(*layers)
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))


@fault("Li et al. 2018, arXiv 1801.05134: dropout and batch norm in disharmony", "dropout-before-bn", harm="static")
def dropout_feeds_batch_norm(seed: int, faulty: bool) -> Given:
    """Dropout 0.5 before each batch norm: its running variance is that of training only.

    How much it costs depends on the task; digits are easy enough to hide it.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((1, 24), (24, 48), (48, 48)):
        conv, norm, drop = nn.Conv2d(fan_in, fan_out, 3, 2, 1), nn.BatchNorm2d(fan_out), nn.Dropout(0.5)
        layers += [conv, drop, norm, nn.ReLU()] if faulty else [conv, norm, nn.ReLU()]
    drop = nn.Identity() if faulty else nn.Dropout(0.5)
    model = nn.Sequential(*layers, nn.Flatten(), drop, nn.Linear(48 * 4, 10))
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))


@fault("TengdaHan/DPC issue 21; xu-ji/IIC issue 49", "bn-no-running-stats")
def no_running_stats(seed: int, faulty: bool) -> Given:
    """Batch norms without running statistics: what one picture is depends on those beside it."""
    track = not faulty
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in ((256, 96), (96, 48)):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out, track_running_stats=track), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(48, 10))
    return classify(model, digits(seed), optimizer=adam(model, 5e-3), score=accuracy_in_batches(2))


@fault("common pattern: `nn.Conv2d(...)` with its default bias before batch norm", "bias-before-bn", harm="static")
def biases_before_batch_norms(seed: int, faulty: bool) -> Given:
    """Convolutions keep the bias that the batch norm behind them takes away again.

    It costs a little memory and nothing else.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((1, 24), (24, 24), (24, 48)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, 2, 1, bias=faulty), nn.BatchNorm2d(fan_out), nn.SiLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 3e-3))
