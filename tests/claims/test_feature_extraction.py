"""Claim 15: counting, comparing and timing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from provenet.claims import feature_extraction
from provenet.claims.donor import first_layers
from provenet.claims.feature_extraction import change, epoch_seconds, head_size
from provenet.claims.lab import Lab
from provenet.nets import count_parameters, resnet


def test_the_head_is_a_matrix_and_biases() -> None:
    net = resnet(7, depth=8, width=4)
    assert head_size(net) == 16 * 7 + 7 == count_parameters(net.head)


def test_a_change_of_the_body_is_seen_and_one_of_the_head_is_not() -> None:
    net = resnet(3, depth=8, width=2)
    layers = {name: values.clone() for name, values in first_layers(net, len(net.groups()) - 1).items()}
    with torch.no_grad():
        net.head.weight += 1
    assert change(net, layers) == 0
    buffers = [name for name in layers if name.endswith("running_mean")]
    net.get_buffer(buffers[-1])[0] += 0.5
    assert change(net, layers) == 0.5


def test_epochs_are_timed_in_turns_and_the_first_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []

    def step(job: SimpleNamespace, state: str, batch: int) -> None:
        order.append(job.name)
        first = job.name not in order[:-1] or order.count(job.name) <= job.length
        clock[0] += 100.0 if first else job.cost

    def session(name: str, length: int, cost: float) -> SimpleNamespace:
        loader = SimpleNamespace(batches=lambda epoch: range(length))
        feed = SimpleNamespace(train=lambda batch, epoch: batch)
        job = SimpleNamespace(name=name, length=length, cost=cost, loader=loader, feed=feed)
        return SimpleNamespace(job=job, new_state=lambda: name)

    monkeypatch.setattr(feature_extraction, "train_step", step)
    monkeypatch.setattr(feature_extraction.time, "perf_counter", lambda: clock[0])
    sessions = {"one": session("one", 2, 1.0), "other": session("other", 3, 0.5)}
    assert epoch_seconds(sessions, rounds=3) == {"one": 2.0, "other": 1.5}  # type: ignore[arg-type]
    assert order == (["one"] * 2 + ["other"] * 3) * 4


@pytest.mark.slow
def test_the_claim_is_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_extraction, "SHARED", {"quick": "steps=6 batch_size=16"})
    monkeypatch.setattr(feature_extraction, "SIZES", {"quick": (40, 160, 300)})
    monkeypatch.setattr(feature_extraction, "ROUNDS", 1)
    found = feature_extraction.CLAIM.measure(lab)
    assert [check.outcome for check in found.checks[:2]] == [True, True]
    assert (len(found.checks), found.trainings) == (5, 18)
