"""Retention, on both databases: each kind at its age, in pieces that bear being broken off, without a scan."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, event, update

from receiver.database import Database
from receiver.events import insert_events
from receiver.ids import Prefix, first_id, new_id
from receiver.schema import EventState, events, metadata
from receiver.writer import Writer
from routers.blocks import RetentionConfig
from routers.leases import claim_due, record
from routers.lookups.answers import Answer, begin, keep
from routers.objects import claim_received
from routers.retention import BEGIN_ANEW, Kind, Retention, kinds_of, remove_attempts, remove_piece
from routers.routing import route_claimed
from routers.schema import DeliveryState, attempts, deliveries, lookups, retention, transitions, versions
from routers.transitions import Transition
from tests.routers.running import config_text, run_here
from tests.routers.store import FixedClock, a_rule, opened, receive, rows_of, rule_set, tried

NUMBER = "+14045550123"
AGE = timedelta(days=30)
NOW = datetime.now(UTC)
LATER = NOW + AGE + timedelta(days=1)
CALL = {
    "resource_id": "CAL1",
    "customer_phone_number": NUMBER,
    "customer_name": "Ann Lovelace",
    "answered": False,
    "call_type": "missed",
    "duration": 30,
    "source": "Google Ads",
    "transcription": "burst pipe",
    "a_field_of_tomorrow": "Ann",
}
RULES = rule_set(a_rule("calls", Transition.CALL_MISSED, Transition.CALL_CHANGED))


def put(database: Database, *, calls: int = 1, is_sent: bool = True) -> None:
    """Calls that were missed, changed and told of."""
    with database.writing.begin() as conn:
        for n in range(calls):
            call = {**CALL, "resource_id": f"CAL{n}"}
            receive(conn, "post_call", call)
            receive(conn, "call_modified", {**call, "changes": ["customer_name"], "customer_name": "Ann Byron"})
        route_claimed(conn, claim_received(conn, limit=100), FixedClock(NOW), RULES)
        if is_sent:
            send_all(conn)


def send_all(conn: Connection) -> None:
    while claimed := claim_due(conn, sink="crm", now=LATER, lease_until=LATER, instance="in_1", limit=10):
        record(conn, [tried(item, DeliveryState.DELIVERED) for item in claimed], now=NOW)


def kind(name: str) -> Kind:
    config = RetentionConfig.model_validate({"raw_bodies" if name == "bodies" else name: "30d"})
    return next(item for item in kinds_of(config) if item.name == name)


def remove_all(database: Database, name: str, *, now: datetime = LATER, limit: int = 50) -> int:
    """Remove it piece by piece; how many pieces that took."""
    pieces, is_more = 0, True
    while is_more:
        with database.writing.begin() as conn:
            is_more = remove_piece(conn, kind=kind(name), now=now, limit=limit)
        pieces += 1
    return pieces


def test_bodies_are_emptied_and_the_rest_of_the_row_stays(database_url: str) -> None:
    """At their age and not before; what is not routed keeps its own."""
    with opened(database_url) as database:
        put(database)
        with database.writing.begin() as conn:
            for state in (EventState.FAILED, EventState.RECEIVED):
                one = receive(conn, "post_call", CALL)
                conn.execute(update(events).where(events.c.id == one).values(state=state.value))
        before = rows_of(database, events)

        remove_all(database, "bodies", now=NOW + AGE - timedelta(minutes=1))
        assert rows_of(database, events) == before
        remove_all(database, "bodies")

        after = rows_of(database, events)
        assert [row.body != b"" for row in after] == [False, False, True, True]
        assert [row.sha256 for row in after] == [row.sha256 for row in before]
        assert rows_of(database, versions)[0].fields["customer_phone_number"] == NUMBER


def test_what_is_freed_in_a_sqlite_file_is_used_again(sqlite_url: str) -> None:
    """The file does not shrink, and new bodies find room in it."""
    with opened(sqlite_url) as database:

        def receive_bodies() -> None:
            with database.writing.begin() as conn:
                for n in range(200):
                    receive(conn, "post_call", {**CALL, "resource_id": f"CAL{n}", "session_browser": "x" * 5_000})
                while claimed := claim_received(conn, limit=100):
                    route_claimed(conn, claimed, FixedClock(NOW), rule_set())

        def pages() -> tuple[int, int]:
            with database.writing.connect() as conn:
                every, free = (
                    conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count")
                )
                return every, free

        receive_bodies()
        filled, _ = pages()
        remove_all(database, "bodies")
        emptied, free = pages()
        receive_bodies()
        _, left = pages()

        assert emptied == filled
        assert free >= 200  # each body took more than a page
        assert left < free / 4


def test_transcripts_leave_versions_and_what_was_before(database_url: str) -> None:
    with opened(database_url) as database:
        put(database)

        remove_all(database, "transcripts")

        fields = [row.fields for row in rows_of(database, versions)]
        assert all("transcription" not in each for each in fields)
        assert [each["customer_phone_number"] for each in fields] == [NUMBER, NUMBER]


def test_numbers_leave_versions_transitions_and_deliveries(database_url: str) -> None:
    """Also names, what we do not know, and what they were before; one thing's messages still belong together."""
    with opened(database_url) as database:
        put(database)
        assert NUMBER in str(rows_of(database, deliveries)[0].order_key)

        remove_all(database, "numbers")

        left = str([rows_of(database, table) for table in (versions, transitions, deliveries)])
        assert not re.search("4045550123|Ann", left)
        assert {row.order_key for row in rows_of(database, deliveries)} == {
            f"acme:{row.object_id}" for row in rows_of(database, deliveries)
        }
        fields = rows_of(database, versions)[-1].fields
        assert (fields["duration"], fields["source"], fields["transcription"]) == (30, "Google Ads", "burst pipe")


