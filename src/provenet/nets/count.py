"""How large a net is and how much it computes."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(net: nn.Module, trainable_only: bool = False) -> int:
    """Return the number of parameters, shared ones counted once.

    Args:
        net: any module.
        trainable_only: leave out those that take no gradient.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trainable_only)


def count_flops(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of one forward pass in evaluation mode (convolutions and matrix products).

    One multiply-add counts once, as papers on image nets do; normalisation, activation and resampling count nothing.

    Args:
        net: any module; its mode and weights stay as they are.
        input_shape: N C H W; (1, 3, 224, 224) gives the figure per image.

    Source:
        He et al. 2015 (arXiv 1512.03385), table 1 states 1.8e9 multiply-adds for ResNet-18 at 224 pixels.

    Example:
        >>> count_flops(nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 10)) == 3 * 8 * 9 * 100
        True
    """
    some = next(net.parameters(), torch.empty(0))
    images = torch.zeros(input_shape, dtype=some.dtype, device=some.device)
    modes = [(module, module.training) for module in net.modules()]
    counter = FlopCounterMode(display=False)
    try:
        net.eval()
        with torch.no_grad(), counter:
            net(images)
    finally:
        for module, mode in modes:
            module.training = mode
    return counter.get_total_flops() // 2
