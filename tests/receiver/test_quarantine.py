"""The quarantine on both databases: what it takes in, what is proved later, and what is dropped by age."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Row, event, select, text, update

from callrail.signature import sign
from receiver.buckets import LIMITS, BucketLimits, Buckets
from receiver.companies import Companies
from receiver.database import Database, open_database
from receiver.events import ReceivedRequest, insert_events, insert_quarantined
from receiver.ids import Prefix, first_id, new_id
from receiver.proof import mark_of
from receiver.quarantine import (
    KEPT_FOR,
    UNKNOWN_KEPT_FOR,
    Selection,
    bytes_in,
    drop,
    drop_old,
    drop_old_quarantined,
    in_pieces,
    newest_refused,
    untried,
)
from receiver.reverification import verdicts_on, verify_again, verify_untried
from receiver.schema import QuarantineReason, events, quarantine
from receiver.writer import Writer
from tests.client import post, post_signed
from tests.serving import ACME_ID, ACME_KEY, ACME_OLD_KEY, GLOBEX_ID, GLOBEX_KEY, companies_of, running_receiver

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 10, 13, 15, tzinfo=UTC)
BODY = b'{"resource_id":"CAL1"}'
PATH = "/callrail/acme/post_call"
FORM = "application/x-www-form-urlencoded"
Reason = QuarantineReason


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.dispose()


@asynccontextmanager
async def writing(database: Database) -> AsyncIterator[Writer]:
    writer = Writer(database, insert_events)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


def rows(database: Database, table: Any) -> list[Row[Any]]:
    with database.reading.connect() as conn:
        return list(conn.execute(select(table).order_by(table.c.id)))


def ids(database: Database, table: Any) -> set[str]:
    return {row.id for row in rows(database, table)}


def keep(
    conn: Connection,
    reason: QuarantineReason = Reason.SIGNATURE_WRONG,
    *,
    company: str = "acme",
    body: bytes = BODY,
    key: str | None = ACME_OLD_KEY,
    at: datetime = NOW,
    content_type: str = "application/json",
    tried_with: str | None = None,
) -> str:
    """A webhook in quarantine, received *at* and signed with *key*; its id."""
    quarantine_id = first_id(Prefix.EVENT, at)[:14] + new_id(Prefix.EVENT)[14:]
    request = ReceivedRequest(at, company, "post_call", content_type, {"user-agent": "x"}, body)
    signature = sign(key.encode(), body) if key is not None else None
    insert_quarantined(conn, quarantine_id, request, reason, signature, tried_with)
    return quarantine_id


ONE_KEY = "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
BOTH_KEYS = "companies:\n  acme: {signing_keys: [env:ACME_KEY, env:ACME_OLD_KEY]}\n"


# --- what is taken in ------------------------------------------------------------------------------------------------


async def test_a_full_bucket_refuses_the_newest(database_url: str, tmp_path: Path) -> None:
    """401, never a 2xx, and what was there first stays; a proved webhook and another company are not concerned."""
    limits = replace(LIMITS, company_bytes=1_000, refresh=timedelta(0))
    text_ = "bad_signature: accept\ncompanies:\n  acme: {signing_keys: [env:ACME_KEY]}\n"
    text_ += "  globex: {signing_keys: [env:GLOBEX_KEY]}\n"
    async with running_receiver(companies_of(tmp_path, text_), database_url, limits=limits) as receiver:
        assert (await post(receiver.port, PATH, b"1" * 600)).status == 202
        assert (await post(receiver.port, PATH, b"2" * 600)).status == 401
        assert (await post(receiver.port, PATH, b"3" * 100)).status == 202
        assert (await post(receiver.port, "/callrail/globex/post_call", b"4" * 600)).status == 202
        assert (await post_signed(receiver.port, PATH, b"5" * 600, key=ACME_KEY)).status == 204

        assert [row.body[:1] for row in rows(receiver.database, quarantine)] == [b"1", b"3", b"4"]


async def test_unknown_companies_have_one_small_bucket_together(database_url: str, tmp_path: Path) -> None:
    """Whoever invents names fills neither another company's bucket nor more than this one."""
    limits = replace(LIMITS, unknown_bytes=1_000)
    async with running_receiver(companies_of(tmp_path), database_url, limits=limits) as receiver:
        assert (await post(receiver.port, "/callrail/one/post_call", b"1" * 600)).status == 202
        assert (await post(receiver.port, "/callrail/two/post_call", b"2" * 600)).status == 401
        assert (await post(receiver.port, PATH, b"3" * 600)).status == 401

        assert [row.body[:1] for row in rows(receiver.database, quarantine)] == [b"1", b"3"]


