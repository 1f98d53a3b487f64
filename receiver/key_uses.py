"""When each signing key was last used: what an operator must know before taking one out.

Noted by the router, which sees each event once and whom nobody waits for, and at most every few minutes a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, func, select, update

from receiver.bulk import BulkInsert
from receiver.ids import Prefix, first_id
from receiver.schema import events, key_uses
from receiver.writer import Writer

NOTED_EVERY = timedelta(minutes=5)
# So many of the newest events are counted by key, which takes a part of a second however many there are.
MOST_COUNTED = 20_000

Uses: TypeAlias = Mapping[tuple[str, str], datetime]
"""By company and fingerprint, when a request with that key was received."""

_insert = BulkInsert(key_uses, *key_uses.c)


class KeyUses:
    """Notes what this process sees of keys in use."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._noted: dict[tuple[str, str], datetime] = {}

    async def see(self, uses: Uses) -> None:
        """Keys were used; those noted a moment ago are left as they are."""
        new = {key: at for key, at in uses.items() if key not in self._noted or at - self._noted[key] >= NOTED_EVERY}
        if new:
            await self._writer.run(partial(note_uses, uses=new))
            self._noted |= new


def uses_in(rows: Sequence[Any]) -> Uses:
    """The keys that signed *rows* of `events`, each with the newest."""
    uses: dict[tuple[str, str], datetime] = {}
    for row in rows:
        if row.key_fingerprint is not None:
            key = (row.company, row.key_fingerprint)
            uses[key] = max(row.received_at, uses.get(key, row.received_at))
    return uses


def note_uses(conn: Connection, uses: Uses) -> None:
    """Keep of each key the latest use."""
    for (company, fingerprint), at in sorted(uses.items()):  # in one order, or two processes wait for each other
        if not _insert(conn, [(company, fingerprint, at)]):
            of_key = (key_uses.c.company == company, key_uses.c.fingerprint == fingerprint)
            conn.execute(update(key_uses).where(*of_key, key_uses.c.last_used_at < at).values(last_used_at=at))


def last_uses(conn: Connection) -> dict[tuple[str, str], datetime]:
    """The last use of each key, late by `NOTED_EVERY` at most."""
    return {(row.company, row.fingerprint): row.last_used_at for row in conn.execute(select(key_uses))}


def counted_since(conn: Connection, moment: datetime, *, limit: int = MOST_COUNTED) -> Sequence[Row[Any]]:
    """By company and key, how many of the newest *limit* events since *moment* it signed.

    Each row also has the time of its oldest and newest event among them; a row of the key None is of unsigned forms.
    """
    newest = (
        select(events.c.company, events.c.key_fingerprint, events.c.received_at)
        .where(events.c.id >= first_id(Prefix.EVENT, moment))
        .order_by(events.c.id.desc())
        .limit(limit)
        .subquery()
    )
    columns = (newest.c.company, newest.c.key_fingerprint)
    at = newest.c.received_at
    grouped = select(*columns, func.count().label("events"), func.min(at).label("oldest"), func.max(at).label("newest"))
    return conn.execute(grouped.group_by(*columns)).all()
