"""One update: what it changes, and what it leaves alone when a number is not finite."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from provenet.core.batch import Batch
from provenet.engine.job import Job
from provenet.engine.state import TrainState
from provenet.engine.step import clip_, forward_loss, train_step
from provenet.techniques.average import NoAverage
from provenet.techniques.schedule import Constant, Linear
from provenet.techniques.transfer import FeatureExtraction, FineTune


@pytest.fixture
def ready(make_job: Any) -> Batch:
    job = make_job()
    return job.feed.train(next(job.loader.batches(0)), 0)


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def changed(before: dict[str, Tensor], net: nn.Module) -> set[str]:
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def test_sgd_by_hand(make_job: Any, make_state: Any, ready: Batch) -> None:
    """Against autograd on a copy and the formula of momentum with Nesterov, clipped to norm 0.5."""
    job: Job = make_job(schedule=Constant(), average=NoAverage(), clip=0.5)
    state: TrainState = make_state(job)
    net = copy.deepcopy(state.net)
    velocity: dict[str, Tensor] = {}
    for _ in range(3):
        net.train()
        from_seed = copy.deepcopy(net)
        result = train_step(job, state, ready)
        torch.manual_seed(_seed_of(job, state.counters.step))
        loss = forward_loss(job, from_seed, ready)
        grads = torch.autograd.grad(loss, list(from_seed.parameters()))
        norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in grads))
        assert result.loss == pytest.approx(loss.item(), rel=1e-6)
        assert result.grad_norm == pytest.approx(norm, rel=1e-5) and norm > 0.5
        net.load_state_dict(from_seed.state_dict())  # batch norm's statistics moved
        with torch.no_grad():
            for (name, parameter), grad in zip(net.named_parameters(), grads, strict=True):
                grad = grad * (0.5 / (norm + 1e-6)) + (5e-4 * parameter if parameter.ndim > 1 else 0)
                velocity[name] = 0.9 * velocity[name] + grad if name in velocity else grad.clone()
                parameter -= 0.1 * (grad + 0.9 * velocity[name])
        state.counters.step += 1
        for name, value in net.state_dict().items():
            torch.testing.assert_close(state.net.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def _seed_of(job: Job, step: int) -> int:
    from provenet.core.rng import derive

    return derive(job.seed, "step", step)


def test_dropout_is_a_function_of_the_step(make_job: Any, make_state: Any, ready: Batch) -> None:
    losses = []
    for step, noise in ((0, 1), (0, 2), (1, 1)):
        job, torch_state = make_job(schedule=Constant()), torch.random.get_rng_state()
        torch.manual_seed(noise)
        state = make_state(job)
        state.counters.step = step
        losses.append(train_step(job, state, ready).loss)
        torch.random.set_rng_state(torch_state)
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("what", ["loss", "images"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_changes_nothing(
    what: str, value: float, make_job: Any, make_state: Any, ready: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Job = make_job()
    state: TrainState = make_state(job)
    train_step(job, state, ready)
    before, averaged = copied(state.net), copied(state.averaged)
    momentum = [copy.deepcopy(entry) for entry in state.optimizer.state.values()]
    if what == "images":
        images = ready.images.clone()
        images[0, 0, 0, 0] = value
        ready = ready.with_(images=images)
    else:
        compute = type(job.loss).compute
        monkeypatch.setattr(type(job.loss), "compute", lambda self, *parts: compute(self, *parts) * value)
    result = train_step(job, state, ready)
    assert not result.made
    assert changed(before, state.net) <= {"norm1.num_batches_tracked", "norm2.num_batches_tracked"}
    assert changed(averaged, state.averaged) == set()
    for old, new in zip(momentum, state.optimizer.state.values(), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert all(parameter.grad is None for parameter in state.net.parameters())


def test_a_gradient_that_is_not_finite_counts_too(make_job: Any, make_state: Any, ready: Batch) -> None:
    (job,) = (make_job(),)
    state = make_state(job)
    state.net.get_parameter("conv1.weight").register_hook(lambda grad: grad * math.inf)
    before = copied(state.net)
    result = train_step(job, state, ready)
    assert math.isfinite(result.loss) and not result.made
    assert not changed(before, state.net) - {"norm1.num_batches_tracked", "norm2.num_batches_tracked"}


def test_a_net_without_running_statistics_skips_updates_too(make_job: Any, make_state: Any, ready: Batch) -> None:
    job: Job = make_job()
    state: TrainState = make_state(job)
    state.net.norm1, state.net.norm2 = nn.Identity(), nn.Identity()
    assert not list(state.net.buffers())
    before = copied(state.net)
    result = train_step(job, state, ready.with_(images=ready.images * math.inf))
    assert not result.made
    assert changed(before, state.net) == set()


def test_the_average_follows_by_its_formula(make_job: Any, make_state: Any, ready: Batch) -> None:
    job = make_job()
    state = make_state(job)
    state.counters.step = 14  # (1 + 14) / (10 + 14) is above the decay of 0.6
    before = copied(state.averaged)
    train_step(job, state, ready)
    for name, value in state.averaged.state_dict().items():
        now = state.net.state_dict()[name]
        expected = 0.6 * before[name] + 0.4 * now if value.is_floating_point() else now
        torch.testing.assert_close(value, expected)


def test_feature_extraction_changes_no_byte_of_the_body(make_job: Any, make_state: Any, ready: Batch) -> None:
    job = make_job(transfer=FeatureExtraction())
    state = make_state(job)
    before, averaged = copied(state.net), copied(state.averaged)
    for _ in range(3):
        train_step(job, state, ready)
    assert changed(before, state.net) == {"head.weight", "head.bias"} == changed(averaged, state.averaged)


@pytest.mark.parametrize(("bn", "moved"), [("train_stats", {"running"}), ("train", {"running", "weight"})])
def test_policies_for_frozen_batch_norm(bn: str, moved: set[str], make_job: Any, make_state: Any, ready: Batch) -> None:
    job = make_job(transfer=FeatureExtraction(bn=bn))
    state = make_state(job)
    before = copied(state.net)
    train_step(job, state, ready)
    found = changed(before, state.net)
    assert not {"conv1.weight", "conv2.weight"} & found
    assert ("norm1.running_mean" in found) == ("running" in moved) and ("norm1.weight" in found) == ("weight" in moved)


def test_fine_tuning_begins_with_the_head(make_job: Any, make_state: Any, ready: Batch) -> None:
    job = make_job(transfer=FineTune(head_first_frac=0.2), total_steps=10)
    state = make_state(job)
    learnt = []
    for step in range(4):
        state.counters.step = step
        before = copied(state.net)
        train_step(job, state, ready)
        learnt.append("conv1.weight" in changed(before, state.net))
    assert learnt == [False, False, True, True]


def test_the_rate_is_peak_times_scale_times_factor(make_job: Any, make_state: Any, ready: Batch) -> None:
    job = make_job(schedule=Linear(), lr=0.4, total_steps=5)
    state = make_state(job)
    state.counters.step, state.lr_scale = 3, 0.5
    assert train_step(job, state, ready).lr == pytest.approx(0.4 * 0.5 * (1 - 3 / 4))


@pytest.mark.parametrize("most", [None, 0.1, 100.0])
def test_clip_against_torch(most: float | None) -> None:
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    for net in (ours, theirs):
        for number, parameter in enumerate(net.parameters(), start=1):
            parameter.grad = torch.full_like(parameter, float(number))
    norm = clip_(ours, most)
    assert norm.item() == pytest.approx(math.sqrt(12 + 3 * 4))
    nn.utils.clip_grad_norm_(theirs.parameters(), most or math.inf)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
