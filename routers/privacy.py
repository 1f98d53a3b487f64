"""Erasing a person and telling all that is stored of one, over every table.

Erasing empties; it takes no row away that a statistic or an explanation counts on. What stays of a thing is that it was
there: ids, times, states, which rule spoke, and such fields as say nothing of a person.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Table, and_, delete, select, update

from callrail.fields import Personal
from callrail.payload import Fields
from receiver import instances
from receiver.clock import Clock
from receiver.columns import Json
from receiver.database import Database
from receiver.schema import EventState, events, metadata, quarantine
from routers import ledger
from routers.audit import note
from routers.facts import contact_of
from routers.forgetting import ERASED, HOLD, end_erased, keyed_hash, remember
from routers.leads import forget_leads, read_lead
from routers.lookups.answers import forget_all as forget_answers
from routers.media.aging import remove_media_of
from routers.media.rows import media_of
from routers.operating import cancel
from routers.own_writes import forget_all as forget_writes
from routers.personal import details_without, without, without_mentions
from routers.retention import ORDERED_BY_OBJECT
from routers.schema import (
    DeliveryState,
    attempts,
    deliveries,
    lead_keys,
    objects,
    remote_ids,
    transitions,
    versions,
)
from routers.searching import Found, Tell, search, swept

_BATCH = 50
_SORTS = (Personal.WHO, Personal.SAID)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased. *sending*: messages about the person that were on the wire and could not be called back."""

    found: Found
    sending: int


def subject_of(key: bytes, number: str) -> str:
    """What the audit calls a person: one who has the key can tell whether it is a number they know."""
    return f"number {keyed_hash(key, number).hex()[:16]}"


def erase(
    database: Database,
    found: Found,
    key: bytes,
    *,
    clock: Clock,
    erased_at: datetime | None = None,
    tell: Tell = lambda _: None,
) -> Erased:
    """Erase the person of *found*, an earlier search. It is safe to break off and to repeat, and while a server runs.

    First it is remembered that they are erased; when every server knows, all is looked for again, so that nothing slips
    through between.

    Args:
        erased_at: When they were erased first, if that was before a restore brought them back.
    """
    with database.writing.begin() as conn:
        now = clock.now(conn)
        remember(conn, key, {found.person.number, *found.person.ids}, now=erased_at or now)
        is_served = bool(instances.alive(conn, now))
    if is_served:
        time.sleep(HOLD.total_seconds())
    found = search(database, found.person.number, tell=tell)
    sending = 0
    for object_id in found.objects:
        with database.writing.begin() as conn:
            sending += _erase_object(conn, object_id, now=clock.now(conn))
    mentions = found.person.mentions()
    for step, keys in _steps(found, mentions):
        tell("erasing")
        for batch in _batches(keys):
            with database.writing.begin() as conn:
                step(conn, batch)
    with database.writing.begin() as conn:
        now = clock.now(conn)
        remember(conn, key, {found.person.number, *found.person.ids}, now=erased_at or now)
        subject = subject_of(key, found.person.number)
        forget_leads(conn, [id_ for (id_,) in found.own["leads"]], found.objects)
        forget_answers(conn)
        forget_writes(conn)
        note(conn, now=now, action="privacy erase", subject=subject, details=dict(found.counts()))
    return Erased(found, sending)


# --- an object -------------------------------------------------------------------------------------------------------


def _erase_object(conn: Connection, object_id: str, *, now: datetime) -> int:
    """Empty all that is stored of an object but its events. How many messages about it are on the wire."""
    conn.execute(update(objects).where(objects.c.id == object_id).values(erased_at=now))  # and locks it
    told = ledger.deliveries_of_object(conn, object_id)
    cancel(conn, [row.id for row in told], now=now, reason=ERASED)
    mine = deliveries.c.id.in_([row.id for row in told])
    conn.execute(update(deliveries).where(mine).values(remote_id=None, done=None, **ORDERED_BY_OBJECT))
    is_over = and_(mine, deliveries.c.state != DeliveryState.CANCELLED.value)
    conn.execute(update(deliveries).where(is_over).values(reason=None))
    conn.execute(update(attempts).where(attempts.c.delivery_id.in_([row.id for row in told])).values(reason=None))
    known = conn.execute(select(versions).where(versions.c.object_id == object_id)).all()
    names = _names_in(row.fields for row in known)
    for row in known:
        one = and_(versions.c.object_id == object_id, versions.c.version == row.version)
        kept = without_mentions(without(row.fields, _SORTS), names)
        conn.execute(update(versions).where(one).values(fields=kept))
    for row in ledger.transitions_of_object(conn, object_id):
        if row.details is not None:
            details = without_mentions(details_without(row.details, _SORTS), names)
            conn.execute(update(transitions).where(transitions.c.id == row.id).values(details=details))
    remove_media_of(conn, object_id)
    return sum(row.state == DeliveryState.SENDING for row in told)


def _names_in(told: Iterable[Fields]) -> re.Pattern[str]:
    """Finds the names that *told* know the person by, in tags for example."""
    names = {name for fields in told for name in (fields.get("customer_name"), _contact(fields)) if name}
    words = "|".join(re.escape(name) for name in sorted(names) if isinstance(name, str) and len(name) > 2)
    return re.compile(words or r"(?!)", re.IGNORECASE)


