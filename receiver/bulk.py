"""One statement for many rows: the difference between hundreds and thousands of events a second.

PostgreSQL gets one array a column and unnests them, which costs one round trip whatever the number of rows. SQLite gets
the rows in one VALUES list: run once a row instead, each would give the interpreter's lock away and wait for it again
behind a busy event loop. Values pass through the column types like anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, CursorResult, Dialect, Table

from receiver.columns import Id, Json, json_text

Row = Sequence[Any]

_MOST_VALUES = 64


class BulkInsert:
    """Inserts rows of *columns* into *table*. A row whose key exists is left out: with ids of our own, a repeat.

    Build it once; it is bound to a dialect at its first use and cheap from then on.
    """

    def __init__(self, table: Table, *columns: Column[Any]) -> None:
        self._table = table.name
        self._columns = columns
        self._prepared: dict[str, _Prepared] = {}

    def __call__(self, conn: Connection, rows: Sequence[Row]) -> int:
        """Insert, and return how many rows were not there yet."""
        return _execute(conn, self._prepared, self._columns, self._sql, rows) if rows else 0

    def _sql(self, dialect: Dialect, rows: int) -> str:
        names = ", ".join(column.name for column in self._columns)
        if dialect.name == "postgresql":
            source = f"SELECT * FROM unnest({_arrays(self._columns, dialect)})"  # noqa: S608
        else:
            source = _values(len(self._columns), rows)
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

    def _sql(self, dialect: Dialect, rows: int) -> str:
        names, keys = [column.name for column in self._columns], [column.name for column in self._key]
        if dialect.name == "postgresql":
            columns = ", ".join([*(f"new_{name}" for name in names), *keys])
            given = f"unnest({_arrays((*self._columns, *self._key), dialect)}) AS given({columns})"
            assignments = ", ".join(f"{name} = given.new_{name}" for name in names)
            match = " AND ".join(f"{self._table}.{key} = given.{key}" for key in keys)
        else:  # SQLite calls the columns of a VALUES list column1, column2, ...
            given = f"({_values(len(names) + len(keys), rows)}) AS given"
            assignments = ", ".join(f"{name} = given.column{n}" for n, name in enumerate(names, 1))
            match = " AND ".join(f"{self._table}.{key} = given.column{n}" for n, key in enumerate(keys, len(names) + 1))
        return f"UPDATE {self._table} SET {assignments} FROM {given} WHERE {match}"  # noqa: S608  (names of our own)


class BulkQuery:
    """Asks *sql* about many rows at once; `{given}` in it is a table of them with the names and types of *columns*.

    Args:
        locks: The table whose rows it locks, in the order in which it answers; SQLite has one writer and needs no lock.
    """

    def __init__(self, sql: str, *columns: Column[Any], locks: str | None = None) -> None:
        self._text = sql
        self._columns = columns
        self._locks = locks
        self._prepared: dict[str, _Prepared] = {}

    def __call__(self, conn: Connection, rows: Sequence[Row]) -> list[Any]:
        """All rows of the answer."""
        if not rows:
            return []
        dialect = conn.dialect
        if dialect.name not in self._prepared:
            self._prepared[dialect.name] = _Prepared(self._sql, self._columns, dialect)
        return self._prepared[dialect.name].fetch(conn, rows)

    def _sql(self, dialect: Dialect, rows: int) -> str:
        names = [column.name for column in self._columns]
        if dialect.name == "postgresql":
            given = f"unnest({_arrays(self._columns, dialect)}) AS given({', '.join(names)})"
        else:
            named = ", ".join(f"column{n} AS {name}" for n, name in enumerate(names, 1))
            given = f"(SELECT {named} FROM ({_values(len(names), rows)})) AS given"  # noqa: S608  (names of our own)
        lock = f" FOR UPDATE OF {self._locks}" if self._locks and dialect.name == "postgresql" else ""
        return self._text.format(given=given) + lock


def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


_Binder = Callable[[Sequence[Any]], Sequence[Any]]


class _Prepared:
    """A statement for one dialect: its text by the number of rows, and what the columns' values pass through."""

    def __init__(self, sql: Callable[[Dialect, int], str], columns: Sequence[Column[Any]], dialect: Dialect) -> None:
        self._as_arrays = dialect.name == "postgresql"
        self._sql = cache(partial(sql, dialect))
        binders = [_binder(column, dialect) for column in columns]
        self._binders = [(position, binder) for position, binder in enumerate(binders) if binder is not None]

    def execute(self, conn: Connection, rows: Sequence[Row]) -> int:
        """Run it over *rows*; how many rows of the table that touched."""
        return sum(result.rowcount for result in self._results(conn, rows))

    def fetch(self, conn: Connection, rows: Sequence[Row]) -> list[Any]:
        """Run it over *rows*; what it answers."""
        return [found for result in self._results(conn, rows) for found in result]

    def _results(self, conn: Connection, rows: Sequence[Row]) -> Iterator[CursorResult[Any]]:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for position, bind in self._binders:
            columns[position] = bind(columns[position])
        if self._as_arrays:
            yield conn.exec_driver_sql(self._sql(1), tuple(map(list, columns)))
            return
        bound = list(zip(*columns, strict=True))
        while bound:
            size = _statement_size(len(bound))
            part, bound = bound[:size], bound[size:]
            yield conn.exec_driver_sql(self._sql(size), tuple(chain.from_iterable(part)))


