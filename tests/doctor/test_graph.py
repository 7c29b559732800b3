"""Checks of graph, optimizer and samples: each finds nets made ill in several ways and is silent on sound ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.checks import graph, holding

CHECKS = (*graph.CHECKS, *holding.CHECKS)
LABELS = torch.arange(16) % 4
CE = nn.CrossEntropyLoss()


def images() -> Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Cut(nn.Module):
    """A net that does something to its features on the way to the head."""

    def __init__(self, between) -> None:
        super().__init__()
        self.body, self.head, self.between = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(F.relu(self.body(x)).mean((2, 3))))


class Centres(nn.Module):
    """A loss with a direction for each class, which makes scores of what the net gives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(8 * F.normalize(features) @ F.normalize(self.weight).T, targets)


class Blind(Cut):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = F.relu(self.body(x)).mean((2, 3))
        return self.head(features)


class Listed(nn.Module):
    """Layers in a container that does not register them."""

    def __init__(self, container) -> None:
        super().__init__()
        self.layers = container([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).mean((2, 3))
        for layer in self.layers.values() if isinstance(self.layers, dict) else self.layers:
            x = F.relu(layer(x))
        return self.head(x)


class Bare(nn.Module):
    """A weight that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.weight = nn.Conv2d(3, 8, 3), torch.randn(4, 8, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.body(x).mean((2, 3)), self.weight)


class Momentary(nn.Module):
    """A layer that is made anew in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.Conv2d(3, 8, 3)(x).mean((2, 3)))


class Idle(nn.Module):
    """A layer that never runs, or whose output goes nowhere."""

    def __init__(self, runs: bool) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.runs = runs

    def forward(self, x: Tensor) -> Tensor:
        if self.runs:
            self.two(x)
        return self.head(F.relu(self.one(x)).mean((2, 3)))


class Repeated(nn.Module):
    """One block in a container many times."""

    def __init__(self, container) -> None:
        super().__init__()
        block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.blocks = container([block] * 3)
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).mean((2, 3))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Mixed(nn.Module):
    """A net that spills samples into each other."""

    def __init__(self, spill, features: int = 8) -> None:
        super().__init__()
        self.body, self.head, self.spill = nn.Conv2d(3, 8, 3), nn.Linear(features, 4), spill

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.spill(F.relu(self.body(x))))


