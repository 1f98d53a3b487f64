"""One statement for many rows: the same rows come back, repeats are left out, and the count is true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import IntegrityError

from receiver.bulk import BulkInsert, BulkUpdate
from receiver.database import Database, open_database
from receiver.ids import Prefix, new_id
from receiver.schema import EventState, Origin, events

NOW = datetime(2026, 3, 10, 13, 15, 2, 417_000, tzinfo=UTC)
COLUMNS = [
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
    events.c.reason,
]
insert_all = BulkInsert(events, *COLUMNS)


def a_row(row_id: str | None = None, **values: Any) -> tuple[Any, ...]:
    row = {
        "id": row_id or new_id(Prefix.EVENT),
        "received_at": NOW,
        "company": "acme",
        "kind": "post_call",
        "origin": Origin.WEBHOOK,
        "state": EventState.RECEIVED,
        "content_type": "",
        "headers": {},
        "body": b"",
        "sha256": b"",
        "reason": None,
    }
    return tuple((row | values).values())


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.writing.begin() as connection:
        yield connection


def stored(conn: Connection, ids: list[str]) -> list[tuple[Any, ...]]:
    query = select(*COLUMNS).where(events.c.id.in_(ids)).order_by(events.c.id)
    return [tuple(row) for row in conn.execute(query)]


# What PostgreSQL's text takes: anything but NUL and half characters.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
_INSTANT = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001  (hypothesis adds the zone)
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-5))),
)
_ROW = st.builds(
    lambda instant, content_type, headers, body, reason: {
        "received_at": instant,
        "content_type": content_type,
        "headers": headers,
        "body": body,
        "reason": reason,
    },
    _INSTANT,
    _TEXT,
    st.dictionaries(_TEXT, _TEXT, max_size=3),
    st.binary(),
    st.none() | _TEXT,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(_ROW, min_size=1, max_size=5))
def test_every_value_comes_back_as_it_was(conn: Connection, values: list[dict[str, Any]]) -> None:
    """Bytes, texts with quotes and backslashes, JSON, instants of any zone and None are the same on both databases."""
    rows = [a_row(**one) for one in values]

    insert_all(conn, rows)

    assert stored(conn, [row[0] for row in rows]) == rows


def test_a_row_with_a_known_id_is_left_out(conn: Connection) -> None:
    """Storing again after a doubtful commit changes nothing, and the new rows beside it are stored."""
    first = a_row("ev_1", body=b"first")
    insert_all(conn, [first])

    insert_all(conn, [a_row("ev_1", body=b"second"), a_row("ev_2"), a_row("ev_2", body=b"again")])

    assert stored(conn, ["ev_1", "ev_2"]) == [first, a_row("ev_2")]


@pytest.mark.parametrize("column", [5, 8], ids=["a state that is none", "no body"])
def test_another_conflict_is_an_error(conn: Connection, column: int) -> None:
    """Only a known id is passed over in silence; what the schema forbids is raised, and nothing of it is stored."""
    row = list(a_row("ev_1"))
    row[column] = "lost" if column == 5 else None

    with pytest.raises(IntegrityError), conn.begin_nested():
        insert_all(conn, [a_row("ev_0"), tuple(row)])

    assert stored(conn, ["ev_0", "ev_1"]) == []


def count_statements(engine: Engine) -> list[str]:
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _count(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    return statements


def test_many_rows_are_one_statement(database: Database) -> None:
    """The cost of a round trip does not grow with the batch."""
    statements = count_statements(database.writing)

    with database.writing.begin() as conn:
        insert_all(conn, [a_row() for _ in range(64)])

    assert len([statement for statement in statements if statement.startswith("INSERT")]) == 1


def test_no_rows_are_no_statement(database: Database) -> None:
    """A batch of functions alone does not ask the database about rows."""
    update = BulkUpdate(events, events.c.state, key=[events.c.id])
    with database.writing.begin() as conn:
        statements = count_statements(database.writing)
        insert_all(conn, [])
        assert update(conn, []) == 0

    assert statements == []


def test_an_update_changes_the_rows_it_names_and_tells_how_many(conn: Connection) -> None:
    """Each row gets its own values; a row that is not there is not counted, one not named stays as it was."""
    update = BulkUpdate(events, events.c.state, events.c.reason, key=[events.c.id])
    insert_all(conn, [a_row("ev_1"), a_row("ev_2"), a_row("ev_3")])

    count = update(
        conn,
        [
            (EventState.ROUTED, None, "ev_1"),
            (EventState.FAILED, "it's \\ broken", "ev_2"),
            (EventState.FAILED, "nobody", "ev_9"),
        ],
    )

    assert count == 2
    states = conn.execute(select(events.c.id, events.c.state, events.c.reason).order_by(events.c.id))
    assert [tuple(row) for row in states] == [
        ("ev_1", "routed", None),
        ("ev_2", "failed", "it's \\ broken"),
        ("ev_3", "received", None),
    ]


def test_an_update_may_ask_for_what_the_row_was(conn: Connection) -> None:
    """With a key of two columns only rows still in the expected state are changed: that is how work is claimed."""
    update = BulkUpdate(events, events.c.reason, key=[events.c.id, events.c.state])
    insert_all(conn, [a_row("ev_1"), a_row("ev_2", state=EventState.ROUTED)])

    assert update(conn, [("mine", "ev_1", EventState.RECEIVED), ("mine", "ev_2", EventState.RECEIVED)]) == 1
    assert [row[-1] for row in stored(conn, ["ev_1", "ev_2"])] == ["mine", None]


def test_one_statement_object_serves_both_databases(sqlite_url: str, postgresql_url: str) -> None:
    """A migration tool or a test may have two databases open in one process."""
    for url in (sqlite_url, postgresql_url, sqlite_url):
        database = open_database(url)
        row = a_row()
        with database.writing.begin() as conn:
            insert_all(conn, [row])
            assert stored(conn, [row[0]]) == [row]
        database.dispose()
