"""Randomness without state: every draw is a function of a seed, a purpose and counters.

Nothing has to be saved for resume, nothing depends on threads or on how many other draws were made, and two runs
that share a seed share every draw whose purpose they share (paired seeds).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, purpose: str, *counters: int) -> int:
    """Return 63 bits that depend on all arguments and on nothing else.

    Example:
        >>> derive(0, "order", 1) == derive(0, "order", 1), derive(0, "order", 1) == derive(0, "init", 1)
        (True, False)
    """
    text = f"{seed}/{purpose}/" + "/".join(str(counter) for counter in counters)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return a NumPy generator whose stream is fixed by the arguments."""
    return np.random.Generator(np.random.Philox(derive(seed, purpose, *counters)))


def torch_generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Return a CPU torch generator whose stream is fixed by the arguments."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, *counters))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea and Flood 2014, OOPSLA): a bijection that spreads every input bit."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Keys:
    """The identity of a batch's random draws: one row of draws per sample, whatever batch the sample is in.

    Args:
        seed: seed of the run.
        epoch: epoch, from 0.
        ids: sample ids, int64, shape (N,).
    """

    seed: int
    epoch: int
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def uniform(self, purpose: str, num: int = 1) -> NDArray[np.float64]:
        """Return draws in [0, 1), shape (N, num), float64.

        Example:
            >>> a = Keys(0, 1, np.array([3, 5])).uniform("flip", 2)
            >>> b = Keys(0, 1, np.array([5])).uniform("flip", 2)
            >>> a.shape, bool((a[1] == b[0]).all())
            ((2, 2), True)
        """
        base = np.uint64(derive(self.seed, purpose, self.epoch))
        with np.errstate(over="ignore"):
            rows = _mix(base + (self.ids.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
            columns = np.arange(1, num + 1, dtype=np.uint64) * _GOLDEN
            bits = _mix(rows[:, None] + columns[None, :])
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def between(self, purpose: str, low: float, high: float, num: int = 1) -> NDArray[np.float64]:
        """Return draws in [low, high), shape (N, num)."""
        return low + (high - low) * self.uniform(purpose, num)

    def happens(self, purpose: str, p: float) -> NDArray[np.bool_]:
        """Return one decision a sample, true with probability p, shape (N,)."""
        return self.uniform(purpose + "?", 1)[:, 0] < p

    def generators(self, purpose: str) -> list[torch.Generator]:
        """Return one torch generator a sample, for draws of image size (noise)."""
        return [torch_generator(self.seed, purpose, self.epoch, int(sample)) for sample in self.ids]


def permutation(seed: int, purpose: str, epoch: int, num: int) -> NDArray[np.int64]:
    """Return the order of `num` things in an epoch, a permutation of 0..num-1."""
    return numpy_generator(seed, purpose, epoch).permutation(num).astype(np.int64)
