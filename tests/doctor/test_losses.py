"""Checks of losses and labels: each finds pairs made ill in several ways and is silent on sound ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.checks import labels, losses

CHECKS = (*losses.CHECKS, *labels.CHECKS)


def net(outputs: int, *tail: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs), *tail
    )


def dense(outputs: int, *tail: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 1), *tail)


def quiet(*tail: nn.Module) -> nn.Module:
    """Return a net whose scores begin within [0, 1] all the same."""
    made = dense(1, *tail)
    nn.init.constant_(made[2].bias, 0.4)
    nn.init.normal_(made[2].weight, std=1e-3)
    return made


def dice(out: Tensor, target: Tensor) -> Tensor:
    return 1 - (2 * (out * target).sum() + 1) / (out.sum() + target.sum() + 1)


def tversky(out: Tensor, target: Tensor) -> Tensor:
    hit, extra, missed = (out * target).sum(), (out * (1 - target)).sum(), ((1 - out) * target).sum()
    return 1 - hit / (hit + 0.3 * extra + 0.7 * missed + 1e-6).clamp(min=1e-6)


def accuracy(out: Tensor, target: Tensor) -> Tensor:
    return out.softmax(1).gather(1, target[:, None]).mean()


def own_entropy(out: Tensor, target: Tensor) -> Tensor:
    return -(target * out.clamp(min=1e-6).log() + (1 - target) * (1 - out).clamp(min=1e-6).log()).mean()


class Centres(nn.Module):
    """A loss with a direction for each class, which makes scores of features."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features, generator=torch.Generator().manual_seed(0)))

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        cosines = F.normalize(features) @ F.normalize(self.weight).T
        return F.cross_entropy(8 * cosines, targets)


CLASSES, MASKS = torch.arange(32) % 4, (torch.arange(32 * 64) % 3 == 0).float().view(32, 1, 8, 8)
COLUMN = torch.linspace(-2, 2, 32)
GROUND = (torch.arange(32 * 64) % 40 - 36).clamp(min=0).view(32, 8, 8)
CE, BCE, MSE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss(), nn.MSELoss()
ILL = [
    ("loss-sign", net(4), lambda out, y: -CE(out, y), CLASSES),
    ("loss-sign", dense(1), lambda out, y: 1 - dice(out.sigmoid(), y), MASKS),
    ("loss-sign", dense(1, nn.Sigmoid()), lambda out, y: (out * y).sum() / (out + y - out * y).sum(), MASKS),
    ("loss-sign", net(4), accuracy, CLASSES),
    ("loss-sign", net(1), lambda out, y: -MSE(out, y), COLUMN[:, None]),
    ("dice-on-logits", dense(1), dice, MASKS),
    ("dice-on-logits", dense(1), tversky, MASKS),
    ("dice-on-logits", dense(1), lambda out, y: BCE(out, y) + dice(out, y), MASKS),
    ("loss-mismatch", dense(1), nn.BCELoss(), MASKS),
    ("loss-mismatch", dense(1, nn.ELU()), nn.BCELoss(), MASKS + 0),
    ("loss-mismatch", quiet(nn.ReLU()), nn.BCELoss(), MASKS),
    ("loss-mismatch", quiet(nn.Softplus(), nn.Dropout(0.0)), nn.BCELoss(), MASKS),
    ("loss-mismatch", quiet(), nn.BCELoss(), MASKS),
    ("loss-mismatch", net(4), lambda out, y: MSE(out, F.one_hot(y, 4).float()), CLASSES),
    ("loss-mismatch", net(4, nn.Softmax(1)), lambda out, y: MSE(out, F.one_hot(y, 4).float()), CLASSES),
    ("loss-mismatch", net(1), MSE, CLASSES.float()[:, None]),
    ("loss-mismatch", net(4), CE, (torch.arange(128).view(32, 4) % 3 > 0).float()),
    ("loss-mismatch", net(4, nn.Softmax(1)), nn.BCELoss(), (torch.arange(128).view(32, 4) % 3 > 0).float()),
    ("loss-mismatch", net(1), CE, (CLASSES > 1).float()[:, None]),
    ("loss-mismatch", net(4), lambda out, y: BCE(out, y.float()), CLASSES),
    ("loss-mismatch", net(4), nn.KLDivLoss(reduction="batchmean"), torch.full((32, 4), 0.25)),
    ("loss-mismatch", net(1, nn.Sigmoid()), MSE, COLUMN[:, None]),
    ("loss-mismatch", net(1, nn.Sigmoid()), own_entropy, COLUMN[:, None]),
    ("loss-mismatch", dense(1), lambda out, y: MSE(out[:, 0], y.float()), GROUND),
    ("label-out-of-range", net(4), CE, CLASSES + 1),
    ("label-out-of-range", net(4), CE, CLASSES - 1),
    ("label-out-of-range", dense(2), CE, MASKS[:, 0].long() * 255),
    ("label-out-of-range", dense(1), BCE, MASKS * 255),
    ("label-out-of-range", dense(1), BCE, MASKS * 2 - 1),
    ("label-out-of-range", net(1), nn.SoftMarginLoss(), (CLASSES > 1).float()[:, None]),
    ("label-out-of-range", net(1), nn.HingeEmbeddingLoss(), (CLASSES > 1).float()[:, None]),
    ("label-out-of-range", dense(1, nn.Sigmoid()), dice, MASKS * 255),
    ("target-shape-broadcast", net(1), MSE, COLUMN),
    ("target-shape-broadcast", net(1), lambda out, y: (out - y).abs().mean(), COLUMN),
    ("target-shape-broadcast", dense(1), nn.L1Loss(), MASKS[:, 0]),
    ("target-shape-broadcast", net(1), BCE, (CLASSES > 1).float()),
    ("head-size-mismatch", net(3), CE, CLASSES),
    ("head-size-mismatch", net(2), CE, CLASSES),
    ("head-size-mismatch", net(1000), CE, CLASSES),
    ("head-size-mismatch", dense(2), CE, torch.arange(32 * 64).view(32, 8, 8) % 3),
]


