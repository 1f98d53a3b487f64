"""A database that serves one test after another is to each as if it were new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import MetaData, create_engine, func, select

from receiver.schema import metadata
from tests.postgresql import RunServer, connected
from tests.routers.store import opened, put_deliveries
from tests.spare_databases import SpareDatabases


@pytest.fixture
def databases(postgresql_server: RunServer, postgresql_template: str) -> Iterator[SpareDatabases]:
    with closing(SpareDatabases(postgresql_server, postgresql_template)) as own:
        yield own


def counted(url: str) -> dict[str, int]:
    """The rows of each table."""
    engine, found = create_engine(url), MetaData()
    with engine.connect() as conn:
        found.reflect(conn)
        counts = {
            name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in found.tables.items()
        }
    engine.dispose()
    return counts


def test_it_is_lent_again_without_a_row(databases: SpareDatabases) -> None:
    """What the first test stored is gone, and its place in the tables too; the version of the schema stays."""
    with databases.lent() as first:
        new = counted(first)
        with opened(first) as database, database.writing.begin() as conn:
            put_deliveries(conn, count=100)
        assert counted(first) != new
    with databases.lent() as second:
        assert second == first
        assert counted(second) == new
        assert new.keys() >= metadata.tables.keys()
        with opened(second) as database, database.reading.connect() as conn:
            assert conn.exec_driver_sql("SELECT pg_relation_size('deliveries')").scalar() == 0


def test_two_at_once_have_one_each(databases: SpareDatabases) -> None:
    with databases.lent() as one, databases.lent() as other:
        assert one != other


CHANGES: list[LiteralString] = [
    "ALTER TABLE events ADD COLUMN more text",
    "ALTER TABLE events RENAME TO hidden; ALTER TABLE hidden RENAME TO events",
    "CREATE INDEX one_more ON events (company)",
    "CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA other",
    "UPDATE alembic_version SET version_num = '0001'",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''', current_database()); END $$",
    "INSERT INTO lanes (sink, failures, reason) SELECT '', 0, string_agg(md5(n||''), '') FROM generate_series(1,3e5) n",
]
"""Each leaves the database other than a copy of the template, or with much in it."""


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.replace(";", " ").split(" (")[0][:40])
def test_a_changed_one_is_not_lent_again(databases: SpareDatabases, change: LiteralString) -> None:
    """Nor is it left behind."""
    with databases.lent() as first, psycopg.connect(_plain(first)) as connection:
        connection.execute(change)
    with databases.lent() as second:
        assert second != first
    assert not exists(databases, first)


def test_one_that_somebody_holds_is_dropped_with_them(databases: SpareDatabases) -> None:
    """A process that a test forgot writes into no other test."""
    with databases.lent() as url:
        forgotten = psycopg.connect(_plain(url))
        forgotten.execute("SELECT 1")
    assert not exists(databases, url)
    with pytest.raises(psycopg.OperationalError):
        forgotten.execute("SELECT 1")
    forgotten.close()


def exists(databases: SpareDatabases, url: str) -> bool:
    name = psycopg.conninfo.conninfo_to_dict(_plain(url))["dbname"]
    with connected(databases.server.url()) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg:", "postgresql:")
