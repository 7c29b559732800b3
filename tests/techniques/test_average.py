"""The moving average against its closed form."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from provenet.techniques.average import EMA, NoAverage, ema_decay


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()


def test_weights_and_statistics_follow_the_closed_form():
    net, average, total = small(), EMA(half_life_frac=0.1), 30
    averaged = deepcopy(net)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    decay = 0.5 ** (1 / (0.1 * total))
    generator = torch.Generator().manual_seed(0)
    for step in range(total):
        for parameter in net.parameters():
            parameter.data.normal_(generator=generator)
        net(torch.randn(2, 1, 5, 5, dtype=torch.float64, generator=generator))
        average.update_(averaged, net, step, total)
        d = min(decay, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * value if value.is_floating_point() else value.clone()
    found = averaged.state_dict()
    assert found["1.num_batches_tracked"] == total
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert not torch.allclose(found["1.running_mean"], net.state_dict()["1.running_mean"])


@given(frac=st.floats(0.01, 1), total=st.integers(200, 10_000))
def test_a_weight_counts_half_after_the_half_life(frac, total):
    net, averaged = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    nn.init.ones_(averaged.weight)
    late = 10**7  # the warm-up of the decay is over
    EMA(half_life_frac=frac).update_(averaged, net, late, total)
    assert averaged.weight.item() ** (frac * total) == pytest.approx(0.5)


def test_an_unchanged_weight_keeps_its_bytes():
    net = nn.Linear(50, 50)
    averaged = deepcopy(net)
    for step in range(20):
        EMA().update_(averaged, net, step, 100)
    assert torch.equal(averaged.weight, net.weight)


def test_decay_warms_up_and_is_never_above_the_given_one():
    decays = [ema_decay(step, 0.99) for step in range(2000)]
    assert decays == sorted(decays) and decays[0] == 0.1 and decays[-1] == 0.99


def test_none_is_the_net_itself():
    net, averaged = small(), small()
    NoAverage().update_(averaged, net, 0, 10)
    assert all(
        torch.equal(a, b) for a, b in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True)
    )


def test_decay_and_half_life_exclude_each_other():
    assert EMA(decay=0.9).half_life_frac is None
    assert EMA.model_validate(EMA(decay=0.9).model_dump()) == EMA(decay=0.9)
    for wrong in ({"decay": 0.9, "half_life_frac": 0.1}, {"decay": None, "half_life_frac": None}):
        with pytest.raises(ValueError, match="exactly one"):
            EMA(**wrong)
