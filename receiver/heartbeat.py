"""The heartbeat of a process: others see in the table `instances` that it lives, and whether it spools."""

from __future__ import annotations

import asyncio
import contextlib
import time

from sqlalchemy import Connection, inspect

from receiver.clock import Clock
from receiver.exceptions import DatabaseUnavailable
from receiver.instances import BEAT_EVERY, Instance, beat, leave
from receiver.keeping import Keeper
from receiver.loggers import get_logger
from receiver.schema import instances
from receiver.writer import Writer

_log = get_logger(__name__)


class Heartbeat:
    """Beats while it runs.

    Args:
        keeper: Whose spool is told of, None where nothing is taken in.
    """

    def __init__(self, writer: Writer, clock: Clock, instance: Instance, keeper: Keeper | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._instance = instance
        self._keeper = keeper
        self._wake = asyncio.Event()
        self._next = 0.0
        self._has_table = False
        self._running: asyncio.Task[None]
        if keeper is not None:
            keeper.on_began = self._wake.set
            keeper.on_answer = self._beat

    def start(self) -> None:
        """Begin to beat."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, and say so if the database answers."""
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.run(self._leave)

    async def _run(self) -> None:
        while True:
            await self._beat()
            self._wake.clear()
            # What was told when the database came back stands for a whole interval: others must see that we spooled.
            while (rest := self._next - time.monotonic()) > 0 and not self._wake.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), rest)

    async def _beat(self) -> None:
        self._next = time.monotonic() + BEAT_EVERY.total_seconds()
        try:
            await self._writer.run(self._tell)
        except DatabaseUnavailable:
            pass  # the writer has said so
        except Exception:  # it must not end what it tells of
            _log.exception("heartbeat.failed")

    def _tell(self, conn: Connection) -> None:
        if self._knows_us(conn):
            spooled, since = (0, None) if self._keeper is None else (self._keeper.spooled, self._keeper.since)
            beat(conn, self._instance, now=self._clock.now(conn), spooled=spooled, spooling_since=since)

    def _leave(self, conn: Connection) -> None:
        if self._knows_us(conn):
            leave(conn, self._instance)

    def _knows_us(self, conn: Connection) -> bool:
        """Whether the schema has the table: an intake runs on any schema, also on an older one or none."""
        self._has_table = self._has_table or inspect(conn).has_table(instances.name)
        return self._has_table
