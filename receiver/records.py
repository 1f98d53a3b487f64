"""Rows of `events` and `quarantine` as records of the spool: text with the columns' names, and back into the database.

Bodies are written in base64, because they may be any bytes and must come back as they were.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, LargeBinary, Table

from receiver.columns import Instant
from receiver.events import EVENT_COLUMNS, ReceivedRequest, insert_events, insert_quarantined
from receiver.ids import Prefix, new_id
from receiver.schema import QuarantineReason, events, quarantine

_TABLES = {table.name: table for table in (events, quarantine)}


def event_record(row: Sequence[Any]) -> bytes:
    """A row for `insert_events`."""
    return _written(events, dict(zip((str(column.name) for column in EVENT_COLUMNS), row, strict=True)))


def quarantine_record(
    quarantine_id: str, request: ReceivedRequest, reason: QuarantineReason, signature: str | None
) -> bytes:
    """What `insert_quarantined` is told."""
    row = {name: getattr(request, name) for name in ReceivedRequest.__slots__}
    return _written(quarantine, row | {"id": quarantine_id, "reason": reason, "signature": signature})


def record_id(record: bytes) -> str:
    """The id of the row that *record* holds; a new one where it cannot be read."""
    try:
        return str(orjson.loads(record)["row"]["id"])
    except (ValueError, LookupError, TypeError):
        return new_id(Prefix.EVENT)


def body_of(record: bytes) -> bytes:
    """The body of the webhook that *record* holds."""
    return b64decode(orjson.loads(record)["row"]["body"])


def insert_records(conn: Connection, records: Sequence[bytes]) -> None:
    """Bring *records* into the database, in their order. One that is there already is left as it is."""
    read = [_read(record) for record in records]
    insert_events(conn, [[row.get(c.name) for c in EVENT_COLUMNS] for table, row in read if table is events])
    for table, row in read:
        if table is quarantine:
            request = ReceivedRequest(**{name: row[name] for name in ReceivedRequest.__slots__})
            insert_quarantined(conn, row["id"], request, QuarantineReason(row["reason"]), row["signature"])


def _written(table: Table, row: dict[str, Any]) -> bytes:
    texts = {name: b64encode(value).decode() if isinstance(value, bytes) else value for name, value in row.items()}
    return orjson.dumps({"table": table.name, "row": texts})


def _read(record: bytes) -> tuple[Table, dict[str, Any]]:
    told = orjson.loads(record)
    table, row = _TABLES[told["table"]], told["row"]
    for column in table.columns:
        if row.get(column.name) is None:
            continue
        if isinstance(column.type, LargeBinary):
            row[column.name] = b64decode(row[column.name])
        elif isinstance(column.type, Instant):
            row[column.name] = datetime.fromisoformat(row[column.name])
    return table, row
