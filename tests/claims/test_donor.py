"""Donors: what is cut off for them, and what of them arrives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from provenet.claims.donor import FINE_RATES, among, bench_of, fine_tuned, first_layers, halve, transplanted
from provenet.claims.lab import Lab
from provenet.claims.training import fit
from provenet.claims.transfer_depth import frozen

SIZES = (40, 160, 300)


def test_the_parts_share_no_image_and_keep_to_their_classes(lab: Lab) -> None:
    bench = lab.classification
    labels = bench.dataset.labels
    assert labels is not None
    halves = halve(bench, 0, SIZES)
    assert sorted([*halves[0].classes, *halves[1].classes]) == list(range(10))
    for half in halves:
        for ids, size in zip((half.few, half.more, half.donor), SIZES, strict=True):
            assert set(labels[ids]) == set(half.classes)
            assert len(ids) == pytest.approx(size, rel=0.1)
        assert set(half.few) < set(half.more)
    apart = np.concatenate([ids for half in halves for ids in (half.more, half.donor)])
    assert len(set(apart)) == len(apart)
    assert set(apart) <= set(bench.dataset.splits["train"])


def test_another_seed_halves_in_another_way_and_too_much_becomes_what_there_is(lab: Lab) -> None:
    bench = lab.classification
    one, other = (halve(bench, seed, (10**6, 10**6, 10**6))[0] for seed in (0, 1))
    assert one.classes.tolist() != other.classes.tolist()
    assert 0 < len(one.few) < len(one.more) < len(one.donor)


def test_a_session_is_scored_on_its_classes_only(lab: Lab) -> None:
    bench = lab.classification
    session = among(bench.session("steps=1", 0, 40), [2, 7])
    labels = session.dataset.labels
    assert labels is not None
    whole = bench.dataset.splits["test"]
    wanted = np.isin(labels[whole], [2, 7]).sum()
    assert set(labels[session.dataset.splits["val"]]) == {2, 7}
    assert len(session.dataset.splits["test"]) == wanted


@pytest.mark.parametrize("num_groups", [0, 1, 3, 4])
def test_frozen_groups_come_from_the_donor_and_stay_its(lab: Lab, num_groups: int) -> None:
    bench, words = lab.classification, "steps=3 batch_size=16"
    donor = bench.train(words, seed=1, images=48, looks=1).session.net
    fresh = bench.session(words, seed=2, images=48)
    body = len(fresh.net.groups()) - 1
    random = {name: values.clone() for name, values in fresh.net.state_dict().items()}
    session = transplanted(fresh, donor, num_groups, frozen(num_groups, body))
    layers = first_layers(donor, num_groups)
    for name, values in session.net.state_dict().items():
        assert torch.equal(values, donor.state_dict()[name] if name in layers else random[name]), name
    trained = fit(session, looks=1)
    learnt = {name for _, names in donor.groups()[num_groups:] for name in names}
    for name, values in trained.net.state_dict().items():
        if name in layers:
            assert torch.equal(values, layers[name]), name
        elif name in learnt and not name.endswith("bias"):
            assert not torch.equal(values, random[name]), name


def test_all_groups_are_the_whole_body_with_its_buffers(lab: Lab) -> None:
    net = lab.classification.session("steps=1", 0, 20).net
    taken = first_layers(net, len(net.groups()) - 1)
    assert taken.keys() == {name for name in net.state_dict() if not name.startswith("head.")}
    assert any(name.endswith("running_var") for name in first_layers(net, 1))


def test_data_with_few_classes_give_way_to_digits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench_of(lab) is lab.classification
    monkeypatch.setattr("provenet.claims.donor.FEWEST_CLASSES", 11)
    assert bench_of(lab).source == "digits"
    assert bench_of(lab) is not lab.classification


def test_fine_tuning_takes_the_rate_that_validates_best(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = lab.classification
    trained = [bench.train(f"steps=2 batch_size=16 optimizer.lr={rate:g}", 0, 32, looks=1) for rate in FINE_RATES]
    for best in range(len(trained)):
        for place, run in enumerate(trained):
            run.looks[-1] = replace(run.looks[-1], val=float(place == best))
        rest = iter(trained)
        monkeypatch.setattr("provenet.claims.donor.fit", lambda _, rest=rest: next(rest))
        settings: list[str] = []
        assert fine_tuned(settings.append) is trained[best]  # type: ignore[arg-type, func-returns-value]
        assert settings == [f"optimizer.lr={rate:g}" for rate in FINE_RATES]
