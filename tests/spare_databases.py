"""Migrated PostgreSQL databases that serve one test after another, each without a row.

A copy of the template is some three hundred files to write, sync and remove, and on some file systems each file made
soon after many were removed takes longer than the one before it. So a database goes on to the next test, unless its
test left it other than a copy is: with somebody connected, with a definition or a setting changed, or with much in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tests.postgresql import RunServer, connected, create_database, drop_database, new_name

_PAUSE = 0.005  # seconds
_LEAVES_WITHIN = 1.0  # seconds for which the backend of a closed connection is waited for
_MUCH = 8 * 1024 * 1024  # bytes; to drop the database is quicker

_OTHERS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# How many entries the catalogue has for what is ours, and which transactions wrote them: in each copy the same, until a
# definition or a setting is changed, be it back and forth. A vacuum leaves them alone.
_OWN = "16384"  # the first number of what is not PostgreSQL's own
_CATALOGUE = {
    "pg_attribute": f"attrelid >= {_OWN}",
    "pg_attrdef": "true",
    "pg_class": f"oid >= {_OWN}",
    "pg_constraint": f"oid >= {_OWN}",
    "pg_index": f"indexrelid >= {_OWN}",
    "pg_namespace": "true",
    "pg_proc": f"oid >= {_OWN}",
    "pg_trigger": f"oid >= {_OWN}",
    "pg_type": f"oid >= {_OWN}",
    "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "alembic_version": "true",
}
_DEFINITIONS = " UNION ALL ".join(
    f"SELECT '{table}', count(*), sum(xmin::text::bigint) FROM {table} WHERE {which}"
    for table, which in _CATALOGUE.items()
)
_FILLED = """
SELECT relname, pg_table_size(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
   AND pg_relation_size(oid) > 0 AND relname <> 'alembic_version'
"""


@dataclass
class SpareDatabases:
    """Those of one process. *template* is the name of a migrated database of *server*."""

    server: RunServer
    template: str
    _spare: list[str] = field(default_factory=list)
    _definitions: Sequence[Any] = ()  # of each copy of the template

    @contextmanager
    def lent(self) -> Iterator[str]:
        """URL of a migrated database without rows, for one test."""
        name = self._spare.pop() if self._spare else self._copy()
        try:
            yield self.server.url().set(database=name).render_as_string(hide_password=False)
        finally:
            if self._is_as_new(name):
                self._spare.append(name)
            else:
                drop_database(self.server.url(), name)

    def close(self) -> None:
        """Drop them."""
        while self._spare:
            drop_database(self.server.url(), self._spare.pop())

    def _copy(self) -> str:
        name = new_name(self.server)
        create_database(self.server.url(), name, template=self.template)
        if not self._definitions:
            with connected(self.server.url().set(database=name)) as connection:
                self._definitions = _definitions(connection)
        return name

    def _is_as_new(self, name: str) -> bool:
        """Empty it; False where that cannot make a copy of it."""
        try:
            with connected(self.server.url().set(database=name)) as connection:
                if not _is_alone(connection) or _definitions(connection) != self._definitions:
                    return False
                filled = connection.execute(_FILLED).fetchall()
                if sum(size for _, size in filled) > _MUCH:
                    return False
                _empty(connection, [table for table, _ in filled])
        except psycopg.Error:
            return False
        return True


def _is_alone(connection: psycopg.Connection) -> bool:
    """Nobody else is connected, once those have left who are about to."""
    until = time.monotonic() + _LEAVES_WITHIN
    while connection.execute(_OTHERS).fetchone() is not None:
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _definitions(connection: psycopg.Connection) -> Sequence[Any]:
    return sorted(connection.execute(_DEFINITIONS).fetchall())


def _empty(connection: psycopg.Connection, tables: Sequence[str]) -> None:
    """Remove all rows and give their pages back, so that new ones lie in the order in which they come."""
    if not tables:
        return
    names = [sql.Identifier(table) for table in tables]
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")  # foreign keys, in any order
        for name in names:
            connection.execute(sql.SQL("DELETE FROM {}").format(name))
    connection.execute(sql.SQL("VACUUM {}").format(sql.SQL(", ").join(names)))
