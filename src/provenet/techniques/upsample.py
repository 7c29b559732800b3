"""Slot `upsample`: how a decoder enlarges its features. Every layer multiplies H and W by the factor exactly."""

# N batch, C channels, H W pixels, s factor, k kernel size

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from pydantic import Field
from torch import Tensor, nn

from provenet.core.spec import Source, Technique

_ODENA = Source(
    "Odena, Dumoulin and Olah",
    2016,
    "Deconvolution and Checkerboard Artifacts",
    "https://distill.pub/2016/deconv-checkerboard/",
    "Better Upsampling",
)


def tied_taps(weight: Tensor, factor: int) -> Tensor:
    """Return a transposed convolution's weight whose taps are equal within blocks of factor x factor.

    Where the factor divides the kernel size, all phases of the output then see the same weights: the layer begins as
    nearest upsampling of a convolution, without a checkerboard.

    Args:
        weight: I O kH kW.
        factor: the stride.

    Returns:
        I O kH kW: each block holds the value of its first tap.

    Example:
        >>> tied_taps(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0, :, 0]
        tensor([0., 0., 8., 8.])
    """
    rows, columns = (torch.arange(size) // factor * factor for size in weight.shape[-2:])
    return weight[:, :, rows][:, :, :, columns]


def tied_phases(weight: Tensor, factor: int) -> Tensor:
    """Return a convolution's weight in which the s^2 filters of each channel of the shuffled output are equal.

    Args:
        weight: (C s^2) I kH kW.
        factor: s.

    Returns:
        (C s^2) I kH kW: each group of s^2 filters holds its first.
    """
    return weight[:: factor**2].repeat_interleave(factor**2, dim=0)


class TransposedConv(nn.ConvTranspose2d):
    """A transposed convolution that multiplies the size exactly.

    Args:
        in_channels, out_channels: channels of the input and the output.
        kernel_size: k, at least 1.
        factor: the stride s.
        icnr: whether `icnr_` does its work.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, factor: int, icnr: bool) -> None:
        # (H - 1) s - 2 padding + k + output_padding = H s, with the smallest padding that allows it.
        padding = max(0, -(-(kernel_size - factor) // 2))
        output_padding = factor - kernel_size + 2 * padding
        super().__init__(in_channels, out_channels, kernel_size, factor, padding, output_padding)
        self.icnr = icnr
        self.icnr_()

    def icnr_(self) -> None:
        """Tie the taps where the technique asks for it; call after initialisation."""
        if self.icnr:
            with torch.no_grad():
                self.weight.copy_(tied_taps(self.weight, self.stride[0]))


class ShuffledConv(nn.Module):
    """A 1x1 convolution to s^2 times the channels, which are then laid out as pixels.

    Args:
        in_channels, out_channels: channels of the input and the output.
        factor: s.
        icnr: whether `icnr_` does its work.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int, icnr: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels * factor**2, 1)
        self.shuffle = nn.PixelShuffle(factor)
        self.factor = factor
        self.icnr = icnr
        self.icnr_()

    def forward(self, images: Tensor) -> Tensor:
        return self.shuffle(self.conv(images))

    def icnr_(self) -> None:
        """Tie the filters of a block of pixels where the technique asks for it; call after initialisation."""
        if not self.icnr:
            return
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.copy_(tied_phases(parameter, self.factor))


def _conv_then(in_channels: int, out_channels: int, upsample: nn.Module) -> nn.Module:
    """Return a 1x1 convolution and an interpolation. They commute, so the convolution works on the small side."""
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, 1), upsample=upsample))


class Nearest(Technique):
    """Every pixel is repeated.

    Definition  A 1x1 convolution to the new channels, then y[i, j] = x[i div s, j div s].
    Default and why  Nothing to choose. The 1x1 convolution first: it commutes with the repetition and costs a quarter
        there; the decoder's block smooths behind.
    Cost  in_channels x out_channels weights.
    Fails when  Nothing smooths behind it: edges are stairs.
    """

    source: ClassVar[Source] = _ODENA
    name: Literal["nearest"] = "nearest"

    def layer(self, in_channels: int, out_channels: int, factor: int = 2) -> nn.Module:
        """Return a layer; N in_channels H W to N out_channels (factor H) (factor W)."""
        return _conv_then(in_channels, out_channels, nn.Upsample(scale_factor=factor, mode="nearest"))

    def caveats(self, factor: int = 2) -> list[str]:
        """Return what a user should be warned of: nothing."""
        return []


