"""Gradients are finite with every member of every slot, also where formulas divide by zero or take its logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from provenet import techniques
from provenet.core.batch import VOID
from provenet.core.spec import Technique, members, name_of
from provenet.engine.feed import normalize
from provenet.engine.step import forward_loss, set_trainable_

EVERY = [(slot, member) for slot, union in techniques.SLOTS.items() for member in members(union)]


def of(slot: str, *more: Technique) -> Any:
    """Parametrise over the default members of a slot, and some with other settings."""
    chosen = [*(member() for member in members(techniques.SLOTS[slot])), *more]
    return pytest.mark.parametrize("technique", chosen, ids=str)


def finite(*tensors: Tensor | None) -> bool:
    return all(tensor is not None and bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize(("slot", "member"), EVERY, ids=[f"{slot}.{name_of(member)}" for slot, member in EVERY])
def test_a_step_of_every_member_has_finite_gradients(slot: str, member: Any, recipe_with: Any, build: Any) -> None:
    session = build(recipe_with(slot, member()))
    job = session.job
    set_trainable_(job, session.net, progress=0.5)
    loss = forward_loss(job, session.net, job.feed.train(next(iter(job.loader.batches(0))), 0))
    loss.backward()
    learning = [parameter for parameter in session.net.parameters() if parameter.requires_grad]
    assert finite(loss)
    assert learning and finite(*(parameter.grad for parameter in learning))
    assert any(bool(parameter.grad.any()) for parameter in learning), "the net would stay as it is"


# Where formulas break


@of("loss", techniques.Focal(gamma=0.5))
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4])
@pytest.mark.parametrize("targets", ["right", "wrong", "void", "one class"])
@pytest.mark.parametrize("masks", [False, True])
def test_losses_of_certain_answers(technique: Any, scale: float, targets: str, masks: bool) -> None:
    truth = torch.arange(12).remainder(3).view(3, 2, 2) if masks else torch.arange(4).remainder(3)
    logits = nn.functional.one_hot(truth, 3).movedim(-1, 1).double().mul(2).sub(1).mul(scale).requires_grad_()
    given = {
        "right": truth,
        "wrong": (truth + 1) % 3,
        "void": torch.full_like(truth, VOID),
        "one class": torch.full_like(truth, 2),
    }[targets]
    for weights in (None, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)):
        for precise in (logits, logits.float()):
            loss = technique.compute(precise, given, None if weights is None else weights.to(precise))
            (gradient,) = torch.autograd.grad(loss, logits)
            assert finite(loss, gradient)


@of("activation")
def test_activations_at_zero_and_far_out(technique: Any) -> None:
    values = torch.tensor([-1e4, -90.0, -1e-30, -0.0, 0.0, 1e-30, 90.0, 1e4], requires_grad=True)
    technique.layer()(values * 1).sum().backward()
    assert finite(values.grad)


@of("norm")
@pytest.mark.parametrize("level", [0.0, 1e-20, 1e4])
def test_norms_of_even_pictures(technique: Any, level: float) -> None:
    layer, images = technique.layer(6), torch.full((2, 6, 4, 4), level, requires_grad=True)
    (layer(images) * torch.linspace(-1, 1, 16).view(4, 4)).sum().backward()
    assert finite(images.grad, *(parameter.grad for parameter in layer.parameters()), *layer.buffers())


@of("inputs")
@pytest.mark.parametrize("level", [0, 255])
def test_inputs_of_even_pictures(technique: Any, level: int) -> None:
    picture = np.full((4, 5, 3), level, np.uint8)
    stats = technique.fit(iter([picture]), 255)
    assert finite(normalize(torch.from_numpy(picture)[None].permute(0, 3, 1, 2), None, technique, stats))


@of("optimizer")
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e6])
def test_updates_by_gradients_of_any_size(technique: Any, scale: float) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    optimizer = technique.build(net.named_parameters())
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter) * scale
    for _ in range(2):
        optimizer.step()
    assert finite(*net.parameters())
