"""Hints between processes: whoever stores says so, and whoever routes need not wait until it looks again.

On PostgreSQL alone, by NOTIFY. Polling is the truth: a hint that gets lost costs half a second, and none is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeAlias

from receiver.database import Database, PostgresqlConnection, connect_postgresql
from receiver.loggers import get_logger

_log = get_logger(__name__)

_Work: TypeAlias = Callable[[PostgresqlConnection], Coroutine[Any, Any, None]]

_CHANNEL = "callrail_router_stored"
_APART = timedelta(milliseconds=20)  # a flood is not told webhook by webhook: who routes is busy then
_CONNECT_AGAIN = timedelta(seconds=2)


async def announce(database: Database, stored: asyncio.Event) -> None:
    """Tell other processes each time *stored* is set, until cancelled. On SQLite it returns: nobody can be told."""

    async def tell(conn: PostgresqlConnection) -> None:
        while True:
            await stored.wait()
            stored.clear()
            await conn.execute(f"NOTIFY {_CHANNEL}")
            await asyncio.sleep(_APART.total_seconds())

    await _keep_connected(database, tell)


async def listen(database: Database, hint: Callable[[], None]) -> None:
    """Call *hint* whenever another process has stored something, until cancelled. On SQLite it returns."""

    async def hear(conn: PostgresqlConnection) -> None:
        await conn.execute(f"LISTEN {_CHANNEL}")
        hint()  # of what was stored while nobody listened
        async for _ in conn.notifies():
            hint()

    await _keep_connected(database, hear)


async def _keep_connected(database: Database, work: _Work) -> None:
    if database.is_sqlite:
        return
    from psycopg import Error  # not above: SQLite starts without PostgreSQL's driver

    said = ""
    while True:
        try:
            await _while_connected(await connect_postgresql(database), work)
        except Exception as error:  # the writer may be well: this may be one connection too many
            trouble = str(error).partition("\n")[0] if isinstance(error, Error) else type(error).__name__
            if trouble != said:
                said = trouble
                _log.warning("hints.interrupted", reason=trouble, exc_info=not isinstance(error, Error))
        await asyncio.sleep(_CONNECT_AGAIN.total_seconds())


async def _while_connected(conn: PostgresqlConnection, work: _Work) -> None:
    """Do *work*, and close *conn* before it is cancelled: psycopg would ask the server to cancel the statement, and for
    one that is frozen wait ten seconds."""
    doing = asyncio.create_task(work(conn))
    try:
        await asyncio.shield(doing)
    finally:
        await conn.close()
        doing.cancel()
        await asyncio.wait([doing])
