"""Who was erased, remembered by keyed hashes: what happened before must not come back.

They are of the person's number, and of CallRail's id of them as far as it was known.

A backfill, a spool, a quarantined webhook or a restored backup may tell of it again. Without the key the hashes tell
nothing; with it they answer only whether a number that one knows already is among them.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from callrail.payload import Fields
from receiver.columns import fixed
from receiver.loggers import get_logger
from receiver.schema import EventState, events
from routers.facts import number_of, own_time
from routers.lifecycle import Event, is_sent
from routers.schema import erased

_log = get_logger(__name__)

ERASED = "erased: the person has been erased"
# So long a process may not know of an erasure; whoever erases waits for it.
HOLD = timedelta(seconds=2)


def keyed_hash(key: bytes, name: str) -> bytes:
    """What stands for *name*, a number in E.164 or CallRail's id of a person, where it must not stand itself."""
    return hmac.new(key, name.encode(), hashlib.sha256).digest()


def remember(conn: Connection, key: bytes, names: Iterable[str], *, now: datetime) -> None:
    """A person is erased at *now*: whatever happened until then is forgotten.

    Args:
        names: Their number in E.164 and what CallRail calls them (PER...), as far as it is known.
    """
    for hashed in (keyed_hash(key, name) for name in names):
        if not conn.execute(update(erased).where(erased.c.hash == hashed).values(erased_at=now)).rowcount:
            conn.execute(insert(erased).values(hash=hashed, erased_at=now))


def read_erased(conn: Connection) -> dict[bytes, datetime]:
    """By keyed hash, when its person was erased."""
    return {row.hash: row.erased_at for row in conn.execute(select(erased.c.hash, erased.c.erased_at))}


class Forgotten:
    """The erased numbers as a process knows them; asked again every `HOLD`.

    Args:
        key: Without one nobody can be known again, which is logged once if somebody was erased.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._erased: dict[bytes, datetime] = {}
        self._holds_until = 0.0

    def knows_any(self, conn: Connection) -> bool:
        """Whether anybody was erased at all."""
        if time.monotonic() > self._holds_until:
            known, self._erased = len(self._erased), read_erased(conn)
            self._holds_until = time.monotonic() + HOLD.total_seconds() / 2
            if self._key is None and len(self._erased) > known:
                _log.error("privacy.key_missing", erased=len(self._erased))
        return bool(self._erased)

    def covers(self, type_: str, event: Event, received_at: datetime) -> bool:
        """Whether *event* tells of something that happened before its person was erased.

        Args:
            type_: What the event's object is.
        """
        if self._key is None:
            return False
        names = (number_of(type_, event.fields, is_sent=is_sent(event)), event.fields.get("person_resource_id"))
        moments = [self._erased.get(keyed_hash(self._key, name)) for name in names if isinstance(name, str)]
        happened = happened_at(event.fields, received_at)
        return any(moment is not None and happened <= moment for moment in moments)


def happened_at(fields: Fields, received_at: datetime) -> datetime:
    """When that happened which *fields* tell of; nothing happens after it is received."""
    return min(own_time(fields) or received_at, received_at)


def end_erased(conn: Connection, ids: Sequence[str]) -> None:
    """The events *ids* wait no longer and hold nothing; what they were stays in their rows."""
    if ids:
        ended = {"state": fixed(EventState.ROUTED), "reason": ERASED, "body": b"", "headers": {}}
        conn.execute(update(events).where(events.c.id.in_(ids)).values(ended))
