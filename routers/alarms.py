"""The watcher: raises an alarm once for each trouble, and says when it is over.

What was raised stands in the table `alarms` and is changed in the transaction that stores the alarm's event, under a
lock that lets one watcher in at a time. So neither a crash nor a second watcher raises a trouble twice or forgets one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, text

from receiver.bulk import BulkInsert, BulkUpdate
from routers.alarm_events import ROUTING, SINK, SOURCE, Alarm, insert_alarm
from routers.schema import alarms, lanes
from routers.transitions import Transition
from routers.troubles import (
    Trouble,
    causes_of_failures,
    failed_events,
    given_up,
    is_proved_again,
    minutes,
    troubles,
)

LOOK_EVERY = timedelta(seconds=5)
# A sink that opens and shuts in turn is down all the time.
CALM = timedelta(minutes=1)
# Of what may come without end one alarm tells for so long.
AT_MOST_EVERY = timedelta(hours=1)
# A transaction that ends later may still bring what has happened by now.
_SETTLED = timedelta(seconds=5)
_AT_INTERVALS = frozenset(
    {Transition.SOURCE_BAD_SIGNATURE, Transition.ROUTER_DEAD_LETTERS, Transition.ROUTER_BUDGET_LOW}
)

_insert = BulkInsert(alarms, *alarms.c)
_key = [alarms.c.name, alarms.c.type, alarms.c.subject]
_update = BulkUpdate(alarms, *(column for column in alarms.c if not column.primary_key), key=_key)


@dataclass(slots=True)
class _Entry:
    """What was raised of one trouble of one subject; the columns of the table."""

    name: Transition
    type: str
    subject: str
    n: int = 0
    raised_at: datetime | None = None
    since: datetime | None = None
    found_at: datetime | None = None
    fine_at: datetime | None = None
    seen: int = 0

    def was_raised_lately(self, now: datetime) -> bool:
        return self.raised_at is not None and timedelta(0) <= now - self.raised_at < AT_MOST_EVERY

    def key(self) -> tuple[str, str, str]:
        return self.name.value, self.type, self.subject

    def values(self) -> tuple[Any, ...]:
        return self.n, self.raised_at, self.since, self.found_at, self.fine_at, self.seen


def watch(conn: Connection, now: datetime) -> int:
    """Look at everything once, within the transaction of *conn*; how many alarms that raised."""
    if conn.dialect.name == "postgresql":  # SQLite has one writer at a time
        conn.execute(text("LOCK TABLE alarms IN SHARE ROW EXCLUSIVE MODE"))
    watcher = _Watcher(conn, now)
    current = list(troubles(conn, now, spooled_since=watcher.spooled_since()))
    for trouble in current:
        watcher.found(trouble)
    there = {(trouble.name.value, trouble.type, trouble.subject) for trouble in current}
    for key, entry in list(watcher.entries.items()):
        if key not in there:
            watcher.not_found(entry)
    for sink in conn.execute(select(lanes.c.sink).order_by(lanes.c.sink)).scalars().all():
        watcher.look_for_dead_letters(sink)
    watcher.look_for_failed_events()
    watcher.save()
    return watcher.raised


class _Watcher:
    """One look at everything."""

    def __init__(self, conn: Connection, now: datetime) -> None:
        self._conn = conn
        self._now = now
        self._stored = {entry.key(): entry.values() for entry in map(_entry_of, conn.execute(select(alarms)))}
        self.entries = {key: _Entry(Transition(key[0]), *key[1:], *values) for key, values in self._stored.items()}
        self.raised = 0

    def spooled_since(self) -> datetime | None:
        """Since when a spool that is not empty, or was not just now, has been in use; None if there is none."""
        spooling = (entry.since for entry in self.entries.values() if entry.name is Transition.ROUTER_SPOOLING)
        return min((since for since in spooling if since is not None), default=None)

    def found(self, trouble: Trouble) -> None:
        """There is *trouble*: raise it if it is new, or if it is time to tell of it again."""
        entry, now = self._entry(trouble.name, trouble.type, trouble.subject), self._now
        entry.fine_at = None
        if trouble.is_known:
            if entry.since is None:  # how long it lasts counts from when nobody knows of it
                entry.found_at = None
            return
        entry.found_at = entry.found_at or now
        if now - entry.found_at < trouble.patience:
            return
        is_new = entry.since is None
        if entry.name in _AT_INTERVALS:
            is_new = not entry.was_raised_lately(now)
        if is_new:
            entry.since = entry.since or trouble.since
            self._raise(entry, {**trouble.tell(entry.raised_at), "since": _written(entry.since)})

    def not_found(self, entry: _Entry) -> None:
        """There is nothing of it any more: say so once that has lasted."""
        if entry.since is None:
            entry.found_at = None
            return
        entry.fine_at = entry.fine_at or self._now
        if entry.type == SOURCE:
            is_over = is_proved_again(self._conn, entry.subject, self._now)
        else:
            is_over = self._now - entry.fine_at >= CALM
        if is_over:
            self._tell_of_end(entry, entry.since)
            entry.since = entry.found_at = entry.fine_at = None

    def look_for_dead_letters(self, sink: str) -> None:
        """Raise what of *sink* was given up since that was told last."""
        entry = self._entry(Transition.ROUTER_DEAD_LETTERS, SINK, sink)
        if entry.was_raised_lately(self._now):
            return
        after = (entry.raised_at or self._now - AT_MOST_EVERY) - _SETTLED
        count, causes = given_up(self._conn, sink, after, self._now - _SETTLED)
        if count:
            self._raise(entry, {"sink": sink, "count": count, "causes": causes})

    def look_for_failed_events(self) -> None:
        """Raise that more events could not be routed than were told of."""
        entry = self._entry(Transition.ROUTER_DEAD_LETTERS, ROUTING, ROUTING)
        failed = failed_events(self._conn)
        is_first_look = entry.key() not in self._stored
        if failed > entry.seen and not is_first_look:
            if entry.was_raised_lately(self._now):
                return
            count = failed - entry.seen
            self._raise(entry, {"count": count, "causes": causes_of_failures(self._conn, count)})
        entry.seen = failed

    def save(self) -> None:
        """Store what is new and what has changed."""
        new = [(*key, *entry.values()) for key, entry in self.entries.items() if key not in self._stored]
        _insert(self._conn, new)
        changed = [
            (*entry.values(), *key)
            for key, entry in self.entries.items()
            if self._stored.get(key, entry.values()) != entry.values()
        ]
        _update(self._conn, changed)

    def _entry(self, name: Transition, type_: str, subject: str) -> _Entry:
        entry = _Entry(name, type_, subject)
        return self.entries.setdefault(entry.key(), entry)

    def _raise(self, entry: _Entry, facts: Mapping[str, Any]) -> None:
        entry.n += 1
        entry.raised_at = self._now
        self._insert(entry, entry.name, facts)

    def _tell_of_end(self, entry: _Entry, since: datetime) -> None:
        facts = {"since": _written(since), "minutes": minutes(self._now - since)}
        if entry.type == SOURCE:
            self._insert(entry, Transition.SOURCE_RECOVERED, facts)
            return
        named = {entry.type: entry.subject} if entry.type != ROUTING else {}
        self._insert(entry, Transition.ROUTER_RECOVERED, {**named, **facts, "trouble": entry.name.value})

    def _insert(self, entry: _Entry, name: Transition, facts: Mapping[str, Any]) -> None:
        told = {**facts, "subject": entry.subject}
        insert_alarm(self._conn, Alarm(name, entry.name, entry.type, entry.subject, entry.n, told), now=self._now)
        self.raised += 1


def _entry_of(row: Any) -> _Entry:
    values = {field.name: getattr(row, field.name) for field in fields(_Entry)}
    return _Entry(**values | {"name": Transition(row.name)})


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
