"""Losses against PyTorch's own and slow NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from provenet.core.batch import VOID
from provenet.core.spec import members
from provenet.techniques.loss import CrossEntropy, CrossEntropyDice, Dice, Focal, Loss

K = 3
WEIGHTS = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
ALL = [member() for member in members(Loss)]
by_name = pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)


def draw(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits N K ... in float64 and targets, a fifth of them void."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], K, *shape[1:], generator=generator, dtype=torch.float64)
    targets = torch.randint(0, K, shape, generator=generator)
    targets[torch.rand(shape, generator=generator) < 0.2] = VOID
    return logits, targets


def flat(logits: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets of the known rows, in NumPy."""
    scores = np.exp(logits.movedim(1, -1).reshape(-1, K).numpy())
    known = targets.reshape(-1).numpy() != VOID
    return (scores / scores.sum(1, keepdims=True))[known], targets.reshape(-1).numpy()[known]


@given(seed=st.integers(0, 10**6), smoothing=st.sampled_from([0.0, 0.1]), weighted=st.booleans())
@pytest.mark.parametrize("shape", [(7,), (2, 4, 5)])
def test_cross_entropy_equals_pytorch(shape, seed, smoothing, weighted):
    logits, targets = draw(seed, *shape)
    targets.view(-1)[0] = 1
    weights = WEIGHTS if weighted else None
    expected = F.cross_entropy(logits, targets, weights, ignore_index=VOID, label_smoothing=smoothing)
    assert CrossEntropy(label_smoothing=smoothing).compute(logits, targets, weights) == pytest.approx(expected.item())


@given(seed=st.integers(0, 10**6), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy_of_soft_targets_equals_pytorch(seed, smoothing):
    logits, _ = draw(seed, 6)
    probs = torch.rand(6, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(1)
    expected = F.cross_entropy(logits, probs, label_smoothing=smoothing)
    assert CrossEntropy(label_smoothing=smoothing).compute(logits, probs) == pytest.approx(expected.item())


@by_name
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_one_hot_row_counts_like_its_index(loss, weights):
    logits, targets = draw(3, 9)
    one_hot = F.one_hot(targets.where(targets != VOID, 0), K).double() * (targets != VOID)[:, None]
    assert loss.compute(logits, one_hot, weights) == pytest.approx(loss.compute(logits, targets, weights).item())


@given(seed=st.integers(0, 10**6), gamma=st.floats(0, 5), weighted=st.booleans())
def test_focal_equals_slow_numpy(seed, gamma, weighted):
    logits, targets = draw(seed, 2, 3, 4)
    targets[0, 0, 0] = 2
    probs, known = flat(logits, targets)
    weight = WEIGHTS.numpy() if weighted else np.ones(K)
    total = sum(-weight[t] * (1 - p[t]) ** gamma * np.log(p[t]) for p, t in zip(probs, known, strict=True))
    expected = total / sum(weight[t] for t in known)
    assert Focal(gamma=gamma).compute(logits, targets, WEIGHTS if weighted else None) == pytest.approx(expected)


def test_focal_with_gamma_0_is_cross_entropy():
    logits, targets = draw(5, 2, 6, 6)
    assert Focal(gamma=0).compute(logits, targets) == pytest.approx(CrossEntropy().compute(logits, targets).item())


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_dice_equals_slow_numpy(seed, weighted):
    logits, targets = draw(seed, 2, 3, 2)
    targets[0, 0, 0] = 2
    probs, known = flat(logits, targets)
    weight = WEIGHTS.numpy() if weighted else np.ones(K)
    present = [k for k in range(K) if (known == k).any()]
    dice = {k: 2 * probs[known == k, k].sum() / (probs[:, k].sum() + (known == k).sum()) for k in present}
    expected = sum(weight[k] * (1 - dice[k]) for k in present) / sum(weight[k] for k in present)
    assert Dice().compute(logits, targets, WEIGHTS if weighted else None) == pytest.approx(expected)


def test_dice_of_a_case_by_hand():
    # four pixels, p(1) = 1/4 everywhere, target 1 on the first only, the last unknown:
    # class 0: 2 * 3/4 * 2 / (9/4 + 2) = 12/17; class 1: 2 * 1/4 / (3/4 + 1) = 2/7
    logits = torch.log(torch.tensor([0.75, 0.25])).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    targets = torch.tensor([[[1, 0, 0, VOID]]])
    assert Dice().compute(logits, targets).item() == pytest.approx(1 - (12 / 17 + 2 / 7) / 2)


def test_ce_dice_is_the_weighted_sum():
    logits, targets = draw(8, 2, 5, 5)
    expected = CrossEntropy().compute(logits, targets) + 0.25 * Dice().compute(logits, targets)
    assert CrossEntropyDice(dice_weight=0.25).compute(logits, targets) == pytest.approx(expected.item())


@by_name
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_nothing_known_gives_0_with_a_gradient(loss, weights):
    logits = torch.randn(2, K, 4, 4, dtype=torch.float64, requires_grad=True)
    value = loss.compute(logits, torch.full((2, 4, 4), VOID), weights)
    value.backward()
    assert value.item() == 0 and logits.grad is not None and (logits.grad == 0).all()


@by_name
def test_void_pixels_get_no_gradient_and_the_others_are_right(loss):
    logits, targets = draw(11, 1, 3, 3)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: loss.compute(scores, targets), logits)
    loss.compute(logits, targets).backward()
    void = (targets == VOID)[:, None].expand_as(logits)
    assert (logits.grad[void] == 0).all() and (logits.grad[~void] != 0).any()


@by_name
def test_half_precision_logits_count_in_float32(loss):
    logits, targets = draw(2, 2, 8, 8)
    half = logits.bfloat16()
    value = loss.compute(half, targets)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss.compute(half.double(), targets).item(), rel=1e-5)


@by_name
def test_class_255_counts_where_there_are_more_classes(loss):
    logits = torch.zeros(2, 300, requires_grad=True)
    loss.compute(logits, torch.tensor([VOID, 3])).backward()
    assert logits.grad is not None and logits.grad[0, VOID] < 0


@pytest.mark.parametrize("loss", [*ALL, Focal(gamma=0.5), CrossEntropy(label_smoothing=0.1)], ids=str)
@pytest.mark.parametrize("right", [True, False])
def test_very_sure_answers_have_finite_gradients(loss, right):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    value = loss.compute(logits, torch.tensor([0, 1] if right else [1, 0]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
