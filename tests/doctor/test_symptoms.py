"""Symptoms and failures: each shows on nets made ill in several ways, not on sound ones, and yields to a cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.checks import failures, symptoms
from provenet.doctor.consult import examine
from provenet.doctor.registry import CHECKS
from provenet.records.finding import Diagnosis

SYMPTOMS = (*failures.CHECKS, *symptoms.CHECKS)
CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
LABELS = torch.arange(16) % 4


def batches(num: int = 2, channels: int = 3) -> list[tuple[Tensor, Tensor]]:
    """Return pictures that are brighter the higher their class."""
    stream = torch.Generator().manual_seed(0)
    brighter = (LABELS - 1.5)[:, None, None, None] / 2
    return [(torch.randn(16, channels, 8, 8, generator=stream) + brighter, LABELS) for _ in range(num)]


def stack(depth: int = 8, activation: Callable[[], nn.Module] = nn.ReLU, width: int = 32) -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Flatten()]
    for number in range(depth):
        layer = nn.Linear(192 if number == 0 else width, width)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        parts += [layer, activation()]
    return nn.Sequential(*parts, nn.Linear(width, 4))


class Between(nn.Module):
    """A step without weights."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)


def with_step(place: int, step: Callable[[Tensor], Tensor], net: nn.Sequential | None = None) -> nn.Sequential:
    parts = list(net if net is not None else stack())
    return nn.Sequential(*parts[:place], Between(step), *parts[place:])


def scaled_gradient(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.detach() + factor * (x - x.detach())


def binary(x: Tensor) -> Tensor:
    """Return signs, whose gradient is a faint stand-in."""
    return x.sign().detach() + 0.01 * (x - x.detach())


def small_first_layers() -> nn.Sequential:
    net = stack(6)
    net[3].weight.data *= 1e-6
    net[3].bias.data.normal_()
    return net


def big_head(std: float, bias: float = 0.0) -> nn.Sequential:
    net = stack(2)
    nn.init.normal_(net[-1].weight, std=std)
    net[-1].bias.data[0] += bias
    return net


def dead(place: int = 1) -> nn.Sequential:
    net = stack(3)
    nn.init.constant_(net[place].bias, -1e4)
    return net


def log_of_zero(out: Tensor, y: Tensor) -> Tensor:
    return -(F.relu(out - 1e3).log() * F.one_hot(y, 4)).sum(1).mean()


def root_of_zero(out: Tensor, y: Tensor) -> Tensor:
    return CE(out, y) + (out - out.roll(0, 0)).square().sum().sqrt()


def log_of_what_is_left(out: Tensor, y: Tensor) -> Tensor:
    """Return a cross-entropy of yes and no whose probabilities reach 1 in float32 as soon as answers are sure."""
    probs, hot = (4 * out).sigmoid(), F.one_hot(y, 4).float()
    return -(hot * probs.log() + (1 - hot) * (1 - probs).log()).mean()


ILL: dict[str, tuple[str, Callable[[], nn.Module], Any]] = {
    "vanishing-gradients, binary": ("vanishing-gradients", lambda: stack(7, lambda: Between(binary)), CE),
    "vanishing-gradients, a small factor": ("vanishing-gradients", lambda: with_step(9, scaled_gradient(1e-7)), CE),
    "exploding-gradients, a large factor": ("exploding-gradients", lambda: with_step(9, scaled_gradient(1e8)), CE),
    "exploding-gradients, small weights": ("exploding-gradients", small_first_layers, CE),
    "bad-initial-loss, weights": ("bad-initial-loss", lambda: big_head(100.0), CE),
    "bad-initial-loss, bias": ("bad-initial-loss", lambda: big_head(0.01, 200.0), CE),
    "bad-initial-loss, factor": ("bad-initial-loss", lambda: with_step(6, lambda x: 1e5 * x, stack(2)), CE),
    "constant-output, lost": ("constant-output", lambda: with_step(5, lambda x: x * 0 + 1), CE),
    "constant-output, dead": ("constant-output", dead, CE),
    "constant-output, one for all": (
        "constant-output",
        lambda: with_step(5, lambda x: x.mean().expand_as(x) * 1e-6 + 1),
        CE,
    ),
    "cannot-overfit-batch, noise": ("cannot-overfit-batch", lambda: with_step(0, torch.randn_like, stack(2)), CE),
    "cannot-overfit-batch, faint": (
        "cannot-overfit-batch",
        lambda: with_step(6, lambda x: x * 1e-7, stack(2)),
        CE,
    ),
    "loss-not-finite, log": ("loss-not-finite", lambda: stack(2), log_of_zero),
    "loss-not-finite, root": ("loss-not-finite", lambda: stack(2), root_of_zero),
    "loss-not-finite, net": ("loss-not-finite", lambda: with_step(3, lambda x: x / (x > 1e9), stack(2)), CE),
    "loss-not-finite, later": ("loss-not-finite", lambda: stack(2), log_of_what_is_left),
    "forward-fails, features": ("forward-fails", lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 4)), CE),
    "forward-fails, channels": ("forward-fails", lambda: nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten()), CE),
    "forward-fails, loss": ("forward-fails", lambda: stack(2), lambda out, y: CE(out, y.int())),
    "forward-fails, in place": ("forward-fails", lambda: with_step(4, lambda x: x.exp().mul_(2), stack(2)), CE),
}


