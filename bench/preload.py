"""A year of history, made by SQL: events of 1 kB, each routed, told and done with, the last an hour ago."""

from __future__ import annotations

import time

from sqlalchemy import Table, text

from receiver.database import Database, open_database
from receiver.schema import events
from routers.schema import attempts, deliveries, objects, transitions, versions

_AT_ONCE = 100_000

# Per table its columns; what is left out is null or has a default. `{...}` is written as the database wants it.
_ROWS: dict[Table, dict[str, str]] = {
    events: {
        "id": "'ev_' || {id}",
        "received_at": "{at}",
        "company": "'client-00'",
        "kind": "'post_call'",
        "origin": "'webhook'",
        "state": "'routed'",
        "content_type": "'application/json'",
        "headers": """'{{"content-type":"application/json","user-agent":"CallRail"}}'""",
        "body": "{kilobyte}",
        "sha256": "{hash}",
        "key_fingerprint": "'00000000'",
        "object_id": "'ob_' || {id}",
    },
    objects: {
        "id": "'ob_' || {id}",
        "company": "'client-00'",
        "type": "'call'",
        "object_id": "'CAL' || {id}",
        "stage": "'ended'",
        "outcome": "'answered'",
        "outcome_event": "'ev_' || {id}",
        "version": "1",
        "sources": "'{{}}'",
        "newest": "'{{}}'",
        "told": """'["call.answered","call.ended"]'""",
        "created_at": "{at}",
        "updated_at": "{at}",
    },
    versions: {
        "object_id": "'ob_' || {id}",
        "version": "1",
        "event_id": "'ev_' || {id}",
        "stage": "'ended'",
        "outcome": "'answered'",
        "fields": """'{{"answered":true,"call_type":"answered","duration":183,'"""
        """ || '"direction":"inbound","source":"Yelp"}}'""",
    },
    transitions: {
        "id": "'tr_' || {id}",
        "object_id": "'ob_' || {id}",
        "company": "'client-00'",
        "name": "'call.answered'",
        "n": "0",
        "event_id": "'ev_' || {id}",
        "occurred_at": "{at}",
        "created_at": "{at}",
        "state": "'routed'",
        "version": "1",
    },
    deliveries: {
        "id": "'dl_' || {id}",
        "key": "'tr_' || {id} || ':answered:crm:0'",
        "transition_id": "'tr_' || {id}",
        "object_id": "'ob_' || {id}",
        "company": "'client-00'",
        "rule": "'answered'",
        "send": "'crm'",
        "generation": "0",
        "sink": "'crm'",
        "state": "'delivered'",
        "due_at": "{at}",
        "fence": "1",
        "attempts": "1",
        "reason": "'HTTP 204'",
        "created_at": "{at}",
        "finished_at": "{at}",
    },
    attempts: {
        "id": "'at_' || {id}",
        "delivery_id": "'dl_' || {id}",
        "started_at": "{at}",
        "milliseconds": "40",
        "outcome": "'delivered'",
        "reason": "'HTTP 204'",
    },
}
_SQLITE = {
    "numbers": "(WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
    " SELECT n FROM numbers)",
    "rest": "printf('%016d', n)",
    "at": "strftime('%Y-%m-%dT%H:%M:%f000Z', ({ms}) / 1000.0, 'unixepoch')",
    "kilobyte": "randomblob(1000)",
    "hash": "randomblob(32)",
}
_POSTGRESQL = {
    "numbers": "generate_series({first}::bigint, {last}::bigint) AS numbers(n)",
    "rest": "lpad(n::text, 16, '0')",
    "at": "to_timestamp(({ms}) / 1000.0)",
    "kilobyte": "decode(repeat(md5(n::text), 62), 'hex')",
    "hash": "decode(md5(n::text) || md5((-n)::text), 'hex')",
}


_YEAR = 365 * 24 * 3600 * 1000  # ms
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
# As `receiver.ids` writes the 48 bits of milliseconds that an id begins with: ten digits of five.
_TIME = " || ".join(
    f"substr('{_DIGITS}', CAST(((({{ms}}) {shift}) & 31) AS integer) + 1, 1)"
    for shift in (*(f">> {bits}" for bits in range(43, -1, -5)), "<< 2")
)


def preload(url: str, count: int) -> None:
    """Store *count* events and what follows from each. Their ids are older than all that are made from now on."""
    database = open_database(url)
    last = round((time.time() - 3600) * 1000)
    ms = f"{last - _YEAR} + {_YEAR // count} * n"
    dialect = {name: sql.replace("{ms}", ms) for name, sql in (_SQLITE if database.is_sqlite else _POSTGRESQL).items()}
    dialect["id"] = f"({_TIME.format(ms=ms)} || {dialect['rest']})"
    with database.writing.connect() as conn:
        for first in range(1, count + 1, _AT_ONCE):
            numbers = dialect["numbers"].format(first=first, last=min(first + _AT_ONCE - 1, count))
            with conn.begin():
                for table, row in _ROWS.items():
                    values = ", ".join(row.values()).format(**dialect)
                    conn.exec_driver_sql(f"INSERT INTO {table} ({', '.join(row)}) SELECT {values} FROM {numbers}")
    settle(database)
    database.dispose()


def settle(database: Database) -> None:
    """Do what autovacuum does before long after many rows came, and must not do in the middle of a measurement."""
    if not database.is_sqlite:
        with database.writing.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            conn.execute(text("VACUUM ANALYZE"))
            conn.execute(text("CHECKPOINT"))
