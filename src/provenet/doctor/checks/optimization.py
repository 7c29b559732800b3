"""Rate, momentum, decay and the rest of the optimizer."""

from __future__ import annotations

from provenet.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
