"""Checks of output activations: each finds nets made ill in several ways and is silent on sound ones."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.checks import axes, outputs

CHECKS = (*outputs.CHECKS, *axes.CHECKS)


class Headed(nn.Module):
    """A small net whose last step is a function."""

    def __init__(self, outputs: int, last, dense: bool = False) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, outputs, 1) if dense else nn.Linear(8, outputs)
        self.last, self.dense = last, dense

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(x))
        return self.last(self.head(x if self.dense else x.mean((2, 3))))


def own_softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def own_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.log_softmax(outputs, 1).gather(1, targets[:, None]).mean()


def own_focal(outputs: Tensor, targets: Tensor) -> Tensor:
    probs = torch.sigmoid(outputs)
    return ((targets - probs).abs() ** 2 * F.binary_cross_entropy(probs, targets, reduction="none")).mean()


def squashed_focal(outputs: Tensor, targets: Tensor) -> Tensor:
    probs = outputs.sigmoid()
    each = F.binary_cross_entropy_with_logits(probs, targets, reduction="none")
    return ((targets - probs).abs() ** 2 * each).mean()


def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(16, 3, 8, 8)


CLASSES, MASKS, PIXELS = torch.arange(16) % 4, (torch.arange(1024) % 3 == 0).float().view(16, 1, 8, 8), 4
PLACES = torch.arange(1024).view(16, 8, 8) % 4
CE, NLL, BCE = nn.CrossEntropyLoss(), nn.NLLLoss(), nn.BCEWithLogitsLoss()
ILL = [
    ("softmax-before-ce", lambda: Headed(4, lambda x: F.softmax(x, 1)), CE, CLASSES),
    ("softmax-before-ce", lambda: Headed(4, own_softmax), CE, CLASSES),
    (
        "softmax-before-ce",
        lambda: nn.Sequential(Headed(4, nn.Softmax(dim=-1)), nn.Dropout(0.0)),
        own_cross_entropy,
        CLASSES,
    ),
    ("softmax-before-ce", lambda: Headed(4, nn.Softmax2d(), True), CE, PLACES),
    ("sigmoid-before-bce-logits", lambda: Headed(1, torch.sigmoid, True), BCE, MASKS),
    ("sigmoid-before-bce-logits", lambda: Headed(1, lambda x: 1 / (1 + (-x).exp()), True), BCE, MASKS),
    ("sigmoid-before-bce-logits", lambda: Headed(1, nn.Sigmoid(), True), own_focal, MASKS),
    ("sigmoid-before-bce-logits", lambda: Headed(1, lambda x: x, True), squashed_focal, MASKS),
    ("softmax-before-ce", lambda: Headed(4, lambda x: x), lambda out, y: F.cross_entropy(out.softmax(1), y), CLASSES),
    ("softmax-wrong-dim", lambda: Headed(4, lambda x: x, True), lambda out, y: CE(out.view(-1, 4), y.view(-1)), PLACES),
    ("softmax-wrong-dim", lambda: Headed(4, lambda x: x.reshape(-1, 4), True), CE, PLACES.flatten()),
    ("nll-without-logsoftmax", lambda: Headed(4, lambda x: x), NLL, CLASSES),
    ("nll-without-logsoftmax", lambda: Headed(4, nn.Softmax(1)), NLL, CLASSES),
    ("nll-without-logsoftmax", lambda: Headed(4, lambda x: x, True), lambda out, y: F.nll_loss(out, y), PLACES),
    ("activation-on-logits", lambda: Headed(4, F.relu), CE, CLASSES),
    ("activation-on-logits", lambda: Headed(4, torch.tanh), CE, CLASSES),
    ("activation-on-logits", lambda: Headed(4, torch.sigmoid), CE, CLASSES),
    ("activation-on-logits", lambda: nn.Sequential(Headed(1, nn.ReLU6(), True), nn.Dropout2d(0.1)), BCE, MASKS),
    ("softmax-wrong-dim", lambda: Headed(4, lambda x: F.log_softmax(x, 0)), NLL, CLASSES),
    ("softmax-wrong-dim", lambda: Headed(4, nn.Softmax(dim=-1), True), lambda out, y: F.nll_loss(out.log(), y), PLACES),
    ("softmax-wrong-dim", lambda: Headed(1, nn.Softmax(dim=1), True), nn.BCELoss(), MASKS),
    (
        "softmax-wrong-dim",
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Softmax(0), nn.Linear(8, 4)),
        CE,
        CLASSES,
    ),
]


@pytest.mark.parametrize(("id", "make", "loss", "targets"), ILL, ids=[f"{row[0]}-{i}" for i, row in enumerate(ILL)])
def test_ill_nets_are_named(look, id, make, loss, targets):
    torch.manual_seed(0)
    found = look(CHECKS, (make(), [(images(), targets)], loss, None))
    assert found.findings[0].id == id or {finding.id for finding in found.findings} >= {id, "softmax-before-ce"}


def in_rows(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.permute(0, 2, 3, 1).reshape(-1, 4), targets.reshape(-1))


def right_focal(outputs: Tensor, targets: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return ((targets - outputs.sigmoid()).abs() ** 2 * each).mean()


class Calm(Headed):
    """A net whose first answers all lie within (0, 1), by a bias."""

    def __init__(self) -> None:
        super().__init__(1, lambda x: F.interpolate(x, scale_factor=2.0), True)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.constant_(self.head.bias, 0.3)


@pytest.mark.parametrize(
    ("make", "loss", "targets"),
    [
        (lambda: Headed(4, lambda x: x, True), in_rows, PLACES),
        (lambda: Headed(4, lambda x: x.flatten(2).transpose(1, 2).reshape(-1, 4), True), CE, PLACES.flatten()),
        (lambda: Headed(1, lambda x: x, True), right_focal, MASKS),
        (Calm, BCE, MASKS.repeat_interleave(2, 2).repeat_interleave(2, 3)),
    ],
    ids=["a permutation before the view", "a transposition before it", "a focal loss", "outputs between 0 and 1"],
)
def test_what_looks_alike_and_is_right_is_left_alone(look, make, loss, targets):
    torch.manual_seed(0)
    assert look(CHECKS, (make(), [(images(), targets)], loss, None)).findings == ()


def test_sound_nets_get_no_finding(look, sound):
    assert look(CHECKS, sound).findings == ()


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (lambda x: 10 * torch.tanh(x / 10), CE),
        (lambda x: x.clamp(-20, 20), CE),
        (lambda x: F.log_softmax(x, 1), CE),
        (lambda x: F.leaky_relu(x), CE),
        (lambda x: F.softmax(x, 1) * 8, CE),
    ],
)
def test_last_steps_that_keep_scores_free_are_sound(look, last, loss):
    torch.manual_seed(0)
    assert look(CHECKS, (Headed(4, last), [(images(), CLASSES)], loss, None)).findings == ()


def test_the_lowest_loss_that_a_softmax_leaves_is_that_of_a_one_hot_answer(look):
    finding = look(CHECKS, (Headed(4, nn.Softmax(1)), [(images(), CLASSES)], CE, None)).findings[0]
    best = F.cross_entropy(torch.eye(4), torch.arange(4)).item()
    assert finding.evidence["lowest_loss_possible"] == pytest.approx(best, abs=1e-3)
    assert finding.evidence["loss_of_a_guess"] == pytest.approx(math.log(4), abs=1e-3)
    assert finding.layer == "last"


def test_softmax_only_in_evaluation_is_sound(look):
    class Polite(Headed):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            return scores if self.training else scores.softmax(1)

    assert look(CHECKS, (Polite(4, lambda x: x), [(images(), CLASSES)], CE, None)).findings == ()
