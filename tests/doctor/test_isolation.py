"""No trace: everything that an examination could touch is equal before and after, byte for byte."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from provenet.doctor.case import read_case
from provenet.doctor.check import Check, Suspicion
from provenet.doctor.consult import examine
from provenet.doctor.double import doubled
from provenet.doctor.examination import Examination
from provenet.records.finding import Diagnosis, Finding

LABELS = torch.arange(8) % 4
CE = nn.CrossEntropyLoss()


def _use_everything(examination: Examination) -> Iterable[Finding | Suspicion]:
    """Read every instrument, and train with and without a fix."""
    finding = Finding(id="lr-too-low", severity="warning", message="", fix="")
    yield Suspicion(finding, lambda trial: trial.scale_lr(2.0), unconfirmed="keep")
    for read in ("walk", "reading", "battery", "gaze", "dependence", "passes"):
        getattr(examination, read)


words = dict.fromkeys(("shows", "signal", "fix", "before", "after", "silent", "source"), "")
EVERYTHING = (Check(id="lr-too-low", look=_use_everything, cost="passes", **words),)


def examined(
    model: nn.Module, loss: Callable[..., Tensor] = CE, optimizer: Any = None, batches: Any = None
) -> Diagnosis:
    found = examine(read_case(model, batches or BATCHES, loss, optimizer), 20.0, EVERYTHING)
    assert not [why for why in found.left_out.values() if "itself failed" in why]
    return found


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)), LABELS.clone()


BATCHES = [batch(1), batch(2)]


def of(tensor: Tensor | None) -> Any:
    """Return the identity and the bytes of a tensor, and of its gradient."""
    if tensor is None:
        return None
    flags = (id(tensor), tensor.requires_grad, str(tensor.dtype), tuple(tensor.shape))
    grad = of(tensor.grad) if tensor.is_leaf else None
    return (*flags, tensor.detach().cpu().contiguous().numpy().tobytes(), grad)


def frozen(value: Any, depth: int = 0) -> Any:
    """Return anything as something that can be compared."""
    if isinstance(value, Tensor):
        return of(value)
    if isinstance(value, nn.Module):
        return (id(value), state(value)) if depth < 4 else id(value)
    if isinstance(value, dict):
        return id(value), [(frozen(key), frozen(part, depth + 1)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return id(value), [frozen(part, depth + 1) for part in value]
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().numpy().tobytes()
    return value if isinstance(value, int | float | str | bool | None) else id(value)


def state(model: nn.Module) -> Any:
    """Return all that a net is: attributes, tensors, gradients, modes and hooks of every module."""
    return [
        (name, [(key, frozen(value)) for key, value in vars(module).items()]) for name, module in model.named_modules()
    ]


def process() -> Any:
    numpy_state = np.random.get_state()
    return (
        random.getstate(),
        (numpy_state[0], numpy_state[1].tobytes(), *numpy_state[2:]),
        torch.get_rng_state().numpy().tobytes(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.is_anomaly_enabled(),
        list(warnings.filters),
        [
            len(hooks)
            for hooks in (nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks)
        ],
    )


class Untouched:
    """Compares what there is at the end of a block with what there was."""

    def __init__(self, *things: Any) -> None:
        self.things = things

    def __enter__(self) -> None:
        self.before = self.now()

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            assert self.now() == self.before

    def now(self) -> Any:
        optimizers = [frozen(thing.__dict__) for thing in self.things if isinstance(thing, torch.optim.Optimizer)]
        return [frozen(thing) for thing in self.things], optimizers, process()


class Net(nn.Module):
    """Batch norm, dropout, activations in place: what changes when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, 4)

    def features(self, x: Tensor) -> Tensor:
        return self.drop(self.body(x).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def trained(model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer with state, after updates that leave gradients in the net."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(2):
        images, targets = batch()
        optimizer.zero_grad()
        CE(model(images), targets).backward()
        optimizer.step()
    return optimizer


class Busy(Net):
    """Keeps what it saw in attributes, and draws from every stream."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen, self.cache = 0, [], {"last": torch.zeros(1)}
        self.memory, self.generator = torch.zeros(8), torch.Generator().manual_seed(3)
        self.register_buffer("count", torch.zeros((), dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        self.seen.append(x.shape)
        features = self.features(x)
        self.memory.mul_(0.9).add_(features.detach().mean(0))
        self.cache["last"] = features.detach()
        noise = random.random() + float(np.random.rand()) + torch.rand(1, generator=self.generator)
        return self.head(features + 1e-3 * noise)


class Locked(Busy):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Stubborn(Net):
    """Says that it is its own copy."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Stubborn:
        return self


class Shared(nn.Module):
    """One weight in two places, a frozen part, a part in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(192, 16), nn.Linear(192, 16), nn.Linear(16, 4)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(16).eval()
        self.head.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.one(x.flatten(1)) + self.two(x.flatten(1))))


class Graphed(nn.Module):
    """Holds a tensor that is inside a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.head = nn.Parameter(torch.randn(16, 192)), nn.Linear(16, 4)
        self.weight = self.raw * 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.linear(x.flatten(1), self.weight))


class Meddler(Net):
    """Turns the settings of the process over."""

    def forward(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2 if torch.get_num_threads() == 1 else 1)
        torch.backends.cudnn.benchmark = True
        torch.use_deterministic_algorithms(True)
        self.eval()
        self.head.weight.requires_grad_(False)
        x.add_(1.0)
        return super().forward(x)


class LockedMeddler(Meddler):
    """Cannot be copied either."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Hidden(nn.Module):
    """Layers in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = [nn.Linear(192, 16), nn.BatchNorm1d(16)], nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


NETS = [Net, Busy, Locked, Stubborn, Shared, Graphed, Meddler, LockedMeddler, Hidden]


@pytest.mark.parametrize("kind", NETS)
def test_a_net_is_what_it_was(kind):
    torch.manual_seed(0)
    model, batches = kind(), [batch(), batch()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with Untouched(model, optimizer, batches):
        examined(model, optimizer=optimizer, batches=batches)


def test_copies_of_an_optimizer_share_no_state():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    with doubled(read_case(model, [batch()], CE, optimizer)) as double:
        first, second = double.new_optimizer(), double.new_optimizer()
        for state in first.state.values():
            state["momentum_buffer"].fill_(1.0)
        states = [*second.state.values(), *optimizer.state.values(), *double.new_optimizer().state.values()]
        assert states and not any(state["momentum_buffer"].any() for state in states)


@pytest.mark.parametrize("kind", [Net, Busy, Locked, Stubborn])
def test_gradients_and_optimizer_states_stay(kind):
    torch.manual_seed(0)
    model = kind()
    optimizer = trained(model)
    assert all(parameter.grad is not None for parameter in model.parameters())
    with Untouched(model, optimizer):
        found = examined(model, optimizer=optimizer)
    assert found.findings[0].gain is not None
    assert (found.facts["examined"] == "a copy") == (kind in (Net, Busy))


def test_a_net_in_a_graph_still_trains_afterwards():
    torch.manual_seed(0)
    model = Graphed()
    with Untouched(model):
        examined(model)
    images, targets = batch()
    CE(model(images), targets).backward()
    assert model.raw.grad is not None


def test_a_graph_of_the_callers_is_still_good():
    torch.manual_seed(0)
    model = Locked()
    loss = CE(model(torch.randn(8, 3, 8, 8)), LABELS)
    looking = Check(id="lr-too-low", look=lambda examination: [examination.passes][:0], cost="passes", **words)
    examine(read_case(model, BATCHES, CE, None), 20.0, [looking])
    loss.backward()
    assert model.head.weight.grad is not None


class Failing(Busy):
    """Raises in one of its calls, after it has changed everything."""

    def __init__(self, at: int, locked: bool, error: type[BaseException] = RuntimeError) -> None:
        super().__init__()
        self.at, self.error = at, error
        if locked:
            self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self.calls == self.at:
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            raise self.error("out of luck")
        return out


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 5, 8, 13, 21])
def test_a_net_that_raises_is_what_it_was(at, locked):
    torch.manual_seed(0)
    model = Failing(at, locked)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Untouched(model, optimizer):
        examined(model, optimizer=optimizer)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("at", [2, 13, 20])