class SequenceFirst(nn.Module):
    """Attention over the batch: the layer takes the first axis for the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.layer, self.head = nn.Conv2d(3, 8, 4, 4), nn.MultiheadAttention(8, 2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.layer(tokens, tokens, tokens)[0].mean(1))


def in_tuple(layers: list[nn.Module]) -> dict[str, nn.Module]:
    return {str(number): layer for number, layer in enumerate(layers)}


def straight(x: Tensor) -> Tensor:
    return x


ILL = [
    ("detached-graph", Cut(lambda x: x.detach()), CE, ""),
    ("detached-graph", Cut(lambda x: x.data), CE, ""),
    ("detached-graph", Cut(lambda x: torch.from_numpy(x.detach().numpy().copy())), CE, ""),
    ("detached-graph", Cut(lambda x: torch.tensor(x.tolist(), requires_grad=True)), CE, ""),
    ("detached-graph", Blind(straight), CE, "body"),
    ("detached-graph", Cut(straight), lambda out, y: torch.tensor(CE(out, y).item(), requires_grad=True), "loss"),
    ("detached-graph", Cut(straight), lambda out, y: (out.argmax(1) - y).float().abs().mean(), "loss"),
    ("detached-graph", Cut(straight), lambda out, y: ((out > 0).float()[:, 0] - y).abs().mean(), "loss"),
    ("unregistered-params", Listed(list), CE, "layers[0]"),
    ("unregistered-params", Listed(in_tuple), CE, "layers['0']"),
    ("unregistered-params", Bare(), CE, ""),
    ("unregistered-params", Momentary(), CE, "<Conv2d>"),
    ("unused-params", Idle(False), CE, "two"),
    ("unused-params", Idle(True), CE, "two"),
    ("accidental-weight-sharing", Repeated(nn.ModuleList), CE, "blocks"),
    ("accidental-weight-sharing", Repeated(lambda blocks: nn.Sequential(*blocks)), CE, "blocks"),
    ("batch-mixing", Mixed(lambda x: x.permute(1, 0, 2, 3).reshape(len(x), -1), 288), CE, ""),
    ("batch-mixing", Mixed(lambda x: x.mean((2, 3)) - x.mean((0, 2, 3))), CE, ""),
    ("batch-mixing", SequenceFirst(), CE, "layer"),
]


@pytest.mark.parametrize(("id", "model", "loss", "layer"), ILL, ids=[f"{row[0]}-{i}" for i, row in enumerate(ILL)])
def test_ill_nets_are_named_first(look, id, model, loss, layer):
    found = look(CHECKS, (model, [(images(), LABELS)], loss, None))
    assert [finding.id for finding in found.findings] == [id]
    assert found.findings[0].layer == layer
    assert not found.healthy


def test_sound_nets_get_no_finding(look, sound):
    assert look(CHECKS, sound).findings == ()


class Replaced:
    """Nets with optimizers that do not go with them."""

    @staticmethod
    def head_replaced():
        model = Cut(straight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.head = nn.Linear(8, 4)
        return model, optimizer

    @staticmethod
    def another_model():
        return Cut(straight), torch.optim.AdamW(Cut(straight).parameters())

    @staticmethod
    def head_only():
        model = Cut(straight)
        return model, torch.optim.SGD(model.head.parameters(), lr=0.1)

    @staticmethod
    def biases_only():
        model = Cut(straight)
        return model, torch.optim.SGD([p for p in model.parameters() if p.dim() == 1], lr=0.1)


@pytest.mark.parametrize(
    ("make", "ids"),
    [
        (Replaced.head_replaced, ["optimizer-stale-params", "optimizer-missing-params"]),
        (Replaced.another_model, ["optimizer-stale-params"]),
        (Replaced.head_only, ["optimizer-missing-params"]),
        (Replaced.biases_only, ["optimizer-missing-params"]),
    ],
)
def test_optimizers_of_other_parameters(look, make, ids):
    model, optimizer = make()
    found = look(CHECKS, (model, [(images(), LABELS)], CE, optimizer))
    assert [finding.id for finding in found.findings] == ids


class TestSoundThoughOdd:
    def test_features_without_gradient_for_a_head_that_alone_is_trained(self, look):
        model = Blind(straight)
        optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
        assert look(CHECKS, (model, [(images(), LABELS)], CE, optimizer)).findings == ()

    def test_learnable_parameters_of_a_loss(self, look):
        class Margin(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(()))

            def forward(self, out: Tensor, y: Tensor) -> Tensor:
                return CE(out * self.scale, y)

        model, loss = Cut(straight), Margin()
        optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
        assert look(CHECKS, (model, [(images(), LABELS)], loss, optimizer)).findings == ()
        closed = look(CHECKS, (model, [(images(), LABELS)], lambda out, y: loss(out, y), optimizer))
        assert closed.findings == ()

    def test_penalty_on_the_weights_in_the_loss(self, look):
        model = Cut(straight)

        def loss(out: Tensor, y: Tensor) -> Tensor:
            return CE(out, y) + 1e-4 * sum(p.pow(2).sum() for p in model.parameters())

        found = look(CHECKS, (model, [(images(), LABELS)], loss, torch.optim.SGD(model.parameters(), lr=0.1)))
        assert found.findings == ()
        assert found.facts["examined"] != "a copy"

    def test_a_head_for_every_scale_that_is_one_and_the_same(self, look):
        class Scales(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = nn.Conv2d(3, 8, 3, padding=1)
                self.heads = nn.ModuleList([nn.Conv2d(8, 4, 1)] * 3)

            def forward(self, x: Tensor) -> Tensor:
                x = F.relu(self.body(x))
                maps = [x, F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)]
                return sum(head(one).mean((2, 3)) for head, one in zip(self.heads, maps, strict=True))

        assert look(CHECKS, (Scales(), [(images(), LABELS)], CE, None)).findings == ()

    def test_a_token_that_this_loss_spares_is_an_info(self, look):
        class Scaled(Cut):
            def __init__(self) -> None:
                super().__init__(straight)
                self.temperature = nn.Parameter(torch.ones(()))

        found = look(CHECKS, (Scaled(), [(images(), LABELS)], CE, None))
        assert [(finding.id, finding.severity) for finding in found.findings] == [("unused-params", "info")]

    def test_class_centres_of_the_loss_belong_into_the_optimizer(self, look):
        loss, model = Centres(), Cut(straight)
        left_out, whole = (
            look(CHECKS, (model, [(images(), LABELS)], loss, torch.optim.SGD(held, lr=0.1)))
            for held in (model.parameters(), [*model.parameters(), *loss.parameters()])
        )
        assert [(one.id, one.layer) for one in left_out.findings] == [("optimizer-missing-params", "loss")]
        assert not whole.findings

    def test_a_part_in_evaluation_mode_that_the_optimizer_spares_is_an_info(self, look):
        model = nn.Sequential(
            Cut(straight).body, nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        )
        for part in model[:2]:
            part.eval()
        found = look(CHECKS, (model, [(images(), LABELS)], CE, torch.optim.SGD(model[4].parameters(), lr=0.1)))
        assert [(finding.id, finding.severity) for finding in found.findings] == [("optimizer-missing-params", "info")]
        assert found.healthy
