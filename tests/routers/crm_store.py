"""A store that was told of calls and forms, and a CRM's memory over it: to try a memory, or a sink with a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, update

from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.writer import Writer
from routers.crm_memory import SqlMemory, SqlTurn
from routers.escapes import Escape
from routers.messages import Message, Text
from routers.schema import DeliveryState, deliveries, remote_ids, turns
from routers.transitions import Transition
from tests.routers.store import NOW, FixedClock, opened, put_deliveries

LEASE = timedelta(seconds=30)
PHONE = "+14045550123"
SHARED = "+14045559999"


@dataclass
class CrmStore:
    """The parts of it. A turn lasts until *clock* is moved by `LEASE`."""

    database: Database
    memory: SqlMemory
    clock: FixedClock

    def turn(self, order_key: str = f"acme:{PHONE}", **fields: Any) -> AbstractAsyncContextManager[SqlTurn]:
        """The turn of a new delivery about a call with *fields*, which is being sent."""
        return self.memory.turn(self.message(order_key, **fields))

    def message(
        self, order_key: str = f"acme:{PHONE}", *, company: str = "acme", type_: str = "call", **fields: Any
    ) -> Message:
        """A new delivery about something new, which is being sent."""
        fields = fields or {"customer_phone_number": PHONE}
        with self.database.writing.begin() as conn:
            (delivery,) = put_deliveries(conn, fields=fields, order_key=order_key, company=company, type_=type_)
            of_it = deliveries.c.id == delivery
            conn.execute(update(deliveries).where(of_it).values(state=DeliveryState.SENDING.value))
        return Message(delivery, Transition.CALL_MISSED, company, NOW, dict, _no_text)

    def forgets(self) -> None:
        """What was remembered of the CRM is lost, as with a backup that is older."""
        with self.database.writing.begin() as conn:
            for table in (turns, remote_ids):
                conn.execute(delete(table))


def _no_text(_escape: Escape) -> Text:
    return Text("")


@asynccontextmanager
async def a_crm_store(database_url: str, clock: FixedClock | None = None) -> AsyncIterator[CrmStore]:
    own, clock = open_database(database_url), clock or FixedClock()  # a writer keeps its connection
    writer = Writer(own, insert_events)
    writer.start()
    try:
        with opened(database_url) as database:
            yield CrmStore(database, SqlMemory(writer, clock, "crm", lease=LEASE, shared={SHARED}), clock)
    finally:
        await writer.stop()
        own.dispose()
