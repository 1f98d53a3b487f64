"""One statement for many rows: the difference between hundreds and thousands of events a second.

SQLite runs one prepared statement over tuples; PostgreSQL gets one array a column and unnests them, which costs one
round trip whatever the number of rows. Values pass through the column types like anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Table

from receiver.columns import Id, Json, json_text

Row = Sequence[Any]


class BulkInsert:
    """Inserts rows of *columns* into *table*. A row whose key exists is left out: with ids of our own, a repeat.

    Build it once; it is bound to a dialect at its first use and cheap from then on.
    """

    def __init__(self, table: Table, *columns: Column[Any]) -> None:
        self._table = table.name
        self._columns = columns
        self._prepared: dict[str, _Prepared] = {}

    def __call__(self, conn: Connection, rows: Sequence[Row]) -> None:
        if rows:
            _execute(conn, self._prepared, self._columns, self._sql, rows)

    def _sql(self, dialect: Dialect) -> str:
        names = ", ".join(column.name for column in self._columns)
        if dialect.name == "postgresql":
            source = f"SELECT * FROM unnest({_arrays(self._columns, dialect)})"  # noqa: S608
        else:
            source = f"VALUES ({', '.join('?' for _ in self._columns)})"
        return f"INSERT INTO {self._table} ({names}) {source} ON CONFLICT DO NOTHING"


class BulkUpdate:
    """Sets *columns* of the rows of *table* that *key* names; rows are given as values of *columns*, then of *key*."""

    def __init__(self, table: Table, *columns: Column[Any], key: Sequence[Column[Any]]) -> None:
        self._table = table.name
        self._columns = columns
        self._key = key
        self._prepared: dict[str, _Prepared] = {}

    def __call__(self, conn: Connection, rows: Sequence[Row]) -> int:
        """Update, and return how many rows there were to update."""
        return _execute(conn, self._prepared, (*self._columns, *self._key), self._sql, rows) if rows else 0

    def _sql(self, dialect: Dialect) -> str:
        names, keys = [column.name for column in self._columns], [column.name for column in self._key]
        if dialect.name != "postgresql":
            assignments, match = ", ".join(f"{name} = ?" for name in names), " AND ".join(f"{key} = ?" for key in keys)
            return f"UPDATE {self._table} SET {assignments} WHERE {match}"  # noqa: S608  (names of our own tables)
        assignments = ", ".join(f"{name} = given.new_{name}" for name in names)
        match = " AND ".join(f"{self._table}.{key} = given.{key}" for key in keys)
        arrays, given = _arrays((*self._columns, *self._key), dialect), ", ".join([*(f"new_{n}" for n in names), *keys])
        return f"UPDATE {self._table} SET {assignments} FROM unnest({arrays}) AS given({given}) WHERE {match}"  # noqa: S608


_Binder = Callable[[Sequence[Any]], Sequence[Any]]


class _Prepared:
    def __init__(self, sql: str, columns: Sequence[Column[Any]], dialect: Dialect) -> None:
        self.sql = sql
        self.as_arrays = dialect.name == "postgresql"
        binders = [_binder(column, dialect) for column in columns]
        self.binders = [(position, binder) for position, binder in enumerate(binders) if binder is not None]

    def bind(self, rows: Sequence[Row]) -> list[Any]:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for position, bind in self.binders:
            columns[position] = bind(columns[position])
        return [list(column) for column in columns] if self.as_arrays else list(zip(*columns, strict=True))


def _binder(column: Column[Any], dialect: Dialect) -> _Binder | None:
    """What turns a column's values into the driver's, None where they are the same."""
    if isinstance(column.type, Id):
        return _plain_strings
    if isinstance(column.type, Json):
        return _json_texts
    bind = column.type.dialect_impl(dialect).bind_processor(dialect)
    return None if bind is None else lambda values: [bind(value) for value in values]


def _plain_strings(values: Sequence[Any]) -> Sequence[Any]:
    if _PLAIN.issuperset(map(type, values)):
        return values
    return [value if type(value) in _PLAIN else str(value) for value in values]


_PLAIN = frozenset({str, type(None)})


def _json_texts(values: Sequence[Any]) -> Sequence[Any]:
    """As `Json` does it, but an object that stands in several rows is written once."""
    texts = {id(value): None if value is None else json_text(value) for value in values}
    return [texts[id(value)] for value in values]


def _execute(
    conn: Connection,
    prepared: dict[str, _Prepared],
    columns: Sequence[Column[Any]],
    sql: Callable[[Dialect], str],
    rows: Sequence[Row],
) -> int:
    dialect = conn.dialect
    if dialect.name not in prepared:
        prepared[dialect.name] = _Prepared(sql(dialect), columns, dialect)
    ready = prepared[dialect.name]
    parameters = ready.bind(rows)
    return conn.exec_driver_sql(ready.sql, tuple(parameters) if ready.as_arrays else parameters).rowcount


def _arrays(columns: Sequence[Column[Any]], dialect: Dialect) -> str:
    # %b sends binary: bodies travel as they are instead of twice as long in hexadecimal.
    return ", ".join(f"%b::{_base_type(column, dialect)}[]" for column in columns)


def _base_type(column: Column[Any], dialect: Dialect) -> str:
    return column.type.dialect_impl(dialect).compile(dialect=dialect)
