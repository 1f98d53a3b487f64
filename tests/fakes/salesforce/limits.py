"""The org's allowance of requests in 24 hours, counted by the fake's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_DAY = timedelta(hours=24)


@dataclass
class Limits:
    """How many requests are let through in any 24 hours (documented). A refused request is not counted (assumed)."""

    per_day: int = 15_000
    _recent: deque[datetime] = field(default_factory=deque)

    def takes(self, now: datetime, cost: int) -> bool:
        """Whether a request is let through; then it counts for *cost*."""
        while self._recent and self._recent[0] <= now - _DAY:
            self._recent.popleft()
        if len(self._recent) + cost > self.per_day:
            return False
        self._recent.extend([now] * cost)
        return True

    @property
    def used(self) -> int:
        return len(self._recent)

    def headers(self) -> Mapping[str, str]:
        """What every answer of the API tells (documented)."""
        return {"Sforce-Limit-Info": f"api-usage={self.used}/{self.per_day}"}