def given(model: nn.Module, loss, targets: Tensor, optimizer=None):
    torch.manual_seed(0)
    return model, [(torch.randn(32, 3, 8, 8), targets)], loss, optimizer


@pytest.mark.parametrize(("id", "model", "loss", "targets"), ILL, ids=[f"{row[0]}-{i}" for i, row in enumerate(ILL)])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_ill_pairs_are_named_first(look, id, model, loss, targets):
    found = look(CHECKS, given(model, loss, targets))
    assert found.findings[0].id == id
    assert not found.healthy


def test_sound_nets_get_no_finding(look, sound):
    assert look(CHECKS, sound).findings == ()


@pytest.mark.parametrize(
    ("model", "loss", "targets"),
    [
        (net(4), lambda out, y: CE(out, y - 1), CLASSES + 1),
        (net(1), nn.SoftMarginLoss(), (CLASSES > 1).float()[:, None] * 2 - 1),
        (net(4, nn.Softmax(1)), nn.BCELoss(), F.one_hot(CLASSES, 4).float()),
        (dense(1), lambda out, y: BCE(out, y / 255), MASKS * 255),
        (net(4), CE, torch.where(torch.arange(32) < 4, -100, CLASSES)),
        (net(21), CE, CLASSES),
        (net(100), CE, torch.arange(32) * 3),
        (net(1), MSE, torch.poisson(torch.full((32, 1), 2.0), torch.Generator().manual_seed(0))),
        (
            net(4),
            lambda out, y: (F.cross_entropy(out, y, reduction="none") * torch.ones(32)).sum() / torch.ones(32).sum(),
            CLASSES,
        ),
        (dense(1), lambda out, y: 1 - F.cosine_similarity(out.flatten(1), y.flatten(1)).mean(), MASKS),
        (dense(1), lambda out, y: nn.BCELoss()(out.sigmoid(), y), MASKS),
        (dense(1, nn.Hardtanh(0, 1)), nn.BCELoss(), MASKS),
        (dense(1, nn.Sigmoid(), nn.AvgPool2d(3, 1, 1)), nn.BCELoss(), MASKS),
        (dense(1), lambda out, y: nn.BCELoss()((out.tanh() + 1) / 2, y), MASKS),
        (dense(2), lambda out, y: nn.BCELoss()(out.softmax(1)[:, 1:].clamp(1e-6, 1 - 1e-6), y), MASKS),
        (net(3), Centres(3, 4), CLASSES),
        (net(1, nn.Sigmoid()), own_entropy, (CLASSES / 3)[:, None]),
        (dense(1), lambda out, y: MSE(out[:, 0], y), GROUND / 4),
        (net(8), lambda out, y: F.triplet_margin_loss(out[:10], out[10:20], out[20:30]), CLASSES),
        (net(8), lambda out, y: ((out[:, None] - out).pow(2).sum(2) * (y[:, None] == y)).mean(), CLASSES),
    ],
)
def test_odd_but_sound_pairs(look, model, loss, targets):
    assert look(CHECKS, given(model, loss, targets)).findings == ()


def test_labels_of_all_batches_count(look):
    torch.manual_seed(0)
    batches = [
        (torch.randn(8, 3, 8, 8), CLASSES[:8]),
        (torch.randn(8, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1, 2, 99])),
    ]
    found = look(CHECKS, (net(4), batches, CE, None))
    assert [finding.id for finding in found.findings] == ["label-out-of-range"]
    assert found.findings[0].evidence["max"] == 99


def test_fix_of_labels_says_what_they_look_like(look):
    def fix(model: nn.Module, targets: Tensor) -> str:
        return look(CHECKS, given(model, CE, targets)).findings[0].fix

    assert "targets - 1" in fix(net(4), CLASSES + 1)
    assert "ignore_index=255" in fix(dense(2), torch.where(MASKS[:, 0] > 0, 255, 1))


def test_a_summed_loss_is_loud_only_where_a_mean_learns_more(look):
    costs = ("static", "passes", "probe")
    summed = nn.CrossEntropyLoss(reduction="sum")

    def severity(lr: float) -> str:
        torch.manual_seed(0)
        model = net(4)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        batches = [(torch.randn(32, 3, 8, 8) + (CLASSES - 1.5)[:, None, None, None], CLASSES)]
        found = look(CHECKS, (model, batches, summed, optimizer), costs)
        return next(finding.severity for finding in found.findings if finding.id == "loss-reduction-sum")

    assert severity(0.1 / 32) == "info"
    assert severity(0.5) == "warning"
