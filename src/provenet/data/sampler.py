"""The order of an epoch and its cuts into batches, as functions of a seed and counters."""

# N samples, B batch size

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenet.core.rng import numpy_generator, permutation

Ids = NDArray[np.int64]


def order(seed: int, epoch: int, ids: Ids, labels: Ids | None = None, balanced: bool = False) -> Ids:
    """Return the sample ids of an epoch in the order of training.

    Args:
        seed: seed of the run.
        epoch: epoch, from 0.
        ids: sample ids, (N).
        labels: class of each of `ids`, (N); needed when balanced.
        balanced: draw classes equally often: each class gives N / K places, its samples one after another in a shuffled
            round and again from the start, so that a rare class repeats evenly.

    Returns:
        N ids; a permutation of `ids` unless balanced.

    Example:
        >>> sorted(order(0, 1, np.array([4, 7, 9])).tolist())
        [4, 7, 9]
    """
    if balanced:
        assert labels is not None
        ids = _balanced(seed, epoch, ids, labels)
    return ids[permutation(seed, "order", epoch, len(ids))]


def _balanced(seed: int, epoch: int, ids: Ids, labels: Ids) -> Ids:
    """Return N ids with the classes equally often (up to one)."""
    classes = np.unique(labels)
    shares = np.full(len(classes), len(ids) // len(classes))
    first = numpy_generator(seed, "balanced", epoch).permutation(len(classes))
    shares[first[: len(ids) % len(classes)]] += 1
    drawn = []
    for label, share in zip(classes, shares, strict=True):
        members = ids[labels == label]
        rounds = -(-int(share) // len(members))
        turns = [
            members[permutation(seed, f"balanced/{label}", epoch * 65536 + i, len(members))] for i in range(rounds)
        ]
        drawn.append(np.concatenate([*turns, members[:0]])[:share])
    return np.concatenate(drawn)


def steps_per_epoch(num: int, batch_size: int) -> int:
    """Return how many batches `cut` makes of `num` samples.

    Example:
        >>> [steps_per_epoch(num, 4) for num in (1, 4, 5, 6, 9)]
        [1, 1, 1, 2, 2]
    """
    if num == 0:
        return 0
    return max(1, num // batch_size + (num % batch_size > 1))


def cut(ids: Ids, batch_size: int) -> list[Ids]:
    """Return the batches of an epoch: each sample once, no batch of one beside others.

    Batches hold `batch_size` samples; a remainder of two or more is a smaller last batch; a remainder of one joins the
    batch before it, since batch normalisation has no variance over one sample.

    Example:
        >>> [len(batch) for batch in cut(np.arange(9), 4)]
        [4, 5]
    """
    steps = steps_per_epoch(len(ids), batch_size)
    return [ids[i * batch_size : (i + 1) * batch_size if i + 1 < steps else len(ids)] for i in range(steps)]
