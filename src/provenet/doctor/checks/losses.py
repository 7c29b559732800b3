"""The loss with outputs and targets."""

from __future__ import annotations

from provenet.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
