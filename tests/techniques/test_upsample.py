"""Upsampling: exact sizes, interpolation against PyTorch's, and starts without a checkerboard."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from provenet.techniques.upsample import Bilinear, Nearest, PixelShuffle, Transposed

MEMBERS = [Nearest(), Bilinear(), PixelShuffle(), PixelShuffle(icnr=False)] + [
    Transposed(kernel_size=k, icnr=icnr) for k in (1, 2, 3, 4, 5, 7) for icnr in (False, True)
]


def blocks(images: Tensor, factor: int) -> Tensor:
    """Return the pixels of each factor x factor block, N C h w factor^2."""
    return images.unfold(2, factor, factor).unfold(3, factor, factor).flatten(4)


@pytest.mark.parametrize("technique", MEMBERS, ids=str)
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 3)])
def test_sizes_are_multiplied_exactly(technique: Nearest, factor: int, size: tuple[int, int]) -> None:
    layer = technique.layer(3, 5, factor)
    images = torch.randn(2, 3, *size, requires_grad=True)
    enlarged = layer(images)
    assert enlarged.shape == (2, 5, factor * size[0], factor * size[1])
    enlarged.square().sum().backward()
    assert bool(images.grad.isfinite().all())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("technique", "interpolation"),
    [(Nearest(), {"mode": "nearest"}), (Bilinear(), {"mode": "bilinear", "align_corners": False})],
)
def test_interpolation_and_convolution_commute(technique: Nearest, interpolation: dict[str, object]) -> None:
    layer = technique.layer(3, 5)
    images = torch.randn(2, 3, 5, 7)
    expected = layer.conv(F.interpolate(images, scale_factor=2, **interpolation))  # type: ignore[operator, arg-type]
    torch.testing.assert_close(layer(images), expected)


def test_pixel_shuffle_is_its_definition() -> None:
    layer = PixelShuffle(icnr=False).layer(3, 2)
    images = torch.randn(1, 3, 2, 3)
    values, enlarged = layer.conv(images), layer(images)  # type: ignore[operator]
    for c, i, j, a, b in product(range(2), range(2), range(3), range(2), range(2)):
        assert enlarged[0, c, 2 * i + a, 2 * j + b] == values[0, 4 * c + 2 * a + b, i, j]


def test_transposed_is_its_definition() -> None:
    layer = Transposed(kernel_size=2).layer(3, 2)
    images = torch.randn(1, 3, 2, 3)
    expected = torch.einsum("nchw,coab->nohawb", images, layer.weight).reshape(1, 2, 4, 6)  # type: ignore[arg-type]
    torch.testing.assert_close(layer(images), expected + layer.bias[:, None, None])  # type: ignore[index]


@pytest.mark.parametrize(
    ("technique", "factor"), [(PixelShuffle(), 2), (PixelShuffle(), 3), (Transposed(icnr=True), 2)], ids=str
)
def test_icnr_begins_as_nearest_upsampling(technique: PixelShuffle, factor: int) -> None:
    layer = technique.layer(3, 4, factor)
    refill_(layer)
    pixels = blocks(layer(torch.randn(2, 3, 5, 4)), factor)
    torch.testing.assert_close(pixels, pixels[..., :1].expand_as(pixels))


def test_icnr_with_a_wider_kernel_has_flat_blocks_that_begin_at_its_padding() -> None:
    layer = Transposed(kernel_size=4, icnr=True).layer(3, 4)
    refill_(layer)
    pixels = blocks(layer(torch.randn(2, 3, 5, 4))[:, :, 1:-1, 1:-1], 2)
    torch.testing.assert_close(pixels, pixels[..., :1].expand_as(pixels))


@pytest.mark.parametrize("technique", [PixelShuffle(icnr=False), Transposed()], ids=str)
def test_without_icnr_the_blocks_have_a_pattern(technique: PixelShuffle) -> None:
    layer = technique.layer(3, 4)
    refill_(layer)
    pixels = blocks(layer(torch.randn(2, 3, 5, 4)), 2).detach()
    assert float(pixels.std(dim=-1).mean()) > 0.1


def refill_(layer: nn.Module) -> None:
    """Draw the weights anew, as a net's initialisation does, and then tie them as it must."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    layer.icnr_()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kernel_size", "factor", "expected"),
    [(1, 2, "smaller"), (2, 2, None), (3, 2, "checkerboard"), (4, 2, None), (6, 3, None), (5, 3, "take 3 or 6")],
)
def test_caveats_name_kernels_that_the_stride_does_not_divide(kernel_size: int, factor: int, expected: str) -> None:
    caveats = Transposed(kernel_size=kernel_size).caveats(factor)
    assert [expected in caveat for caveat in caveats] == ([True] if expected else [])


@pytest.mark.parametrize(("kernel_size", "uneven"), [(2, False), (3, True), (4, False)])
def test_the_warned_kernels_are_those_that_print_a_checkerboard(kernel_size: int, uneven: bool) -> None:
    layer = Transposed(kernel_size=kernel_size).layer(1, 1)
    nn.init.ones_(layer.weight)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    inner = layer(torch.ones(1, 1, 8, 8)).detach()[:, :, 4:-4, 4:-4]
    assert (float(inner.max() - inner.min()) > 0.5) == uneven