def _statement_size(rows: int) -> int:
    """How many of *rows* go into the next statement: few sizes, so that few texts are prepared."""
    return min(1 << (rows.bit_length() - 1) if rows < 8 else rows & ~7, _MOST_VALUES)


def _binder(column: Column[Any], dialect: Dialect) -> _Binder | None:
    """What turns a column's values into the driver's, None where they are the same."""
    if isinstance(column.type, Id):
        return _plain_strings
    if isinstance(column.type, Json):
        return _json_texts
    bind = column.type.dialect_impl(dialect).bind_processor(dialect)
    return None if bind is None else partial(_bound_once, bind)


def _bound_once(bind: Callable[[Any], Any], values: Sequence[Any]) -> Sequence[Any]:
    """Each value bound; one that stands in several rows, as the present moment does, only once."""
    bound = {id(value): value for value in values}
    bound = {key: bind(value) for key, value in bound.items()}
    return [bound[id(value)] for value in values]


def _plain_strings(values: Sequence[Any]) -> Sequence[Any]:
    if _PLAIN.issuperset(map(type, values)):
        return values
    return [value if type(value) in _PLAIN else str(value) for value in values]


_PLAIN = frozenset({str, type(None)})


def _json_texts(values: Sequence[Any]) -> Sequence[Any]:
    """As `Json` does it, but an object that stands in several rows is written once."""
    texts = {id(value): value for value in values}
    texts = {key: None if value is None else json_text(value) for key, value in texts.items()}
    return [texts[id(value)] for value in values]


def _execute(
    conn: Connection,
    prepared: dict[str, _Prepared],
    columns: Sequence[Column[Any]],
    sql: Callable[[Dialect, int], str],
    rows: Sequence[Row],
) -> int:
    dialect = conn.dialect
    if dialect.name not in prepared:
        prepared[dialect.name] = _Prepared(sql, columns, dialect)
    return prepared[dialect.name].execute(conn, rows)


def _arrays(columns: Sequence[Column[Any]], dialect: Dialect) -> str:
    # %b sends binary: bodies travel as they are instead of twice as long in hexadecimal.
    return ", ".join(f"%b::{_base_type(column, dialect)}[]" for column in columns)


def _base_type(column: Column[Any], dialect: Dialect) -> str:
    return column.type.dialect_impl(dialect).compile(dialect=dialect)
