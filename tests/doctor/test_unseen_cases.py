"""Cases of the benchmark's unseen and fresh parts can be built, and run or raise as they say; without the doctor."""

from __future__ import annotations

import pytest
import torch
from benchmarks.doctor.cases import SYMPTOMS, Case, Given, Sound, collect
from benchmarks.doctor.harm import score_of

PARTS = {part: collect(part) for part in ("unseen", "fresh")}
FAULTS = [case for faults, _ in PARTS.values() for case in faults]
SOUND = [case for _, sounds in PARTS.values() for case in sounds]


def first_loss(given: Given) -> torch.Tensor:
    """Return the loss of the first batch after its gradients are computed."""
    inputs, targets = given.batches[0]
    loss = given.loss_fn(given.model(inputs if given.transform is None else given.transform(inputs)), targets)
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("part", PARTS)
def test_there_are_enough_cases_of_many_causes(part: str) -> None:
    faults, sounds = PARTS[part]
    assert len(faults) >= 75
    assert len(sounds) >= 30
    assert len({cause for case in faults for cause in set().union(*case.causes)}) >= 35


def test_cases_say_where_they_come_from_and_what_is_wrong() -> None:
    for case in FAULTS:
        assert len(case.source) > 10, case.name
        assert case.causes, case.name
        assert not SYMPTOMS & set().union(*case.causes), case.name
        assert case.harm != "static" or len(case.about) > 40, case.name


@pytest.mark.parametrize("case", FAULTS[::12], ids=lambda case: case.name)
def test_a_fault_runs_or_raises_as_it_says_and_its_twin_runs(case: Case) -> None:
    check_fault(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_all_faults_run_or_raise_as_they_say_and_their_twins_run(case: Case) -> None:
    check_fault(case)


def check_fault(case: Case) -> None:
    """The faulty code raises or has a loss; the loss of the repaired one is finite and has gradients."""
    faulty, repaired = case.make(0), case.repaired(0)
    if case.harm == "raises":
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            first_loss(faulty)
    else:
        assert first_loss(faulty).shape == ()
    assert torch.isfinite(first_loss(repaired))
    assert any(weight.grad is not None and weight.grad.any() for weight in repaired.model.parameters())


@pytest.mark.parametrize("case", SOUND[::12], ids=lambda case: case.name)
def test_a_sound_net_runs_and_can_be_scored(case: Sound) -> None:
    given = case.make(0)
    assert torch.isfinite(first_loss(given))
    assert given.test is not None
    assert given.score(given.model, given.test) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("case", SOUND, ids=lambda case: case.name)
def test_all_sound_nets_learn(case: Sound) -> None:
    assert score_of(case, 3) >= case.score


@pytest.mark.parametrize("case", FAULTS[::12], ids=lambda case: case.name)
def test_a_seed_decides_weights_and_pictures(case: Case) -> None:
    first, again, other = (case.repaired(seed) for seed in (3, 3, 4))
    for one, same in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, same)
    assert torch.equal(first.batches[0][0], again.batches[0][0])
    assert not torch.equal(first.batches[0][0], other.batches[0][0])
