"""The seen part of the doctor's benchmark: what it covers, and that its nets are as they say."""

from __future__ import annotations

import math
import sys
import warnings

import pytest
import torch
from benchmarks.doctor import pictures
from benchmarks.doctor.cases import Given, Sound, accuracy, batched, collect, evaluating, fault, sound
from benchmarks.doctor.harm import RAISED, Trained, score_of, train
from benchmarks.doctor.vocabulary import CAUSES, LOOP_ONLY, SYMPTOMS
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD

FAULTS, SOUNDS = collect("seen")
EVERY = [*FAULTS, *SOUNDS]


def loss_of(given):
    inputs, targets = given.batches[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return given.loss_fn(given.model(inputs), targets)


def names(cases):
    return [case.name for case in cases]


def test_every_cause_that_the_arguments_show_has_a_case():
    named = frozenset().union(*(group for case in FAULTS for group in case.causes))
    assert named == CAUSES - LOOP_ONLY
    assert len(FAULTS) >= 120
    assert len(SOUNDS) >= 50


def test_cases_name_ids_of_the_vocabulary_and_where_they_come_from():
    for case in EVERY:
        assert case.allowed <= CAUSES | SYMPTOMS, case.name
        assert len(case.source) > 12, case.name
    assert sum("github.com" in case.source for case in FAULTS) > len(FAULTS) / 2


def test_a_fault_that_no_training_shows_says_why():
    assert [case.name for case in FAULTS if case.harm == "static" and len(case.about) < 40] == []


@pytest.mark.parametrize("case", FAULTS[::8], ids=names(FAULTS[::8]))
def test_faults_and_repairs_are_made_and_differ(case):
    check_fault(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", FAULTS, ids=names(FAULTS))
def test_all_faults_and_repairs_are_made_and_differ(case):
    check_fault(case)


def check_fault(case):
    faulty, repaired = case.make(3), case.repaired(3)
    assert_complete(repaired)
    if case.harm == "raises":
        with pytest.raises(RAISED):
            loss_of(faulty)
    else:
        assert loss_of(faulty).ndim == 0


@pytest.mark.parametrize("case", SOUNDS[::8], ids=names(SOUNDS[::8]))
def test_sound_nets_are_made(case):
    assert_complete(case.make(3))


@pytest.mark.slow
@pytest.mark.parametrize("case", SOUNDS, ids=names(SOUNDS))
def test_all_sound_nets_learn(case):
    assert_complete(case.make(3))
    assert score_of(case, 3) >= case.score


def assert_complete(given):
    """Its loss is finite, its gradients are, and `--harm` has what it needs."""
    loss = loss_of(given)
    loss.backward()
    gradients = [weight.grad for weight in given.model.parameters() if weight.grad is not None]
    assert math.isfinite(float(loss.detach()))
    assert all(bool(one.isfinite().all()) for one in gradients)
    assert given.optimizer is not None
    assert given.test is not None
    assert len(given.test[0]) == len(given.test[1])


def test_a_seed_makes_the_same_net_and_batches():
    first, second = (FAULTS[0].make(5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first.batches, second.batches, strict=True))


def test_masks_lie_on_what_they_mask():
    """Nuclei and shapes differ from their ground; the masks of other pictures do not tell them apart."""
    for found in (pictures.shapes(1), pictures.cells(1)):
        grey, masks = found.inputs.mean(1), found.targets > 0

        def contrast(masks, grey=grey):
            each = [abs(one[mask].mean() - one[~mask].mean()) for one, mask in zip(grey, masks, strict=True)]
            return float(torch.stack(each).mean())

        assert contrast(masks) > 1.5 * contrast(masks.roll(1, 0))


def test_pictures_to_learn_and_to_try_are_different():
    for found in (pictures.digits(2), pictures.photos(2)):
        learn = {one.numpy().tobytes() for one in found.inputs}
        assert sum(one.numpy().tobytes() in learn for one in found.test[0]) <= 1


def test_batches_are_whole_and_in_order():
    batches = batched(torch.arange(10.0), torch.arange(10), 4)
    assert [inputs.tolist() for inputs, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_evaluating_leaves_every_layer_in_its_own_mode():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(), nn.BatchNorm1d(1))
    model[2].eval()
    with pytest.raises(ValueError, match="stop"), evaluating(model):
        assert not any(layer.training for layer in model.modules())
        raise ValueError("stop")
    assert [layer.training for layer in model.modules()] == [True, True, True, False]


def given_line(lr=0.1, loss=F.mse_loss):
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    x = torch.ones(4, 1)
    optimizer = SGD(model.parameters(), lr=lr)
    return Given(model, [(x, 2 * x)], loss, optimizer, test=(x, 2 * x), score=lambda net, _: float(net.weight.detach()))


def test_training_takes_the_steps_of_gradient_descent():
    """Weight w of a line through (1, 2): the error 2 - w shrinks by 1 - 2 lr an update."""
    assert train(given_line(), 5) == pytest.approx(2 - 2 * 0.8**5)


def test_scores_that_are_not_finite_count_nothing():
    assert train(given_line(lr=1e30), 20) == 0


def test_harm_is_what_every_seed_and_the_mean_show():
    assert Trained((0.3, 0.4), (0.9, 0.8)).harmful
    assert not Trained((0.3, 0.9), (0.9, 0.8)).harmful  # the second seed does not show it
    assert not Trained((0.80, 0.80), (0.81, 0.81)).harmful  # too little
    raised = Trained((math.nan, math.nan), (0.9, 0.7))
    assert raised.harmful
    assert raised.cost == pytest.approx(0.8)


def test_names_come_from_functions_and_must_differ(monkeypatch):
    @fault("ours", "lr-too-high", {"dead-relu", "init-too-large"}, allowed=["loss-sign"], updates=7)
    def a_net_of_ours(seed, faulty):
        return given_line(lr=9.0 if faulty else 0.1)

    assert (a_net_of_ours.name, a_net_of_ours.updates) == ("a-net-of-ours", 7)
    assert a_net_of_ours.causes == (frozenset({"lr-too-high"}), frozenset({"dead-relu", "init-too-large"}))
    assert a_net_of_ours.make(0).optimizer.param_groups[0]["lr"] == 9.0
    assert a_net_of_ours.repaired(0).optimizer.param_groups[0]["lr"] == 0.1
    twin = sound("ours")(a_net_of_ours_twin)
    module = sys.modules["benchmarks.doctor.seen.graph"]
    monkeypatch.setattr(module, "one_more", [Sound(FAULTS[0].name, "ours", given_line), twin], raising=False)
    with pytest.raises(ValueError, match=FAULTS[0].name):
        collect("seen")


def a_net_of_ours_twin(seed):
    return given_line()


def test_accuracy_is_the_share_of_right_classes():
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    inputs = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0], [5.0, 4.0]])
    assert accuracy(model, (inputs, torch.tensor([0, 1, 1, 0]))) == 0.75