async def test_what_other_processes_kept_counts(database_url: str, tmp_path: Path) -> None:
    """The level is that of the database, not of the process."""
    with opened(database_url) as database, database.writing.begin() as conn:
        keep(conn, body=b"x" * 900)
    limits = replace(LIMITS, company_bytes=1_000)
    async with running_receiver(companies_of(tmp_path), database_url, limits=limits) as receiver:
        await post(receiver.port, PATH, b"y" * 200)

        assert [row.body[:1] for row in rows(receiver.database, quarantine)] == [b"x"]


async def test_the_write_budget_bounds_all_that_is_unproved(sqlite_url: str, tmp_path: Path) -> None:
    """Over it: 401, and nothing is kept; proved webhooks go on."""
    limits = BucketLimits(writes_a_second=0)
    async with running_receiver(companies_of(tmp_path), sqlite_url, limits=limits) as receiver:
        assert (await post(receiver.port, PATH, BODY)).status == 401
        assert (await post(receiver.port, "/callrail/unknown/post_call", BODY)).status == 401
        assert rows(receiver.database, quarantine) == []
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204


async def test_the_write_budget_is_refilled_by_time(sqlite_url: str) -> None:
    """Twenty at once, then one for every twentieth of a second, and never more than twenty saved up."""
    seconds = [1000.0]
    with opened(sqlite_url) as database:
        async with writing(database) as writer:
            buckets = Buckets(writer, monotonic=lambda: seconds[0])

            async def admitted() -> int:
                return sum([await buckets.admit("acme", 1) for _ in range(50)])

            assert await admitted() == 20
            seconds[0] += 0.25
            assert await admitted() == 5
            seconds[0] += 3600
            assert await admitted() == 20


@pytest.mark.parametrize("unknown_bytes", [0, 1_000_000], ids=["full", "with room"])
async def test_strangers_do_not_use_up_the_write_budget(sqlite_url: str, unknown_bytes: int) -> None:
    """However many come for companies that nobody knows, what comes for a known one with a wrong key is kept."""
    with opened(sqlite_url) as database:
        async with writing(database) as writer:
            limits = replace(LIMITS, unknown_bytes=unknown_bytes)
            buckets = Buckets(writer, limits, monotonic=lambda: 1000.0)

            strangers = sum([await buckets.admit(None, 1) for _ in range(50)])

            assert strangers == (10 if unknown_bytes else 0)
            assert sum([await buckets.admit("acme", 1) for _ in range(50)]) == 20 - strangers


async def test_a_kept_webhook_says_its_size_and_what_it_was_tried_with(database_url: str, tmp_path: Path) -> None:
    """With the mark of the settings; one of an unknown company was tried with none."""
    companies = companies_of(tmp_path)
    async with running_receiver(companies, database_url) as receiver:
        await post(receiver.port, PATH, BODY)
        await post(receiver.port, "/callrail/unknown/post_call", BODY)

        known, unknown = rows(receiver.database, quarantine)
        acme = companies.get("acme")
        assert acme is not None
        assert known.tried_with == mark_of(acme)
        assert unknown.tried_with is None
        assert known.bytes > len(BODY)
        with receiver.database.reading.connect() as conn:
            assert (bytes_in(conn, "acme"), bytes_in(conn, None)) == (known.bytes, unknown.bytes)


@pytest.mark.parametrize(
    ("company", "index"),
    [("acme", "COVERING INDEX ix_quarantine_company_reason"), (None, "INDEX ix_quarantine_unknown")],
)
def test_how_full_a_bucket_is_is_read_from_an_index(sqlite_url: str, company: str | None, index: str) -> None:
    """The webhooks of other buckets are not walked over, and no body is read."""
    asked: list[tuple[str, Any]] = []
    with opened(sqlite_url) as database:
        event.listen(database.reading, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        with database.reading.connect() as conn:
            bytes_in(conn, company)
            statement, parameters = asked[-1]
            plan = str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())

    assert f"SEARCH quarantine USING {index}" in plan


