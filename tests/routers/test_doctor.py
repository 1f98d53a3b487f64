"""`doctor` as an operator runs it, and each thing it finds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import insert, update

from receiver.events import ReceivedRequest, insert_quarantined
from receiver.ids import Prefix, new_id
from receiver.instances import Instance, beat
from receiver.schema import EventState, QuarantineReason, events, instances
from routers import lanes
from routers.checkup import Finding, Verdict, look_at, look_at_keys, look_at_spool, ok
from routers.config import read_config
from routers.forgetting import remember
from routers.schema import DeliveryState, deliveries
from tests.routers.running import SECRETS, config_text, run_here
from tests.routers.store import opened, put_deliveries, real_clock, receive

TODAY = date(2026, 3, 10)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(config_text("https://127.0.0.1:1"))
    return path


def doctored(url: str, config: Path, *more: str | Path) -> tuple[int, list[Finding]]:
    """The exit code, and what is found."""
    ran = run_here("doctor", "--config", config, "--database-url", url, "-o", "json", *more)
    rows = orjson.loads(ran.out)
    findings = [Finding(row["subject"], Verdict(row["verdict"]), row["found"], row["remedy"] or "") for row in rows]
    return ran.code, findings


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.subject, one.verdict.value) for one in findings if one.verdict is not Verdict.OK]


def test_where_all_is_well_nothing_is_to_be_done(database_url: str, config: Path) -> None:
    """Every look says what it saw, and no remedy stands where none is needed."""
    with opened(database_url) as database, database.writing.begin() as conn:
        beat(conn, Instance.of("all"), now=real_clock(database).now(conn))

    code, findings = doctored(database_url, config)

    assert (code, bad(findings)) == (0, [])
    assert all(not one.remedy for one in findings)
    subjects = {one.subject for one in findings}
    assert {"router.yaml", "secrets", "keys", "database", "schema", "clock", "processes", "events"} <= subjects
    assert {"quarantine", "sinks"} <= subjects


def test_what_is_wrong_is_told_with_what_to_do(database_url: str, config: Path) -> None:
    """Events, deliveries, lanes, quarantine and processes in trouble, all at once."""
    with opened(database_url) as database, database.writing.begin() as conn:
        now = real_clock(database).now(conn)
        failed, waiting = (receive(conn, "post_call", {"resource_id": name}) for name in ("CAL1", "CAL2"))
        conn.execute(update(events).where(events.c.id == failed).values(state=EventState.FAILED.value))
        long_ago = now - timedelta(hours=3)
        conn.execute(update(events).where(events.c.id == waiting).values(received_at=long_ago))
        dead, _late = put_deliveries(conn, count=2, now=long_ago)
        conn.execute(update(deliveries).where(deliveries.c.id == dead).values(state=DeliveryState.DEAD.value))
        lanes.hold(conn, "crm", "they move")
        request = ReceivedRequest(now, "acme", "post_call", "application/json", {}, b"{}")
        insert_quarantined(conn, new_id(Prefix.EVENT), request, QuarantineReason.SIGNATURE_WRONG, None)
        beat(conn, Instance.of("dispatch"), now=now)
        beat(conn, Instance.of("intake"), now=now - timedelta(minutes=5), spooled=3)
        other = {"id": new_id(Prefix.INSTANCE), "role": "intake", "host": "h", "pid": 1, "version": "0.0.1"}
        conn.execute(insert(instances).values(other | {"started_at": now, "seen_at": now, "spooled": 2}))

    code, findings = doctored(database_url, config)

    assert code == 1
    assert all(one.remedy for one in findings if one.verdict is not Verdict.OK)
    assert bad(findings) == [
        ("processes", "warning"),
        ("processes", "warning"),
        ("events", "problem"),
        ("events", "problem"),
        ("spool", "problem"),
        ("quarantine", "warning"),
        ("sinks", "warning"),
        ("sinks", "warning"),
        ("sinks", "warning"),
    ]
    told = "\n".join(one.found for one in findings)
    for words in ("silent for 5m", "different versions: 0.0.1", "the oldest for 3h", "held by an operator: they move"):
        assert words in told
    remedies = {one.remedy for one in findings}
    assert {"callrail-router deliveries causes --sink crm", "callrail-router sinks resume crm"} <= remedies


def test_a_process_that_died_is_named_for_a_day(database_url: str, config: Path) -> None:
    with opened(database_url) as database, database.writing.begin() as conn:
        now = real_clock(database).now(conn)
        for hours in (25, 23, 0):
            beat(conn, Instance.of("all"), now=now - timedelta(hours=hours))

    _, findings = doctored(database_url, config)

    told = [one.found for one in findings if "has been silent" in one.found]
    assert len(told) == 1
    assert "for 23h" in told[0]


def test_that_who_was_erased_cannot_be_known_is_a_problem(database_url: str, config: Path) -> None:
    with opened(database_url) as database, database.writing.begin() as conn:
        now = real_clock(database).now(conn)
        beat(conn, Instance.of("all"), now=now)
        remember(conn, b"key", ["+14045550123"], now=now)

    without = doctored(database_url, config)
    config.write_text(f"{config.read_text()}\nprivacy: {{key: env:ACME_KEY}}\n")
    with_key = doctored(database_url, config)

    assert (without[0], bad(without[1])) == (1, [("privacy", "problem")])
    assert (with_key[0], bad(with_key[1])) == (0, [])


def test_without_a_file_and_without_a_database_it_says_so(tmp_path: Path) -> None:
    """Nothing needs to be there for it to speak; it makes no empty database either."""
    missing = tmp_path / "none.db"

    ran = run_here("doctor", "--config", tmp_path / "none.yaml", "--database-url", f"sqlite:///{missing}")

    assert ran.code == 1
    assert (
        "none.yaml:1:1: the file cannot be read: no such file or directory\n    name the file with --config" in ran.out
    )
    assert f"there is no file {missing}\n    callrail-router migrate" in ran.out
    assert ran.out.endswith("2 problems, no warnings.\n")
    assert "Traceback" not in ran.err
    assert not missing.exists()


def test_a_database_that_is_not_migrated_is_to_be_migrated(unmigrated_url: str, config: Path) -> None:
    """And what its tables would say is not asked."""
    if unmigrated_url.startswith("sqlite"):
        Path(unmigrated_url.removeprefix("sqlite:///")).touch()

    code, findings = doctored(unmigrated_url, config)

    assert code == 1
    (found,) = [one for one in findings if one.verdict is Verdict.PROBLEM]
    assert (found.subject, found.found, found.remedy) == ("schema", "there are no tables", "callrail-router migrate")


def test_a_database_that_refuses_is_told_without_its_password(config: Path) -> None:
    """One sentence, and what else can be looked at is."""
    code, findings = doctored("postgresql://us:secretword@127.0.0.1:1/calls", config)

    assert code == 1
    assert bad(findings) == [("database", "problem")]
    assert "Connection refused" in str(findings)
    assert "secretword" not in str(findings)


def test_missing_secrets_are_problems(sqlite_url: str, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at its place, and none is shown."""
    monkeypatch.setitem(SECRETS, "CRM_SECRET", "")

    _code, findings = doctored(sqlite_url, config)

    (found,) = [one for one in findings if one.subject == "secrets"]
    assert (found.verdict, "CRM_SECRET is empty" in found.found) == (Verdict.PROBLEM, True)


