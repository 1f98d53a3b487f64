"""Work that comes round again: who does it, and how soon after what went wrong somebody does it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import select

from receiver.database import Database
from receiver.events import insert_events
from receiver.exceptions import DatabaseUnavailable
from receiver.writer import Writer
from routers import periodic
from routers.periodic import LEASE, Job, Periodic, take_turn
from routers.schema import timers
from tests.routers.store import NOW, opened, real_clock
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
SOON = timedelta(milliseconds=20)


async def nothing() -> None:
    """A round without work."""


def lease(database: Database) -> object:
    with database.reading.connect() as conn:
        return conn.execute(select(timers.c.lease_until)).scalar_one()


@asynccontextmanager
async def doing(job: Job, database: Database) -> AsyncIterator[None]:
    """A process that has *job* for the length of the block."""
    writer = Writer(database, insert_events)
    writer.start()
    jobs = Periodic(writer, real_clock(database), [job])
    task = asyncio.create_task(jobs.run())
    try:
        yield
    finally:
        jobs.stop()
        await task
        await writer.stop()


def counting(work: Callable[[int], Awaitable[None]]) -> tuple[list[int], Callable[[], Awaitable[None]]]:
    """Work that is told how many rounds there were before, and the list of these."""
    rounds: list[int] = []

    async def counted() -> None:
        rounds.append(len(rounds))
        await work(len(rounds) - 1)

    return rounds, counted


def test_one_process_has_the_turn_until_its_lease_is_over(database_url: str) -> None:
    """After a crash another has it half a minute later."""
    job = Job("work", HOUR, nothing)
    with opened(database_url) as database, database.writing.begin() as conn:
        assert take_turn(conn, job, NOW)
        assert not take_turn(conn, job, NOW + LEASE)
        assert take_turn(conn, job, NOW + LEASE + SOON)
    assert timedelta(seconds=30) >= LEASE


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), ValueError("a fault")])
async def test_a_round_that_failed_is_tried_again_at_once(database_url: str, error: Exception) -> None:
    """The database went away amid it, or it raised: nobody waits for the end of a lease."""

    async def fail_once(before: int) -> None:
        if not before:
            raise error

    rounds, work = counting(fail_once)
    with opened(database_url) as database:
        async with doing(Job("work", SOON, work), database):
            await until(lambda: len(rounds) > 1, longest=LEASE.total_seconds() / 2)


async def test_a_round_broken_off_at_the_end_leaves_no_lease(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that is started next begins it at once."""
    monkeypatch.setattr(periodic, "_LAST_WORDS", SOON)
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    with opened(database_url) as database:
        async with doing(Job("work", HOUR, hang), database):
            await begun.wait()
            assert lease(database) is not None
        assert lease(database) is None


async def test_a_long_round_keeps_its_lease(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its process lives nobody else begins it."""
    monkeypatch.setattr(periodic, "_RENEW_EVERY", SOON)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await may_end.wait()

    with opened(database_url) as database:
        async with doing(Job("work", HOUR, wait), database):
            await begun.wait()
            first = lease(database)
            await until(lambda: lease(database) != first)
            may_end.set()
            await until(lambda: lease(database) is None)
