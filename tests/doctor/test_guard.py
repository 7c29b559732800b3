"""What is refused before a GPU dies of it; the CPU refuses the same by itself, and accepts the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from provenet.doctor.guard import Guard

SCORES = torch.randn(4, 3)

CALLS = [
    (lambda: F.cross_entropy(SCORES, torch.tensor([0, 1, 2, 3])), False),
    (lambda: F.cross_entropy(SCORES, torch.tensor([0, 1, 2, -1])), False),
    (lambda: F.cross_entropy(SCORES, torch.tensor([0, 1, 2, -100])), True),
    (lambda: F.cross_entropy(SCORES, torch.tensor([0, 1, 2, 255]), ignore_index=255), True),
    (lambda: F.cross_entropy(SCORES, SCORES.softmax(1)), True),
    (lambda: F.cross_entropy(torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), 3)), False),
    (lambda: F.nll_loss(SCORES, torch.tensor([0, 1, 2, 3])), False),
    (lambda: F.binary_cross_entropy(SCORES, torch.zeros(4, 3)), False),
    (lambda: F.binary_cross_entropy(SCORES.sigmoid(), torch.zeros(4, 3)), True),
    (lambda: F.embedding(torch.tensor([5]), SCORES), False),
    (lambda: F.embedding(torch.tensor([3]), SCORES), True),
    (lambda: SCORES.gather(1, torch.tensor([[3]])), False),
    (lambda: SCORES.gather(1, torch.tensor([[2]])), True),
    (lambda: torch.zeros(4, 3).scatter_(1, torch.tensor([[7]]), 1.0), False),
    (lambda: F.one_hot(torch.tensor([3]), 3), False),
    (lambda: F.one_hot(torch.tensor([2]), 3), True),
]


@pytest.mark.parametrize(("call", "sound"), CALLS)
def test_the_guard_refuses_what_the_cpu_refuses(call, sound):
    if sound:
        with Guard():
            guarded = call()
        assert torch.equal(guarded, call())
        return
    with pytest.raises((IndexError, RuntimeError)):
        call()
    with Guard(), pytest.raises((IndexError, RuntimeError)) as caught:
        call()
    assert caught.traceback[-1].path.name == "guard.py"
