"""The allowances of accounts at CallRail, shared by all processes: the SQL behind the client's port.

Requests are taken in blocks, so that not each of them writes; what is left of a block is given back. Who matters less
leaves room for who matters more. Windows slide by the minute, and a block may be used for a minute after it was taken,
so a window reaches back two minutes further: more than is allowed is never sent, and a little less may be. The time is
that of each process; the two minutes bear clocks that differ by some seconds.

A backlog that took its share of the hour at once would leave what is kept for others to be used up long before that
hour is over. So what has time is paced: it takes no more than ten minutes of the hour bear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, func, select, update

from callrail.budgets import ALLOWANCES, DAY, HOUR, LONGEST_REST, Allowance, Told
from callrail.exceptions import BudgetSpent
from callrail.request import Budget
from receiver.bulk import BulkInsert
from receiver.database import Database
from routers.schema import budget_uses, budgets

T = TypeVar("T")

BLOCK = 10
_MINUTE = timedelta(minutes=1)
_SLACK = 2 * _MINUTE
_TEN_MINUTES = timedelta(minutes=10)

_insert_budget = BulkInsert(budgets, budgets.c.account_id, budgets.c.kind, budgets.c.hourly, budgets.c.daily)
_insert_use = BulkInsert(
    budget_uses, budget_uses.c.account_id, budget_uses.c.kind, budget_uses.c.minute, budget_uses.c.taken
)


class Priority(Enum):
    """How much of an allowance somebody may use up: the rest is kept for those above.

    Commands are interactive; the others are for what asks by itself.
    """

    INTERACTIVE = 1.0
    FOLLOW_UP = 0.9
    BACKFILL = 0.7
    WATCHDOG = 0.5


@dataclass(slots=True)
class _Block:
    """Requests taken ahead, to be used within a minute."""

    minute: datetime
    until: datetime
    left: int


Blocks = Mapping[tuple[str, Budget], _Block]


class _Window(NamedTuple):
    """So many requests are allowed within *length*, whenever it begins."""

    allowed: int
    length: timedelta


@dataclass(frozen=True, slots=True)
class Usage:
    """How an allowance is used: in the last hour and day, and in the last ten minutes, by which one foresees."""

    account_id: str
    kind: str
    hourly: int
    daily: int
    paused_until: datetime | None
    in_hour: int
    in_day: int
    in_ten_minutes: int

    @property
    def percent(self) -> int:
        """How much of the hour's or the day's is used, whichever is more; beyond a hundred where nothing is allowed."""
        return int(100 * max(self.in_hour / max(self.hourly, 1), self.in_day / max(self.daily, 1)))

    def spent_in(self) -> timedelta | None:
        """When the hour's or the day's allowance is spent at the pace of the last ten minutes; None: it is not."""
        left = min(self.hourly - self.in_hour, self.daily - self.in_day)
        if left <= 0:
            return timedelta(0)
        # At a pace that the hour bears, what falls out of the window makes up for what is added.
        if self.in_ten_minutes * 6 <= self.hourly and self.in_ten_minutes * 144 <= self.daily:
            return None
        return _TEN_MINUTES * (left / self.in_ten_minutes)


class Transactions(Protocol):
    """Whoever runs a function in a transaction of its own; `receiver.writer.Writer` for example."""

    async def run(self, function: Callable[[Connection], T]) -> T:
        """What *function* returns, after the COMMIT."""


@dataclass(frozen=True, slots=True)
class InThreads:
    """Transactions of a program that has no writer, each in a thread."""

    database: Database

    async def run(self, function: Callable[[Connection], T]) -> T:
        """See `Transactions`."""
        return await asyncio.to_thread(self._run, function)

    def _run(self, function: Callable[[Connection], T]) -> T:
        with self.database.writing.begin() as conn:
            return function(conn)


class SqlBudgets:
    """`callrail.budgets.Budgets` over a database of ours. Close it, so that what was taken ahead is given back.

    Args:
        priority: How much of the allowances these requests may use.
        is_paced: Whether they have time: of ten minutes they take what is left of a sixth of their share of the hour.
        block: How many requests are taken at once.
        now: The present, in UTC.
    """

    def __init__(
        self,
        transactions: Transactions,
        priority: Priority,
        *,
        is_paced: bool = False,
        block: int = BLOCK,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transactions = transactions
        self._priority = priority
        self._is_paced = is_paced
        self._block = block
        self._now = now
        self._blocks: dict[tuple[str, Budget], _Block] = {}
        self._taking = asyncio.Lock()

    async def take(self, account: str, budget: Budget) -> None:
        """See `callrail.budgets.Budgets`."""
        key = account, budget
        async with self._taking:
            block = self._blocks.get(key)
            if block is None or not block.left or self._now() >= block.until:
                left = {key: block} if (block := self._blocks.pop(key, None)) is not None else {}
                block = await self._transactions.run(lambda conn: self._take_block(conn, account, budget, left))
                self._blocks[key] = block
            block.left -= 1

    async def learn(self, account: str, budget: Budget, told: Told) -> None:
        """See `callrail.budgets.Budgets`."""
        async with self._taking:
            await self._transactions.run(lambda conn: self._learn(conn, account, budget, told))

    async def refused(self, account: str, budget: Budget, rests: timedelta) -> None:
        """See `callrail.budgets.Budgets`. What others have taken ahead may still be sent, within a minute."""
        async with self._taking:
            left = {key: block} if (block := self._blocks.pop(key := (account, budget), None)) is not None else {}
            await self._transactions.run(lambda conn: self._pause(conn, account, budget, rests, left))

    async def aclose(self) -> None:
        """Give back what was taken ahead."""
        async with self._taking:
            blocks, self._blocks = self._blocks, {}
            if any(block.left for block in blocks.values()):
                await self._transactions.run(lambda conn: _give_back(conn, blocks))

    def _take_block(self, conn: Connection, account: str, budget: Budget, left: Blocks) -> _Block:
        _give_back(conn, left)
        now = self._now()
        allowed = _locked(conn, account, budget)
        paused = _paused_until(conn, account, budget)
        if paused is not None and now < paused <= now + LONGEST_REST:  # not so if the clock was set back
            raise BudgetSpent(budget.value, paused)
        windows = self._windows(allowed)
        uses = _uses(conn, account, budget, now - DAY - _SLACK)
        room = min(window.allowed - _taken_since(uses, now - window.length) for window in windows)
        if room <= 0:
            raise BudgetSpent(budget.value, _free_at(uses, windows, now))
        minute = now.replace(second=0, microsecond=0)
        count = min(self._block, room)
        _add(conn, account, budget, minute, count)
        is_old = budget_uses.c.minute <= now - DAY - _SLACK
        conn.execute(delete(budget_uses).where(_is(budget_uses, account, budget), is_old))
        return _Block(minute, now + _MINUTE, count)

    def _windows(self, allowed: Allowance) -> list[_Window]:
        """Of what is *allowed*, what these requests may use within which times."""
        hourly, daily = int(allowed.hourly * self._priority.value), int(allowed.daily * self._priority.value)
        windows = [_Window(hourly, HOUR + _SLACK), _Window(daily, DAY + _SLACK)]
        return [*windows, _Window(hourly // 6, _TEN_MINUTES + _SLACK)] if self._is_paced else windows

    def _pause(self, conn: Connection, account: str, budget: Budget, rests: timedelta, left: Blocks) -> None:
        _give_back(conn, left)
        _locked(conn, account, budget)
        until = self._now() + rests
        paused = _paused_until(conn, account, budget)
        if paused is None or not until <= paused <= self._now() + LONGEST_REST:
            conn.execute(update(budgets).where(_is(budgets, account, budget)).values(paused_until=until))

    def _learn(self, conn: Connection, account: str, budget: Budget, told: Told) -> None:
        now = self._now()
        allowed = _locked(conn, account, budget)
        new = Allowance(told.hourly_allowed or allowed.hourly, told.daily_allowed or allowed.daily)
        if new != allowed:
            values = {"hourly": new.hourly, "daily": new.daily}
            conn.execute(update(budgets).where(_is(budgets, account, budget)).values(values))
        unseen = (told.hourly_used or 0) - _taken_since(_uses(conn, account, budget, now - HOUR), now - HOUR)
        if unseen > 0:  # other programs of the account
            _add(conn, account, budget, now.replace(second=0, microsecond=0), min(unseen, new.daily))


def _give_back(conn: Connection, blocks: Blocks) -> None:
    for (account, budget), block in blocks.items():
        if block.left:
            _add(conn, account, budget, block.minute, -block.left)


def usages(conn: Connection, now: datetime) -> list[Usage]:
    """All allowances that were ever used."""
    windows = [func.coalesce(func.sum(_if_after(now - window)), 0) for window in (HOUR, DAY, _TEN_MINUTES)]
    is_same = and_(budget_uses.c.account_id == budgets.c.account_id, budget_uses.c.kind == budgets.c.kind)
    query = select(budgets, *windows).select_from(budgets.outerjoin(budget_uses, is_same))
    grouped = query.group_by(*budgets.c).order_by(budgets.c.account_id, budgets.c.kind)
    return [Usage(*row) for row in conn.execute(grouped)]


def _if_after(moment: datetime) -> ColumnElement[int]:
    return case((budget_uses.c.minute > moment, budget_uses.c.taken), else_=0)


def _locked(conn: Connection, account: str, budget: Budget) -> Allowance:
    """What is allowed, with the row locked until the transaction ends: who else takes of it waits."""
    touched = update(budgets).where(_is(budgets, account, budget)).values(kind=budget.value)
    row = conn.execute(touched.returning(budgets)).first()
    if row is not None:
        return Allowance(row.hourly, row.daily)
    documented = ALLOWANCES[budget]
    _insert_budget(conn, [(account, budget.value, documented.hourly, documented.daily)])
    return _locked(conn, account, budget)


def _paused_until(conn: Connection, account: str, budget: Budget) -> datetime | None:
    return conn.execute(select(budgets.c.paused_until).where(_is(budgets, account, budget))).scalar()


def _uses(conn: Connection, account: str, budget: Budget, since: datetime) -> Sequence[tuple[datetime, int]]:
    """Minutes after *since* with what was taken in them, oldest first."""
    query = select(budget_uses.c.minute, budget_uses.c.taken).where(_is(budget_uses, account, budget))
    rows = conn.execute(query.where(budget_uses.c.minute > since).order_by(budget_uses.c.minute))
    return [(row.minute, row.taken) for row in rows]


def _taken_since(uses: Sequence[tuple[datetime, int]], moment: datetime) -> int:
    return sum(taken for minute, taken in uses if minute > moment)


def _free_at(uses: Sequence[tuple[datetime, int]], windows: Iterable[_Window], now: datetime) -> datetime:
    """When enough has left all windows for one more."""
    moments = [now]
    for allowed, window in windows:
        over = _taken_since(uses, now - window) - allowed + 1
        for minute, taken in uses:
            if over <= 0:
                break
            if minute > now - window:
                over -= taken
                moments.append(minute + window)
        if over > 0:  # nothing is allowed at all
            moments.append(now + window)
    return max(moments)


def _add(conn: Connection, account: str, budget: Budget, minute: datetime, count: int) -> None:
    """Count so many more in *minute*, or less; whoever adds to a minute that is not there holds the allowance's row."""
    there = update(budget_uses).where(_is(budget_uses, account, budget), budget_uses.c.minute == minute)
    if not conn.execute(there.values(taken=budget_uses.c.taken + count)).rowcount and count > 0:
        _insert_use(conn, [(account, budget.value, minute, count)])


def _is(table: Table, account: str, budget: Budget) -> ColumnElement[bool]:
    """Whether a row of *table* is of this allowance."""
    return and_(table.c.account_id == account, table.c.kind == budget.value)


def in_words(usage: Usage, now: datetime) -> str:
    """What to expect of it."""
    if usage.paused_until is not None and usage.paused_until > now:
        return f"refused by CallRail, asked again at {usage.paused_until:%H:%M:%S} UTC"
    spent = usage.spent_in()
    if spent is None:
        return "lasts at this pace"
    if spent == timedelta(0):
        return "spent"
    return f"spent in {max(int(spent.total_seconds() // 60), 1)} min at this pace"
