"""The doctor as a whole: right causes first, silence on sound nets, budget, facts, nets of every make."""

from __future__ import annotations

import inspect
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import provenet as pn
from provenet.doctor.case import read_case
from provenet.doctor.consult import examine
from provenet.doctor.registry import CHECKS
from provenet.records.finding import Finding

CE = nn.CrossEntropyLoss()
LABELS = torch.arange(16) % 4


def batches(num: int = 2, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    """Return pictures that are brighter the higher their class."""
    found = []
    for seed in range(num):
        stream = torch.Generator().manual_seed(seed)
        targets = LABELS[torch.randperm(16, generator=stream)]
        pictures = torch.randn(16, 3, size, size, generator=stream) + (targets - 1.5)[:, None, None, None] / 2
        found.append((pictures, targets))
    return found


def convnet(*tail: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4), *tail)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def test_the_signature_is_the_one_that_was_promised():
    signature = inspect.signature(pn.diagnose)
    assert list(signature.parameters) == [
        *("model", "batches", "loss_fn", "optimizer", "val_batches", "transform", "schedule", "budget_s"),
    ]
    keywords = [name for name, one in signature.parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keywords == ["val_batches", "transform", "schedule", "budget_s"]
    assert signature.parameters["budget_s"].default == 20


def test_a_sound_net_is_healthy():
    model = convnet()
    found = pn.diagnose(model, batches(), CE, sgd(model))
    assert found.healthy and found.findings == () and found.left_out == {}
    assert found.facts["parameters"] == 268 and found.facts["task"] == "classes"
    assert found.facts["examined"] == "a copy" and found.seconds > 0


@pytest.mark.slow
def test_every_check_is_silent_on_sound_nets(sound):
    torch.manual_seed(0)
    found = pn.diagnose(*sound)
    # The frozen body of one of them was never trained, and that is what the doctor says of it.
    assert {finding.id for finding in found.findings if finding.loud} <= {"frozen-layers"}
    assert not [why for why in found.left_out.values() if "itself failed" in why]


def test_the_cause_is_named_and_its_symptoms_are_hidden():
    model = convnet(nn.Softmax(dim=1))
    found = pn.diagnose(model, batches(), CE, sgd(model))
    assert [finding.id for finding in found.findings if finding.loud] == ["softmax-before-ce"]
    assert "softmax-before-ce" in str(found) and "nn.Module" not in str(found)


def test_two_faults_are_both_named():
    model = convnet(nn.ReLU())
    found = pn.diagnose(model, [(inputs, targets + 1) for inputs, targets in batches()], CE)
    assert "label-out-of-range" in {finding.id for finding in found.findings}


def test_words_of_a_recipe_only_for_nets_of_our_own():
    said = Finding(id="lr-too-low", severity="info", message="", fix="", overrides=("optimizer.lr=1",))
    check = replace(CHECKS[0], look=lambda examination: [said])

    def words(model: nn.Module) -> tuple[str, ...]:
        return examine(read_case(model, batches(), CE, None), 5.0, [check]).findings[0].overrides

    assert words(pn.nets.convnet(4, widths=(8, 8))) == ("optimizer.lr=1",)
    assert words(convnet()) == ()


def test_the_same_twice():
    model = convnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
    first, second = (pn.diagnose(model, batches(), CE, optimizer) for _ in range(2))
    assert first.findings == second.findings and first.facts == second.facts


@pytest.mark.parametrize("budget", [0.5, 2.0])
def test_the_budget_is_kept_by_slow_nets(budget):
    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convnet()

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.02 + 0.005 * len(x))
            return self.net(x)

    model = Slow()
    optimizer = sgd(model)
    started = time.monotonic()
    found = pn.diagnose(model, batches(4), CE, optimizer, budget_s=budget)
    assert time.monotonic() - started < budget + 1.0
    assert any("time" in why for why in found.left_out.values()) or budget > 1


