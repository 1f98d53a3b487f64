"""Whose turn it is in the writer: intake has priority.

A flood of webhooks must not wait behind routing and dispatching, which hold the writer for milliseconds at a time.
While there is a flood, what is not intake gets a quarter of the time; what it puts off it does once it is quiet.
"""

from __future__ import annotations

import math

# More webhooks a second than this are a flood.
FLOOD = 300
# A function then waits this many times as long as it took before the next one has its turn.
PAUSE = 3
# Seconds in which a webhook loses most of its weight in the count.
_MOMENT = 0.05


class Turns:
    """Counts webhooks and says how long functions have to wait. All times are in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._rows = 0.0  # of the last moments, each counting less the older it is
        self._counted_at = 0.0
        self._next = 0.0

    def rows_taken(self, rows: int, now: float) -> None:
        """So many webhooks are about to be stored."""
        self._rows, self._counted_at = self._fresh(now) + rows, now

    def function_ran(self, began: float, ended: float) -> None:
        """A function had its turn."""
        self._next = ended + PAUSE * (ended - began)

    def is_flood(self, now: float) -> bool:
        """Whether webhooks come in faster than `FLOOD`."""
        return self._fresh(now) > FLOOD * _MOMENT

    def wait(self, now: float) -> float:
        """Seconds until a function may have its turn; 0 or less: it may now."""
        return self._next - now if self.is_flood(now) else 0.0

    def _fresh(self, now: float) -> float:
        return self._rows * math.exp((self._counted_at - now) / _MOMENT)
