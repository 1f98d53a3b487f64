"""The named questions of the event store: what the intake writes and what is read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from receiver.bulk import BulkInsert
from receiver.ids import Prefix, id_range
from receiver.schema import EventState, Origin, QuarantineReason, events, quarantine


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request of CallRail as it arrived. *headers* are those worth keeping; the signature is not among them."""

    received_at: datetime
    company: str
    kind: str
    content_type: str
    headers: dict[str, str]
    body: bytes


EVENT_COLUMNS = (
    events.c.id,
    events.c.received_at,
    events.c.company,
    events.c.kind,
    events.c.origin,
    events.c.state,
    events.c.content_type,
    events.c.headers,
    events.c.body,
    events.c.sha256,
    events.c.key_fingerprint,
)

_insert_events = BulkInsert(events, *EVENT_COLUMNS)

_insert_quarantine = BulkInsert(
    quarantine,
    quarantine.c.id,
    quarantine.c.received_at,
    quarantine.c.company,
    quarantine.c.kind,
    quarantine.c.reason,
    quarantine.c.signature,
    quarantine.c.content_type,
    quarantine.c.headers,
    quarantine.c.body,
)


def event_row(event_id: str, request: ReceivedRequest, sha256: bytes, key_fingerprint: str | None) -> tuple[Any, ...]:
    """A proved request as a row for `insert_events`: the values of `EVENT_COLUMNS`."""
    return (
        event_id,
        request.received_at,
        request.company,
        request.kind,
        Origin.WEBHOOK,
        EventState.RECEIVED,
        request.content_type,
        request.headers,
        request.body,
        sha256,
        key_fingerprint,
    )


def insert_events(conn: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Store proved requests. Storing the same id twice stores it once."""
    _insert_events(conn, rows)


def insert_quarantined(
    conn: Connection, quarantine_id: str, request: ReceivedRequest, reason: QuarantineReason, signature: str | None
) -> None:
    """Keep a request that could not be believed, whole, so that nothing is lost to a wrong key."""
    row = (
        quarantine_id,
        request.received_at,
        request.company,
        request.kind,
        reason,
        signature,
        request.content_type,
        request.headers,
        request.body,
    )
    _insert_quarantine(conn, [row])


def newest_events(
    conn: Connection, *, limit: int, company: str | None = None, state: EventState | None = None
) -> list[Row[Any]]:
    """The newest events first, without their bodies."""
    columns = [column for column in events.c if column.name not in ("body", "headers")]
    query = select(*columns).order_by(events.c.id.desc()).limit(limit)
    if company is not None:
        query = query.where(events.c.company == company)
    if state is not None:
        query = query.where(events.c.state == state)
    return list(conn.execute(query))


def find_events(conn: Connection, written: str) -> list[Row[Any]]:
    """The events whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.EVENT, written)
    return list(conn.execute(select(events).where(events.c.id.between(first, last)).limit(2)))