def test_each_sink_is_tried_if_asked(sqlite_url: str, config: Path) -> None:
    """As `sinks test` does; without the option nothing leaves."""
    _code, quiet = doctored(sqlite_url, config)
    _code, tried = doctored(sqlite_url, config, "--sinks")

    assert not [one for one in quiet if one.found.startswith("crm:")]
    (found,) = [one for one in tried if one.found.startswith("crm:")]
    assert (found.subject, found.verdict) == ("sinks", Verdict.PROBLEM)


@pytest.mark.parametrize(
    ("company", "verdict", "words"),
    [
        pytest.param("signing_keys: [env:K]", Verdict.OK, "does not end soon", id="for-ever"),
        pytest.param("signing_keys: [{secret: env:K, until: 2026-03-09}]", Verdict.PROBLEM, "ended on", id="ended"),
        pytest.param("signing_keys: [{secret: env:K, until: 2026-03-24}]", Verdict.WARNING, "ends on", id="soon"),
        pytest.param("signing_keys: [{secret: env:K, until: 2026-03-25}]", Verdict.OK, "", id="later"),
        pytest.param("signing_keys: [{secret: env:K, until: 2026-03-09}, env:L]", Verdict.OK, "", id="another"),
        pytest.param(
            "signing_keys: [env:K], unsigned: accept_form", Verdict.WARNING, "CAN INVENT FORMS", id="unsigned"
        ),
    ],
)
def test_keys_that_end_and_what_is_taken_unsigned(tmp_path: Path, company: str, verdict: Verdict, words: str) -> None:
    """Two weeks before the last key of a company ends there is still time."""
    path = tmp_path / "router.yaml"
    path.write_text(f"companies: {{acme: {{{company}}}}}\n")

    (found,) = look_at_keys(read_config(path), TODAY)

    assert found.verdict is verdict
    assert words in found.found


def test_a_company_whose_hours_have_no_zone_is_named(sqlite_url: str, tmp_path: Path) -> None:
    """Until a call tells the zone its rules cannot know whether it is open."""
    path = tmp_path / "router.yaml"
    path.write_text(
        'companies: {acme: {signing_keys: [env:ACME_KEY], hours: office}}\nhours: {office: {mon: "08:00-18:00"}}\n'
    )

    _code, findings = doctored(sqlite_url, path)

    (found,) = [one for one in findings if one.subject == "hours"]
    assert (found.verdict, "no time zone of acme" in found.found) == (Verdict.WARNING, True)


def test_a_spool_on_the_disk_of_the_database_is_full_with_it(sqlite_url: str, tmp_path: Path) -> None:
    """And one that is not there is told."""
    (room, same) = look_at_spool(tmp_path, sqlite_url)
    (missing,) = look_at_spool(tmp_path / "none", sqlite_url)

    assert room.found.endswith(f"free at {tmp_path}")
    assert (same.verdict, missing.verdict) == (Verdict.WARNING, Verdict.WARNING)
    assert "same disk" in same.found


def test_a_look_that_hangs_or_fails_is_a_finding() -> None:
    """What was seen before is kept; the text of an unexpected error is not shown."""
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield ok("disk", "first")
        never.wait()

    def fails() -> Iterator[Finding]:
        raise ValueError("+15551234567")
        yield

    first, late = look_at("disk", hangs, longest=timedelta(milliseconds=50))
    (failed,) = look_at("clock", fails)
    never.set()

    assert first == ok("disk", "first")
    assert (late.subject, late.verdict, late.found) == ("disk", Verdict.PROBLEM, "no answer within 50ms")
    assert (failed.subject, failed.found) == ("clock", "cannot be looked at: ValueError")