def test_a_body_goes_with_whatever_of_it_goes_first() -> None:
    """It holds numbers and texts; so a short age of one of these is the body's age too."""
    config = RetentionConfig.model_validate({"raw_bodies": "90d", "transcripts": "30d", "numbers": "365d"})

    assert [(item.name, item.age.days) for item in kinds_of(config)] == [
        ("bodies", 30),
        ("transcripts", 30),
        ("numbers", 365),
    ]
    assert kinds_of(RetentionConfig()) == []


def test_what_is_still_to_be_sent_keeps_what_it_tells(database_url: str) -> None:
    """It is passed over, and found when the round begins anew."""
    with opened(database_url) as database:
        put(database, is_sent=False)
        remove_all(database, "numbers")
        assert rows_of(database, versions)[0].fields["customer_phone_number"] == NUMBER
        with database.writing.begin() as conn:
            send_all(conn)

        remove_all(database, "numbers", now=LATER + timedelta(days=1))
        assert rows_of(database, versions)[0].fields["customer_phone_number"] == NUMBER
        remove_all(database, "numbers", now=LATER + BEGIN_ANEW)
        assert "customer_phone_number" not in rows_of(database, versions)[0].fields


def test_what_comes_late_under_an_old_id_is_found_when_it_begins_anew(database_url: str) -> None:
    """As a webhook does that lay in quarantine."""
    with opened(database_url) as database:
        old_id = new_id(Prefix.EVENT)
        put(database)
        remove_all(database, "bodies")
        with database.writing.begin() as conn:
            receive(conn, "post_call", {**CALL, "resource_id": "CALold"}, event_id=old_id)
            route_claimed(conn, claim_received(conn, limit=1), FixedClock(NOW), RULES)
            send_all(conn)

        remove_all(database, "bodies", now=LATER + BEGIN_ANEW)

        assert {row.body for row in rows_of(database, events)} == {b""}


@pytest.mark.parametrize("name", ["bodies", "transcripts", "numbers"])
def test_broken_off_between_pieces_it_goes_on_where_it_was(database_url: str, name: str) -> None:
    """And a piece that is not committed is done again, with the same end."""
    with opened(database_url) as database:
        put(database, calls=3)
        with database.writing.begin() as conn:
            assert remove_piece(conn, kind=kind(name), now=LATER, limit=2)
        (begun,) = rows_of(database, retention)
        with database.writing.connect() as conn:
            remove_piece(conn, kind=kind(name), now=LATER, limit=2)
            conn.rollback()
        assert rows_of(database, retention) == [begun]

        assert remove_all(database, name, limit=2) == 3  # two with rows, one that finds none

        assert rows_of(database, retention)[0].done_to == rows_of(database, events)[-1].id
        assert remove_all(database, name, limit=2) == 1


