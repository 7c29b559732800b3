"""The most memory that a training held."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

_MIB = 2**20


def reset_peak(device: torch.device) -> None:
    """Begin to measure anew; where the system cannot, the peak is that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the peak since `reset_peak`, in MiB: of the GPU's memory, or of this process's where it trains on the CPU.

    Returns:
        None where the system does not tell.
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / _MIB, 1)
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return None
