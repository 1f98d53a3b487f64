"""The named questions of the event store: what the intake writes and what is read of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from receiver.bulk import BulkInsert
from receiver.columns import fixed, json_text
from receiver.ids import Prefix, first_id, id_range
from receiver.schema import EventState, Origin, QuarantineReason, events, quarantine

MAX_BODY_BYTES = 5 * 1024 * 1024


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
    quarantine.c.bytes,
    quarantine.c.tried_with,
)


def size_of(request: ReceivedRequest) -> int:
    """How many bytes of its bucket an unproved request takes."""
    return len(request.body) + len(json_text(request.headers))


def event_row(
    event_id: str,
    request: ReceivedRequest,
    sha256: bytes,
    key_fingerprint: str | None,
    *,
    origin: Origin = Origin.WEBHOOK,
) -> tuple[Any, ...]:
    """A proved request as a row for `insert_events`: the values of `EVENT_COLUMNS`."""
    return (
        event_id,
        request.received_at,
        request.company,
        request.kind,
        origin,
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
    conn: Connection,
    quarantine_id: str,
    request: ReceivedRequest,
    reason: QuarantineReason,
    signature: str | None,
    tried_with: str | None = None,
) -> None:
    """Keep a request that could not be believed, whole, so that nothing is lost to a wrong key.

    Args:
        tried_with: The mark of the settings with which it was not (`receiver.proof.mark_of`).
    """
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
        size_of(request),
        tried_with,
    )
    _insert_quarantine(conn, [row])


def is_emptied(event: Row[Any]) -> bool:
    """Whether the body of *event*, a row, was removed since it came."""
    return not event.body and event.sha256 != _NO_BODY


_NO_BODY = hashlib.sha256(b"").digest()


def failed_events(conn: Connection, *, after: str, limit: int) -> Sequence[str]:
    """The ids of the next *limit* events behind the id *after* that could not be routed, in order."""
    failed = select(events.c.id).where(_has_failed, events.c.id > after).order_by(events.c.id).limit(limit)
    return conn.execute(failed).scalars().all()


def route_again(conn: Connection, ids: Sequence[str]) -> int:
    """Let those of *ids* that could not be routed be tried as if for the first time. How many those were."""
    again = {"state": EventState.RECEIVED.value, "attempts": 0, "reason": None}
    return conn.execute(update(events).where(events.c.id.in_(ids), _has_failed).values(again)).rowcount


_has_failed = events.c.state == fixed(EventState.FAILED)


def newest_events(
    conn: Connection,
    *,
    limit: int,
    company: str | None = None,
    state: EventState | None = None,
    until: datetime | None = None,
    down_to: str = "",
) -> list[Row[Any]]:
    """The newest events first, without their bodies; of those before *until* if it is given, none before *down_to*."""
    columns = [column for column in events.c if column.name not in ("body", "headers")]
    query = select(*columns).where(*_before(until), events.c.id >= down_to).order_by(events.c.id.desc()).limit(limit)
    if company is not None:
        query = query.where(events.c.company == company)
    if state is not None:
        query = query.where(events.c.state == fixed(state))  # so that the partial indexes fit
    return list(conn.execute(query))


def reach_of_events(conn: Connection, *, most: int, until: datetime | None = None) -> tuple[str, datetime] | None:
    """Id and time of the last of the *most* newest events before *until*; None if there are fewer."""
    query = select(events.c.id, events.c.received_at).where(*_before(until)).order_by(events.c.id.desc())
    last = conn.execute(query.offset(most - 1).limit(1)).one_or_none()
    return None if last is None else (last[0], last[1])


def _before(until: datetime | None) -> list[ColumnElement[bool]]:
    return [] if until is None else [events.c.id < first_id(Prefix.EVENT, until)]


def find_events(conn: Connection, written: str) -> list[Row[Any]]:
    """The events whose id begins as *written*; at most two, which is enough to know that it is not unique."""
    first, last = id_range(Prefix.EVENT, written)
    return list(conn.execute(select(events).where(events.c.id.between(first, last)).limit(2)))