def test_the_cheap_part_trains_nothing():
    model, calls = convnet(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    found = examine(read_case(model, batches(), CE, sgd(model)), 20.0, CHECKS, ("static",))
    assert len(calls) <= 3 and found.healthy


def test_a_check_that_breaks_is_said_and_ends_nothing():
    broken = replace(CHECKS[0], look=lambda examination: [1 / 0])
    found = examine(read_case(convnet(nn.Softmax(1)), batches(), CE, None), 20.0, (broken, *CHECKS[1:]), ("static",))
    assert "ZeroDivisionError" in found.left_out[broken.id]


class TestNetsOfEveryMake:
    def test_outputs_in_a_dict(self):
        class Named(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = convnet(nn.Softmax(1))

            def forward(self, x: Tensor) -> dict[str, Tensor]:
                return {"logits": self.net(x)}

        for loss in (CE, lambda out, y: CE(out["logits"], y)):
            assert pn.diagnose(Named(), batches(), loss).findings[0].id == "softmax-before-ce"

    def test_outputs_in_a_tuple(self):
        class Several(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = convnet()

            def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
                return self.net(x), x

        assert pn.diagnose(Several(), batches(), CE).healthy

    def test_several_inputs(self):
        class Both(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = convnet()

            def forward(self, x: Tensor, scale: Tensor) -> Tensor:
                return self.net(x * scale[:, None, None, None])

        given = [((inputs, torch.ones(16)), targets) for inputs, targets in batches()]
        assert pn.diagnose(Both(), given, CE).healthy

    def test_shapes_fixed_in_the_net(self):
        class Fixed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = convnet()

            def forward(self, x: Tensor) -> Tensor:
                return self.net(x.view(16, 3, 8, 8))

        model = Fixed()
        assert pn.diagnose(model, batches(), CE, sgd(model)).healthy

    def test_a_batch_of_one(self):
        found = pn.diagnose(convnet(), [(inputs[:1], targets[:1]) for inputs, targets in batches()], CE)
        assert not [why for why in found.left_out.values() if "itself failed" in why]

    def test_a_net_without_parameters(self):
        found = pn.diagnose(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), batches(), CE)
        assert not [why for why in found.left_out.values() if "itself failed" in why]

    def test_half_precision_and_autocast(self):
        model = convnet().to(torch.bfloat16)
        given = [(inputs.to(torch.bfloat16), targets) for inputs, targets in batches()]
        found = pn.diagnose(model, given, CE, sgd(model))
        assert not [why for why in found.left_out.values() if "itself failed" in why]
        plain = convnet()
        with torch.autocast("cpu", torch.bfloat16):
            assert pn.diagnose(plain, batches(), CE, sgd(plain)).healthy

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
    def test_a_compiled_net_is_examined_inside(self):
        model = convnet(nn.Softmax(1))
        compiled = torch.compile(model, backend="eager")
        assert [finding.id for finding in pn.diagnose(compiled, batches(), CE).findings] == ["softmax-before-ce"]
        inner = nn.Sequential(torch.compile(convnet(), backend="eager"), nn.Softmax(1))
        inner(batches()[0][0])
        assert pn.diagnose(inner, batches(), CE).findings[0].id == "softmax-before-ce"


@pytest.mark.gpu
class TestOnAGPU:
    def test_labels_out_of_range_do_not_kill_the_device(self):
        model = convnet().cuda()
        found = pn.diagnose(model, [(inputs, targets + 1) for inputs, targets in batches()], CE, sgd(model))
        assert found.findings[0].id == "label-out-of-range"
        torch.zeros(1, device="cuda").item()

    def test_scores_into_a_bare_binary_loss_do_not_kill_the_device(self):
        model = nn.Conv2d(3, 1, 3, padding=1).cuda()
        given = [(inputs, (inputs[:, :1] > 0).float()) for inputs, _ in batches()]
        assert pn.diagnose(model, given, nn.BCELoss()).findings[0].id == "loss-mismatch"
        torch.zeros(1, device="cuda").item()

    def test_no_trace(self):
        model = convnet().cuda()
        optimizer = sgd(model)
        before = [tensor.clone() for tensor in model.state_dict().values()]
        stream = torch.cuda.get_rng_state()
        assert pn.diagnose(model, batches(), CE, optimizer).healthy
        assert all(torch.equal(one, other) for one, other in zip(before, model.state_dict().values(), strict=True))
        assert torch.equal(stream, torch.cuda.get_rng_state()) and not optimizer.state
