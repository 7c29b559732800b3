"""What a state gives to a file is all that it is made of."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
import torch

from provenet.engine.state import Counters
from provenet.engine.step import train_step


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_tensors_and_plain_hold_everything(optimizer: str, make_job: Any, make_state: Any, digest: Any) -> None:
    job = make_job()
    state, other = make_state(job, optimizer), make_state(job, optimizer)
    for batch in job.loader.batches(0):
        train_step(job, state, job.feed.train(batch, 0))
        state.counters.step += 1
    weights, rest = state.tensors()
    names = set(state.net.state_dict())
    assert set(weights) == {f"net.{name}" for name in names} | {f"averaged.{name}" for name in names}
    kept = [value for entry in state.optimizer.state.values() for value in entry.values()]
    assert sorted(value.data_ptr() for value in rest.values()) == sorted(value.data_ptr() for value in kept)
    plain = json.loads(json.dumps(state.plain(), allow_nan=False))
    assert digest(other) != digest(state)
    other.load({k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in rest.items()}, plain)
    assert digest(other) == digest(state)
    assert [group["lr"] for group in other.optimizer.param_groups] == [g["lr"] for g in state.optimizer.param_groups]


def test_every_counter_is_stored(make_job: Any, make_state: Any) -> None:
    state = make_state(make_job())
    for number, entry in enumerate(fields(Counters), start=3):
        setattr(state.counters, entry.name, number)
    stored = state.plain()["counters"]
    assert stored == {entry.name: number for number, entry in enumerate(fields(Counters), start=3)}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["net.conv1.weight", "net.norm1.running_var", "averaged.head.bias"])
def test_one_bad_number_is_found(value: float, where: str, make_job: Any, make_state: Any) -> None:
    state = make_state(make_job())
    assert state.is_finite()
    tensor = state.tensors()[0][where]
    tensor[(-1,) * tensor.ndim] = torch.finfo(torch.float32).max
    assert state.is_finite(), "large is not infinite"
    tensor[(-1,) * tensor.ndim] = value
    assert not state.is_finite()


def test_the_average_is_what_is_evaluated(make_job: Any, make_state: Any) -> None:
    state = make_state(make_job())
    assert state.evaluated is state.averaged
    state.averaged = None
    assert state.evaluated is state.net
