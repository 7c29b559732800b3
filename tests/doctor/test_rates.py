"""Rates, momentum and decay: trainings made ill are named first among all checks, and usual ones stay silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

from provenet.doctor.case import read_case
from provenet.doctor.checks import failures, low_rates, optimization, rates, symptoms
from provenet.doctor.consult import examine
from provenet.doctor.registry import CHECKS
from provenet.records.finding import Diagnosis

CE = nn.CrossEntropyLoss()
NEAR = (*rates.CHECKS, *low_rates.CHECKS, *optimization.CHECKS, *failures.CHECKS, *symptoms.CHECKS)
"""The checks that look at updates; those of data and structure have nothing to say here."""
Make = Callable[[nn.Module], Optimizer]


def batches(num: int = 2) -> list[tuple[Tensor, Tensor]]:
    """Return pictures whose brightest quarter is their class."""
    stream = torch.Generator().manual_seed(1)
    found = []
    for _ in range(num):
        pictures = torch.randn(16, 3, 8, 8, generator=stream)
        targets = torch.arange(16) % 4
        for place, (row, column) in enumerate((divmod(int(kind), 2)) for kind in targets):
            pictures[place, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.0
        found.append((pictures, targets))
    return found


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4)),
    )
    for layer in made:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return made


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4)),
    )


def layered() -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [part for _ in range(3) for part in (nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 64), *blocks, nn.Linear(64, 4))


def sgd(lr: float, momentum: float = 0.9, **more: Any) -> Make:
    return lambda net: SGD(net.parameters(), lr, momentum, **more)


def adam(lr: float, **more: Any) -> Make:
    return lambda net: Adam(net.parameters(), lr, **more)


def adamw(lr: float, **more: Any) -> Make:
    return lambda net: AdamW(net.parameters(), lr, **more)


def examined(net: nn.Module, make: Make, loss: Any = CE, checks: Any = NEAR, schedule: Any = None) -> Diagnosis:
    optimizer = make(net)
    case = read_case(net, batches(), loss, optimizer, schedule=None if schedule is None else schedule(optimizer))
    found = examine(case, 120.0, checks)
    assert not [why for why in found.left_out.values() if "itself failed" in why]
    return found


ILL = {
    "no norm, Adam at 0.3": ("lr-too-high", plain, adam(0.3)),
    "no norm, SGD at 3": ("lr-too-high", plain, sgd(3.0)),
    "batch norm, SGD at 300": ("lr-too-high", normed, sgd(300.0)),
    "layer norm, RMSprop at 0.5": ("lr-too-high", layered, lambda net: RMSprop(net.parameters(), 0.5)),
    "no norm, SGD at 3e4": ("lr-too-high", plain, sgd(3e4)),
    "no norm, SGD at 1e-7": ("lr-too-low", plain, sgd(1e-7)),
    "batch norm, Adam at 1e-9": ("lr-too-low", normed, adam(1e-9)),
    "a rate of zero": ("lr-too-low", normed, sgd(0.0)),
    "momentum of one": ("momentum-too-high", normed, sgd(0.01, 1.0)),
    "betas swapped": ("momentum-too-high", plain, adam(2e-3, betas=(0.999, 0.9))),
    "SGD decays by a half": ("weight-decay-too-high", plain, sgd(0.05, weight_decay=0.5)),
    "Adam decays by one": ("weight-decay-too-high", plain, adam(3e-3, weight_decay=1.0)),
    "AdamW decays by fifty": ("weight-decay-too-high", layered, adamw(1e-3, weight_decay=50.0)),
}
SOUND = {
    "batch norm, SGD at 0.1": (normed, sgd(0.1, weight_decay=5e-4)),
    "batch norm, SGD at 0.1, Nesterov": (normed, sgd(0.1, nesterov=True)),
    "no norm, SGD at 0.01": (plain, sgd(0.01)),
    "no norm, SGD at 0.05 without momentum": (plain, sgd(0.05, 0.0)),
    "no norm, Adam at 1e-3": (plain, adam(1e-3)),
    "no norm, Adam at 3e-4": (plain, adam(3e-4)),
    "batch norm, Adam at 1e-2": (normed, adam(1e-2)),
    "layer norm, AdamW, decay of 0.05": (layered, adamw(1e-3, weight_decay=0.05)),
    "layer norm, AdamW, decay of 0.3": (layered, adamw(3e-4, weight_decay=0.3)),
    "long momentum at a low rate": (normed, sgd(0.005, 0.99)),
    "slow but sure": (plain, sgd(1e-3)),
    "slow but sure, Adam at 3e-5": (normed, adam(3e-5)),
}


@pytest.mark.parametrize("name", ILL)
def test_an_ill_training_is_named_first(name: str) -> None:
    id, net, optimizer = ILL[name]
    loud = [one for one in examined(net(), optimizer).findings if one.loud]
    assert [one.id for one in loud[:1]] == [id]
    assert loud[0].fix


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_training_gets_no_finding(name: str) -> None:
    net, optimizer = SOUND[name]
    assert examined(net(), optimizer).findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ILL)
def test_it_is_named_first_of_all_checks(name: str) -> None:
    id, net, optimizer = ILL[name]
    assert examined(net(), optimizer, checks=CHECKS).findings[0].id == id


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_no_check_speaks_up_on_it(name: str) -> None:
    net, optimizer = SOUND[name]
    assert examined(net(), optimizer, checks=CHECKS).healthy


WARM = {
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, 1e-6, total_iters=100),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=500, div_factor=1e7),
    "function": lambda optimizer: lambda step: min(1.0, 1e-6 + step / 200),
}


@pytest.mark.parametrize("name", WARM)
def test_a_rate_that_is_about_to_rise_is_not_called_low(name: str) -> None:
    lr = 1e-7 if name == "function" else 0.1
    assert examined(normed(), sgd(lr), schedule=WARM[name]).healthy


def test_the_rate_that_is_advised_does_learn() -> None:
    """The advice is carried out in a training of its own."""
    for name in ("no norm, Adam at 0.3", "no norm, SGD at 1e-7"):
        _, net, make = ILL[name]
        finding = examined(model := net(), make).findings[0]
        optimizer = make(model)
        advised = float(finding.fix.rpartition("=")[2])
        for group in optimizer.param_groups:
            group["lr"] = advised
        first, last = trained(model, optimizer)
        assert last < 0.5 * first
        assert finding.gain is not None
        assert finding.gain >= rates.GAIN


def trained(net: nn.Module, optimizer: Optimizer, epochs: int = 40) -> tuple[float, float]:
    """Return the loss before and after a training."""
    data = batches()

    def loss() -> float:
        return sum(float(CE(net(x), y).detach()) for x, y in data) / len(data)

    first = loss()
    for _ in range(epochs):
        for x, y in data:
            optimizer.zero_grad()
            CE(net(x), y).backward()
            optimizer.step()
    return first, loss()


def test_a_net_that_has_learned_is_left_alone() -> None:
    """It has little left to close: neither its rate nor its decay is at fault."""
    for make in (sgd(1e-6), sgd(0.1, weight_decay=5e-4), adamw(1e-3, weight_decay=0.05)):
        net = normed()
        trained(net, Adam(net.parameters(), 1e-2))
        assert examined(net, make).healthy


def test_masks_that_are_mostly_ground_take_their_time() -> None:
    """The loss first falls to that of answering how much ground there is: while it falls, the rate has not failed."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))
    given = [(x, (x.mean(1, keepdim=True) > 1.4).float()) for x, _ in batches()]
    assert float(given[0][1].mean()) < 0.1
    case = read_case(net, given, nn.BCEWithLogitsLoss(), SGD(net.parameters(), 0.01, momentum=0.9))
    assert examine(case, 120.0, NEAR).findings == ()


