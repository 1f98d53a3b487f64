"""Hints between processes: who listens hears of what is stored, also after a connection was cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Literal

import pytest
import structlog
from sqlalchemy import text

from receiver.database import Database
from receiver.hints import announce, listen
from tests.postgresql import RunServer
from tests.routers.store import opened
from tests.routers.waiting import LONGEST, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Ear:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0
        self._hears = asyncio.Event()

    def hint(self) -> None:
        self.heard += 1
        self._hears.set()

    async def times(self, count: int) -> None:
        """Wait until it has heard *count* hints."""
        async with asyncio.timeout(LONGEST):
            while self.heard < count:
                self._hears.clear()
                await self._hears.wait()


@pytest.fixture
async def ear(postgresql_url: str) -> AsyncIterator[Ear]:
    """Of a process that listens already; the first hint is that it does."""
    ear = Ear()
    with opened(postgresql_url) as database:
        async with running(listen(database, ear.hint)):
            await ear.times(1)
            yield ear


def cut(database: Database, statement: str) -> bool:
    """End the connections whose last statement was *statement*; whether there were any."""
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    with database.writing.begin() as conn:
        mine = f"{ended} WHERE datname = current_database() AND query LIKE :query AND pid <> pg_backend_pid()"
        return bool(conn.execute(text(mine), {"query": f"{statement}%"}).scalar_one())


async def test_who_listens_hears_of_what_is_stored(postgresql_url: str, ear: Ear) -> None:
    """What is stored while nothing can be told is told in one."""
    stored = asyncio.Event()
    with opened(postgresql_url) as database:
        for _ in range(5):
            stored.set()
        async with running(announce(database, stored)):
            await ear.times(2)
            stored.set()
            await ear.times(3)
    assert ear.heard == 3


@pytest.mark.parametrize("statement", ["LISTEN", "NOTIFY"])
async def test_a_connection_that_is_cut_is_made_anew(
    postgresql_url: str, ear: Ear, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.hints._CONNECT_AGAIN", timedelta(milliseconds=10))
    stored = asyncio.Event()
    with opened(postgresql_url) as database:
        async with running(announce(database, stored)):
            stored.set()
            await ear.times(2)
            assert await asyncio.to_thread(cut, database, statement)
            heard, loop = ear.heard, asyncio.get_running_loop()

            def is_heard_again() -> bool:
                # The first may be lost with the connection: what it told of is found by polling.
                loop.call_soon_threadsafe(stored.set)
                return ear.heard > heard + 1

            await until(is_heard_again)


async def test_that_it_is_refused_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has its own and says nothing; without a word nobody would learn why what comes is routed late."""
    monkeypatch.setattr("receiver.hints._CONNECT_AGAIN", timedelta(milliseconds=10))
    refusals = 0

    async def refuse(_: asyncio.StreamReader, connection: asyncio.StreamWriter) -> None:
        nonlocal refusals
        refusals += 1
        connection.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/none"
        with opened(url) as database, structlog.testing.capture_logs() as lines:
            async with running(listen(database, Ear().hint)):
                await until(lambda: refusals > 5)
    (line,) = [line for line in lines if line["event"] == "hints.interrupted"]
    assert "server closed the connection unexpectedly" in line["reason"]


class Awaited(asyncio.Event):
    """Tells that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_awaited = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.is_awaited.set()
        return await super().wait()


async def test_a_frozen_server_keeps_nobody_from_ending(own_server: RunServer, own_url: str) -> None:
    """Cancelled amid a NOTIFY, psycopg asked the server to cancel it for five seconds, and waited five more."""
    stored = Awaited()
    with opened(own_url) as database:
        task = asyncio.create_task(announce(database, stored))
        async with asyncio.timeout(LONGEST):
            await stored.is_awaited.wait()  # connected, with no answer outstanding
        with own_server.frozen():
            stored.set()
            await until(lambda: not stored.is_set())
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=4)
    assert done


async def test_on_sqlite_nobody_can_be_told(sqlite_url: str) -> None:
    """A file has no channel: both return, and whoever routes looks by itself."""
    ear, stored = Ear(), asyncio.Event()
    stored.set()
    with opened(sqlite_url) as database:
        async with asyncio.timeout(LONGEST):
            await announce(database, stored)
            await listen(database, ear.hint)
    assert (ear.heard, stored.is_set()) == (0, True)
