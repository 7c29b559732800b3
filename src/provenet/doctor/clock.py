"""The time that an examination may take."""

from __future__ import annotations

import time


class Clock:
    """Counts down from a budget.

    Args:
        budget_s: seconds in all.
    """

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self._started = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left; negative when over."""
        return self.budget_s - self.spent

    def allows(self, seconds: float) -> bool:
        """Return whether a piece of work of this length still fits."""
        return seconds <= self.left