def examined(net: nn.Module, loss: Any = CE, checks: Any = SYMPTOMS, lr: float = 1e-3) -> Diagnosis:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    found = examine(read_case(net, batches(), loss, optimizer), 120.0, checks)
    assert not [why for why in found.left_out.values() if "itself failed" in why]
    return found


@pytest.mark.parametrize("name", ILL)
def test_an_ill_net_shows_it(name: str) -> None:
    id, net, loss = ILL[name]
    loud = [one.id for one in examined(net(), loss, lr=0.02 if "later" in name else 1e-3).findings if one.loud]
    assert id in loud
    assert id == loud[0] or {id, loud[0]} <= {"vanishing-gradients", "exploding-gradients", "bad-initial-loss"}


def test_sound_nets_show_none(look, sound) -> None:
    assert look(SYMPTOMS, sound).findings == ()


class Gated(nn.Module):
    """Branches that begin closed, and a head of zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(192, 32), nn.Linear(32, 4)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
        self.gates = nn.Parameter(torch.zeros(6))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for gate, layer in zip(self.gates, self.layers, strict=True):
            x = x + gate * F.relu(layer(x))
        return self.head(x)


def rare_prior() -> nn.Sequential:
    """Return a net whose last bias is the logarithm of shares of a thousand to one."""
    net = stack(2)
    net[-1].bias.data = torch.tensor([0.0, -7.0, 0.0, 0.0])
    net[-1].weight.data *= 0.1
    return net


ODD = {
    "gates and heads of zeros": (Gated, CE),
    "sixteen layers": (lambda: stack(16), CE),
    "a few sigmoids": (lambda: stack(3, nn.Sigmoid), CE),
    "layer norm": (lambda: stack(8, lambda: nn.Sequential(nn.LayerNorm(32), nn.GELU())), CE),
    "dropout": (lambda: stack(3, lambda: nn.Sequential(nn.ReLU(), nn.Dropout(0.5))), CE),
    "label smoothing": (lambda: stack(3), nn.CrossEntropyLoss(label_smoothing=0.3)),
    "a bias that knows the shares": (rare_prior, CE),
    "a sum": (lambda: stack(3), nn.CrossEntropyLoss(reduction="sum")),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_sound_nets_show_none_loudly(name: str) -> None:
    net, loss = ODD[name]
    assert examined(net(), loss).healthy


def test_masks_of_noise_need_not_be_learned_by_heart() -> None:
    """Masks drawn pixel by pixel, as for a first try of a net; large blobs of the same classes count."""
    coarse = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for drawn, wanted in ((coarse, ["cannot-overfit-batch"]), (fine, [])):
        masks = (nn.functional.interpolate(drawn, 32) > 0.5).float()
        net = nn.Conv2d(3, 1, 1)
        case = read_case(net, [(inputs, masks)], BCE, torch.optim.Adam(net.parameters(), 1e-3))
        assert [one.id for one in examine(case, 120.0, SYMPTOMS).findings if one.loud] == wanted


def test_a_cause_hides_them() -> None:
    """Sigmoids in depth, a dead layer, and a head of large weights have names of their own."""
    for net, cause, lr in (
        (stack(10, nn.Sigmoid), "saturating-activations", 1e-3),
        (dead(), "dead-relu", 1e-3),
        (stack(3), "lr-too-high", 30.0),
    ):
        loud = [one.id for one in examined(net, checks=CHECKS, lr=lr).findings if one.loud]
        assert loud[:1] == [cause]
        assert not {"cannot-overfit-batch", "constant-output", "loss-not-finite"} & set(loud)


def test_the_first_loss_is_compared_with_that_of_a_guess() -> None:
    finding = examined(big_head(0.01, 200.0)).findings[0]
    # Three quarters of the samples are of classes 200 below the one that is answered.
    assert finding.evidence["loss"] == pytest.approx(150, rel=0.05)
    assert finding.evidence["loss_of_a_guess"] == pytest.approx(1.386, rel=1e-3)
    assert finding.severity == "warning"
    assert examined(big_head(0.01, 5.0)).findings[0].severity == "info"
    # Eight times that of a guess, and the short training is over it: harmless.
    assert examined(big_head(0.01, 15.0), lr=1e-2).findings[0].severity == "info"


def test_where_numbers_end_is_named() -> None:
    place = examined(with_step(3, lambda x: x / (x > 1e9), stack(2))).findings[0]
    assert (place.id, place.layer, place.severity) == ("loss-not-finite", "3", "error")
    later = examined(stack(2), log_of_what_is_left, lr=0.02).findings[0]
    assert later.severity == "warning"
    assert later.evidence["update"] > 1


@pytest.mark.parametrize(
    ("net", "loss", "layer", "advice"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(100, 4)), CE, "1", "nn.Linear(192, ...) in place of 100"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), CE, "0", "nn.Conv2d(3, ...) in place of 1"),
        (nn.Sequential(nn.BatchNorm2d(5)), CE, "0", "num_features=3 in place of 5"),
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(2)), lambda out, y: CE(out[..., 0], y.int()), "loss", ".long()"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.CrossEntropyLoss(reduction="none"), "", "loss.mean()"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4).double()), CE, "1", "inputs.float()"),
        (nn.Sequential(nn.Conv2d(3, 4, 8).double(), nn.Flatten()), CE, "0", "inputs.float()"),
    ],
)
def test_what_raises_is_named_with_what_to_write(net: nn.Module, loss: Any, layer: str, advice: str) -> None:
    finding = next(one for one in examined(net, loss).findings if one.id == "forward-fails")
    assert finding.severity == "error"
    assert finding.layer == layer
    assert advice in finding.fix
