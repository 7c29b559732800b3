"""The lecture's claims, one file each, in the order in which they are numbered; read on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenet.claims.claim import Claim

NAMES = (
    "symmetry",
    "activation_scale",
    "deep_relu",
    "decay",
    "schedules",
    "input_scale",
    "batch_norm",
    "usable_rates",
    "degradation",
    "residual",
    "augmentation",
    "dropout",
    "dropout_views",
    "transfer_depth",
    "feature_extraction",
    "unet_boundaries",
    "unet_shape",
    "skips",
    "upsampling",
    "two_goals",
)


def number_of(name: str) -> int:
    """Return the number of a claim, from 1."""
    return NAMES.index(name) + 1


def find(name: str) -> Claim:
    """Return the claim that the module of this name holds."""
    claim: Claim = import_module(f"{__name__}.{name}").CLAIM
    return claim
