"""What the loss hangs on and what the optimizer holds."""

from __future__ import annotations

from provenet.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
