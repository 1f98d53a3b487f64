"""The migrations on both databases: where they lead, the way back, and that they make what the program expects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    TIMESTAMP,
    Boolean,
    Column,
    Float,
    Insert,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

import migrations
from receiver.clock import WallClock
from receiver.columns import instant_text
from receiver.exceptions import ReceiverError
from receiver.schema import EventState, Origin, QuarantineReason, events, key_uses, metadata, quarantine
from routers.cli import main
from routers.leases import return_leases
from routers.migrate import is_current, schema_version, upgrade
from routers.routing import route
from routers.schema import SCHEMA_VERSION, DeliveryState, TransitionState, deliveries, objects, transitions, versions
from tests.routers.store import NOW, opened, put_deliveries, receive, rows_of, rule_set


def alembic_of(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def tables_of(url: str) -> dict[str, list[Any]]:
    """Each table with its columns, and each index with its columns, as the database has them."""
    with opened(url) as database, database.reading.connect() as conn:
        found = inspect(conn)
        return {
            name: [
                sorted((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)),
                sorted((str(index["name"]), index["column_names"]) for index in found.get_indexes(name)),
            ]
            for name in found.get_table_names()
        }


def version_of(url: str) -> tuple[str | None, bool]:
    with opened(url) as database, database.reading.connect() as conn:
        return schema_version(conn), is_current(conn)


def test_the_version_the_program_asks_for_is_the_newest_migration() -> None:
    """`serve` compares with a constant instead of loading the migrations, so the two must agree."""
    script = ScriptDirectory.from_config(alembic_of("sqlite:///unused.db"))

    assert script.get_heads() == [SCHEMA_VERSION]


def test_up_down_and_up_again_ends_where_it_began(unmigrated_url: str) -> None:
    """Nothing is left behind by the way down, and the way up makes the same again."""
    assert version_of(unmigrated_url) == (None, False)
    upgrade(unmigrated_url)
    assert version_of(unmigrated_url) == (SCHEMA_VERSION, True)
    tables = tables_of(unmigrated_url)

    command.downgrade(alembic_of(unmigrated_url), "base")
    assert set(tables_of(unmigrated_url)) == {"alembic_version"}
    assert version_of(unmigrated_url) == (None, False)

    upgrade(unmigrated_url)
    assert tables_of(unmigrated_url) == tables
    assert set(tables) == {*metadata.tables, "alembic_version"}


def test_what_waits_is_taken_up_again_after_a_way_down_and_up(unmigrated_url: str) -> None:
    """The version before leaves it as it is, for it knows nothing of it."""
    upgrade(unmigrated_url)
    with opened(unmigrated_url) as database, database.writing.begin() as conn:
        put_deliveries(conn, count=1, now=NOW)
        conn.execute(update(transitions).values(state="waiting", due_at=NOW + timedelta(hours=1), order_key="acme:1"))

    command.downgrade(alembic_of(unmigrated_url), "0005")
    upgrade(unmigrated_url)

    with opened(unmigrated_url) as database, database.reading.connect() as conn:
        (row,) = conn.execute(select(transitions)).all()
        assert (row.state, row.due_at) == ("waiting", row.created_at)


def test_migrating_again_changes_nothing(database_url: str) -> None:
    """Rows stay, and so does the version."""
    with opened(database_url) as database, database.writing.begin() as conn:
        receive(conn, "post_call", {"resource_id": "CAL1"})

    upgrade(database_url)

    assert version_of(database_url) == (SCHEMA_VERSION, True)
    with opened(database_url) as database, database.reading.connect() as conn:
        assert len(conn.execute(events.select()).all()) == 1


def test_the_migrations_make_what_the_program_describes(database_url: str) -> None:
    """`alembic check` finds nothing to add; it raises where tables, columns or indexes differ."""
    command.check(alembic_of(database_url))


@pytest.mark.parametrize("words", [["deliveries", "list"], ["deliveries", "causes"], ["sinks", "pause", "crm"]])
def test_a_command_on_an_older_database_says_to_migrate(
    unmigrated_url: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tables are there, but not all columns; the driver's own words would send people to the wrong place."""
    command.upgrade(alembic_of(unmigrated_url), "0002")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--database-url", unmigrated_url])

    told = "Error: the database cannot be used: its tables are those of another version; run: callrail-router migrate\n"
    assert (ended.value.code, capsys.readouterr().err) == (1, told)


