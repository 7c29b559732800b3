"""Training and evaluation mode, frozen parts."""

from __future__ import annotations

from provenet.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
