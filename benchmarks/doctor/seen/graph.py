"""Faults in what the loss depends on: graphs that are cut, parameters that nobody knows, layers that are one."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.nets import BasicBlock, ConvNet, PlainNet, UNet, adam, classify, conv_bn_relu, segment, sgd
from benchmarks.doctor.pictures import digits, photos, shapes
from benchmarks.doctor.seen.signal import he_
from torch import Tensor, nn
from torch.nn import functional as F


class CutUNet(UNet):
    """Features go to the decoder through `cut`."""

    def __init__(self, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__(1, 5)
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        x1, x2, x3 = self.encode(x)
        return self.decode(self.cut(x1), self.cut(x2), self.cut(x3))


@fault(
    "https://github.com/vturrisi/solo-learn/issues/135 (will detach not keep the encoder from learning?), here it does",
    "detached-graph",
    allowed={"unused-params"},
    updates=80,
)
def features_detached_before_decoder(seed: int, faulty: bool) -> Given:
    return segment(CutUNet(torch.detach if faulty else torch.clone), shapes(seed).normalized())


@fault(
    "common pattern: .detach().numpy() in forward, after numpy() alone raised an exception",
    "detached-graph",
    allowed={"unused-params"},
    updates=80,
)
def numpy_in_forward(seed: int, faulty: bool) -> Given:
    class Scaled(ConvNet):
        def forward(self, x: Tensor) -> Tensor:
            found = self.features(x)
            scale = found.detach().numpy().std(axis=1, keepdims=True) + 1e-5
            if faulty:
                return self.fc(torch.from_numpy(found.detach().numpy() / scale))
            return self.fc(found / torch.from_numpy(scale))

    return classify(Scaled(1, 10), digits(seed))


class NoGradBody(PlainNet):
    """The body runs under no_grad, though nobody has trained it."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.hidden(x)
        return self.fc2(found)


@fault(
    "common pattern: with torch.no_grad() around the body, kept from the time when it had pretrained weights",
    "detached-graph",
    allowed={"unused-params", "frozen-layers"},
    updates=80,
)
def body_under_no_grad(seed: int, faulty: bool) -> Given:
    model = (NoGradBody if faulty else PlainNet)(3, 4, 32)
    return classify(model, photos(seed).normalized(), optimizer=sgd(model, 0.02))


class Listed(nn.Module):
    """Its blocks are in a python list, or in a ModuleList."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU())
        blocks = [nn.Sequential(conv_bn_relu(16, 16), conv_bn_relu(16, 16, 2)) for _ in range(3)]
        self.blocks = blocks if faulty else nn.ModuleList(blocks)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.flatten(1))


@fault(
    "https://github.com/pytorch/pytorch/issues/666 (layers in a python list)",
    "unregistered-params",
    allowed={"optimizer-missing-params"},
    updates=100,
)
def layers_in_a_list(seed: int, faulty: bool) -> Given:
    return classify(Listed(faulty), digits(seed))


class HandMade(nn.Module):
    """Filters kept as plain tensors that require gradients, or as parameters."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        made = [torch.randn(16, 1, 5, 5) / 5, torch.randn(32, 16, 5, 5) / 20]
        tensors = [one.requires_grad_() if faulty else nn.Parameter(one) for one in made]
        self.first, self.second = tensors
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(F.conv2d(x, self.first, padding=2)), 2)
        x = F.relu(F.conv2d(x, self.second, padding=2))
        return self.fc(x.mean((2, 3)))


@fault(
    "https://github.com/pytorch/examples/issues/277 (weights of one's own layer are tensors, not parameters)",
    "unregistered-params",
    allowed={"optimizer-missing-params"},
    updates=100,
)
def filters_are_plain_tensors(seed: int, faulty: bool) -> Given:
    return classify(HandMade(faulty), digits(seed))


class Forgetful(nn.Module):
    """A stage that `forward` leaves out."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty = faulty
        self.layer1, self.layer2 = conv_bn_relu(1, 16, 2), conv_bn_relu(16, 16)
        self.layer3 = conv_bn_relu(16, 16, 2)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        if not self.faulty:
            x = self.layer3(self.layer2(x))
        return self.fc(x.mean((2, 3)))


@fault(
    "https://github.com/inria-thoth/HySUPP/issues/3 (layer2 is defined but not used in forward)",
    "unused-params",
    updates=100,
)
def stages_left_out_of_forward(seed: int, faulty: bool) -> Given:
    return classify(Forgetful(faulty), digits(seed))


class Copied(nn.Module):
    """conv1 is applied again where conv2, conv3 and conv4 were meant: copied lines of `forward`."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty = faulty
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        for index in range(1, 5):
            setattr(self, f"conv{index}", conv_bn_relu(16, 16))
        self.fc = nn.Linear(16 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        for index in range(1, 5):
            x = getattr(self, "conv1" if self.faulty else f"conv{index}")(x)
            x = F.max_pool2d(x, 2) if index in (1, 3) else x
        return self.fc(x.flatten(1))


@fault(
    "common pattern: a line of forward copied without its number changed",
    {"unused-params", "accidental-weight-sharing"},
    allowed={"unused-params", "accidental-weight-sharing"},
)
def conv1_used_for_all(seed: int, faulty: bool) -> Given:
    return classify(Copied(faulty), photos(seed).normalized())


class Repeated(nn.Module):
    """n blocks, or one block n times."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        blocks = 6 * [BasicBlock(16, 16)] if faulty else [BasicBlock(16, 16) for _ in range(6)]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(16 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.max_pool2d(self.blocks(x), 4).flatten(1))


@fault(
    "https://github.com/deep-learning-with-pytorch/dlwpt-code/issues/89 (n_blocks * [ResBlock(...)])",
    "accidental-weight-sharing",
)
def one_block_many_times(seed: int, faulty: bool) -> Given:
    return classify(Repeated(faulty), photos(seed).normalized())


@fault(
    "common pattern: [nn.Linear(n, n), nn.ReLU()] * depth in a Sequential", "accidental-weight-sharing", harm="static"
)
def one_linear_layer_many_times(seed: int, faulty: bool) -> Given:
    """One layer four times is a recurrent net, which reads digits about as well with fewer weights."""

    def pair() -> list[nn.Module]:
        return [nn.Linear(64, 64), nn.ReLU()]

    middle = pair() * 4 if faulty else [layer for _ in range(4) for layer in pair()]
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), *middle, nn.Linear(64, 10))
    he_(model)
    return classify(model, digits(seed), optimizer=adam(model))