def test_an_interrupt_ends_the_examination_and_leaves_no_trace(at, locked):
    torch.manual_seed(0)
    model = Failing(at, locked, KeyboardInterrupt)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Untouched(model, optimizer), pytest.raises(KeyboardInterrupt):
        examined(model, optimizer=optimizer)


class Torn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise ValueError("no way back")


@pytest.mark.parametrize(
    ("loss", "stage"),
    [
        (lambda out, y: (out / 0).nonexistent, "loss"),
        (lambda out, y: CE(Torn.apply(out), y), "backward"),
        (lambda out, y: F.cross_entropy(out, y, reduction="none"), "backward"),
    ],
)
def test_losses_that_raise_leave_no_trace(loss, stage):
    torch.manual_seed(0)
    model = Net()
    optimizer = trained(model)
    with Untouched(model, optimizer):
        found = examined(model, loss, optimizer)
    if stage == "loss":
        assert str(found.facts["failure"]).startswith(stage)


@pytest.mark.parametrize("kind", [Net, Locked])
def test_a_loss_that_goes_backward_itself_adds_nothing(kind):
    torch.manual_seed(0)
    model = kind()
    optimizer = trained(model)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if out.requires_grad:
            out.pow(2).mean().backward(retain_graph=True)
        return CE(out, y)

    with Untouched(model, optimizer):
        examined(model, loss, optimizer)