def test_tries_are_removed_by_age_in_pieces(database_url: str) -> None:
    with opened(database_url) as database:
        put(database, calls=3)
        made = len(rows_of(database, attempts))
        with database.writing.begin() as conn:
            assert not remove_attempts(conn, AGE, now=NOW + AGE - timedelta(minutes=1))
            assert len(rows_of(database, attempts)) == made
            assert remove_attempts(conn, AGE, now=LATER, limit=made - 1)
            assert not remove_attempts(conn, AGE, now=LATER, limit=made - 1)

        assert rows_of(database, attempts) == []
        assert {row.attempts for row in rows_of(database, deliveries)} == {1}


def test_nothing_of_it_reads_a_whole_table(sqlite_url: str) -> None:
    """Each statement finds its rows by an index, however many there are."""
    statements: list[tuple[str, Any]] = []
    with opened(sqlite_url) as database:
        put(database)

        @event.listens_for(database.writing, "before_cursor_execute")
        def _note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            statements.append((statement, parameters))

        for name in ("bodies", "transcripts", "numbers"):
            remove_all(database, name)
        with database.writing.begin() as conn:
            remove_attempts(conn, AGE, now=LATER)

        noted = [one for one in statements if one[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
        with database.reading.connect() as conn:
            plans = [
                str(row.detail)
                for statement, parameters in noted
                for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
    assert len(noted) > 10
    assert [plan for plan in plans if plan.startswith("SCAN") and plan.split()[1] in metadata.tables] == []


@pytest.mark.anyio
async def test_the_job_removes_all_that_is_too_old(database_url: str) -> None:
    """Through the writer, until nothing is left to do."""
    config = RetentionConfig.model_validate({"raw_bodies": "30d", "numbers": "30d", "attempts": "30d"})
    with opened(database_url) as database:
        put(database, calls=2)
        with database.writing.begin() as conn:
            for name, days in (("company", 29), ("tracker", 31)):  # however long an answer would hold
                begin(conn, name, name, LATER, LATER)
                keep(conn, name, Answer({}, LATER - timedelta(days=days), holds=timedelta(days=400)))
        writer = Writer(database, insert_events)
        writer.start()
        try:
            await Retention(writer, FixedClock(LATER), config).run()
        finally:
            await writer.stop()

        assert {row.body for row in rows_of(database, events)} == {b""}
        assert rows_of(database, attempts) == []
        assert [row.name for row in rows_of(database, lookups)] == ["company"]
        assert all("customer_name" not in row.fields for row in rows_of(database, versions))


def test_a_call_of_which_fields_were_removed_takes_later_news(database_url: str) -> None:
    """What is told again is known again, and nothing is taken for a repeat that is none."""
    with opened(database_url) as database:
        put(database)
        remove_all(database, "numbers")
        with database.writing.begin() as conn:
            receive(conn, "call_modified", {**CALL, "resource_id": "CAL0", "changes": ["note"], "note": "called back"})
            route_claimed(conn, claim_received(conn, limit=1), FixedClock(NOW), RULES)

        assert rows_of(database, events)[-1].state == EventState.ROUTED
        fields = rows_of(database, versions)[-1].fields
        assert (fields["note"], fields["customer_name"], fields["duration"]) == ("called back", "Ann Lovelace", 30)


@pytest.fixture
def emptied(database_url: str, tmp_path: Path) -> Callable[..., Any]:
    """A call of which all was removed, and the commands that show it."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    with opened(database_url) as database:
        put(database)
        for name in ("bodies", "transcripts", "numbers"):
            remove_all(database, name)
        first = rows_of(database, events)[0].id
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url, "CALLRAIL_ROUTER_CONFIG": str(config)}
    return lambda *words: run_here(*words, first, "-o", "json", environ=environ)


def test_what_is_emptied_is_shown_and_explained_as_such(emptied: Callable[..., Any]) -> None:
    """Neither command breaks, and both say what is missing."""
    shown, explained = emptied("events", "show"), emptied("explain")

    assert (shown.code, explained.code) == (0, 0), shown.err + explained.err
    assert "removed" in orjson.loads(shown.out)["body"]
    assert any("removed" in note for note in orjson.loads(explained.out)["notes"])


def test_an_id_made_of_a_moment_stands_between_those_before_and_after() -> None:
    before = new_id(Prefix.EVENT)
    moment = datetime.now(UTC) + timedelta(milliseconds=5)

    assert before < first_id(Prefix.EVENT, moment)
    assert first_id(Prefix.EVENT, moment - timedelta(seconds=1)) < before
