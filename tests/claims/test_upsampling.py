"""What upsampling does to maps: measures against transforms and counts made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from provenet.claims import upsampling
from provenet.claims.upsampling import BILINEAR, KERNEL_2, KERNEL_3, KERNEL_4, MEMBERS, NEAREST, SHUFFLE


@pytest.fixture(scope="module")
def alone() -> upsampling.Bare:
    """The layers by themselves."""
    return upsampling.bare()


def test_grid_power_is_the_power_at_the_frequencies_of_the_stride() -> None:
    maps = torch.randn(2, 3, 12, 8, dtype=torch.float64)
    power = np.abs(np.fft.fft2(maps.numpy())) ** 2 / (12 * 8) ** 2
    expected = power[..., 6, 0] + power[..., 0, 4] + power[..., 6, 4]
    np.testing.assert_allclose(upsampling.grid_power(maps).numpy(), expected, rtol=1e-10)


def test_grid_share_of_a_checkerboard_and_of_a_slope() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = ((rows + columns) % 2).double()[None, None]
    assert upsampling.grid_share(board) == pytest.approx(1)
    slow = torch.cos(2 * torch.pi * columns.double() / 8)[None, None]
    assert upsampling.grid_share(slow) == pytest.approx(0, abs=1e-12)


def test_kernel_3_reaches_pixels_unequally_often(alone: upsampling.Bare) -> None:
    def expected(kernel: int) -> float:
        """Count how many inputs reach each of many pixels of a line, then of a plane."""
        reached = np.zeros(200)
        for start in range(0, 190, 2):
            reached[start : start + kernel] += 1
        line = reached[50:150]
        plane = np.outer(line, line)
        return float(plane.var() / np.square(plane).mean())

    assert expected(3) == pytest.approx(0.19)
    for name, kernel in ((KERNEL_2, 2), (KERNEL_3, 3), (KERNEL_4, 4)):
        assert alone.grid[name] == pytest.approx(expected(kernel), abs=1e-12)
    for name in (NEAREST, BILINEAR, SHUFFLE):
        assert alone.grid[name] == pytest.approx(0, abs=1e-12)


def test_nearest_is_blocky_and_bilinear_is_not(alone: upsampling.Bare) -> None:
    assert alone.blocky[NEAREST] == 1
    assert alone.blocky[SHUFFLE] == 1  # equal filters: it begins as nearest
    assert alone.blocky[BILINEAR] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("name", "order"), [(NEAREST, 1), (BILINEAR, 3)])
def test_new_power_follows_the_transfer_function(alone: upsampling.Bare, name: str, order: int) -> None:
    def power(low: float, high: float) -> float:
        return float(quad(lambda f: math.cos(math.pi * f) ** (2 * order), low, high)[0])

    expected = 1 - (power(0, 0.25) / power(0, 0.5)) ** 2
    assert upsampling.expected_new_power(order) == pytest.approx(expected, abs=1e-6)
    assert np.mean(alone.new[name]) == pytest.approx(expected, abs=0.03)


def test_the_transfer_functions_are_those_of_the_layers() -> None:
    impulse = torch.zeros(1, upsampling.CHANNELS, 8, 8, dtype=torch.float64)
    impulse[..., 4, 4] = 1
    for name, order in ((NEAREST, 1), (BILINEAR, 3)):
        line = upsampling.equal_taps(MEMBERS[name])(impulse)[0, 0].sum(0).detach().numpy()
        found = np.abs(np.fft.fft(line))
        expected = 4 * np.abs(np.cos(np.pi * np.fft.fftfreq(16))) ** order
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_transposed_convolution_can_be_nearest_and_bilinear() -> None:
    assert upsampling.largest_difference() < 1e-12


def test_random_taps_print_a_grid_and_interpolation_does_not(alone: upsampling.Bare) -> None:
    for name in (KERNEL_2, KERNEL_3, KERNEL_4):
        assert min(alone.drawn[name]) > 10 * max(max(alone.drawn[NEAREST]), max(alone.drawn[BILINEAR]))


def test_a_peak_at_the_frequency_of_the_stride() -> None:
    def peak(name: str) -> float:
        """Return how far the last frequency stands above those before it, log10."""
        shares = [share for _, share in upsampling.spectrum([upsampling.equal_taps(MEMBERS[name])] * 3)]
        assert len(shares) == 29
        return shares[-1] - shares[-4]

    assert peak(KERNEL_3) > 2
    assert max(peak(NEAREST), peak(KERNEL_2), peak(BILINEAR)) < 0
