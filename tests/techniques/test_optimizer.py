"""Optimizers against PyTorch's own, step by step."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from provenet.core.spec import members
from provenet.techniques.optimizer import SGD, AdamW, Muon, Optimizer, newton_schulz, set_lr

ALL = [member() for member in members(Optimizer)]
by_name = pytest.mark.parametrize("technique", ALL, ids=lambda technique: technique.name)


def net(channels_last: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    return made.to(memory_format=torch.channels_last) if channels_last else made


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step)).to(next(model.parameters()))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights and vectors."""
    parameters = list(model.parameters())
    return [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]


@pytest.mark.parametrize(
    ("technique", "reference"),
    [
        (
            SGD(lr=0.05, momentum=0.8, weight_decay=0.01),
            lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.8, nesterov=True, foreach=False),
        ),
        (SGD(lr=0.05, momentum=0.0, weight_decay=0.01), lambda groups: torch.optim.SGD(groups, lr=0.05, foreach=False)),
        (
            AdamW(lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.01),
            lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6, foreach=False),
        ),
    ],
    ids=["sgd", "sgd without momentum", "adamw"],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_equal_pytorch(technique, reference, channels_last):
    ours, theirs = net(channels_last).double(), net().double()
    optimizer = technique.build(ours.named_parameters())
    weights, vectors = split(theirs)
    expected = reference([{"params": weights, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}])
    for step in range(5):
        train(ours, optimizer, step, step + 1)
        train(theirs, expected, step, step + 1)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-8)


@by_name
def test_only_matrices_and_filters_decay_unless_asked(technique):
    parameters = [("w", nn.Parameter(torch.ones(2, 2))), ("b", nn.Parameter(torch.ones(2)))]
    decays = {g["params"][0].ndim: g["weight_decay"] for g in technique.build(parameters).param_groups}
    assert decays == {2: technique.weight_decay, 1: 0.0}
    everything = technique.model_copy(update={"decay_norm_and_bias": True}).build(parameters)
    assert all(group["weight_decay"] == technique.weight_decay for group in everything.param_groups)


@by_name
def test_groups_carry_their_multiplier_and_set_lr_obeys_it(technique):
    model = net()
    factors = {name: 0.25 if name.startswith("0.") else 1.0 for name, _ in model.named_parameters()}
    optimizer = technique.build(model.named_parameters(), factors.__getitem__)
    set_lr(optimizer, 0.5)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == len(factors)
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        hidden = name in ("0.weight", "2.weight")
        share = technique.adamw_lr_frac if isinstance(technique, Muon) and not hidden else 1.0
        assert group["lr"] == 0.5 * group["lr_multiplier"] == pytest.approx(0.5 * factors[name] * share)


@by_name
def test_the_first_rate_is_lr_times_multiplier(technique):
    optimizer = technique.build(net().named_parameters(), lambda name: 0.5)
    assert all(group["lr"] == technique.lr * group["lr_multiplier"] for group in optimizer.param_groups)


@by_name
def test_runs_repeat_byte_for_byte(technique):
    models = [net(), net()]
    for model in models:
        train(model, technique.build(model.named_parameters()), 0, 4)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)


@by_name
@pytest.mark.parametrize("channels_last", [False, True])
def test_state_goes_through_contiguous_tensors_and_json(technique, channels_last):
    unbroken = net(channels_last)
    first = technique.build(unbroken.named_parameters())
    train(unbroken, first, 0, 3)
    resumed = deepcopy(unbroken)
    saved = first.state_dict()
    groups = json.loads(json.dumps(saved["param_groups"]))
    tensors = {
        i: {key: value.contiguous().clone() for key, value in state.items()} for i, state in saved["state"].items()
    }
    second = technique.build(resumed.named_parameters())
    second.load_state_dict({"param_groups": groups, "state": tensors})
    train(unbroken, first, 3, 6)
    train(resumed, second, 3, 6)
    for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@by_name
def test_parameters_without_gradient_stay_as_they_are(technique):
    model = net()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, technique.build(model.named_parameters()), 0, 2)
    assert torch.equal(model[0].weight, before)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_newton_schulz_brings_singular_values_near_1(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    # singular values between 0.1 and 1: what is far below the norm is not reached in five steps
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    values = 0.1 + 0.9 * torch.rand(min(rows, columns), generator=generator)
    found = newton_schulz((u * values) @ v, 5)
    assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.35
    # same singular vectors: the polar factor of the result is that of the matrix
    overlap = torch.diagonal(u.T @ found @ v.T)
    assert (overlap > 0.65).all() and torch.allclose(overlap, torch.linalg.norm(u.T @ found, dim=1), atol=1e-3)


def test_newton_schulz_treats_a_stack_like_its_matrices():
    stack = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(newton_schulz(stack, 5), torch.stack([newton_schulz(one, 5) for one in stack]))


def test_a_zero_gradient_moves_nothing():
    assert torch.equal(newton_schulz(torch.zeros(3, 4), 5), torch.zeros(3, 4))


def test_muon_equals_pytorch_on_matrices_and_adamw_on_the_rest():
    shapes = {"a": (6, 10), "b": (10, 6), "bias": (6,), "output": (3, 6)}
    draws = torch.Generator().manual_seed(0)
    start = {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    ours = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    theirs = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = Muon(lr=0.02, momentum=0.9, weight_decay=0.1).build(ours.items())
    muon = torch.optim.Muon([theirs["a"], theirs["b"]], lr=0.02, momentum=0.9, weight_decay=0.1, ns_steps=5)
    decayed = torch.optim.AdamW([theirs["output"]], lr=0.001, weight_decay=0.1)
    plain = torch.optim.AdamW([theirs["bias"]], lr=0.001, weight_decay=0.0)
    for _ in range(4):
        for name, shape in shapes.items():
            ours[name].grad = torch.randn(shape, generator=draws)
            theirs[name].grad = ours[name].grad.clone()
        for one in (optimizer, muon, decayed, plain):
            one.step()
        for name in ("bias", "output"):
            torch.testing.assert_close(ours[name], theirs[name])
        for name in ("a", "b"):  # PyTorch iterates in bfloat16
            torch.testing.assert_close(ours[name], theirs[name], atol=4e-3, rtol=0)


def test_muon_sees_filters_as_matrices():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    filters, matrix = nn.Parameter(weight.clone()), nn.Parameter(weight.flatten(1).clone())
    rest = nn.Parameter(torch.zeros(2, 2))
    for parameter in (filters, matrix):
        parameter.grad = torch.ones_like(parameter) * torch.arange(4.0).view(-1, *[1] * (parameter.ndim - 1))
        Muon().build([("weight", parameter), ("output", rest)]).step()
    torch.testing.assert_close(filters.flatten(1), matrix)


@by_name
def test_each_lowers_a_quadratic(technique):
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    weight = nn.Parameter(torch.zeros(8, 8))
    parameters = [("weight", weight), ("output", nn.Parameter(torch.zeros(1, 1)))]
    optimizer = technique.model_copy(update={"lr": 0.02}).build(parameters)
    for _ in range(50):
        optimizer.zero_grad()
        loss = (weight - target).square().sum() / 2
        loss.backward()
        optimizer.step()
    assert loss < 0.9 * target.square().sum() / 2


def test_closures_are_called():
    weight = nn.Parameter(torch.ones(1, 1))
    optimizer = Muon().build([("weight", weight)])

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0 and weight.item() < 1
