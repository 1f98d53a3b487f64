"""`keys status`: which keys are in use and which may go, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import event

from receiver.companies import fingerprint_of
from receiver.database import Database
from receiver.events import ReceivedRequest, event_row, insert_events, insert_quarantined
from receiver.ids import Prefix, first_id, new_id
from receiver.key_uses import KeyUses, counted_since, last_uses, note_uses, uses_in
from receiver.schema import QuarantineReason
from receiver.writer import Writer
from routers.cli.keys import QUIET, verdict_on
from tests.routers.running import KEY, run_here
from tests.routers.store import NOW, opened

OLD, NEW, UNUSED = KEY, "the new key of acme", "a key nobody uses"
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("until", "last", "others", "verdict"),
    [
        pytest.param(None, NOW, [], "in use", id="the only one"),
        pytest.param(None, NOW - 30 * DAY, [], "in use", id="silent, but the only one"),
        pytest.param(None, NOW, [NOW - DAY], "in use", id="the newer one"),
        pytest.param(None, NOW - QUIET, [NOW], "safe to remove", id="long unused"),
        pytest.param(None, NOW - QUIET, [NOW - QUIET - DAY], "in use", id="long unused, but the newest"),
        pytest.param(None, NOW - DAY, [NOW], "going out of use", id="used a moment ago"),
        pytest.param(None, None, [NOW], "unused so far", id="the next one"),
        pytest.param(None, None, [], "never used", id="no webhook yet"),
        pytest.param(date(2026, 3, 9), NOW - 2 * DAY, [], "expired", id="after its last day"),
        pytest.param(date(2026, 3, 10), NOW, [], "in use", id="on its last day"),
    ],
)
def test_a_key_has_a_verdict(until: date | None, last: datetime | None, others: list[datetime], verdict: str) -> None:
    """Nothing is called safe to remove that signed within a week, or that no other key has followed."""
    assert verdict_on(until, last, others, NOW)[0] == verdict


def put_event(database: Database, key: str | None, *, ago: timedelta, company: str = "acme") -> None:
    at = datetime.now(UTC) - ago
    made = first_id(Prefix.EVENT, at)[:14] + new_id(Prefix.EVENT)[14:]
    request = ReceivedRequest(at, company, "post_call", "application/json", {}, b"{}")
    fingerprint = fingerprint_of(key.encode()) if key is not None else None
    with database.writing.begin() as conn:
        insert_events(conn, [event_row(made, request, b"", fingerprint)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(
        "companies:\n"
        "  acme: {signing_keys: [env:NEW_KEY, {secret: env:ACME_KEY, until: 2099-12-31}, env:UNUSED_KEY]}\n"
        "  globex: {signing_keys: [env:NOT_SET]}\n"
        "sinks:\n  terminal: {type: stdout}\n"
        "rules:\n  - {id: missed, when: [call.missed], send: [{to: terminal}]}\n"
    )
    return path


def status(url: str, config: Path, *words: str) -> Any:
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": url, "CALLRAIL_ROUTER_CONFIG": str(config)}
    return run_here("keys", "status", *words, environ={**environ, "NEW_KEY": NEW, "UNUSED_KEY": UNUSED})


def test_the_keys_of_a_rotation_are_told_apart(database_url: str, config: Path) -> None:
    """By fingerprint and reference, never themselves; old uses are known from the table, new ones from the events."""
    with opened(database_url) as database:
        long_ago = datetime.now(UTC) - 10 * DAY
        with database.writing.begin() as conn:
            note_uses(conn, {("acme", fingerprint_of(OLD.encode())): long_ago})
        for ago in (DAY, 2 * DAY, 8 * DAY):
            put_event(database, NEW, ago=ago)
        put_event(database, None, ago=DAY)

    ran = status(database_url, config, "-o", "json")

    new, old, unused, globex = orjson.loads(ran.out)
    assert (new["key"], new["fingerprint"]) == ("env:NEW_KEY", fingerprint_of(NEW.encode()))
    assert (new["verdict"], new["events"]) == ("in use", 2)
    assert (old["verdict"], old["events"], old["until"]) == ("safe to remove", 0, "2099-12-31")
    assert datetime.fromisoformat(old["last_used_at"]) == long_ago
    assert (unused["verdict"], unused["last_used_at"]) == ("unused so far", None)
    assert (globex["verdict"], globex["fingerprint"]) == ("not readable", None)
    told = status(database_url, config).out + ran.out
    assert not any(secret in told for secret in (OLD, NEW, UNUSED))
    of_a_month, *_ = orjson.loads(status(database_url, config, "--days", "30", "-o", "json").out)
    assert of_a_month["events"] == 3


def test_bad_signatures_are_told_with_what_to_check(database_url: str, config: Path) -> None:
    """Of the counted days only, and of the company that was asked for."""
    with opened(database_url) as database, database.writing.begin() as conn:
        for company, ago in (("acme", timedelta(hours=1)), ("globex", 20 * DAY)):
            at = datetime.now(UTC) - ago
            request = ReceivedRequest(at, company, "post_call", "application/json", {}, b"{}")
            insert_quarantined(conn, new_id(Prefix.EVENT), request, QuarantineReason.SIGNATURE_WRONG, "x")

    rows = orjson.loads(status(database_url, config, "-o", "json").out)
    told = status(database_url, config)

    assert [row["company"] for row in rows if row["bad_signature_at"]] == ["acme"] * 3
    assert "is in quarantine: its signature fits no key of acme. Compare the signing key in CallRail" in told.err
    assert "no key of globex" not in told.err
    assert told.err.endswith("Events are those of the last 7 days.\n")
    only = orjson.loads(status(database_url, config, "--company", "globex", "-o", "json").out)
    assert [row["company"] for row in only] == ["globex"]
    unknown = status(database_url, config, "--company", "initech")
    assert (unknown.code, "has no company initech" in unknown.err) == (2, True)


def test_only_so_many_events_are_counted(database_url: str) -> None:
    """The newest; so the answer does not take longer with each event that was ever stored."""
    with opened(database_url) as database:
        for days in range(5):
            put_event(database, KEY, ago=days * DAY)
        with database.reading.connect() as conn:
            since = datetime.now(UTC) - 10 * DAY
            (all_of_them,) = counted_since(conn, since)
            (newest,) = counted_since(conn, since, limit=2)

    assert (all_of_them.events, newest.events) == (5, 2)
    assert (newest.newest, newest.oldest > all_of_them.oldest) == (all_of_them.newest, True)


@pytest.mark.anyio
async def test_a_use_is_noted_now_and_then_and_never_goes_back(database_url: str) -> None:
    """The latest counts, also where what was in quarantine is routed later; most uses cost no write at all."""
    key = ("acme", "01234567")
    with opened(database_url) as database:
        writes: list[str] = []
        event.listen(database.writing, "before_cursor_execute", lambda *a: writes.append(a[2]))
        writer = Writer(database, insert_events)
        writer.start()
        uses = KeyUses(writer)

        async def noted(after: timedelta) -> datetime:
            await uses.see({key: NOW + after})
            with database.reading.connect() as conn:
                return last_uses(conn)[key]

        assert await noted(timedelta(0)) == NOW
        written = len(writes)
        assert await noted(timedelta(minutes=1)) == NOW
        assert await noted(-DAY) == NOW
        assert len(writes) == written
        assert await noted(timedelta(minutes=5)) == NOW + timedelta(minutes=5)
        await KeyUses(writer).see({key: NOW})  # another process, behind
        assert await noted(timedelta(0)) == NOW + timedelta(minutes=5)
        await writer.stop()


def test_unsigned_events_use_no_key() -> None:
    """Of several events a key signed, the newest counts."""

    class Routed:
        def __init__(self, key: str | None, at: datetime) -> None:
            self.company, self.key_fingerprint, self.received_at = "acme", key, at

    assert uses_in([Routed(None, NOW), Routed("k", NOW), Routed("k", NOW - DAY)]) == {("acme", "k"): NOW}