def test_a_ball_without_friction_does_not_come_to_rest() -> None:
    """In a bowl steps of long memory swing to and fro; momentum 0.9 comes to rest within the same updates."""

    def found(momentum: float) -> list[str]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        loss = lambda out, y: (out - F.one_hot(y, 4)).square().mean()
        return [one.id for one in examined(net, sgd(0.05, momentum), loss, optimization.CHECKS).findings if one.loud]

    assert found(0.999) == ["momentum-too-high"]
    assert found(0.9) == []


def test_a_rate_that_moves_nothing_is_named_also_where_the_task_is_hard() -> None:
    """Means of noise say nothing of the class: no rate learns it in a short training, so the update itself decides."""

    def found(lr: float) -> list[str]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
        return [one.id for one in examined(net, adam(lr), checks=low_rates.CHECKS).findings]

    assert found(1e-9) == ["lr-too-low"]
    assert found(1e-2) == []


def test_a_body_may_learn_more_slowly_than_its_head() -> None:
    def make(net: nn.Module) -> Optimizer:
        return Adam([{"params": net[:-1].parameters(), "lr": 1e-8}, {"params": net[-1].parameters()}], lr=1e-2)

    assert examined(normed(), make).healthy


def test_a_penalty_of_the_loss_on_weights_counts_as_decay() -> None:
    def found(factor: float) -> list[str]:
        net = plain()

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(outputs, targets) + factor * sum(p.square().sum() for p in net.parameters())

        return [one.id for one in examined(net, sgd(0.01), loss).findings if one.loud]

    assert found(0.5)[:1] == ["weight-decay-too-high"]
    assert found(1e-2) == []


def test_of_a_warm_up_the_rate_that_it_leads_to_is_judged():
    def warming(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LinearLR(optimizer, 0.01, total_iters=20)

    found = examined(normed(), sgd(3000.0), schedule=warming)
    assert found.findings and found.findings[0].id == "lr-too-high", str(found)
    assert found.findings[0].evidence["lr"] == pytest.approx(3000.0)
    after = examined(normed(), sgd(0.5), schedule=warming)
    assert after.healthy, str(after)


FADING = {
    "exponential, a tenth": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.1),
    "steps of two": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.1),
    "function": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.8**step),
}
LASTING = {
    "exponential, nine tenths": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "steps of seven": lambda optimizer: lr_scheduler.StepLR(optimizer, 7, 0.1),
    "five epochs down to zero": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 5)),
    "cosine of three": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 3),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100),
}


@pytest.mark.parametrize("name", FADING | LASTING)
def test_a_schedule_that_takes_the_rate_away_at_once_is_named(name: str) -> None:
    found = examined(normed(), sgd(0.05), schedule=(FADING | LASTING)[name], checks=low_rates.CHECKS).findings
    assert [(one.id, one.layer) for one in found] == [("lr-too-low", "schedule")] * (name in FADING)
