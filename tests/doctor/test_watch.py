"""A loop with a fault is found out, a sound one is left alone, and nothing is hung on net or optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as module_globals
from torch.optim import optimizer as optimizer_globals

import provenet as pn
from provenet.doctor.watch import Watch

EPOCHS, BATCHES = 3, 25


def net(*extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), *extra, nn.Linear(16, 3))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    inputs = torch.randn(BATCHES, 16, 8)
    return [(part, part[:, :3].argmax(1)) for part in inputs]


def train(
    model: nn.Module,
    watch: Watch,
    optimizer: torch.optim.Optimizer,
    *,
    clear: Callable[[int], bool] = lambda step: True,
    validate: Callable[[nn.Module], None] = lambda model: None,
    decay: bool = True,
    loss_fn=F.cross_entropy,
    accumulate: int = 1,
) -> None:
    """Train as people do."""
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * BATCHES // accumulate)
    step = 0
    for _ in range(EPOCHS):
        for inputs, targets in batches():
            step += 1
            loss = loss_fn(model(inputs), targets)
            if clear(step):
                optimizer.zero_grad()
            loss.backward()
            if step % accumulate == 0:
                optimizer.step()
                if decay:
                    schedule.step()
            watch.step(loss)
        validate(model)
        watch.validated()


def evaluate(model: nn.Module, mode: bool) -> None:
    model.train(mode)
    with torch.no_grad():
        for inputs, _ in batches()[:3]:
            model(inputs)
    model.train()


def watched(model: nn.Module, lr: float = 0.05, **loop) -> list[tuple[str, str]]:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    with pn.watch(model, optimizer) as watch:
        train(model, watch, optimizer, **loop)
    return [(finding.id, finding.severity) for finding in watch.findings]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_sound_loop_is_left_alone(set_to_none: bool) -> None:
    model = net(nn.Dropout(0.3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with pn.watch(model, optimizer) as watch:
        for inputs, targets in batches():
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            watch.step(loss)
    assert watch.findings == ()
    assert watch.diagnosis().healthy
    assert watch.updates == BATCHES


def test_gradients_that_are_never_cleared_are_found() -> None:
    assert ("missing-zero-grad", "error") in watched(net(), lr=1e-3, clear=lambda step: False)


def test_so_are_those_that_are_clipped_and_kept() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with pn.watch(model, optimizer) as watch:
        for inputs, targets in batches():
            F.cross_entropy(model(inputs), targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            optimizer.step()
    assert [finding.id for finding in watch.findings] == ["missing-zero-grad"]


def test_gradients_gathered_on_purpose_are_not() -> None:
    assert watched(net(), clear=lambda step: step % 4 == 1, accumulate=4) == []


def test_nor_are_those_of_another_loss_that_are_cleared_later() -> None:
    model, generator = net(), nn.Linear(4, 8)
    mine = torch.optim.SGD(model.parameters(), lr=0.01)
    theirs = torch.optim.SGD(generator.parameters(), lr=0.01)
    with pn.watch(model, mine) as watch:
        for inputs, targets in batches():
            theirs.zero_grad()
            model(generator(torch.randn(16, 4))).mean().backward()
            theirs.step()
            mine.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            mine.step()
    assert watch.findings == ()


@pytest.mark.parametrize("extra", [(), (nn.Dropout(0.5),)])
def test_validation_in_training_mode_is_found(extra: tuple[nn.Module, ...]) -> None:
    assert watched(net(*extra), validate=lambda model: evaluate(model, True)) == [("inference-in-train-mode", "error")]


def test_so_is_one_that_keeps_gradients() -> None:
    def validate(model: nn.Module) -> None:
        for inputs, _ in batches()[:2]:
            model(inputs)

    assert watched(net(), validate=validate) == [("inference-in-train-mode", "error")]


def test_validation_in_evaluation_mode_and_nets_without_modes_are_not() -> None:
    assert watched(net(nn.Dropout(0.5)), validate=lambda model: evaluate(model, False)) == []
    plain = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    assert watched(plain, validate=lambda model: evaluate(model, True)) == []


def test_dropout_alone_in_training_mode_is_on_purpose() -> None:
    def sample(model: nn.Module) -> None:
        model.eval()
        model[3].train()
        with torch.no_grad():
            model(batches()[0][0])
        model.train()

    assert watched(net(nn.Dropout(0.5)), validate=sample) == []


def test_training_that_goes_on_in_evaluation_mode_is_found() -> None:
    assert watched(net(), validate=nn.Module.eval) == [("eval-mode-training", "error")]


def test_a_rate_that_is_kept_while_the_loss_stands_still_is_found() -> None:
    noise = torch.Generator().manual_seed(0)

    def stuck(out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(out * 0, targets) + 0.1 * torch.rand((), generator=noise)

    assert watched(net(), decay=False, loss_fn=stuck) == [("lr-never-decayed", "warning")]
    assert watched(net(), decay=True, loss_fn=stuck) == []


def test_a_scheduler_that_is_never_stepped_is_found() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    with pn.watch(model, optimizer, schedule=schedule) as watch:
        train(model, watch, optimizer, decay=False)
    assert [finding.id for finding in watch.findings] == ["lr-never-decayed"]
    assert "never stepped" in watch.findings[0].message


def test_a_loss_that_becomes_nan_is_found_with_its_step() -> None:
    model = nn.Linear(1, 1)
    with pn.watch(model) as watch:
        for loss in (1.0, 3.0, torch.tensor(9.0), float("inf"), float("nan")):
            watch.step(loss)
    (finding,) = watch.findings
    assert finding.id == "loss-not-finite"
    assert finding.evidence == {"step": 4, "first_loss": 1.0, "last_finite_loss": 9.0}


def test_layers_that_die_are_found_and_living_ones_are_not() -> None:
    for bias, dead in ((-100.0, ["0"]), (0.0, [])):
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        nn.init.constant_(model[0].bias, bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        with Watch(model, optimizer) as watch:
            for inputs, targets in batches() * 5:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
        assert [finding.layer for finding in watch.findings if finding.id == "dead-relu"] == dead


def test_nothing_stays_behind() -> None:
    model, fresh = net(), net()
    optimizer, other = (torch.optim.SGD(one.parameters(), lr=0.05, momentum=0.9) for one in (model, fresh))
    hooks = (module_globals._global_forward_hooks, module_globals._global_forward_pre_hooks)
    hooks += (optimizer_globals._global_optimizer_pre_hooks,)
    before = [dict(one) for one in hooks]
    attributes = copy.copy(vars(model))
    with pn.watch(model, optimizer) as watch:
        train(model, watch, optimizer)
    train(fresh, Watch(nn.Identity()), other)
    assert [dict(one) for one in hooks][2] == before[2]
    assert vars(model).keys() == attributes.keys()
    assert not model._forward_hooks
    for mine, theirs in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_it_closes_when_the_loop_raises() -> None:
    before = len(module_globals._global_forward_hooks)
    with pytest.raises(ZeroDivisionError), pn.watch(net()):
        raise ZeroDivisionError
    assert len(module_globals._global_forward_hooks) == before
