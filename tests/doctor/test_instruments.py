"""Instruments against what is known of small nets by construction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provenet.doctor.arm import Comparison
from provenet.doctor.case import read_case
from provenet.doctor.check import Suspicion
from provenet.doctor.clock import Clock
from provenet.doctor.double import doubled
from provenet.doctor.examination import Examination, Unavailable
from provenet.doctor.graph import leaves
from provenet.doctor.inventory import modules_of, slots_of
from provenet.doctor.judging import Judging
from provenet.doctor.probe import LONG_STEPS, STEPS, Probe
from provenet.doctor.registry import CHECKS
from provenet.doctor.smaller import num_values
from provenet.doctor.trial import Trial
from provenet.records.finding import Finding

LABELS = torch.arange(16) % 4
CE = nn.CrossEntropyLoss()


def images(num: int = 16) -> Tensor:
    return torch.randn(num, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@contextmanager
def examination(model: nn.Module, loss: Any = CE, targets: Any = LABELS, **more: Any) -> Iterator[Examination]:
    inputs = more.pop("inputs", images())
    case = read_case(model, [(inputs, targets)] * 2, loss, more.get("optimizer"))
    with doubled(case) as double:
        yield Examination(case, double, Clock(more.get("budget_s", 20.0)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.norm(self.conv(x)))
        return self.head(x.mean((2, 3)))


class TestTheWalk:
    def test_functions_in_order_with_their_modules(self):
        with examination(Net()) as found:
            seen = [(op.function, op.layer) for op in found.walk.trace.ops if op.function != "add"]
        assert seen == [
            ("conv2d", "conv"),
            ("batch_norm", "norm"),
            ("relu", ""),
            ("mean", ""),
            ("linear", "head"),
            ("cross_entropy", "loss"),
        ]

    def test_calls_with_shapes(self):
        with examination(Net()) as found:
            calls = {call.layer: call for call in found.walk.trace.calls}
        assert calls["conv"].inputs == ((16, 3, 8, 8),) and calls["conv"].outputs == ((16, 8, 8, 8),)
        assert calls["conv"].parent == calls[""].index and calls[""].parent is None
        assert calls["norm"].first > calls["conv"].first

    def test_values_are_followed_through_operations_in_place(self):
        with examination(Net()) as found:
            trace = found.walk.trace
            by_name = {op.function: op for op in trace.ops}
            assert trace.before(by_name["mean"]) == [by_name["relu"]]
            assert trace.maker(by_name["cross_entropy"].inputs[0]) is by_name["linear"]
            assert [op.function for op in trace.upstream(by_name["mean"])][:2] == ["relu", "batch_norm"]
            assert {trace.names.get(ref.token) for ref in by_name["conv2d"].inputs} == {
                None,
                "conv.weight",
                "conv.bias",
            }

    def test_what_the_loss_hangs_on(self):
        model = Net()
        model.conv.requires_grad_(False)
        with examination(model) as found:
            assert found.walk.reached == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
            assert found.walk.foreign == ()

    def test_an_exception_is_a_fact_with_its_place(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Sequential(nn.ReLU(), nn.Linear(9, 4)))
        with examination(model) as found:
            failure = found.walk.failure
            assert (failure.stage, failure.layer, failure.kind) == ("forward", "2.1", "RuntimeError")
            assert found.walk.trace.failed.function == "linear"
            for instrument in ("passes", "dependence", "gaze", "probe", "battery"):
                with pytest.raises(Unavailable, match=r"2\.1"):
                    getattr(found, instrument)

    def test_groups_have_names_and_strangers(self):
        model, other = Net(), nn.Linear(2, 2)
        groups = [
            {"params": list(model.head.parameters()), "lr": 0.5},
            {"params": [*model.conv.parameters(), *other.parameters()]},
        ]
        with examination(model, optimizer=torch.optim.SGD(groups, lr=0.1)) as found:
            first, second = found.walk.groups
        assert first.names == ("head.weight", "head.bias") and first.settings["lr"] == 0.5
        assert second.names == ("conv.weight", "conv.bias") and second.strangers == ((2, 2), (2,))


def test_the_inventory_knows_what_is_registered_and_what_is_not():
    model = Net()
    model.loose = {"a": [nn.Linear(2, 2)]}
    model.plain = torch.zeros(3)
    assert {held.name: held.registered for held in modules_of(model)}["loose['a'][0]"] is False
    kinds = {slot.name: (slot.kind, slot.registered) for slot in slots_of(model)}
    assert kinds["plain"] == ("attribute", True) and kinds["loose['a'][0].weight"] == ("parameter", False)
    assert kinds["norm.running_mean"] == ("buffer", True)


def test_leaves_are_those_that_a_gradient_reaches():
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    loss = (a * b.detach() + c.data + F.relu(a).sum()).sum()
    assert leaves(loss) == [a]
    assert leaves(torch.ones(1)) == []


class TestTheReading:
    @pytest.mark.parametrize(
        ("model", "loss", "targets", "task", "width", "applied", "given"),
        [
            (Net(), CE, LABELS, "classes", 4, "log_softmax", "linear"),
            (nn.Sequential(Net(), nn.Softmax(1)), CE, LABELS, "classes", 4, "log_softmax", "softmax"),
            (nn.Sequential(Net(), nn.LogSoftmax(1)), nn.NLLLoss(), LABELS, "classes", 4, "", "log_softmax"),
            (
                Net(),
                lambda o, y: -(o.log_softmax(1) * y).sum(1).mean(),
                F.one_hot(LABELS).float(),
                "classes",
                4,
                "log_softmax",
                "linear",
            ),
            (Net(), nn.BCEWithLogitsLoss(), (images()[:, 0, 0, :4] > 0).float(), "labels", 4, "sigmoid", "linear"),
            (Net(), nn.MSELoss(), images()[:, 0, 0, :4], "regression", None, "", "linear"),
        ],
    )
    def test_what_goes_together(self, model, loss, targets, task, width, applied, given):
        with examination(model, loss, targets) as found:
            reading = found.reading
        assert (reading.task, reading.width, reading.applied, reading.given) == (task, width, applied, given)

    def test_options_of_the_loss_are_read_where_it_is_called(self):
        weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
        with examination(
            Net(), lambda out, y: F.cross_entropy(out, y, weight, ignore_index=3, reduction="sum")
        ) as found:
            reading = found.reading
        assert torch.equal(reading.weight, weight) and reading.ignore_index == 3 and reading.reduction == "sum"
        assert set(reading.valid(LABELS).tolist()) == {0, 1, 2}

    def test_the_op_that_raised_is_known(self):
        with examination(Net(), CE, LABELS + 9) as found:
            assert found.reading.loss == "cross_entropy" and found.walk.failure.stage == "loss"


class TestTheBattery:
    def test_closed_forms_of_cross_entropy(self):
        with examination(Net()) as found:
            own, guess = found.battery.own, found.battery.guess
        assert own["uniform"] == pytest.approx(math.log(4)) == guess
        assert own["perfect"] == pytest.approx(math.log(1 + 3 * math.exp(-8)), rel=1e-3)
        assert own["wrong"] == pytest.approx(8 + math.log(1 + 3 * math.exp(-8)), rel=1e-3)

    def test_answers_go_through_what_the_net_applies(self):
        with examination(nn.Sequential(Net(), nn.LogSoftmax(1)), nn.NLLLoss()) as found:
            assert found.battery.own["perfect"] == pytest.approx(math.log(1 + 3 * math.exp(-8)), rel=1e-3)
            assert found.battery.raw["perfect"] == pytest.approx(-8)

    @pytest.mark.parametrize(
        ("last", "loss"),
        [
            (lambda x: (x.softmax(1) + 1e-8).log(), F.nll_loss),
            (lambda x: x - x.logsumexp(1, keepdim=True), F.nll_loss),
            (lambda x: x.exp() / x.exp().sum(1, keepdim=True), lambda p, y: F.nll_loss((p + 1e-8).log(), y)),
        ],
    )
    def test_maps_that_are_written_out_are_known_by_their_values(self, last, loss):
        class Ending(Net):
            def forward(self, x: Tensor) -> Tensor:
                return last(super().forward(x))

        with examination(Ending(), loss) as found:
            assert found.battery.own["uniform"] == pytest.approx(math.log(4), rel=1e-4)
            assert found.battery.own["perfect"] == pytest.approx(math.log(1 + 3 * math.exp(-8)), rel=1e-3)

    @pytest.mark.parametrize(("reduction", "ratio"), [("mean", 1.0), ("sum", 2.0)])
    def test_sums_double(self, reduction, ratio):
        with examination(Net(), nn.CrossEntropyLoss(reduction=reduction)) as found:
            assert found.battery.doubled == pytest.approx(ratio)

    def test_amounts_are_their_own_perfect_answer(self):
        with examination(Net(), nn.MSELoss(), images()[:, 0, 0, :4]) as found:
            assert found.battery.own["perfect"] == 0 < found.battery.own["uniform"] < found.battery.own["wrong"]

    def test_the_prior_is_what_a_bias_alone_learns(self):
        """Found by gradient descent on one constant for all samples; each class counts as if seen once more."""
        labels = torch.tensor([0] * 10 + [1] * 4 + [2] * 2)
        with examination(Net(), CE, labels) as found:
            prior, ignorance = found.battery.own["prior"], found.battery.ignorance
        shares = torch.tensor([10.25, 4.25, 2.25, 0.25]) / 17
        assert prior == pytest.approx(float(-(shares.log()[labels]).mean()), rel=1e-4)
        assert ignorance == prior < found.battery.own["uniform"]

    def test_the_prior_of_several_columns_and_of_ignored_targets(self):
        yes = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]]).repeat(4, 1)
        shares = (yes.sum(0) + 0.5) / 17
        with examination(Net(), nn.BCEWithLogitsLoss(), yes) as found:
            entropy = F.binary_cross_entropy(shares.expand_as(yes), yes)
            assert found.battery.own["prior"] == pytest.approx(float(entropy), rel=1e-4)
        with examination(Net(), nn.CrossEntropyLoss(ignore_index=0), torch.tensor([0] * 12 + [1, 1, 1, 2])) as found:
            shares = torch.tensor([0.25, 3.25, 1.25, 0.25]) / 5
            assert found.battery.own["prior"] == pytest.approx(
                float(-(3 * shares[1].log() + shares[2].log()) / 4), rel=1e-4
            )

    def test_all_heads_of_a_shape_answer(self):
        class Heads(Net):
            def forward(self, x: Tensor) -> dict[str, Tensor]:
                out = super().forward(x)
                return {"out": out, "aux": out * 2}

        with examination(Heads(), lambda out, y: CE(out["out"], y) + CE(out["aux"], y)) as found:
            assert found.battery.own["uniform"] == pytest.approx(2 * math.log(4))


class TestThePasses:
    def test_gradients_are_those_of_backward(self):
        torch.manual_seed(0)
        model = Net()
        with examination(model) as found:
            gradients, losses = found.passes.gradients, found.passes.losses
        loss = CE(model(images()), LABELS)
        loss.backward()
        assert losses[0] == pytest.approx(loss.item())
        for name, parameter in model.named_parameters():
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-6)
        assert found.passes.norms[0]["head.weight"] == pytest.approx(model.head.weight.grad.norm().item(), rel=1e-5)

    def test_signals_are_those_of_the_outputs(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 4))
        model[1].bias.data[:2] = -100.0
        with examination(model) as found:
            hidden, active, last = found.passes.signals
        expected = model[1](images().flatten(1))
        assert hidden.spread == pytest.approx(expected.var(0, unbiased=False).mean().sqrt().item(), rel=1e-4)
        assert hidden.std == pytest.approx(expected.std(unbiased=False).item(), rel=1e-4)
        assert active.zeros[:2].tolist() == [1.0, 1.0] and float(active.zeros[2:].max()) < 1
        assert (hidden.layer, active.function, last.shape) == ("1", "relu", (16, 4))
        assert hidden.values == 32

    def test_gradients_of_outputs(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        with examination(model) as found:
            measured = found.passes.signals[0].gradient
        out = model(images()).detach().requires_grad_(True)
        CE(out, LABELS).backward()
        assert measured == pytest.approx(out.grad.pow(2).mean().sqrt().item(), rel=1e-4)

    def test_statistics_of_the_net_stay_between_passes(self):
        model = Net()
        with examination(model) as found:
            assert found.passes.losses[0] == found.passes.losses[1]
            assert torch.equal(found.double.model.norm.running_mean, torch.zeros(8))


class TestTheDependence:
    def test_a_sound_net_depends_on_its_own_sample(self):
        with examination(nn.Sequential(Net(), nn.Dropout(0.5))) as found:
            seen = found.dependence
        assert seen.chance.amount == seen.others.amount == 0 < seen.own.amount

    def test_chance_is_placed(self):
        class Noisy(Net):
            def forward(self, x: Tensor) -> Tensor:
                return self.head(F.dropout(F.relu(self.conv(x)), 0.5).mean((2, 3)))

        with examination(Noisy()) as found:
            assert found.dependence.chance.amount > 0.01
            assert (found.dependence.chance.layer, found.dependence.chance.function) == ("", "dropout")

    def test_mixing_is_placed(self):
        class Mixing(Net):
            def forward(self, x: Tensor) -> Tensor:
                x = self.conv(x)
                return self.head((x - x.mean(0)).mean((2, 3)))

        with examination(Mixing()) as found:
            seen = found.dependence
        # The mean of four samples: a quarter of a sample's change comes from each, three quarters are its own.
        assert seen.others.function == "sub" and seen.others.amount == pytest.approx(seen.own.amount / 3, rel=0.01)

    def test_nets_of_one_batch_size_are_given_their_batch(self):
        class Fixed(Net):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x.view(16, 3, 8, 8))

        with examination(Fixed()) as found:
            assert found.dependence.own.amount > 0


class TestTheGaze:
    def looks(self, crop: Callable[[Tensor], Tensor]) -> Any:
        class Small(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.down, self.deep, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 1, 1)

            def forward(self, x: Tensor) -> Tensor:
                skip = self.down(x)
                up = F.interpolate(self.deep(F.avg_pool2d(skip, 2)), scale_factor=2.0)
                return self.head(torch.cat([crop(skip), up], 1))

        torch.manual_seed(0)
        inputs = torch.randn(6, 3, 32, 32)
        with examination(Small(), nn.BCEWithLogitsLoss(), torch.zeros(6, 1, 32, 32), inputs=inputs) as found:
            return found.gaze

    def test_an_aligned_skip_looks_at_its_own_place(self):
        merge, output = self.looks(lambda skip: skip).merges
        skip, up = merge.branches
        assert merge.function == "cat" and (skip.function, up.function) == ("conv2d", "interpolate")
        assert float((skip.places - up.places).abs().max()) < 1.5
        assert float(output.branches[0].places.abs().max()) < 1.5
        assert skip.stride == 1.0 and skip.reach < 2

    def test_a_shifted_skip_looks_elsewhere(self):
        merge, _ = self.looks(lambda skip: F.pad(skip, (6, 0))[..., :32]).merges
        apart = merge.branches[0].places - merge.branches[1].places
        assert apart[:, 1].mean().item() == pytest.approx(-6, abs=1.0)
        assert abs(apart[:, 0].mean().item()) < 1.0


class TestTheProbe:
    def test_a_fix_that_changes_nothing_gains_exactly_nothing(self):
        torch.manual_seed(0)
        with examination(Net(), optimizer=None) as found:
            plain, again = found.probe.arm(None, 1), found.probe.arm(lambda trial: None, 1)
        assert plain.losses == again.losses and plain.end == again.end

    def test_an_arm_is_the_users_training(self):
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        with examination(model, optimizer=optimizer) as found:
            arm = found.probe.arm(steps=5)
        losses = []
        for _ in range(5):
            loss = CE(model(images()), LABELS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert arm.losses == pytest.approx(losses, rel=1e-4)

    def test_a_rate_that_is_far_too_low_is_seen(self):
        torch.manual_seed(0)
        model = Net()
        with examination(model, optimizer=torch.optim.SGD(model.parameters(), lr=1e-7)) as found:
            compared = found.probe.compare(lambda trial: trial.scale_lr(1e6), steps=60)
        assert compared.plain == pytest.approx(0, abs=0.01)
        assert compared.gain == pytest.approx(compared.fixed - compared.plain)

    def test_a_fix_may_change_loss_and_inputs(self):
        def fix(trial: Trial) -> None:
            trial.map_inputs(lambda inputs: inputs * 0)
            trial.loss_fn = lambda out, y: 7 * CE(out, y)

        torch.manual_seed(0)
        with examination(nn.Sequential(nn.Flatten(), nn.Linear(192, 4, bias=False))) as found:
            assert found.probe.arm(fix).start == pytest.approx([7 * math.log(4)] * 2)
            assert found.probe.arm().start != pytest.approx([7 * math.log(4)] * 2)

    def test_what_is_never_trained_on(self):
        case = read_case(Net(), [(images() + number, LABELS) for number in range(9)], CE, None)
        with doubled(case) as double:
            probe = Examination(case, double, Clock(20.0)).probe
            assert [float(x.mean() - images().mean()) for x, _ in probe.unseen(80)] == pytest.approx([4, 5, 6, 7, 8])
            assert probe.unseen(81) == []


class TestComparisons:
    @pytest.mark.parametrize(
        ("plain", "fixed", "p", "diverged", "confirms", "begins"),
        [
            (0.3, 0.6, 0.01, (0, 0), True, False),
            (0.3, 0.6, 0.2, (0, 0), False, False),
            (0.02, 0.13, 0.001, (0, 0), True, True),
            (0.02, 0.13, 0.03, (0, 0), False, True),
            (0.06, 0.16, 0.001, (0, 0), False, True),
            (0.0, 0.05, 0.001, (0, 0), False, True),
            (0.7, 0.8, 0.001, (0, 0), False, False),
            (-1.0, 0.5, 0.001, (3, 0), True, False),
            (0.1, 0.5, 0.01, (0, 1), False, False),
            (0.1, 0.5, None, (0, 0), False, False),
        ],
    )
    def test_what_is_believed(self, plain, fixed, p, diverged, confirms, begins):
        compared = Comparison(fixed - plain, p, plain, fixed, 1.0, diverged, 3, 30)
        assert (compared.confirms, compared.begins) == (confirms, begins)

    def test_a_fix_that_begins_to_help_is_given_longer(self):
        """The finding is a rate that learns slowly and surely: thirty updates tell little, ninety do."""
        steps: list[int] = []

        class Counting(Probe):
            def compare(self, fix, base=None, steps_=STEPS, repeats=3, samples=None, **more):
                steps.append(more.get("steps", steps_))
                return Comparison(0.05 * len(steps) ** 2, 1e-3, 0.01, 0.05 * len(steps) ** 2, 1.0, (0, 0), 3, 30)

        finding = Finding(id="dropout-too-high", severity="warning", message="", fix="")
        with examination(Net()) as found:
            found.__dict__["probe"] = Counting(found.double, found.batches, found.clock)
            check = replace(CHECKS[0], look=lambda _: [Suspicion(finding, lambda trial: None)])
            judging = Judging(found, [check], probing=True)
            judging.run()
        assert steps == [STEPS, LONG_STEPS]
        assert [one.finding.gain for one in judging.judged] == [0.2]


class TestWhereNumbersEnd:
    def test_functions_of_the_net_and_of_the_loss_are_named(self):
        class Halves(Net):
            def forward(self, x: Tensor) -> Tensor:
                out = super().forward(x)
                return out / out.relu().clamp(max=0)

        with examination(Halves()) as found:
            assert (found.lost.layer, found.lost.function) == ("", "div")
        with examination(Net(), lambda out, y: (out.softmax(1) * 0).log().mean()) as found:
            assert (found.lost.layer, found.lost.function) == ("loss", "log")
        with examination(Net()) as found:
            assert found.lost is None

    def test_infinities_that_mask_are_meant(self):
        class Masked(Net):
            def forward(self, x: Tensor) -> Tensor:
                scores = super().forward(x)
                kept = scores.masked_fill(scores < 100, -math.inf).softmax(1)
                return scores + kept

        with examination(Masked()) as found:
            assert found.lost.function == "softmax"


class TestTheBudget:
    def test_big_batches_are_cut(self):
        class Slow(Net):
            def forward(self, x: Tensor) -> Tensor:
                for _ in range(len(x)):
                    torch.randn(300, 300) @ torch.randn(300, 300)
                return super().forward(x)

        with examination(Slow(), budget_s=0.05) as found:
            assert len(found.batches[0][0]) < 16 == len(found.case.batches[0][0])

    def test_a_training_that_outlasts_it_is_broken_off(self):
        class Jumping(Clock):
            over = False

            @property
            def spent(self) -> float:
                return 99.0 if self.over else super().spent

        def slow(trial: Trial) -> None:
            trial.after_step = lambda step: setattr(clock, "over", step == 3)

        for kind in ("arm", "compare"):
            clock = Jumping(20.0)
            with doubled(read_case(Net(), [(images(), LABELS)], CE, None)) as double:
                probe = Examination(double.case, double, clock).probe
                if kind == "arm":
                    arm = probe.arm(slow, steps=10)
                    assert (arm.late, len(arm.losses), arm.end) == (True, 3, ())
                else:
                    assert probe.compare(slow) is None
                assert probe.refused > 0

    def test_a_step_that_seems_dear_is_timed_once(self):
        class Dear(Probe):
            made = 0

            def arm(self, *args, **more):
                self.made += 1
                found = super().arm(*args, **more)
                self.step_s = 10.0
                return found

        with examination(Net()) as found:
            probe = Dear(found.double, found.batches, found.clock, step_s=0.05)
            assert (probe.single(), probe.single(), probe.made, probe.refused) == (None, None, 1, 2)
            cheap = Probe(found.double, found.batches, found.clock, step_s=0.05)
            assert len(cheap.single(steps=20).losses) == 20

    def test_fewer_pixels_are_reckoned_with(self):
        assert num_values((torch.zeros(4, 3, 8, 8), torch.zeros(4))) == 193

    def test_without_time_instruments_are_not_to_be_had(self):
        with examination(Net(), budget_s=0.0) as found, pytest.raises(Unavailable, match="no time"):
            getattr(found, "passes")  # noqa: B009  read for its error