class Bilinear(Technique):
    """Pixels between pixels are weighted means.

    Definition  A 1x1 convolution to the new channels, then bilinear interpolation with pixel areas aligned
        (align_corners off).
    Default and why  The default of the slot: smooth, no checkerboard, fewest weights. The 1x1 convolution first: it
        commutes with the interpolation and costs a quarter there.
    Cost  in_channels x out_channels weights; slower than nearest. Its gradient is not reproducible bit for bit on CUDA.
    Fails when  Structures of one pixel matter: they are smeared until the decoder's block sharpens them.
    """

    source: ClassVar[Source] = _ODENA
    name: Literal["bilinear"] = "bilinear"

    def layer(self, in_channels: int, out_channels: int, factor: int = 2) -> nn.Module:
        """Return a layer; N in_channels H W to N out_channels (factor H) (factor W)."""
        upsample = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
        return _conv_then(in_channels, out_channels, upsample)

    def caveats(self, factor: int = 2) -> list[str]:
        """Return what a user should be warned of: nothing."""
        return []


class Transposed(Technique):
    """A learned upsampling: every pixel paints a kernel, kernels overlap and add.

    Definition  Transposed convolution with kernel size k and the factor s as stride, padded so that the size is
        multiplied exactly. icnr: taps equal within blocks of s x s at the start.
    Default and why  kernel_size = 2 at factor 2, as in the U-Net: kernels tile without overlap. icnr off: the classical
        layer.
    Cost  k^2 in_channels x out_channels weights: four times nearest or bilinear.
    Fails when  The factor does not divide the kernel size: pixels get unequally many contributions, a checkerboard that
        training does not quite remove.
    """

    source: ClassVar[Source] = Source(
        "Long, Shelhamer and Darrell",
        2015,
        "Fully Convolutional Networks for Semantic Segmentation",
        "https://arxiv.org/abs/1411.4038",
        "section 3.3",
    )
    name: Literal["transposed"] = "transposed"
    kernel_size: Annotated[int, Ge(1)] = 2
    """Side of the kernel, in output pixels, at least 1; a multiple of the factor avoids the checkerboard."""
    icnr: bool = False
    """Whether the taps begin equal within blocks, so that the layer begins as nearest upsampling."""

    def layer(self, in_channels: int, out_channels: int, factor: int = 2) -> nn.Module:
        """Return a layer; N in_channels H W to N out_channels (factor H) (factor W)."""
        return TransposedConv(in_channels, out_channels, self.kernel_size, factor, self.icnr)

    def caveats(self, factor: int = 2) -> list[str]:
        """Return what a user should be warned of.

        Example:
            >>> Transposed(kernel_size=3).caveats()
            ['upsample.kernel_size=3 is not a multiple of the stride 2: expect a checkerboard; take 2 or 4']
        """
        k, s = self.kernel_size, factor
        if k < s:
            return [f"upsample.kernel_size={k} is smaller than the stride {s}: pixels stay empty; take {s}"]
        if k % s:
            choices = f"{k // s * s} or {(k // s + 1) * s}"
            return [
                f"upsample.kernel_size={k} is not a multiple of the stride {s}: expect a checkerboard; take {choices}"
            ]
        return []


class PixelShuffle(Technique):
    """A convolution computes s x s pixels for each pixel, which are laid side by side.

    Definition  A 1x1 convolution to s^2 out_channels, then y[c, s i + a, s j + b] = x[c s^2 + s a + b, i, j]. icnr: the
        s^2 filters of a channel are equal at the start.
    Default and why  icnr on: the layer begins as nearest upsampling, without a checkerboard (Aitken et al. 2017, arXiv
        1707.02937). A 1x1 convolution, as fastai's U-Net has it: a 3x3 would double the net's weights.
    Cost  s^2 in_channels x out_channels weights: as many as a 2x2 transposed convolution, whose equal it is.
    Fails when  icnr is off: the filters begin unlike each other and print a grid.
    """

    source: ClassVar[Source] = Source(
        "Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert and Wang",
        2016,
        "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
        "https://arxiv.org/abs/1609.05158",
    )
    name: Literal["pixel_shuffle"] = "pixel_shuffle"
    icnr: bool = True
    """Whether the filters of a block of pixels begin equal, so that the layer begins as nearest upsampling."""

    def layer(self, in_channels: int, out_channels: int, factor: int = 2) -> nn.Module:
        """Return a layer; N in_channels H W to N out_channels (factor H) (factor W)."""
        return ShuffledConv(in_channels, out_channels, factor, self.icnr)

    def caveats(self, factor: int = 2) -> list[str]:
        """Return what a user should be warned of: nothing."""
        return []


Upsample = Annotated[Nearest | Bilinear | Transposed | PixelShuffle, Field(discriminator="name")]
"""The members of the slot."""
