"""The column types of the event store, the same in meaning on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Dialect, Text, literal_column, types
from sqlalchemy.dialects import postgresql


class Id(types.TypeDecorator[str]):
    """An id, a slug or a state. The migrations give it PostgreSQL's collation "C", so that ids sort by their time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        # Drivers differ in what they make of a StrEnum; a plain string is the same to all.
        return value if value is None or type(value) is str else str(value)


class Instant(types.TypeDecorator[datetime]):
    """A moment in UTC, aware in Python. SQLite keeps it as sortable text, PostgreSQL as timestamptz."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return instant_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


class Json(types.TypeDecorator[Any]):
    """Any JSON value, kept as compact text. PostgreSQL's jsonb would refuse what CallRail may send and is not asked."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


def instant_text(moment: datetime) -> str:
    """*moment* as SQLite keeps it, of fixed width: `2026-03-10T13:15:02.417000Z`."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"  # six times as fast as strftime


def json_text(value: Any) -> str:
    """*value* as the store keeps it."""
    return orjson.dumps(value).decode("utf-8")


def fixed(value: str) -> ColumnElement[str]:
    """*value*, one of our own constants, written into the statement: a parameter would hide partial indexes."""
    return literal_column(f"'{value}'")