def _contact(fields: Fields) -> str | None:
    return contact_of(fields.get("form_data"))["contact_name"]


# --- rows ------------------------------------------------------------------------------------------------------------

_Step = Callable[[Connection, Sequence[Any]], None]


def _steps(found: Found, mentions: re.Pattern[str]) -> Iterator[tuple[_Step, Sequence[Any]]]:
    """What is to be done beside the objects, and to which rows."""
    yield _empty_events, found.events
    yield _empty_events, found.mentioning
    yield _drop_quarantined, found.quarantined
    for table in metadata.sorted_tables:
        yield _sweeper(table, mentions), found.rows.get(table.name, ())


def _empty_events(conn: Connection, ids: Sequence[str]) -> None:
    mine = events.c.id.in_(ids)
    waiting = conn.execute(select(events.c.id).where(mine, events.c.state != EventState.ROUTED.value)).scalars().all()
    end_erased(conn, waiting)
    conn.execute(update(events).where(mine).values(body=b"", headers={}))


def _drop_quarantined(conn: Connection, ids: Sequence[str]) -> None:
    conn.execute(delete(quarantine).where(quarantine.c.id.in_(ids)))


def _sweeper(table: Table, mentions: re.Pattern[str]) -> _Step:
    """Takes out of rows of *table* whatever mentions someone."""
    columns = swept(table)

    def sweep(conn: Connection, keys: Sequence[Sequence[Any]]) -> None:
        for key in keys:
            one = and_(*(column == part for column, part in zip(table.primary_key.columns, key, strict=True)))
            row = conn.execute(select(*columns).where(one)).one_or_none()
            if row is not None and (values := _swept_values(columns, row, mentions)):
                conn.execute(update(table).where(one).values(values))

    return sweep


def _swept_values(columns: Sequence[Column[Any]], row: Row[Any], mentions: re.Pattern[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column, value in zip(columns, row, strict=True):
        if isinstance(column.type, Json):
            kept = without_mentions(value, mentions)
            if kept != value:
                values[column.name] = kept
        elif value is not None and mentions.search(value):
            values |= ORDERED_BY_OBJECT if column is deliveries.c.order_key else {column.name: None}
    return values


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), _BATCH):
        yield items[begin : begin + _BATCH]


# --- the file --------------------------------------------------------------------------------------------------------


def settle(database: Database) -> bool:
    """Bring what was erased into the SQLite file itself, and empty its log. Whether that could be done at once.

    While somebody reads an older state, the log still holds it; a server empties it later by itself.
    """
    with closing(database.writing.raw_connection()) as conn:  # a transaction would hold up its own checkpoint
        cursor = conn.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (answer,) = cursor.fetchall()
        cursor.close()
    return bool(answer[0] == 0)


# --- export ----------------------------------------------------------------------------------------------------------


def export(database: Database, found: Found) -> Iterator[tuple[str, Iterable[Mapping[str, Any]]]]:
    """All that is stored of the person of *found*: by section, its rows, one after another."""
    with database.reading.connect() as conn:
        yield "events", (_event(row) for row in _rows(conn, events, found.events))
        yield "quarantine", (_event(row) for row in _rows(conn, quarantine, found.quarantined))
        yield "objects", (_object(conn, row) for row in _rows(conn, objects, found.objects))
        yield "leads", (_lead(conn, id_) for (id_,) in found.own["leads"])


def _rows(conn: Connection, table: Table, ids: Sequence[str]) -> Iterator[Row[Any]]:
    for batch in _batches(ids):
        yield from conn.execute(select(table).where(table.c.id.in_(batch)).order_by(table.c.id))


def _event(row: Row[Any]) -> dict[str, Any]:
    """One request, its body as text, or in base64 where it is none."""
    shown = dict(row._mapping)
    body = shown.pop("body")
    try:
        return {**_readable(shown), "body": body.decode()}
    except UnicodeDecodeError:
        return {**_readable(shown), "body_base64": b64encode(body).decode()}


def _object(conn: Connection, row: Row[Any]) -> dict[str, Any]:
    known = conn.execute(select(versions).where(versions.c.object_id == row.id).order_by(versions.c.version)).all()
    told = ledger.deliveries_of_object(conn, row.id)
    return {
        **_readable(row._mapping),
        "versions": [_readable(item._mapping) for item in known],
        "transitions": [_readable(item._mapping) for item in ledger.transitions_of_object(conn, row.id)],
        "media": [_readable(item._mapping) for item in media_of(conn, row.id)],
        "deliveries": [
            {
                **_readable(item._mapping),
                "tries": [_readable(one._mapping) for one in ledger.attempts_of(conn, item.id)],
            }
            for item in told
        ],
    }


def _lead(conn: Connection, id_: str) -> dict[str, Any]:
    """What is known of one lead of the family: by what it is known, and what CRMs call it."""
    keys = conn.execute(select(lead_keys).where(lead_keys.c.lead_id == id_)).all()
    called = conn.execute(select(remote_ids).where(remote_ids.c.subject == id_)).all()
    return {
        "id": id_,
        "merged_into": read_lead(conn, id_).id,
        "keys": [{"kind": row.kind, "value": row.value} for row in keys],
        "remote_ids": [{"sink": row.sink, "kind": row.kind, "remote_id": row.remote_id} for row in called],
    }


def _readable(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
