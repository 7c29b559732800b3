"""Number formats and memory layout: what the device is good at, and the context in which a net runs."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import deterministic

PrecisionName = Literal["fp32", "bf16"]


def fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware (avx512_bf16 or amx on a CPU; Ampere and newer)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@dataclass(frozen=True)
class Precision:
    """How a net computes: weights stay float32, activations take the named format.

    Args:
        name: "fp32", or "bf16" for bfloat16 autocast.
        device: where the net lives.
        channels_last: whether images and convolution weights lie in memory with channels last.
    """

    name: PrecisionName
    device: torch.device
    channels_last: bool = True

    def context(self) -> AbstractContextManager[object]:
        """Return the context for a forward pass."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def place(self, net: nn.Module) -> nn.Module:
        """Move a net to the device, in the layout."""
        net = net.to(self.device)
        return net.to(memory_format=torch.channels_last) if self.channels_last else net

    def arrange(self, images: Tensor) -> Tensor:
        """Move images N C H W to the device, in the layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(self.device, non_blocking=True).contiguous(memory_format=layout)


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Choose algorithms that give the same bits every time; the former choice comes back at the end."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Nothing here reads memory before writing it; filling it first costs up to a tenth of a step.
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: training frees and takes the same large blocks every step, and a page fault
    for each of them costs 5 to 40 % of a small net's step on virtual machines."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
