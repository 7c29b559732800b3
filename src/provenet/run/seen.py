"""What a training sees, as hashes: two runs that share one share that part of their randomness exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from provenet.core.files import sha256
from provenet.core.rng import Keys
from provenet.data.loader import Loader
from provenet.recipe.build import Session
from provenet.techniques.augment import compose_colors

DRAWN = 16
"""Samples whose augmentation is hashed: the first ones of epoch 0."""


def seen(session: Session) -> dict[str, str]:
    """Return a hash for each thing that two arms of a comparison may share.

    Args:
        session: a training before its first update.

    Returns:
        split: the sample ids of every split. order: the order of the training samples in the first two epochs,
        however they are cut into batches. draws: the first pictures of epoch 0 as the geometry of the augmentations
        leaves them, and their colour maps. init/NAME: the initial values of each parameter.
    """
    loader = session.job.loader
    assert isinstance(loader, Loader)
    splits = session.dataset.splits
    first = np.concatenate(loader.batch_ids(0))
    pictures = loader.batch(first[:DRAWN], 0).images.numpy()
    colors = compose_colors(session.recipe.augment, Keys(session.recipe.seed, 0, first[:DRAWN]), pictures.shape[1])
    found = {
        "split": _hash(splits[name] for name in sorted(splits)),
        "order": _hash((first, np.concatenate(loader.batch_ids(1)))),
        "draws": _hash((pictures, np.zeros(0) if colors is None else colors)),
    }
    for name, parameter in session.net.named_parameters():
        found[f"init/{name}"] = _hash([parameter.detach().cpu().contiguous().numpy()])
    return found


def _hash(arrays: Iterable[np.ndarray]) -> str:
    """Return one short hash of arrays, their shapes and types."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return sha256(digest.digest())[:16]
