"""Opening a database: what is set up on every connection, which URLs are refused, and what the schema forbids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, exc, insert, inspect, select, text

from receiver.database import (
    Database,
    UnusableDatabase,
    answers,
    is_data_error,
    is_database_error,
    open_database,
)
from receiver.schema import EventState, Origin, QuarantineReason, events, quarantine

NOW = datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.dispose()


# --- durable ---------------------------------------------------------------------------------------------------------

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "cache_size": -8000,
    "wal_autocheckpoint": 1000,
}


@pytest.mark.parametrize("engine", ["writing", "reading"])
@pytest.mark.parametrize(("pragma", "value"), PRAGMAS.items(), ids=PRAGMAS)
def test_every_sqlite_connection_is_set_up(sqlite_url: str, engine: str, pragma: str, value: object) -> None:
    """Read back on a real connection: a commit is on disk, readers do not block the writer, references hold."""
    database = open_database(sqlite_url)
    with getattr(database, engine).connect() as conn:
        assert conn.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value
    database.dispose()


def test_a_postgresql_commit_waits_for_the_disk(postgresql_url: str) -> None:
    """Whatever the role or the database has as its default, our sessions are durable, and think in UTC."""
    database = open_database(postgresql_url)
    name = database.url.database
    with database.writing.begin() as conn:
        conn.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        conn.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET timezone = 'America/New_York'")
    database.dispose()

    for engine in (database.writing, database.reading):
        with engine.connect() as conn:
            assert conn.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
            assert conn.execute(text("SHOW fsync")).scalar_one() == "on"
            assert conn.execute(text("SHOW timezone")).scalar_one() == "UTC"
    database.dispose()


def test_readers_see_the_state_before_while_the_writer_writes(database: Database) -> None:
    """Looking never waits for the writer, and never sees half of what it does."""
    with database.writing.begin() as writing:
        writing.execute(insert(events).values(**an_event()))
        with database.reading.connect() as reading:
            assert reading.execute(select(events.c.id)).all() == []

    with database.reading.connect() as reading:
        assert reading.execute(select(events.c.id)).scalars().all() == ["ev_1"]


def test_a_sqlite_writer_takes_its_lock_at_the_beginning(sqlite_url: str) -> None:
    """A read-merge-write cannot be overtaken between its read and its write: the second writer waits at once."""
    first, second = open_database(sqlite_url), open_database(sqlite_url)
    with second.writing.connect() as impatient:
        impatient.exec_driver_sql("PRAGMA busy_timeout = 0")
        impatient.rollback()
        with first.writing.begin() as conn:
            conn.execute(select(events.c.id)).all()
            with pytest.raises(exc.OperationalError, match="locked"):
                impatient.execute(select(events.c.id))
    first.dispose()
    second.dispose()


def test_a_savepoint_undoes_its_part_alone(database: Database) -> None:
    """Nested transactions work on both databases, which the driver of SQLite would not let them by itself."""
    with database.writing.begin() as conn:
        conn.execute(insert(events).values(**an_event(id="ev_kept")))
        nested = conn.begin_nested()
        conn.execute(insert(events).values(**an_event(id="ev_undone")))
        nested.rollback()

    with database.reading.connect() as conn:
        assert conn.execute(select(events.c.id)).scalars().all() == ["ev_kept"]


def test_the_errors_of_a_database_show_no_parameters(database: Database) -> None:
    """An error's text ends in a log, and what was to be stored is somebody's call."""
    with database.writing.connect() as conn, pytest.raises(exc.IntegrityError) as caught:
        conn.execute(insert(events).values(**an_event(state="lost", content_type="somebody")))

    assert "somebody" not in str(caught.value).partition("DETAIL")[0]  # PostgreSQL's own words come from the server


# --- URLs ------------------------------------------------------------------------------------------------------------

BAD_URLS = {
    "empty": ("", "cannot be read"),
    "a path": ("/var/lib/callrail-router.db", "cannot be read"),
    "words": ("not a url", "cannot be read"),
    "no file": ("sqlite://", "must be a file"),
    "in memory": ("sqlite:///:memory:", "must be a file"),
    "MySQL": ("mysql://user:very-secret@host/name", "mysql is not supported"),
    "a driver alone": ("redis://localhost", "redis is not supported"),
    "a port in words": ("postgresql://user:very-secret@host:port/name", "cannot be read"),
}


@pytest.mark.parametrize(("url", "words"), BAD_URLS.values(), ids=BAD_URLS)
def test_a_database_url_that_cannot_be_used_is_told_in_a_sentence(url: str, words: str) -> None:
    """One sentence with the remedy, without the password that may stand in the URL."""
    with pytest.raises(UnusableDatabase) as caught:
        open_database(url)

    assert words in str(caught.value)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_way_to_write_postgresql_is_understood(postgresql_url: str, scheme: str) -> None:
    """Hosting providers hand out URLs of several sorts; the driver is ours to choose."""
    database = open_database(postgresql_url.replace("postgresql+psycopg:", f"{scheme}:"))
    with database.reading.connect() as conn:
        answers(conn)
    database.dispose()


def test_opening_does_not_connect(tmp_path: Path) -> None:
    """A database that is down must not keep the intake from starting; a file is not made by looking at it."""
    path = tmp_path / "none" / "test.db"
    database = open_database(f"sqlite:///{path}")

    assert database.is_missing
    assert not path.parent.exists()
    open_database("postgresql://nobody@nowhere.invalid/none").dispose()
    database.dispose()


def test_a_file_that_exists_is_not_missing(sqlite_url: str) -> None:
    """What `is_missing` says of a SQLite file it never says of PostgreSQL."""
    database = open_database(sqlite_url)
    assert not database.is_missing
    assert not open_database("postgresql://localhost/none").is_missing
    database.dispose()


def test_a_database_without_our_tables_does_not_answer(unmigrated_url: str) -> None:
    """Being there is not enough: without tables nothing could be stored."""
    database = open_database(unmigrated_url)
    with database.reading.connect() as conn, pytest.raises(exc.DBAPIError) as caught:
        answers(conn)
    database.dispose()

    assert is_database_error(caught.value)
    assert not is_data_error(caught.value)


# --- whose fault -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"state": "lost"}, id="CHECK"),
        pytest.param({"company": None}, id="NOT NULL"),
        pytest.param({"id": "ev_there"}, id="UNIQUE"),
        pytest.param({"headers": {1, 2}}, id="not JSON"),
        pytest.param({"content_type": "\ud800"}, id="half a character"),
    ],
)
def test_an_error_of_a_row_is_the_rows(database: Database, values: dict[str, Any]) -> None:
    """What another row would not have met is a data error, before the database as well as in it."""
    with database.writing.begin() as conn:
        conn.execute(insert(events).values(**an_event(id="ev_there")))
    with database.writing.connect() as conn, pytest.raises(Exception) as caught:  # noqa: PT011  (several types are right)
        conn.execute(insert(events).values(**an_event(**values)))

    assert is_data_error(caught.value)
    assert not is_database_error(caught.value)


@pytest.mark.parametrize("statement", ["SELECT * FROM no_such_table", "SELECT no_such_column FROM events", "SELEC 1"])
def test_an_error_of_a_statement_is_not_the_rows(database: Database, statement: str) -> None:
    """A missing table or column would meet every row alike."""
    with database.reading.connect() as conn, pytest.raises(exc.DBAPIError) as caught:
        conn.execute(text(statement))

    assert is_database_error(caught.value)
    assert not is_data_error(caught.value)


def test_an_error_that_is_no_databases_is_neither() -> None:
    """A bug of ours is not blamed on the database, nor on a row."""
    assert not is_database_error(RuntimeError())
    assert not is_data_error(RuntimeError())
    assert is_database_error(UnusableDatabase("synchronous"))


# --- states ----------------------------------------------------------------------------------------------------------


def an_event(**values: Any) -> dict[str, Any]:
    row = {
        "id": "ev_1",
        "received_at": NOW,
        "company": "acme",
        "kind": "post_call",
        "origin": Origin.WEBHOOK,
        "state": EventState.RECEIVED,
        "content_type": "",
        "headers": {},
        "body": b"",
        "sha256": b"",
    }
    return row | values


def a_quarantined(**values: Any) -> dict[str, Any]:
    row = {
        "id": "ev_1",
        "received_at": NOW,
        "company": "acme",
        "kind": "post_call",
        "reason": QuarantineReason.SIGNATURE_WRONG,
        "content_type": "",
        "headers": {},
        "body": b"",
    }
    return row | values


STATES: dict[str, tuple[Table, str, type[StrEnum], Any]] = {
    "events.state": (events, "state", EventState, an_event),
    "events.origin": (events, "origin", Origin, an_event),
    "quarantine.reason": (quarantine, "reason", QuarantineReason, a_quarantined),
}


@pytest.mark.parametrize(("table", "column", "enum", "values"), STATES.values(), ids=STATES)
def test_the_database_lists_the_states_of_the_program(
    database: Database, table: Table, column: str, enum: type[StrEnum], values: Any
) -> None:
    """The enum and the migrated constraint are the same list; what is on it is stored, what is not is refused."""
    with database.writing.connect() as conn:
        assert listed_by_the_database(conn, table.name, column) == set(enum)
        for state in enum:
            conn.execute(insert(table).values(**values(**{"id": f"ev_{state}", column: state})))
            assert conn.execute(select(table.c[column]).where(table.c.id == f"ev_{state}")).scalar_one() == state
        for other in ("lost", "", next(iter(enum)).upper(), f"{next(iter(enum))} "):
            with pytest.raises(exc.IntegrityError), conn.begin_nested():
                conn.execute(insert(table).values(**values(**{column: other})))


def listed_by_the_database(conn: Connection, table: str, column: str) -> set[str]:
    """The values that the CHECK constraint of *column* allows, as the database itself tells."""
    constraints = inspect(conn).get_check_constraints(table)
    (constraint,) = [c for c in constraints if str(c["name"]).endswith(f"ck_{table}_{column}")]
    return set(re.findall(r"'(\w+)'", constraint["sqltext"]))
