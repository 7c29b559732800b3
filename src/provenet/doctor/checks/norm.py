"""Normalisation layers and dropout."""

from __future__ import annotations

from provenet.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