def test_a_database_of_a_newer_version_is_left_alone(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After a step back of the program: one sentence, where Alembic has a traceback."""
    with opened(database_url) as database, database.writing.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SystemExit) as ended:
        main(["migrate", "--database-url", database_url])

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "Error: the database has schema 9999, which a newer callrail-router made, and this one knows up to "
        f"{SCHEMA_VERSION}; install the newer version\n"
    )


def test_ids_sort_by_their_bytes(postgresql_url: str) -> None:
    """A locale's order would not be that of time, and would differ from machine to machine."""
    asked = """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name = 'id' AND collation_name IS DISTINCT FROM 'C'
    """
    with opened(postgresql_url) as database, database.reading.connect() as conn:
        assert conn.exec_driver_sql(asked).all() == []


@pytest.mark.parametrize(
    ("column", "states"),
    [
        pytest.param(events.c.state, EventState, id="events.state"),
        pytest.param(events.c.origin, Origin, id="events.origin"),
        pytest.param(transitions.c.state, TransitionState, id="transitions.state"),
        pytest.param(deliveries.c.state, DeliveryState, id="deliveries.state"),
    ],
)
def test_the_database_knows_every_state_and_no_other(
    database_url: str, column: Column[Any], states: type[StrEnum]
) -> None:
    """The two lists cannot drift apart, and no hand-written statement can invent a state."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            receive(conn, "post_call", {})
            put_deliveries(conn)
            for state in states:
                assert conn.execute(column.table.update().values({column: state.value})).rowcount == 1
        with pytest.raises(IntegrityError), database.writing.begin() as conn:
            conn.execute(column.table.update().values({column: "invented"}))


def test_the_database_knows_every_reason_of_the_quarantine(database_url: str) -> None:
    """The same for what could not be proved."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            for reason in QuarantineReason:
                conn.execute(_quarantined(reason))
        with pytest.raises(IntegrityError), database.writing.begin() as conn:
            conn.execute(_quarantined("invented"))


def _quarantined(reason: str) -> Insert:
    return quarantine.insert().values(
        id=f"ev_{reason}",
        received_at=NOW,
        company="acme",
        kind="post_call",
        reason=reason,
        content_type="",
        headers={},
        body=b"",
    )


def test_a_database_of_a_later_version_is_not_taken_for_ours(database_url: str) -> None:
    """Neither is one without any version."""
    with opened(database_url) as database, database.writing.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    assert version_of(database_url) == ("9999", False)


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "nonsense"])
def test_a_url_we_cannot_work_with_is_said_in_our_words(url: str) -> None:
    """Before Alembic sees it."""
    with pytest.raises(ReceiverError):
        upgrade(url)


def test_what_was_stored_before_there_were_versions_is_kept(unmigrated_url: str) -> None:
    """Each event that brought something about becomes a version, with the stage of its time, and the newest is last."""
    command.upgrade(alembic_of(unmigrated_url), "0001")
    at = "'2026-03-10 13:15:00+00'"
    with opened(unmigrated_url) as database, database.writing.begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO objects (id, company, type, object_id, stage, outcome, outcome_event, version, fields,"
            " sources, newest, told, created_at, updated_at) VALUES ('ob_1', 'acme', 'call', 'CAL1', 'ended',"
            f" 'missed', 'ev_2', 2, '{{\"duration\":9}}', '{{}}', '{{}}', '[]', {at}, {at})"
        )
        happened_then = [
            ("tr_0", "ev_1", "call.ringing", "{}"),
            ("tr_1", "ev_2", "call.ended", '{"duration":9}'),
            ("tr_2", "ev_2", "call.missed", '{"duration":9}'),
        ]
        for transition, event, name, fields in happened_then:
            conn.exec_driver_sql(
                "INSERT INTO transitions (id, object_id, company, name, n, event_id, occurred_at, created_at, state,"
                f" snapshot) VALUES ('{transition}', 'ob_1', 'acme', '{name}', 0, '{event}', {at}, {at}, 'routed',"
                f" '{fields}')"
            )

    upgrade(unmigrated_url)

    with opened(unmigrated_url) as database:
        known = [(row.version, row.event_id, row.stage, row.outcome, row.fields) for row in rows_of(database, versions)]
        happened = [(row.name, row.version) for row in rows_of(database, transitions)]
        (version,) = [row.version for row in rows_of(database, objects)]
    assert known == [
        (1, "ev_1", "ringing", None, {}),
        (2, "ev_2", "ended", "missed", {"duration": 9}),
        (3, "ev_2", "ended", "missed", {"duration": 9}),
    ]
    assert happened == [("call.ringing", 1), ("call.ended", 2), ("call.missed", 2)]
    assert version == 3


