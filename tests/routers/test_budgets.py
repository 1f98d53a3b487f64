"""Allowances shared through the database: never more than allowed, whoever asks, and what is left goes back."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from callrail.budgets import DAY, HOUR, PAUSE, Told
from callrail.client import CallRail
from callrail.exceptions import BudgetSpent
from callrail.request import Budget
from receiver.database import Database
from routers.budgets import InThreads, Priority, SqlBudgets, Usage, in_words, usages
from routers.fake_callrail import FakeCallRail, small_world
from routers.fake_callrail.serving import serve_in_background, serving
from routers.schema import budget_uses, budgets
from tests.routers.running import Ran, run_here
from tests.routers.store import opened

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 20, 15, 0, 30, tzinfo=UTC)
ACCOUNT = "ACC1"
ACCOUNT_OF_THE_FAKE = small_world(calls=0).accounts[0].id


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def allow(database: Database, clock: Clock, hourly: int, daily: int) -> None:
    """As CallRail tells it."""
    told = Told(hourly, None, daily, None)
    await SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock).learn(ACCOUNT, Budget.GENERAL, told)


async def take_all(shared: SqlBudgets, most: int = 2_000) -> int:
    """How many there are to be had now."""
    for count in range(most):
        try:
            await shared.take(ACCOUNT, Budget.GENERAL)
        except BudgetSpent:
            return count
    return most


async def test_request_1001_of_an_hour_is_not_taken_by_several_either(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as one, opened(database_url) as other:
        several = [
            SqlBudgets(InThreads(each), Priority.INTERACTIVE, now=clock, block=7) for each in (one, other, one, other)
        ]
        counts = await asyncio.gather(*map(take_all, several))
        assert sum(counts) == 1_000
        with pytest.raises(BudgetSpent) as spent:
            await several[0].take(ACCOUNT, Budget.GENERAL)
        clock.now = spent.value.free_at
        assert clock.now <= NOW + HOUR + timedelta(minutes=2)
        await several[0].take(ACCOUNT, Budget.GENERAL)
        await several[1].take(ACCOUNT, Budget.TEXTS)  # an allowance of its own
        await several[1].take("ACC2", Budget.GENERAL)


async def test_what_was_taken_ahead_is_given_back(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as database:
        await allow(database, clock, 20, 100)
        first = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock, block=15)
        await first.take(ACCOUNT, Budget.GENERAL)
        second = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock, block=15)
        assert await take_all(second) == 5
        await first.aclose()
        await first.aclose()
        assert await take_all(second) == 14
        clock.now += timedelta(minutes=5)
        await second.aclose()
        with database.reading.connect() as conn:
            (usage,) = usages(conn, clock.now)
        assert usage.in_hour == 20


async def test_who_matters_less_leaves_room_for_who_matters_more(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as database:
        await allow(database, clock, 100, 1_000)
        taken = {
            priority: await take_all(SqlBudgets(InThreads(database), priority, now=clock, block=3))
            for priority in (Priority.WATCHDOG, Priority.BACKFILL, Priority.FOLLOW_UP, Priority.INTERACTIVE)
        }
    assert list(taken.values()) == [50, 20, 20, 10]


async def test_what_callrail_tells_of_others_counts(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as database:
        shared = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock, block=1)
        for _ in range(4):
            await shared.take(ACCOUNT, Budget.GENERAL)
        await shared.learn(ACCOUNT, Budget.GENERAL, Told(50, 40, 500, 60))
        assert await take_all(shared) == 10
        with database.reading.connect() as conn:
            (usage,) = usages(conn, clock.now)
        assert (usage.hourly, usage.daily, usage.in_hour) == (50, 500, 50)
        assert in_words(usage, NOW) == "spent"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20_000)), max_size=40),
    hourly=st.integers(1, 5),
    daily=st.integers(1, 9),
    block=st.integers(1, 4),
)
def test_no_hour_and_no_day_holds_more_than_is_allowed(
    sqlite_url: str, steps: list[tuple[int, int]], hourly: int, daily: int, block: int
) -> None:
    clock, sent = Clock(), list[datetime]()

    async def run() -> None:
        with opened(sqlite_url) as database:
            with database.writing.begin() as conn:
                conn.execute(delete(budget_uses))
                conn.execute(delete(budgets))
            await allow(database, clock, hourly, daily)
            two = [SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock, block=block) for _ in range(2)]
            for who, seconds in steps:
                clock.now += timedelta(seconds=seconds)
                if await take_all(two[who], most=1):
                    sent.append(clock.now)

    asyncio.run(run())
    for end in sent:
        assert sum(end - HOUR < each <= end for each in sent) <= hourly
        assert sum(end - DAY < each <= end for each in sent) <= daily


async def test_old_minutes_are_forgotten(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as database:
        shared = SqlBudgets(InThreads(database), Priority.INTERACTIVE, now=clock)
        for _ in range(4):
            await shared.take(ACCOUNT, Budget.GENERAL)
            clock.now += timedelta(hours=20)
        with database.reading.connect() as conn:
            assert len(conn.execute(budget_uses.select()).all()) == 2  # of the last day


async def test_a_client_counts_there(database_url: str) -> None:
    world = small_world(calls=3, seed=1)
    with opened(database_url) as database:
        shared = SqlBudgets(InThreads(database), Priority.INTERACTIVE)
        async with (
            serving(FakeCallRail(world)) as url,
            CallRail(world.key, world.accounts[0].id, base_url=url, budgets=shared) as client,
        ):
            for _ in range(3):
                await client.accounts.get(world.accounts[0].id)
        await shared.aclose()
        with database.reading.connect() as conn:
            assert sum(usage.in_hour for usage in usages(conn, datetime.now(UTC))) == 3


@pytest.mark.parametrize(
    ("in_hour", "in_ten_minutes", "said"),
    [(100, 20, "lasts at this pace"), (400, 200, "spent in 30 min at this pace"), (1_000, 0, "spent")],
)
def test_a_forecast_goes_by_the_last_ten_minutes(in_hour: int, in_ten_minutes: int, said: str) -> None:
    usage = Usage(ACCOUNT, "requests", 1_000, 10_000, None, in_hour, in_hour, in_ten_minutes)
    assert in_words(usage, NOW) == said


# --- in the shell -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Ran]]:
    """Runs commands against a CallRail of two accounts, with the database."""
    fake = FakeCallRail(small_world(calls=30, seed=1))
    with serve_in_background(fake) as url:
        environ = {
            "CALLRAIL_API_KEY": fake.world.key,
            "CALLRAIL_ACCOUNT_ID": fake.world.accounts[0].id,
            "CALLRAIL_BASE_URL": url,
            "CALLRAIL_ROUTER_DATABASE_URL": database_url,
            "HOME": str(tmp_path),
        }
        yield lambda *words, **more: run_here(*words, environ={**environ, **more}, cwd=tmp_path)


def test_commands_count_together_and_status_tells(shell: Callable[..., Ran]) -> None:
    for _ in range(3):
        assert shell("api", "tags", "list").code == 0
    (row,) = json.loads(shell("budget", "status", "-o", "json").out)
    assert row == {
        "account": row["account"],
        "kind": "requests",
        "in_hour": 3,
        "of_hour": 1_000,
        "in_day": 3,
        "of_day": 10_000,
        "forecast": "lasts at this pace",
    }
    assert row["account"].startswith("ACC")


def test_what_is_spent_is_told_and_nothing_is_sent(shell: Callable[..., Ran], database_url: str) -> None:
    with opened(database_url) as database:
        shared = SqlBudgets(InThreads(database), Priority.INTERACTIVE)
        asyncio.run(shared.learn(ACCOUNT_OF_THE_FAKE, Budget.GENERAL, Told(5, 5, 9, 9)))
    ran = shell("api", "tags", "list")
    assert ran.code == 1
    assert "allowance" in ran.err or "spent" in ran.err


def test_without_a_database_it_counts_alone(shell: Callable[..., Ran], tmp_path: Path) -> None:
    ran = shell("api", "tags", "list", CALLRAIL_ROUTER_DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
    assert (ran.code, "database" in ran.err) == (0, False)
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_does_not_answer_is_told_and_no_hindrance(shell: Callable[..., Ran]) -> None:
    ran = shell("api", "tags", "list", CALLRAIL_ROUTER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert ran.code == 0
    assert "counted in this command alone" in ran.err


async def test_a_refusal_that_names_no_end_gives_all_processes_a_minute(database_url: str) -> None:
    clock = Clock()
    with opened(database_url) as one, opened(database_url) as other:
        first = SqlBudgets(InThreads(one), Priority.INTERACTIVE, now=clock, block=1)
        second = SqlBudgets(InThreads(other), Priority.INTERACTIVE, now=clock, block=1)
        await first.take(ACCOUNT, Budget.GENERAL)
        await first.refused(ACCOUNT, Budget.GENERAL, PAUSE)
        await first.refused(ACCOUNT, Budget.GENERAL, PAUSE / 2)  # which ends no longer rest
        with pytest.raises(BudgetSpent) as spent:
            await second.take(ACCOUNT, Budget.GENERAL)
        assert spent.value.free_at == clock() + PAUSE
        await second.take(ACCOUNT, Budget.TEXTS)  # an allowance of its own
        with one.reading.connect() as conn:
            (usage,) = [each for each in usages(conn, clock()) if each.kind == Budget.GENERAL.value]
        assert "refused by CallRail, asked again at" in in_words(usage, clock())

        clock.now += PAUSE
        await second.take(ACCOUNT, Budget.GENERAL)
        assert "refused" not in in_words(usage, clock())


async def test_forty_companies_stay_within_the_hour_and_no_look_up_is_refused(database_url: str) -> None:
    """Four hours of 400 calls each, their look-ups, a page of open calls every 20 s, and more to fetch than can be.

    What is fetched takes all that it gets, at each step before the look-ups ask; still none of those is refused.
    """
    clock, sent = Clock(), Counter[datetime]()
    rng = random.Random(40)
    step = timedelta(seconds=20)
    calls = Counter(rng.randrange(720) for _ in range(1_600))
    with opened(database_url) as database:
        asked, watched, fetched = (
            SqlBudgets(InThreads(database), priority, is_paced=priority is Priority.BACKFILL, now=clock)
            for priority in (Priority.INTERACTIVE, Priority.FOLLOW_UP, Priority.BACKFILL)
        )
        for n in range(720):
            sent[clock.now] += await take_all(fetched)
            for wants in (watched, *[asked] * calls[n]):
                await wants.take(ACCOUNT, Budget.GENERAL)
                sent[clock.now] += 1
            clock.now += step
    most = max(sum(sent[begin + step * n] for n in range(180)) for begin in sent)
    assert most <= 1_000
    assert sum(sent.values()) > 2_500  # the allowance is used, and not just spared
