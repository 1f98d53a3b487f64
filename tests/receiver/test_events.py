"""The named questions of the event store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, select, update

from receiver.database import open_database
from receiver.events import (
    ReceivedRequest,
    event_row,
    find_events,
    insert_events,
    insert_quarantined,
    newest_events,
)
from receiver.ids import BadId, Prefix, new_id
from receiver.schema import EventState, QuarantineReason, events, quarantine

NOW = datetime(2026, 3, 10, 13, 15, 2, 417_000, tzinfo=UTC)


@pytest.fixture
def conn(database_url: str) -> Iterator[Connection]:
    database = open_database(database_url)
    with database.writing.begin() as connection:
        yield connection
    database.dispose()


def a_request(company: str = "acme", body: bytes = b"\x00\xff") -> ReceivedRequest:
    return ReceivedRequest(NOW, company, "post_call", "application/json", {"user-agent": "CallRail Webhook/1.0"}, body)


def stored(conn: Connection, *companies: str) -> list[str]:
    """Ids of new events, one for each of *companies*, oldest first."""
    rows = [event_row(new_id(Prefix.EVENT), a_request(company), b"hash", None) for company in companies]
    insert_events(conn, rows)
    return [row[0] for row in rows]


def test_an_event_is_stored_with_all_that_was_told(conn: Connection) -> None:
    """Every part of the request has its column, and what nobody told is empty."""
    insert_events(conn, [event_row("ev_1", a_request(), b"\x01\x02", "0a1b2c3d")])

    assert dict(conn.execute(select(events)).one()._mapping) == {
        "id": "ev_1",
        "received_at": NOW,
        "company": "acme",
        "kind": "post_call",
        "origin": "webhook",
        "state": "received",
        "content_type": "application/json",
        "headers": {"user-agent": "CallRail Webhook/1.0"},
        "body": b"\x00\xff",
        "sha256": b"\x01\x02",
        "key_fingerprint": "0a1b2c3d",
        "object_id": None,
        "repeat_of": None,
        "attempts": 0,
        "reason": None,
    }


@pytest.mark.parametrize("reason", QuarantineReason)
@pytest.mark.parametrize("signature", [None, "", "wrong", "é"])
def test_an_unproved_request_is_kept_whole(conn: Connection, reason: QuarantineReason, signature: str | None) -> None:
    """With its reason and its signature as given, so that it can be proved once the key is right."""
    insert_quarantined(conn, "ev_1", a_request(), reason, signature)

    assert dict(conn.execute(select(quarantine)).one()._mapping) == {
        "id": "ev_1",
        "received_at": NOW,
        "company": "acme",
        "kind": "post_call",
        "reason": reason.value,
        "signature": signature,
        "content_type": "application/json",
        "headers": {"user-agent": "CallRail Webhook/1.0"},
        "body": b"\x00\xff",
        "bytes": 39,
        "tried_with": None,
    }


def test_the_newest_events_come_first_and_no_more_than_asked_for(conn: Connection) -> None:
    """A list is cut at the old end."""
    ids = stored(conn, *["acme"] * 5)

    assert [row.id for row in newest_events(conn, limit=3)] == ids[:1:-1]
    assert [row.id for row in newest_events(conn, limit=9)] == ids[::-1]


def test_a_list_of_events_can_be_narrowed(conn: Connection) -> None:
    """By company, by state, by both."""
    one, two, three = stored(conn, "acme", "globex", "acme")
    conn.execute(update(events).where(events.c.id == three).values(state=EventState.ROUTED))

    assert [row.id for row in newest_events(conn, limit=9, company="acme")] == [three, one]
    assert [row.id for row in newest_events(conn, limit=9, state=EventState.RECEIVED)] == [two, one]
    assert [row.id for row in newest_events(conn, limit=9, company="acme", state=EventState.RECEIVED)] == [one]
    assert newest_events(conn, limit=9, company="initech") == []


def test_a_list_of_events_holds_no_bodies(conn: Connection) -> None:
    """Whoever lists events sees that somebody called, and not who."""
    stored(conn, "acme")

    (row,) = newest_events(conn, limit=1)
    assert {"body", "headers"} & set(row._fields) == set()


def test_an_event_is_found_by_any_unique_beginning(conn: Connection) -> None:
    """The whole id, or as much of it as is unique, with or without the letters in front; then with its body."""
    insert_events(conn, [event_row(f"ev_{n}" + "0" * 25, a_request(body=n.encode()), b"", None) for n in "abc"])

    for written in ("ev_b" + "0" * 25, "ev_b", "b", "B0"):
        (row,) = find_events(conn, written)
        assert row.body == b"b"


def test_a_beginning_that_is_not_unique_gives_two(conn: Connection) -> None:
    """Two are enough to see that it is not unique, however many there are."""
    stored(conn, *["acme"] * 5)

    assert len(find_events(conn, "ev_")) == 2


def test_an_id_nobody_has_gives_none(conn: Connection) -> None:
    """A well-formed id of no row is no error."""
    stored(conn, "acme")

    assert find_events(conn, "ev_vvvv") == []


def test_an_id_of_another_table_is_told(conn: Connection) -> None:
    """A delivery's id given for an event's is a mistake worth a sentence."""
    with pytest.raises(BadId):
        find_events(conn, new_id(Prefix.DELIVERY))


def test_an_id_finds_its_neighbours_not(conn: Connection) -> None:
    """PostgreSQL sorts ids as SQLite does, whatever the language of the server: digits first, then letters."""
    ids = [f"ev_{first}" + "0" * 25 for first in "09av"]
    insert_events(conn, [event_row(row_id, a_request(), b"", None) for row_id in ids])

    assert [row.id for row in newest_events(conn, limit=9)] == ids[::-1]
    assert [[row.id for row in find_events(conn, first)] for first in "09av"] == [[row_id] for row_id in ids]