class TestWhatALossReaches:
    def test_the_net_itself(self):
        torch.manual_seed(0)
        model = Net()
        optimizer = trained(model)

        def loss(out: Tensor, y: Tensor) -> Tensor:
            return CE(out, y) + model.features(torch.ones(4, 3, 8, 8)).pow(2).mean()

        with Untouched(model, optimizer):
            found = examined(model, loss, optimizer)
        assert found.facts["examined"] != "a copy"

    def test_another_net_with_statistics_and_gradients(self):
        torch.manual_seed(0)
        model, critic = Net(), Net()
        trained(critic)

        def loss(out: Tensor, y: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                critic(torch.ones(4, 3, 8, 8)).pow(2).mean().backward()
            return CE(out, y) + critic(torch.ones(4, 3, 8, 8)).pow(2).mean() + out.sum() * critic.head.bias.sum()

        with Untouched(model, critic):
            examined(model, loss)

    def test_a_loose_weight_with_a_gradient(self):
        torch.manual_seed(0)
        model, scale = Net(), torch.ones(4, requires_grad=True)
        scale.grad = torch.full((4,), 7.0)
        with Untouched(model, scale):
            examined(model, lambda out, y: CE(out * scale, y), torch.optim.SGD(model.parameters(), lr=0.1))

    def test_parameters_of_its_own(self):
        torch.manual_seed(0)
        loss = nn.ModuleList([nn.Linear(4, 4), nn.BatchNorm1d(4)])
        model = Net()
        loss.forward = lambda out, y: CE(loss[1](loss[0](out)), y)  # type: ignore[method-assign]
        with Untouched(model, loss):
            examined(model, loss, torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_modes_stay(mode):
    torch.manual_seed(0)
    model = Net()
    with mode(), Untouched(model):
        found = examined(model)
    assert found.facts["failure"] is None


def test_hooks_and_modes_stay():
    torch.manual_seed(0)
    model = Net()
    model.body.eval()
    ran: list[int] = []
    model.head.register_forward_hook(lambda *_: ran.append(1))
    model.body[0].weight.register_hook(lambda grad: grad * 2)
    with Untouched(model):
        examined(model)
    assert ran and not model.body.training and model.head.training


def test_attributes_that_appear_are_taken_away():
    class Growing(Locked):
        def forward(self, x: Tensor) -> Tensor:
            self.extra = x
            self.register_buffer("late", x.mean(), persistent=True)
            self.add_module("more", nn.Identity())
            return super().forward(x)

    torch.manual_seed(0)
    model = Growing()
    with Untouched(model):
        examined(model)
    assert not hasattr(model, "extra") and "late" not in model.state_dict() and not hasattr(model, "more")


def test_a_net_that_can_be_copied_is_not_even_written_to():
    torch.manual_seed(0)
    model = Busy()
    optimizer = trained(model)
    held = [*model.parameters(), *model.buffers(), model.memory]
    versions = [tensor._version for tensor in held]
    examined(model, optimizer=optimizer)
    assert [tensor._version for tensor in held] == versions


def test_the_copy_is_examined_and_not_the_net():
    torch.manual_seed(0)
    ran: list[int] = []

    class Watched(Net):
        def forward(self, x: Tensor) -> Tensor:
            ran.append(id(self))
            return super().forward(x)

    model = Watched()
    examined(model)
    assert len(set(ran)) == 1 and id(model) not in ran


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 12),
    "norm": lambda: nn.BatchNorm1d(12),
    "dropout": lambda: nn.Dropout(0.5),
    "relu": lambda: nn.ReLU(inplace=True),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(12, 12)),
}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5),
    flags=st.lists(st.booleans(), min_size=8, max_size=8),
    fails_at=st.integers(0, 12),
)
def test_nets_drawn_at_random(names, flags, fails_at):
    torch.manual_seed(0)
    calls = [0]

    class Drawn(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            calls[0] += 1
            if calls[0] == fails_at:
                raise IndexError("now")
            return super().forward(x)

    model = Drawn(nn.Flatten(), nn.Linear(192, 12), *(LAYERS[name]() for name in names), nn.Linear(12, 4))
    if flags[0]:
        model.lock = threading.Lock()
    if flags[1]:
        with suppress(RuntimeError, IndexError):
            model(torch.randn(4, 3, 8, 8)).sum().backward()
    calls[0] = 0
    model.train(flags[2])
    for module, flag in zip(model, flags, strict=False):
        module.train(flag)
    model[1].requires_grad_(flags[3])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=flags[4])
    with Untouched(model, optimizer):
        examined(model, optimizer=optimizer if flags[5] else None)


def test_a_change_would_be_seen():
    """The comparison itself: every kind of trace that is looked for."""
    torch.manual_seed(0)
    model = Busy()
    optimizer = trained(model)

    def differs(change: Callable[[], Any]) -> bool:
        looker = Untouched(model, optimizer)
        before = looker.now()
        change()
        return looker.now() != before

    assert not differs(lambda: None)
    changes: list[Callable[[], Any]] = [
        lambda: model(torch.randn(8, 3, 8, 8)),
        lambda: model.head.weight.data.add_(1e-7),
        lambda: model.head.weight.grad.mul_(1.0001),
        lambda: setattr(model.head.weight, "grad", model.head.weight.grad.clone()),
        lambda: model.eval(),
        lambda: model.head.register_forward_hook(lambda *_: None),
        lambda: model.head.bias.requires_grad_(False),
        lambda: next(iter(optimizer.state.values()))["exp_avg"].add_(1e-6),
        lambda: optimizer.param_groups[0].update(lr=0.5),
        lambda: random.random(),
        lambda: np.random.rand(),
        lambda: torch.rand(1),
        lambda: model.generator.manual_seed(9),
        lambda: model.seen.append(0),
        lambda: model.memory.add_(1),
    ]
    assert all(differs(change) for change in changes)
