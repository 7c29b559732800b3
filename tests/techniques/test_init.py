"""Initialisation against torch.nn.init and against closed forms."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest, norm, uniform
from torch import Tensor, nn

from provenet.techniques.init import Constant, Dirac, He, LeCun, Normal, Orthogonal, Xavier, Zero

SHAPES = [(48, 32, 3, 3), (16, 40, 1, 1), (64, 100), (100, 64), (8, 4, 2, 5)]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def filled(init: object, shape: tuple[int, ...]) -> Tensor:
    weight = torch.full(shape, torch.nan)
    init.fill_(weight, generator())  # type: ignore[attr-defined]
    return weight


def torch_fills(negative_slope: float) -> dict[str, object]:
    """PyTorch's own functions for the members, by member."""
    leaky = {"nonlinearity": "leaky_relu", "a": negative_slope}
    return {
        "xavier normal": nn.init.xavier_normal_,
        "xavier uniform": nn.init.xavier_uniform_,
        "he normal fan_in": lambda w, generator: nn.init.kaiming_normal_(
            w, mode="fan_in", generator=generator, **leaky
        ),
        "he normal fan_out": lambda w, generator: nn.init.kaiming_normal_(
            w, mode="fan_out", generator=generator, **leaky
        ),
        "he uniform fan_in": lambda w, generator: nn.init.kaiming_uniform_(
            w, mode="fan_in", generator=generator, **leaky
        ),
        "he uniform fan_out": lambda w, generator: nn.init.kaiming_uniform_(
            w, mode="fan_out", generator=generator, **leaky
        ),
        "lecun normal": lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="linear", generator=generator),
        "lecun uniform": lambda w, generator: nn.init.kaiming_uniform_(w, nonlinearity="linear", generator=generator),
        "orthogonal": nn.init.orthogonal_,
        "normal": lambda w, generator: nn.init.normal_(w, 0.0, 0.01, generator=generator),
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", torch_fills(0.0))
@pytest.mark.parametrize("negative_slope", [0.0, 0.3])
def test_members_agree_with_torch(kind: str, shape: tuple[int, ...], negative_slope: float) -> None:
    name, *choices = kind.split()
    settings = {"mode": choices[1]} if len(choices) == 2 else {}
    makers = {
        "xavier": lambda: Xavier(distribution=choices[0]),
        "he": lambda: He(distribution=choices[0], negative_slope=negative_slope, **settings),
        "lecun": lambda: LeCun(distribution=choices[0]),
        "orthogonal": Orthogonal,
        "normal": Normal,
    }
    expected = torch.empty(shape)
    torch_fills(negative_slope)[kind](expected, generator=generator())  # type: ignore[operator]
    torch.testing.assert_close(filled(makers[name](), shape), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (He(mode="fan_in"), 2 / (32 * 9)),
        (He(mode="fan_out"), 2 / (64 * 9)),
        (He(mode="fan_in", gain=3), 9 * 2 / (32 * 9)),
        (Xavier(distribution="normal"), 2 / (96 * 9)),
        (Xavier(distribution="normal", gain=0.5), 0.25 * 2 / (96 * 9)),
        (LeCun(gain=2), 4 / (32 * 9)),
    ],
)
def test_draws_follow_the_normal_law_of_the_closed_form(init: object, variance: float) -> None:
    draws = filled(init, (64, 32, 3, 3)).flatten().double().numpy()
    assert kstest(draws, norm(0, variance**0.5).cdf).pvalue > 0.01
    assert kstest(draws, norm(0, 1.1 * variance**0.5).cdf).pvalue < 1e-6


def test_uniform_draws_have_the_same_variance_as_normal_ones() -> None:
    bound = (6 / (96 * 9)) ** 0.5
    draws = filled(Xavier(), (64, 32, 3, 3)).flatten().double().numpy()
    assert kstest(draws, uniform(-bound, 2 * bound).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_rows_or_columns_are_orthonormal_times_gain(shape: tuple[int, ...], gain: float) -> None:
    matrix = filled(Orthogonal(gain=gain), shape).flatten(1).double()
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, gain**2 * torch.eye(len(product), dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("out_channels", "in_channels"), [(6, 6), (10, 4), (3, 8)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_dirac_passes_the_first_channels_on(out_channels: int, in_channels: int, kernel_size: int) -> None:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    Dirac().fill_(conv.weight, generator())
    images = torch.randn(2, in_channels, 9, 7, generator=generator())
    same = min(in_channels, out_channels)
    torch.testing.assert_close(conv(images)[:, :same], images[:, :same])


def test_dirac_draws_the_filters_beyond_as_the_source_does() -> None:
    weight = filled(Dirac(), (192, 32, 3, 3))
    bound = (1 / (32 * 9)) ** 0.5
    assert kstest(weight[32:].flatten().double().numpy(), uniform(-bound, 2 * bound).cdf).pvalue > 0.01


def test_dirac_fills_linear_weights_as_he() -> None:
    torch.testing.assert_close(filled(Dirac(), (10, 30)), filled(He(mode="fan_in"), (10, 30)))


def test_zero_and_constant() -> None:
    assert bool((filled(Zero(), (3, 4)) == 0).all())
    assert bool((filled(Constant(value=-0.5), (3, 4, 2, 2)) == -0.5).all())


@pytest.mark.parametrize("init", [He(), Orthogonal(), Dirac(), Xavier()])
def test_numbers_do_not_depend_on_memory_format_type_or_view(init: object) -> None:
    expected = filled(init, (8, 6, 3, 3))
    layers = {
        "channels last": nn.Conv2d(6, 8, 3).to(memory_format=torch.channels_last).weight,
        "float64": nn.Conv2d(6, 8, 3).double().weight,
        "view of a transposed convolution": nn.ConvTranspose2d(6, 8, 3).weight.transpose(0, 1),
    }
    for name, weight in layers.items():
        init.fill_(weight, generator())  # type: ignore[attr-defined]
        assert torch.equal(weight.float(), expected), name


@pytest.mark.parametrize(("init", "activation"), [(He(mode="fan_in"), torch.relu), (Xavier(), torch.nn.Identity())])
def test_scale_is_kept_through_many_layers(init: object, activation: object) -> None:
    stream = generator()
    values = torch.randn(64, 512, generator=stream)
    for _ in range(20):
        weight = torch.empty(512, 512)
        init.fill_(weight, stream)  # type: ignore[attr-defined]
        values = activation(values) @ weight.T  # type: ignore[operator]
    assert 0.6 < float(values.std()) / (2**0.5 if activation is torch.relu else 1.0) < 1.6