# --- the version before, beside this one -----------------------------------------------------------------------------

BEFORE = "0003"
_NAMES = ("id", "key", "object_id", "sink", "company")
_OLD_VALUES: dict[str, dict[str, Any]] = {
    "events": {"kind": "post_call", "state": "received", "origin": "webhook", "content_type": "application/json"},
    "quarantine": {"kind": "post_call", "reason": "signature_wrong"},
    "transitions": {"state": "routed", "name": "call.missed"},
    "deliveries": {"state": "leased", "order_key": None, "amends": None, "blocks_until": None, "expires_at": None},
}


def _row(table: Table, n: int) -> dict[str, Any]:
    """A row as the version before would write it: every column that it knew."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.name.endswith(("_at", "_until")):
            row[column.name] = NOW if isinstance(column.type, TIMESTAMP) else instant_text(NOW)
        elif isinstance(column.type, Boolean):
            row[column.name] = False
        elif isinstance(column.type, Integer | Float):
            row[column.name] = n
        elif isinstance(column.type, LargeBinary):
            row[column.name] = b'{"resource_id": "CAL%d", "call_type": "missed", "answered": false}' % n
        else:
            row[column.name] = f"{n}" if column.name in _NAMES else "{}"
    return row | _OLD_VALUES.get(table.name, {})


def _write_as_before(url: str, tables: Mapping[str, Table], n: int) -> dict[str, dict[str, Any]]:
    rows = {name: _row(table, n) for name, table in tables.items()}
    with opened(url) as database, database.writing.begin() as conn:
        for name, table in tables.items():
            for key in table.foreign_keys:
                rows[name][key.parent.name] = rows[key.column.table.name][key.column.name]
            conn.execute(table.insert().values(rows[name]))
    return rows


def test_the_version_before_runs_on_this_schema_and_its_rows_are_understood(unmigrated_url: str) -> None:
    """Migrate first, then start one process after another anew: until then both versions write."""
    command.upgrade(alembic_of(unmigrated_url), BEFORE)
    with opened(unmigrated_url) as database:
        as_before = MetaData()
        as_before.reflect(database.reading)
    tables = {table.name: table for table in as_before.sorted_tables if table.name != "alembic_version"}
    written = [_write_as_before(unmigrated_url, tables, 1)]

    upgrade(unmigrated_url)
    written.append(_write_as_before(unmigrated_url, tables, 2))

    with opened(unmigrated_url) as database:
        with database.reading.connect() as conn:
            for name, table in tables.items():
                found = [row._asdict() for row in conn.execute(select(table))]
                assert sorted(found, key=str) == sorted((rows[name] for rows in written), key=str), name
        with database.writing.begin() as conn:
            assert return_leases(conn, now=NOW + timedelta(seconds=1)) == 2
            assert route(conn, WallClock(lambda *_: None), rule_set(), limit=10).events == 2


def test_what_was_stored_before_there_were_buckets_counts(unmigrated_url: str) -> None:
    """What lies in quarantine has its size, and a key that signed events is known as used, by its newest."""
    command.upgrade(alembic_of(unmigrated_url), "0003")
    with opened(unmigrated_url) as database, database.writing.begin() as conn:
        for number, key in enumerate(("'k'", "'k'", "NULL")):
            conn.execute(
                text(
                    "INSERT INTO events (id, received_at, company, kind, origin, state, content_type, headers, body,"
                    f" sha256, key_fingerprint) VALUES ('ev_{number}', '2026-03-1{number} 13:15:00+00', 'acme',"
                    f" 'post_call', 'webhook', 'routed', '', '{{}}', :raw, :raw, {key})"
                ),
                {"raw": b"x"},
            )
        conn.execute(
            text(
                "INSERT INTO quarantine (id, received_at, company, kind, reason, content_type, headers, body) VALUES"
                " ('ev_9', '2026-03-10 13:15:00+00', 'acme', 'post_call', 'signature_wrong', '', '{}', :raw)"
            ),
            {"raw": b"12345"},
        )

    upgrade(unmigrated_url)

    with opened(unmigrated_url) as database:
        assert [(row.bytes, row.tried_with) for row in rows_of(database, quarantine)] == [(7, None)]
        used = [(row.company, row.fingerprint, row.last_used_at) for row in rows_of(database, key_uses)]
    assert used == [("acme", "k", datetime(2026, 3, 11, 13, 15, tzinfo=UTC))]
