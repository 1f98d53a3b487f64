"""A dispatcher over a real database, in the event loop of the test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from receiver.clock import Clock
from receiver.database import Database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.dispatcher import Dispatcher, Limits
from routers.retries import Policy
from routers.schema import DeliveryState, attempts, deliveries, lanes
from routers.sinks.sink import Sink
from routers.sinks.webhook import WebhookConfig
from tests.fakes.destination import Destination
from tests.routers.store import put_deliveries, real_clock, rows_of
from tests.routers.waiting import until

AT_ONCE = (timedelta(0), timedelta(0), timedelta(0))
HOUR = timedelta(hours=1)


@dataclass
class World:
    """A store whose outbox a dispatcher may serve."""

    database: Database

    async def put(self, *, sink: str = "crm", count: int = 1, **about: Any) -> list[str]:
        """Deliveries due now, as routing would put them; their ids."""

        def put() -> list[str]:
            with self.database.reading.begin() as conn:
                now = real_clock(self.database).now(conn)
                return put_deliveries(conn, sink=sink, count=count, **{"now": now, **about})

        return await asyncio.to_thread(put)

    def every_delivery(self) -> Sequence[Row[Any]]:
        return rows_of(self.database, deliveries)

    def deliveries(self, sink: str = "crm") -> list[Row[Any]]:
        return [row for row in self.every_delivery() if row.sink == sink]

    def states(self, sink: str = "crm") -> list[str]:
        return [row.state for row in self.deliveries(sink)]

    def lane(self, sink: str = "crm") -> Row[Any]:
        (found,) = [row for row in rows_of(self.database, lanes) if row.sink == sink]
        return found

    def outcomes(self) -> list[str]:
        return [row.outcome for row in rows_of(self.database, attempts)]

    async def all_are(self, state: DeliveryState, sink: str = "crm") -> None:
        """Wait until every delivery of *sink* is in *state*."""
        await until(lambda: set(self.states(sink)) == {state.value})

    async def all_are_over(self, sinks: Collection[str]) -> None:
        """Wait until every delivery of *sinks* is delivered."""
        for sink in sinks:
            await self.all_are(DeliveryState.DELIVERED, sink)

    @asynccontextmanager
    async def dispatching(
        self,
        sinks: Mapping[str, tuple[Sink, Limits]],
        *,
        clock: Clock | None = None,
        instance: str = "in_test",
        writer: Writer | None = None,
    ) -> AsyncIterator[Dispatcher]:
        """A dispatcher over *writer* or one of its own, stopped in order at the end."""
        writer = writer or Writer(self.database, insert_events)
        writer.start()
        clock = clock or real_clock(self.database)
        dispatcher = Dispatcher(writer, clock, sinks, instance=instance, rng=random.Random(1))
        try:
            await dispatcher.start(alone=self.database.is_sqlite)
            task = asyncio.create_task(dispatcher.run())
            try:
                yield dispatcher
            finally:
                dispatcher.stop()
                await task
        finally:
            await writer.stop()


def to(
    destination: Destination,
    *,
    concurrency: int = 1,
    timeout: timedelta = timedelta(seconds=20),
    schedule: tuple[timedelta, ...] = AT_ONCE,
) -> tuple[Sink, Limits]:
    """A webhook sink that posts to *destination*, and how its lane treats it."""
    config = WebhookConfig.model_validate(
        {
            "type": "webhook",
            "url": destination.url,
            "signing_secrets": ["env:SECRET"],
            "allow_hosts": ["127.0.0.1"],
            "concurrency": concurrency,
            "timeout": timeout,
        }
    )
    return config.build(), Limits(concurrency, timeout, Policy(schedule))