# --- verified again --------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """What lies in quarantine, the file afterwards, and whether it is proved by it."""

    kept: dict[str, Any]
    text: str
    is_proved: bool = True
    reason_after: QuarantineReason | None = None


CASES = {
    "a key was added": Case({}, BOTH_KEYS),
    "a key of that day, ended since": Case(
        {}, f"companies:\n  acme: {{signing_keys: [env:ACME_KEY, {{secret: env:ACME_OLD_KEY, until: {NOW.date()}}}]}}\n"
    ),
    "a key that had ended that day": Case(
        {},
        "companies:\n  acme: {signing_keys: [env:ACME_KEY, "
        f"{{secret: env:ACME_OLD_KEY, until: {NOW.date() - timedelta(days=1)}}}]}}\n",
        is_proved=False,
        reason_after=Reason.SIGNATURE_WRONG,
    ),
    "a company was configured": Case(
        {"reason": Reason.COMPANY_UNKNOWN, "company": "initech", "key": ACME_KEY},
        "companies:\n  initech: {signing_keys: [env:ACME_KEY]}\n",
    ),
    "a company was configured, with another key": Case(
        {"reason": Reason.COMPANY_UNKNOWN, "company": "initech"},
        "companies:\n  initech: {signing_keys: [env:ACME_KEY]}\n",
        is_proved=False,
        reason_after=Reason.SIGNATURE_WRONG,
    ),
    "unsigned forms are accepted": Case(
        {"reason": Reason.SIGNATURE_MISSING, "key": None, "content_type": FORM, "body": b"resource_id=CAL1"},
        "companies:\n  acme: {unsigned: accept_form, signing_keys: [env:ACME_KEY]}\n",
    ),
    "unsigned forms are accepted, but it is JSON": Case(
        {"reason": Reason.SIGNATURE_MISSING, "key": None},
        "companies:\n  acme: {unsigned: accept_form, signing_keys: [env:ACME_KEY]}\n",
        is_proved=False,
        reason_after=Reason.SIGNATURE_MISSING,
    ),
    "the right key, but of another company": Case(
        {"body": json.dumps({"company_resource_id": GLOBEX_ID}).encode()},
        f"companies:\n  acme: {{callrail_id: {ACME_ID}, signing_keys: [env:ACME_OLD_KEY]}}\n",
        is_proved=False,
        reason_after=Reason.COMPANY_MISMATCH,
    ),
    "the id was wrong and is right now": Case(
        {
            "reason": Reason.COMPANY_MISMATCH,
            "body": json.dumps({"company_resource_id": ACME_ID}).encode(),
            "key": ACME_KEY,
        },
        f"companies:\n  acme: {{callrail_id: {ACME_ID}, signing_keys: [env:ACME_KEY]}}\n",
    ),
    "the company left the file": Case(
        {},
        "companies:\n  globex: {signing_keys: [env:GLOBEX_KEY]}\n",
        is_proved=False,
        reason_after=Reason.SIGNATURE_WRONG,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_the_file_proves_now_becomes_an_event(database_url: str, tmp_path: Path, case: Case) -> None:
    """Under its id and with its time of reception; whatever is not proved stays, with the reason it has now."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            kept = keep(conn, **case.kept)
        async with writing(database) as writer:
            await verify_untried(writer, companies_of(tmp_path, case.text))

        if not case.is_proved:
            (row,) = rows(database, quarantine)
            assert (row.id, row.reason, rows(database, events)) == (kept, case.reason_after, [])
            return
        (row,) = rows(database, events)
        assert (row.id, row.received_at, row.state, row.origin) == (kept, NOW, "received", "webhook")
        assert (row.body, row.headers) == (case.kept.get("body", BODY), {"user-agent": "x"})
        assert (row.key_fingerprint is None) == (case.kept.get("content_type") == FORM)
        assert rows(database, quarantine) == []


async def test_each_is_tried_once_with_the_same_settings(database_url: str, tmp_path: Path) -> None:
    """What is tried costs nothing from then on, until a setting of its company changes."""
    before, after = companies_of(tmp_path, ONE_KEY), companies_of(tmp_path, BOTH_KEYS)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            keep(conn, key=GLOBEX_KEY)
        async with writing(database) as writer:
            await verify_untried(writer, before)

        with database.reading.connect() as conn:
            assert waiting(conn, before) == []
            assert len(waiting(conn, after)) == 1


def waiting(conn: Connection, companies: Companies) -> list[str]:
    return [found for company in companies for found in untried(conn, company.slug, mark_of(company))]


MARKS = {
    "another key": "signing_keys: [env:ACME_OLD_KEY]",
    "a key more": "signing_keys: [env:ACME_KEY, env:ACME_OLD_KEY]",
    "a last day": "signing_keys: [{secret: env:ACME_KEY, until: 2026-12-31}]",
    "its id": f"callrail_id: {ACME_ID}, signing_keys: [env:ACME_KEY]",
    "unsigned": "unsigned: accept_form, signing_keys: [env:ACME_KEY]",
}


@pytest.mark.parametrize("changed", MARKS.values(), ids=MARKS)
def test_the_mark_changes_with_whatever_can_prove_more(tmp_path: Path, changed: str) -> None:
    """And with nothing else: not with the order of the keys."""
    first = companies_of(tmp_path, ONE_KEY).get("acme")
    other = companies_of(tmp_path, f"companies:\n  acme: {{{changed}}}\n").get("acme")
    assert first is not None
    assert other is not None

    assert mark_of(first) != mark_of(other)
    assert mark_of(other) == mark_of(replace(other, keys=other.keys[::-1]))


async def test_rows_of_a_program_that_knew_no_sizes_count_once_tried(database_url: str, tmp_path: Path) -> None:
    """The version before writes neither size nor mark."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            keep(conn, key=GLOBEX_KEY)
            conn.execute(update(quarantine).values(bytes=None, tried_with=None))
            assert bytes_in(conn, "acme") == 0
        async with writing(database) as writer:
            await verify_untried(writer, companies_of(tmp_path, ONE_KEY))

        with database.reading.connect() as conn:
            assert bytes_in(conn, "acme") >= len(BODY)


def test_to_plan_changes_nothing(database_url: str, tmp_path: Path) -> None:
    """It tells what would come of it, of each row."""
    companies = companies_of(tmp_path, BOTH_KEYS)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            kept = [keep(conn), keep(conn, key=GLOBEX_KEY)]
        before = rows(database, quarantine)

        with database.reading.connect() as conn:
            verdicts = verdicts_on(conn, companies, kept)

        assert {verdict.refused for verdict in verdicts} == {None, Reason.SIGNATURE_WRONG}
        assert (rows(database, quarantine), rows(database, events)) == (before, [])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(right=st.lists(st.booleans(), min_size=1, max_size=5), dies_at=st.lists(st.integers(1, 4), max_size=4))
def test_a_retry_that_dies_anywhere_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path, right: list[bool], dies_at: list[int]
) -> None:
    """It is cut off before its first, second, ... statement, and taken up again: each is in one table, once."""
    companies = companies_of(tmp_path, BOTH_KEYS)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            conn.execute(quarantine.delete())
            conn.execute(events.delete())
            kept = {keep(conn, key=ACME_OLD_KEY if is_right else GLOBEX_KEY): is_right for is_right in right}
        for statement in dies_at:
            with cut_off(database, statement), pytest.raises(Cut):
                in_pieces(database.writing, Selection(), lambda conn, piece: _verify(conn, companies, piece))
            assert ids(database, events) | ids(database, quarantine) == set(kept)
            assert not ids(database, events) & ids(database, quarantine)

        in_pieces(database.writing, Selection(), lambda conn, piece: _verify(conn, companies, piece))

        assert ids(database, events) == {made for made, is_right in kept.items() if is_right}
        assert ids(database, quarantine) == {made for made, is_right in kept.items() if not is_right}


def _verify(conn: Connection, companies: Companies, piece: list[str]) -> None:
    verify_again(conn, companies, piece)
    conn.execute(text("SELECT 1"))  # a last statement before the COMMIT, to be cut off at


class Cut(BaseException):
    """The process dies here."""


@contextmanager
def cut_off(database: Database, statement: int) -> Iterator[None]:
    """Whatever is written is cut off before its *statement*-th statement that changes or asks something."""
    left = [statement]

    def count(_conn: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        if sql.startswith(("INSERT", "DELETE", "UPDATE", "SELECT 1")):
            left[0] -= 1
            if left[0] == 0 or sql.startswith("SELECT 1"):
                raise Cut

    event.listen(database.writing, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(database.writing, "before_cursor_execute", count)


def test_two_retries_at_once_do_not_meet(postgresql_url: str, tmp_path: Path) -> None:
    """What one has in hand the other leaves alone, without waiting; afterwards each is an event, once."""
    companies = companies_of(tmp_path, BOTH_KEYS)
    with opened(postgresql_url) as first, opened(postgresql_url) as second:
        with first.writing.begin() as conn:
            kept = {keep(conn) for _ in range(250)}
        with first.writing.begin() as one:
            held = verify_again(one, companies, sorted(kept)[:10])
            with second.writing.begin() as two:
                assert len(verify_again(two, companies, sorted(kept)[:20])) == 10
        assert len(held) == 10

        def all_of(database: Database) -> None:
            in_pieces(database.writing, Selection(), lambda conn, piece: _verify(conn, companies, piece))

        threads = [threading.Thread(target=all_of, args=(database,)) for database in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_of(first)  # what the two left to each other

        assert (ids(first, events), ids(first, quarantine)) == (kept, set())


async def test_many_are_verified_in_small_pieces(sqlite_url: str, tmp_path: Path) -> None:
    """Neither many rows nor many bytes are one transaction, so a server can write in between."""
    with opened(sqlite_url) as database:
        with database.writing.begin() as conn:
            for number in range(205):
                keep(conn, body=b"x" * (900_000 if number < 5 else 10), at=NOW + timedelta(seconds=number))
        sizes: list[int] = []
        companies = companies_of(tmp_path, BOTH_KEYS)

        def work(conn: Connection, piece: list[str]) -> None:
            sizes.append(len(verify_again(conn, companies, piece)))

        in_pieces(database.writing, Selection(), work)

        assert (sizes[:2], sum(sizes), max(sizes)) == ([2, 2], 205, 100)
        assert len(ids(database, events)) == 205


# --- age, looking ----------------------------------------------------------------------------------------------------


async def test_what_is_old_goes_by_the_age_of_its_bucket(database_url: str) -> None:
    """An unknown company's after a week, a known one's after ninety days; what is younger stays."""
    moment = timedelta(seconds=1)
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            keep(conn, at=NOW - KEPT_FOR - moment)
            keep(conn, Reason.COMPANY_UNKNOWN, company="x", at=NOW - UNKNOWN_KEPT_FOR - moment)
            stays = {
                keep(conn, at=NOW - KEPT_FOR + moment),
                keep(conn, Reason.COMPANY_UNKNOWN, company="x", at=NOW - UNKNOWN_KEPT_FOR + moment),
            }
        async with writing(database) as writer:
            await drop_old_quarantined(writer, FixedClock())

        assert ids(database, quarantine) == stays


class FixedClock:
    def now(self, conn: Connection) -> datetime:
        return NOW


def test_the_old_go_in_small_pieces(sqlite_url: str) -> None:
    """Oldest first, and zero once nothing is left."""
    with opened(sqlite_url) as database, database.writing.begin() as conn:
        old = NOW - timedelta(days=100)
        kept = [keep(conn, at=old + timedelta(seconds=number)) for number in range(150)]

        assert [drop_old(conn, now=NOW) for _ in range(3)] == [100, 50, 0]
        assert drop(conn, kept) == 0


def test_the_newest_bad_signature_of_a_company_is_told(database_url: str) -> None:
    """Missing or wrong; a body of another company, or of none, is no bad signature."""
    with opened(database_url) as database, database.writing.begin() as conn:
        assert newest_refused(conn, "acme") is None
        keep(conn, Reason.SIGNATURE_WRONG, at=NOW)
        newest = keep(conn, Reason.SIGNATURE_MISSING, at=NOW + timedelta(hours=1))
        keep(conn, Reason.COMPANY_MISMATCH, at=NOW + timedelta(hours=2))
        keep(conn, Reason.SIGNATURE_WRONG, company="globex", at=NOW + timedelta(hours=3))

        found = newest_refused(conn, "acme")

        assert found is not None
        assert tuple(found) == (newest, NOW + timedelta(hours=1), Reason.SIGNATURE_MISSING)
