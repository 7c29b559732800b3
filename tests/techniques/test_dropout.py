"""Dropout: what is zeroed, how often, and that the expectation is kept."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from provenet.techniques.dropout import Dropout, NoDropout, SpatialDropout, StochasticDepth

# What is dropped as one: units, channels, samples of N C H W.
UNITS = {"dropout": (), "spatial": (2, 3), "stochastic_depth": (1, 2, 3)}
MEMBERS = [Dropout, SpatialDropout, StochasticDepth]


def ones() -> Tensor:
    return torch.ones(2000, 3, 2, 2)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_whole_units_are_zeroed_with_probability_p_and_the_rest_scaled(member: type, p: float) -> None:
    torch.manual_seed(3)
    dropped = member(p=p).layer()(ones())
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / (1 - p)] if p else [1.0]))
    units = UNITS[member.model_fields["name"].default]
    kept = (dropped > 0).float()
    if units:
        shares = kept.mean(dim=units)
        assert bool(((shares == 0) | (shares == 1)).all())
        kept = shares
    zeros = int((kept == 0).sum())
    assert binomtest(zeros, kept.numel(), p).pvalue > 0.001 if p else zeros == 0


@pytest.mark.parametrize("member", MEMBERS)
def test_expectation_is_kept(member: type) -> None:
    torch.manual_seed(4)
    values = torch.linspace(-1, 2, 12).reshape(1, 3, 2, 2).expand(20_000, 3, 2, 2)
    mean = member(p=0.3).layer()(values).mean(dim=0)
    # standard error of one mean: |x| sqrt(p / (1 - p) / n)
    error = values[0].abs() * (0.3 / 0.7 / 20_000) ** 0.5
    assert bool(((mean - values[0]).abs() <= 4.5 * error + 1e-6).all())


@pytest.mark.parametrize("member", [NoDropout, *MEMBERS])
def test_evaluation_is_the_identity(member: type) -> None:
    values = torch.randn(4, 3, 2, 2)
    assert torch.equal(member().layer().eval()(values), values)


def test_stochastic_depth_grows_evenly_with_depth() -> None:
    technique = StochasticDepth(p=0.4)
    assert [technique.layer(block / 4).p for block in range(1, 5)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_gradient_is_that_of_the_kept_units() -> None:
    torch.manual_seed(0)
    values = ones().requires_grad_()
    dropped = StochasticDepth(p=0.5).layer()(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())  # type: ignore[arg-type]


def test_places() -> None:
    places = {member.model_fields["name"].default: member.place for member in [NoDropout, *MEMBERS]}
    assert places == {"none": "none", "dropout": "head", "spatial": "body", "stochastic_depth": "body"}
