"""How many requests an account has: by the hour and by the day, of three kinds (documented)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from routers.fake_callrail.asking import Refused

_HOUR, _DAY = 3_600, 86_400


@dataclass(frozen=True)
class Limits:
    """Requests by hour and by day. *retry_after*: seconds that a refusal names; None names none, as CallRail does."""

    general: tuple[int, int] = (1_000, 10_000)
    texts: tuple[int, int] = (150, 1_000)
    calls: tuple[int, int] = (100, 2_000)
    retry_after: int | None = None

    def of(self, budget: str) -> tuple[int, int]:
        """The two limits of one kind: `general`, `texts` or `calls`."""
        allowed: tuple[int, int] = getattr(self, budget)
        return allowed


@dataclass
class Meter:
    """Counts the requests of all accounts, by whole hours and days of the clock (assumed: it is not documented)."""

    limits: Limits
    now: Callable[[], datetime]
    _used: Counter[tuple[str, str, int, int]] = field(default_factory=Counter)

    def count(self, account_id: str, budget: str) -> dict[str, str]:
        """Count one request; the headers that tell of it.

        Raises:
            Refused: It is one too many.
        """
        moment = int(self.now().timestamp())
        allowed = self.limits.of(budget)
        windows = [(account_id, budget, span, moment // span) for span in (_HOUR, _DAY)]
        if any(self._used[window] >= most for window, most in zip(windows, allowed, strict=True)):
            raise Refused(429, "Rate limit exceeded", self._wait())
        self._used.update(windows)
        hourly, daily = (self._used[window] for window in windows)
        return {
            "x-rate-limit-hourly-allowed": str(allowed[0]),
            "x-rate-limit-hourly-used": str(hourly),
            "x-rate-limit-daily-allowed": str(allowed[1]),
            "x-rate-limit-daily-used": str(daily),
        }

    def _wait(self) -> dict[str, str]:
        wait = self.limits.retry_after
        return {} if wait is None else {"retry-after": str(wait)}
