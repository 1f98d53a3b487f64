"""How many requests an account may still send.

CallRail allows an account so many by the hour and by the day, in three sorts, and answers 429 to everything when they
are exceeded (documented); the limit is shared with every other integration of the account. Whether its windows are
fixed or sliding is not known, so ours slide: no hour and no day, wherever it begins, holds more than is allowed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from callrail.exceptions import BudgetSpent
from callrail.request import Budget

# How long nothing is taken after CallRail has refused, and not said until when. Then one request asks again.
PAUSE = timedelta(minutes=1)
# Whatever an answer asks for, by then the hour's allowance is free again.
LONGEST_REST = timedelta(hours=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests allowed in an hour and in a day."""

    hourly: int
    daily: int


# Documented defaults; CallRail's support can raise them.
ALLOWANCES: Mapping[Budget, Allowance] = {
    Budget.GENERAL: Allowance(1_000, 10_000),
    Budget.TEXTS: Allowance(150, 1_000),
    Budget.CALLS: Allowance(100, 2_000),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer's `x-rate-limit-*` headers say (observed on texts; None where absent)."""

    hourly_allowed: int | None
    hourly_used: int | None
    daily_allowed: int | None
    daily_used: int | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Told | None:
        """What *headers* say; None if nothing."""
        numbers = [_number(headers.get(f"x-rate-limit-{name}")) for name in _HEADERS]
        return cls(*numbers) if any(number is not None for number in numbers) else None


_HEADERS = ("hourly-allowed", "hourly-used", "daily-allowed", "daily-used")


def _number(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else None


_MAX_DIGITS = 9  # no account is allowed a milliard


class Budgets(Protocol):
    """Where the allowances of all accounts are kept; several processes may share one."""

    async def take(self, account: str, budget: Budget) -> None:
        """Count one request, before it is sent.

        Raises:
            BudgetSpent: None is left; nothing was counted.
        """

    async def learn(self, account: str, budget: Budget, told: Told) -> None:
        """Correct what is counted by what CallRail says."""

    async def refused(self, account: str, budget: Budget, rests: timedelta) -> None:
        """CallRail answers 429, and nothing helps but to wait: nothing is taken for as long as it *rests*."""


class InMemoryBudgets:
    """Allowances counted in this process alone.

    Args:
        allowances: What an account is allowed; less than CallRail's leaves room for its other integrations.
        now: The present, in UTC.
    """

    def __init__(
        self,
        allowances: Mapping[Budget, Allowance] = ALLOWANCES,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._allowances = {**ALLOWANCES, **allowances}
        self._bounds = {} if allowances is ALLOWANCES else allowances
        self._now = now
        self._counts: dict[tuple[str, Budget], _Count] = {}

    async def take(self, account: str, budget: Budget) -> None:
        """See `Budgets`."""
        count = self._count(account, budget)
        now = self._now()
        free_at = count.free_at(now)
        if free_at > now:
            raise BudgetSpent(budget.value, free_at)
        count.sent.append(now)

    async def learn(self, account: str, budget: Budget, told: Told) -> None:
        """See `Budgets`. What others of the account used is counted as sent just now."""
        count = self._count(account, budget)
        now = self._now()
        hourly, daily = told.hourly_allowed or count.allowed.hourly, told.daily_allowed or count.allowed.daily
        if (own := self._bounds.get(budget)) is not None:  # whoever asked for less means less
            hourly, daily = min(hourly, own.hourly), min(daily, own.daily)
        count.allowed = Allowance(hourly, daily)
        unseen = max(
            (told.hourly_used or 0) - count.used_since(now - HOUR),
            (told.daily_used or 0) - count.used_since(now - DAY) if not told.hourly_used else 0,
        )
        count.sent.extend([now] * min(unseen, count.allowed.daily))

    async def refused(self, account: str, budget: Budget, rests: timedelta) -> None:
        """See `Budgets`."""
        count, until = self._count(account, budget), self._now() + rests
        count.paused_until = max(until, count.paused_until or until)

    def _count(self, account: str, budget: Budget) -> _Count:
        return self._counts.setdefault((account, budget), _Count(self._allowances[budget], deque()))


@dataclass(slots=True)
class _Count:
    allowed: Allowance
    sent: deque[datetime]
    paused_until: datetime | None = None

    def free_at(self, now: datetime) -> datetime:
        if self.sent and self.sent[-1] > now:  # the clock was set back
            self.sent = deque(min(each, now) for each in self.sent)
        while self.sent and self.sent[0] <= now - DAY:
            self.sent.popleft()
        windows = self._free_at(self.allowed.hourly, HOUR, now), self._free_at(self.allowed.daily, DAY, now)
        return max(*windows, self.paused_until or now)

    def _free_at(self, allowed: int, window: timedelta, now: datetime) -> datetime:
        """When the oldest request that still fills the window leaves it."""
        if allowed <= 0:
            return now + window
        return now if len(self.sent) < allowed else self.sent[-allowed] + window

    def used_since(self, moment: datetime) -> int:
        return len(self.sent) - bisect_right(self.sent, moment)
