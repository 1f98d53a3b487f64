"""What we changed at CallRail ourselves, kept for a while: the webhook that tells of it is our own echo, and no news.

It is kept before it is written there, for CallRail's webhook may be faster than its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from receiver.clock import Clock
from receiver.ids import Prefix, new_id
from receiver.writer import Writer
from routers.echo import Kept, Written
from routers.objects import ObjectKey
from routers.schema import own_writes

# CallRail tells of a change soon (assumed); what comes later somebody else may have changed.
HOLDS = timedelta(hours=1)


class OwnWrites:
    """Keeps them."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def keep(self, company: str, call_id: str, written: Written) -> str:
        """Keep that we are about to write *written* to a call; its id.

        Raises:
            DatabaseUnavailable: Nothing may be written then.
        """

        def insert_it(conn: Connection) -> str:
            about = {"id": new_id(Prefix.WRITE), "company": company, "type": "call", "object_id": call_id}
            conn.execute(insert(own_writes).values(**about, written=dict(written), written_at=self._clock.now(conn)))
            return about["id"]

        return await self._writer.run(insert_it)

    async def take_back(self, write: str) -> None:
        """It was not written after all, and what looks like its echo is somebody else's doing.

        Raises:
            DatabaseUnavailable: It stays then.
        """
        await self._writer.run(lambda conn: conn.execute(delete(own_writes).where(own_writes.c.id == write)))


_of_objects = (
    select(own_writes)
    .where(
        own_writes.c.object_id.in_(bindparam("object_ids", expanding=True)),
        own_writes.c.written_at > bindparam("since"),
    )
    .order_by(own_writes.c.id)
)


def written_to(conn: Connection, keys: Iterable[ObjectKey], now: datetime) -> dict[ObjectKey, list[Kept]]:
    """What was written to the objects of *keys* of late and has had no echo, oldest first."""
    found: dict[ObjectKey, list[Kept]] = {}
    asked = {key.object_id for key in keys}
    for row in conn.execute(_of_objects, {"object_ids": sorted(asked), "since": now - HOLDS}) if asked else ():
        found.setdefault(ObjectKey(row.company, row.type, row.object_id), []).append(Kept(row.id, row.written))
    return found


def keep_rest(conn: Connection, rests: Sequence[Kept]) -> None:
    """Keep only what of writes had no echo yet: who does the same again later is somebody else."""
    for rest in rests:
        one = own_writes.c.id == rest.id
        conn.execute(
            update(own_writes).where(one).values(written=dict(rest.written))
            if rest.written
            else delete(own_writes).where(one)
        )


def drop_old(conn: Connection, now: datetime) -> None:
    """Remove what can have no echo any more."""
    conn.execute(delete(own_writes).where(own_writes.c.written_at <= now - HOLDS))


def forget_all(conn: Connection) -> None:
    """Remove all: it may tell of somebody who was erased. At worst an echo is then told as news."""
    conn.execute(delete(own_writes))
