"""HubSpot's limits of requests, counted by the fake's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo

_TEN_SECONDS, _SECOND = timedelta(seconds=10), timedelta(seconds=1)


@dataclass
class Limits:
    """How many requests are let through; None for as many as one likes.

    A refused request is not counted, and a search counts by the second and for the day, not for the ten seconds
    (assumed; its own limit is documented).

    Attributes:
        zone: The account's; the day ends at its midnight (documented).
    """

    per_ten_seconds: int | None = None
    per_day: int | None = None
    searches_per_second: int | None = None
    zone: tzinfo = UTC
    _recent: deque[datetime] = field(default_factory=deque)
    _searches: deque[datetime] = field(default_factory=deque)
    _day: date | None = None
    _today: int = 0

    @classmethod
    def of_free(cls) -> Limits:
        return cls(per_ten_seconds=100, per_day=250_000, searches_per_second=5)

    @classmethod
    def of_professional(cls) -> Limits:
        return cls(per_ten_seconds=190, per_day=650_000, searches_per_second=5)

    def refuses(self, now: datetime, *, is_search: bool) -> str | None:
        """The policy that a request breaks; None if it is let through, and then it counts."""
        self._turn(now)
        window, limit = (
            (self._searches, self.searches_per_second) if is_search else (self._recent, self.per_ten_seconds)
        )
        if self.per_day is not None and self._today >= self.per_day:
            return "DAILY"
        if limit is not None and len(window) >= limit:
            return "SECONDLY" if is_search else "TEN_SECONDLY_ROLLING"
        self._today += 1
        window.append(now)
        return None

    def headers(self) -> Mapping[str, str]:
        """What every answer but a search's tells (documented)."""
        told: dict[str, str] = {}
        if self.per_day is not None:
            told["X-HubSpot-RateLimit-Daily"] = str(self.per_day)
            told["X-HubSpot-RateLimit-Daily-Remaining"] = str(self.per_day - self._today)
        if self.per_ten_seconds is not None:
            told["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000"
            told["X-HubSpot-RateLimit-Max"] = str(self.per_ten_seconds)
            told["X-HubSpot-RateLimit-Remaining"] = str(self.per_ten_seconds - len(self._recent))
        return told

    def _turn(self, now: datetime) -> None:
        today = now.astimezone(self.zone).date()
        if today != self._day:
            self._day, self._today = today, 0
        for window, length in ((self._recent, _TEN_SECONDS), (self._searches, _SECOND)):
            while window and window[0] <= now - length:
                window.popleft()
