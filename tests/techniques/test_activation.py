"""Activations against NumPy and SciPy, and their gains against quadrature and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, expit
from scipy.stats import norm

from provenet.techniques.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh, _Activation

FORMULAS: list[tuple[_Activation, Callable[[np.ndarray], np.ndarray]]] = [
    (ReLU(), lambda z: np.maximum(z, 0)),
    (LeakyReLU(slope=0.2), lambda z: np.where(z > 0, z, 0.2 * z)),
    (Tanh(), np.tanh),
    (Sigmoid(), expit),
    (GELU(), lambda z: z * 0.5 * (1 + erf(z / 2**0.5))),
    (SiLU(), lambda z: z * expit(z)),
]


@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=lambda part: getattr(part, "name", ""))
def test_layer_is_the_formula(activation: _Activation, formula: Callable[[np.ndarray], np.ndarray]) -> None:
    z = np.linspace(-6, 6, 1001)
    np.testing.assert_allclose(activation.layer()(torch.from_numpy(z)).numpy(), formula(z), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=lambda part: getattr(part, "name", ""))
def test_gain_makes_the_second_moment_one(activation: _Activation, formula: Callable[[np.ndarray], np.ndarray]) -> None:
    moment = sum(quad(lambda z: formula(z) ** 2 * norm.pdf(z), *part)[0] for part in ((-10, 0), (0, 10)))
    assert activation.gain() == pytest.approx(moment**-0.5, abs=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.5])
def test_gain_of_rectifiers_is_torchs(slope: float) -> None:
    assert LeakyReLU(slope=slope).gain() == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", slope), abs=1e-6)


def test_layers_are_new_each_time_so_that_each_can_be_watched() -> None:
    assert ReLU().layer() is not ReLU().layer()


@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=lambda part: getattr(part, "name", ""))
def test_input_is_left_alone(activation: _Activation, formula: object) -> None:
    values = torch.linspace(-1, 1, 5)
    before = values.clone()
    activation.layer()(values)
    assert torch.equal(values, before)
