"""The closed form of signals in deep nets, and nets that follow it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from provenet.claims import activation_scale
from provenet.claims.activation_scale import ARMS, Arm, closed_form, decades, measure, measured, moments, spread
from provenet.claims.lab import Lab
from provenet.techniques.activation import ReLU, Tanh
from provenet.techniques.init import He, Normal, Xavier


@given(st.floats(0.05, 8))
def test_moments_are_the_integrals(std: float) -> None:
    def expected(f):
        return quad(lambda z: f(std * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), -12, 12, points=[0])[0]

    tanh = (math.tanh, lambda z: math.tanh(z) ** 2, lambda z: (1 - math.tanh(z) ** 2) ** 2)
    assert moments(Tanh(), std) == pytest.approx([expected(f) for f in tanh], abs=1e-6)
    relu = (std / math.sqrt(2 * math.pi), std**2 / 2, 0.5)
    assert moments(ReLU(), std) == pytest.approx(relu, rel=1e-6)


@pytest.mark.parametrize(("init", "factor"), [(He(mode="fan_in"), 1.0), (Xavier(), 1 / math.sqrt(2))])
def test_behind_a_relu_the_closed_form_is_a_power(init: He | Xavier, factor: float) -> None:
    scales = closed_form(ReLU(), spread(init, 100), 100, depth=6)
    # The first layer halves the variance of its sums, less the square of its mean.
    first = math.sqrt((1 - 1 / math.pi) * spread(init, 100) ** 2 * 100 / 2)
    assert scales.forward == pytest.approx(first * factor ** np.arange(6), rel=1e-6)
    assert scales.backward == pytest.approx(factor ** np.arange(5, -1, -1), rel=1e-6)
    assert scales.factor(False) == pytest.approx(factor)
    assert scales.factor(True) == pytest.approx(factor)


def test_small_signals_pass_a_tanh_as_if_it_were_linear() -> None:
    scales = closed_form(Tanh(), 0.001, 100, depth=4)
    assert scales.forward == pytest.approx(0.01 ** np.arange(1, 5), rel=1e-3)
    assert scales.backward == pytest.approx(0.01 ** np.arange(3, -1, -1), rel=1e-3)


@pytest.mark.parametrize("name", ARMS)
def test_wide_nets_follow_the_closed_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_scale, "DEPTH", 5)
    arm, width = ARMS[name], 256
    formula = closed_form(arm.activation, spread(arm.init, width), width, 5)
    found = measured(arm, width, draws=4)
    for way in ("forward", "backward"):
        mean = np.log(getattr(found, way)).mean(axis=0)
        assert mean == pytest.approx(np.log(getattr(formula, way)), abs=0.1), way


def test_decades_count_from_the_first_layer_that_a_signal_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_scale, "DEPTH", 3)
    vanishing = measured(Arm(Tanh(), Normal(std=1e-3)), 64, draws=2)
    assert decades(vanishing, False) == pytest.approx(2 * math.log10(8e-3), abs=0.2)
    assert decades(vanishing, True) == pytest.approx(2 * math.log10(8e-3), abs=0.2)


def test_the_claim_is_measured_from_end_to_end(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_scale, "DEPTH", 20)
    monkeypatch.setattr(activation_scale, "WIDTH", {"quick": 96, "full": 96})
    finding = measure(Lab("quick", (0, 1), {}, tmp_path))
    assert len(finding.checks) == 9
    assert all(check.value is not None for check in finding.checks)
    assert all(len(chart.lines) <= 4 for chart in finding.charts if chart.kind == "lines")
