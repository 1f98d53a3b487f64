"""Erasing a person and telling what is stored of one, on both databases: all of it, and nothing of others."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from sqlalchemy import Connection, LargeBinary, Text, select, type_coerce, update

from receiver.database import Database
from receiver.events import ReceivedRequest, event_row, insert_quarantined
from receiver.ids import Prefix, new_id
from receiver.instances import Instance, beat
from receiver.records import event_record
from receiver.schema import EventState, QuarantineReason, events, metadata
from receiver.spool import open_spool, refused_in, waiting_in
from routers.forgetting import ERASED, Forgotten, read_erased
from routers.leases import claim_due, record
from routers.objects import claim_received
from routers.operating import retry
from routers.privacy import erase, export, settle
from routers.routing import route_claimed
from routers.schema import DeliveryState, attempts, audit, deliveries, erased, objects, transitions, versions
from routers.searching import returned, search
from routers.transitions import Transition
from tests.routers.running import config_text, run_here, running
from tests.routers.store import FixedClock, a_rule, opened, receive, rows_of, rule_set, tried
from tests.routers.waiting import wait_until

KEY = b"0123456789abcdef"
NUMBER = "+14045550123"
RULES = rule_set(
    a_rule("calls", Transition.CALL_MISSED, Transition.CALL_CHANGED),
    a_rule("texts", Transition.TEXT_RECEIVED),
    a_rule("forms", Transition.FORM_SUBMITTED),
)
# What must not be left anywhere, and what of others must be.
OF_THE_PERSON = ["4045550123", "404) 555-0123", "404-555-0123", "Ann Lovelace", "ann@example.org", "PERann"]
OF_THE_PERSON += ["my cat is ill", "burst pipe in the cellar", "rec.example/ann"]
OF_OTHERS = ["4045550188", "Bob Stone", "leaking roof"]

CALL = {
    "resource_id": "CALann",
    "customer_phone_number": NUMBER,
    "customer_name": "Ann Lovelace",
    "person_resource_id": "PERann",
    "answered": False,
    "call_type": "missed",
    "duration": 30,
    "source": "Google Ads",
    "tags": ["urgent"],
    "transcription": "burst pipe in the cellar",
    "recording": "https://rec.example/ann",
    "start_time": "2026-03-10T09:00:00Z",
}
TEXT = {
    "resource_id": "MSGann",
    "source_number": NUMBER,
    "destination_number": "+14045550100",
    "content": "my cat is ill",
    "timestamp": "2026-03-10T09:05:00Z",
}
FORM = {
    "resource_id": "FRMann",
    "person_resource_id": "PERann",
    "form_data": {"your-name": "Ann Lovelace", "email": "ann@example.org", "phone": "(404) 555-0123"},
    "submitted_at": "2026-03-10T09:10:00Z",
}
ASSIST = {
    "person_resource_id": "PERann",
    "last_interaction_resource_id": "CALann",
    "timestamp": "2026-03-10T09:20:00Z",
    "answers": [{"question": "what is it?", "answer": "burst pipe in the cellar"}],
}
OF_BOB = {
    **CALL,
    "resource_id": "CALbob",
    "customer_phone_number": "+14045550188",
    "customer_name": "Bob Stone",
    "person_resource_id": "PERbob",
    "transcription": "leaking roof",
    "recording": "https://rec.example/bob",
    "note": "sent by Ann, 404-555-0123",
}


def put_all(database: Database) -> None:
    """All that may be stored of Ann, and a call of Bob's that mentions her."""
    with database.writing.begin() as conn:
        receive(conn, "post_call", CALL)
        receive(conn, "post_call", CALL)  # a repeat
        receive(conn, "call_modified", {**CALL, "tags": ["urgent", "Ann Lovelace"], "changes": ["tags"]})
        receive(conn, "text_received", TEXT)
        receive(conn, "form_submission", FORM)
        receive(conn, "convert_assist", ASSIST)
        receive(conn, "post_call", OF_BOB)
        route_all(conn)
        broken = receive(conn, "post_call", b'{"customer_phone_number": "404-555-0123", ')
        conn.execute(update(events).where(events.c.id == broken).values(state=EventState.FAILED.value))
        for body in (b"caller=%28404%29+555-0123&name=Ann+Lovelace", b"caller=4045550188&name=Bob+Stone"):
            request = ReceivedRequest(datetime.now(UTC), "acme", "post_call", "application/json", {}, body)
            insert_quarantined(conn, new_id(Prefix.EVENT), request, QuarantineReason.SIGNATURE_WRONG, None)
        claimed = claim(conn)
        told = [tried(item, DeliveryState.DEAD, reason=f"HTTP 400: no lead {NUMBER}") for item in claimed]
        record(conn, told[:2], now=datetime.now(UTC))


LATER = datetime.now(UTC) + timedelta(days=1)


def claim(conn: Connection, *, limit: int = 2) -> Any:
    return claim_due(conn, sink="crm", now=LATER, lease_until=LATER, instance="in_1", limit=limit)


def route_all(conn: Connection, key: bytes | None = KEY) -> None:
    route_claimed(conn, claim_received(conn, limit=100), FixedClock(datetime.now(UTC)), RULES, {}, Forgotten(key))


def texts_of(database: Database) -> str:
    """Everything that any column of any table holds, as one text."""
    parts: list[str] = []
    with database.reading.connect() as conn:
        for table in metadata.sorted_tables:
            for column in table.c:
                coerced = column if isinstance(column.type, LargeBinary) else type_coerce(column, Text)
                for (value,) in conn.execute(select(coerced)):
                    parts.append(bytes(value).decode("latin-1") if isinstance(value, bytes) else str(value))
    return "\n".join(parts)


def left_in(text: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word.lower() in text.lower()]


def erase_ann(database: Database) -> Any:
    return erase(database, search(database, NUMBER), KEY, clock=FixedClock(datetime.now(UTC)))


# --- erase -----------------------------------------------------------------------------------------------------------


def test_nothing_of_the_person_is_left_in_any_column(database_url: str) -> None:
    """Of her calls, texts, forms, of what could not be routed or proved, and of where others mention her."""
    with opened(database_url) as database:
        put_all(database)
        assert left_in(texts_of(database), OF_THE_PERSON) == OF_THE_PERSON

        erase_ann(database)

        left = texts_of(database)
        assert left_in(left, OF_THE_PERSON) == []
        assert left_in(left, OF_OTHERS) == OF_OTHERS
        assert sum(search(database, NUMBER).counts().values()) == 0


def test_nothing_of_the_person_is_left_in_the_file(sqlite_url: str) -> None:
    """Not in a freed page, not in an index, not in the log."""
    with opened(sqlite_url) as database:
        put_all(database)
        erase_ann(database)

        assert settle(database)

        file = Path(str(database.url.database))
        found = [path.read_bytes().decode("latin-1") for path in file.parent.glob(f"{file.name}*") if path.is_file()]
        assert [left_in(text, OF_THE_PERSON) for text in found] == [[] for _ in found]
        assert left_in("".join(found), OF_OTHERS) == OF_OTHERS


def test_what_happened_stays_to_be_counted_and_explained(database_url: str) -> None:
    """Rows, times, states, verdicts and what says nothing of a person; repeated, it changes nothing."""
    with opened(database_url) as database:
        put_all(database)
        tables = (events, objects, versions, transitions, deliveries, attempts)
        rows = [len(rows_of(database, table)) for table in tables]
        verdicts = [row.verdicts for row in rows_of(database, transitions)]

        erase_ann(database)
        once = [row.fields for row in rows_of(database, versions)]

        assert [len(rows_of(database, table)) for table in tables] == rows
        assert [row.verdicts for row in rows_of(database, transitions)] == verdicts
        fields = next(row.fields for row in rows_of(database, versions) if row.fields.get("resource_id") == "CALann")
        assert (fields["duration"], fields["source"], fields["tags"]) == (30, "Google Ads", ["urgent"])
        assert {row.outcome for row in rows_of(database, objects) if row.type == "call"} == {"missed"}
        erase_ann(database)
        assert [row.fields for row in rows_of(database, versions)] == once


def test_what_is_still_to_be_sent_is_cancelled(database_url: str) -> None:
    """With the reason; what was on the wire cannot be called back, and is counted."""
    with opened(database_url) as database:
        put_all(database)
        with database.writing.begin() as conn:
            on_the_wire = claim(conn, limit=1)

        done = erase_ann(database)

        about = {row.id: row.object_id for row in rows_of(database, deliveries)}
        mine = [row for row in rows_of(database, deliveries) if about[row.id] in done.found.objects]
        assert done.sending == len([item for item in on_the_wire if item.id in {row.id for row in mine}])
        states = {row.state for row in mine}
        assert DeliveryState.PENDING not in states
        assert DeliveryState.BLOCKED not in states
        assert {row.reason for row in mine if row.state == DeliveryState.CANCELLED} == {ERASED}


def test_the_audit_names_a_hash_and_no_number(database_url: str) -> None:
    with opened(database_url) as database:
        put_all(database)
        erase_ann(database)

        (noted,) = rows_of(database, audit)
        assert (noted.action, noted.subject.partition(" ")[0]) == ("privacy erase", "number")
        assert noted.details["events"] > 0


def test_a_webhook_of_another_that_waits_is_not_lost(database_url: str) -> None:
    """It mentions her and is still to be routed: it is left, and told of."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            of_bob, of_ann = receive(conn, "post_call", OF_BOB), receive(conn, "post_call", CALL)

        done = erase_ann(database)

        rows = {row.id: row for row in rows_of(database, events)}
        assert done.found.waiting == [of_bob]
        assert (rows[of_bob].state, orjson.loads(rows[of_bob].body)) == ("received", OF_BOB)
        assert (rows[of_ann].state, rows[of_ann].body, rows[of_ann].reason) == ("routed", b"", ERASED)


def test_the_numbers_of_the_company_are_nobodys(database_url: str) -> None:
    """The calls of a tracking number are not one person's."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            receive(conn, "text_received", TEXT)
            route_all(conn)

        assert search(database, TEXT["destination_number"]).objects == []


def test_a_part_of_others_addresses_is_not_theirs(database_url: str) -> None:
    """Whoever types into a form what stands within everybody's data takes nothing of it away."""
    sly = {"resource_id": "FRMsly", "form_data": {"email": "e@example.org", "phone": NUMBER}, "person_id": 7}
    of_joe = {"resource_id": "CALjoe", "customer_phone_number": "+14045550177", "note": "joe@example.org, 17 times"}
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            receive(conn, "form_submission", sly)
            receive(conn, "post_call", of_joe)
            route_all(conn)

        done = erase_ann(database)

        assert (done.found.person.ids, done.found.person.emails) == ({"7"}, {"e@example.org"})
        assert len(left_in(texts_of(database), ["joe@example.org", "17 times"])) == 2
        assert rows_of(database, events)[1].body == orjson.dumps(of_joe)
        assert rows_of(database, events)[0].body == b""


@pytest.mark.parametrize("email", ["ann@example.org", "ann+cats@example.org"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_an_address_is_found_in_bodies_of_others(database_url: str, email: str, content_type: str) -> None:
    """In a note of several lines, in a form, with what a form would write otherwise."""
    form = {**FORM, "form_data": {"email": email, "phone": NUMBER}}
    note = f"asks for\n{email}"
    of_bob = {"resource_id": "CALbob", "customer_phone_number": "+14045550188", "note": note}
    body = orjson.dumps(of_bob) if content_type == "application/json" else urlencode(of_bob).encode()
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            receive(conn, "form_submission", form)
            bobs = receive(conn, "post_call", body)
            conn.execute(update(events).where(events.c.id == bobs).values(content_type=content_type))
            route_all(conn)

        erase_ann(database)

        assert left_in(texts_of(database), [email, email.replace("@", "%40"), "ann%2Bcats"]) == []
        assert "CALbob" in {row.object_id for row in rows_of(database, objects)}


# --- against return --------------------------------------------------------------------------------------------------


def test_what_happened_before_does_not_come_back(database_url: str) -> None:
    """Of an object known before, of one that never came, of a text, of what tells the person's id alone."""
    with opened(database_url) as database:
        put_all(database)
        erase_ann(database)
        before = len(rows_of(database, transitions))

        with database.writing.begin() as conn:
            again = [
                receive(conn, "call_modified", {**CALL, "note": "my cat is ill"}),
                receive(conn, "call_modified", {**CALL, "customer_phone_number": None, "person_resource_id": None}),
                receive(conn, "post_call", {**CALL, "resource_id": "CALnew", "person_resource_id": None}),
                receive(conn, "text_received", {**TEXT, "resource_id": "MSGnew"}),
                receive(conn, "convert_assist", {**ASSIST, "interaction_count": 9}),
            ]
            route_all(conn)

        rows = {row.id: row for row in rows_of(database, events)}
        assert {(rows[one].state, rows[one].reason, rows[one].body) for one in again} == {("routed", ERASED, b"")}
        assert len(rows_of(database, transitions)) == before
        assert left_in(texts_of(database), OF_THE_PERSON) == []


def test_who_calls_again_is_kept(database_url: str) -> None:
    """What happens after the erasure is a new contact."""
    with opened(database_url) as database:
        put_all(database)
        erase_ann(database)
        later = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()

        with database.writing.begin() as conn:
            receive(conn, "post_call", OF_BOB | {"resource_id": "CALbob2"})
            newest = receive(conn, "post_call", {**CALL, "resource_id": "CALlater", "start_time": later})
            conn.execute(
                update(events).where(events.c.id == newest).values(received_at=datetime.now(UTC) + timedelta(minutes=1))
            )
            route_all(conn)

        assert {row.object_id for row in rows_of(database, objects)} >= {"CALbob2", "CALlater"}


def test_without_its_key_nobody_is_known_and_that_is_an_error_in_the_log(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(database_url) as database:
        put_all(database)
        erase_ann(database)
        with database.writing.begin() as conn:
            receive(conn, "post_call", {**CALL, "resource_id": "CALnew"})
            route_all(conn, key=None)

            forgotten = Forgotten(None)
            monkeypatch.setattr("routers.forgetting.HOLD", timedelta(0))
            assert [forgotten.knows_any(conn) for _ in range(3)] == [True] * 3

        assert capsys.readouterr().out.count("privacy.key_missing") == 2  # once by each
        assert "CALnew" in {row.object_id for row in rows_of(database, objects)}
        assert returned(database, KEY).keys() == {NUMBER}  # and `erase --again` finds it


def test_where_nobody_was_erased_nothing_is_hashed(database_url: str) -> None:
    with opened(database_url) as database, database.writing.begin() as conn:
        forgotten = Forgotten(KEY)

        assert not forgotten.knows_any(conn)
        assert read_erased(conn) == {}


def test_what_was_cancelled_by_it_cannot_be_taken_up_again(database_url: str) -> None:
    """A message about nobody helps nobody."""
    with opened(database_url) as database:
        put_all(database)
        erase_ann(database)
        cancelled = [row.id for row in rows_of(database, deliveries) if row.reason == ERASED]

        with database.writing.begin() as conn:
            assert cancelled
            assert retry(conn, cancelled, now=datetime.now(UTC)) == 0


def test_whom_a_restored_backup_brings_back_is_erased_again(sqlite_url: str, config: Path, tmp_path: Path) -> None:
    """The backup is from before: the restore says what to run, and after it nothing of her is left."""
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url, "CALLRAIL_ROUTER_CONFIG": str(config), "PRIVACY_KEY": "k"}
    with opened(sqlite_url) as database:
        put_all(database)
    run_here("backup", tmp_path / "copy", environ=environ)
    run_here("privacy", "erase", "--phone", NUMBER, "--yes", environ=environ)

    restored = run_here("restore", tmp_path / "copy", "--force", environ=environ)
    assert "callrail-router privacy erase --again" in restored.err
    with opened(sqlite_url) as database:
        assert left_in(texts_of(database), ["Ann Lovelace"])
        before = rows_of(database, erased)
        again = run_here("privacy", "erase", "--again", "--yes", environ=environ)
        assert again.code == 0, again.err
        assert left_in(texts_of(database), OF_THE_PERSON) == []
        assert rows_of(database, erased) == before
    assert "Nothing is stored of that." in run_here("privacy", "erase", "--again", "--yes", environ=environ).err


def test_an_erasure_while_a_server_runs_is_heeded_by_it(database_url: str, config: Path) -> None:
    """It takes in what tells of her again, and keeps nothing of it."""
    environ = {"PRIVACY_KEY": "k", "CALLRAIL_ROUTER_DATABASE_URL": database_url, "CALLRAIL_ROUTER_CONFIG": str(config)}
    with opened(database_url) as database, running("serve", "--port", "0", environ=environ) as process:
        process.post("post_call", orjson.dumps(CALL))
        wait_until(lambda: rows_of(database, objects))
        with database.reading.begin() as conn:  # as a server says that it lives
            beat(conn, Instance.of("all"), now=datetime.now(UTC))

        assert run_here("privacy", "erase", "--phone", NUMBER, "--yes", environ=environ).code in (0, 1)
        process.post("post_call", orjson.dumps({**CALL, "resource_id": "CALnew"}))
        wait_until(lambda: rows_of(database, events)[-1].state == EventState.ROUTED)

        assert rows_of(database, events)[-1].reason == ERASED
        assert left_in(texts_of(database), OF_THE_PERSON) == []


# --- export ----------------------------------------------------------------------------------------------------------


def test_export_tells_all_of_the_person_and_nothing_of_others(database_url: str) -> None:
    """Events with bodies, objects with versions, transitions, deliveries and tries, and what was not proved."""
    with opened(database_url) as database:
        put_all(database)

        document = {section: list(rows) for section, rows in export(database, search(database, NUMBER))}

        told = orjson.dumps(document, default=str).decode()
        assert left_in(told, OF_OTHERS) == []
        assert {item["object_id"].partition(":")[0] for item in document["objects"]} == {"CALann", "MSGann", "FRMann"}
        assert [len(document["events"]), len(document["quarantine"])] == [7, 1]
        assert any(one["tries"] for item in document["objects"] for one in item["deliveries"])


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(config_text("http://127.0.0.1:9") + "privacy: {key: env:PRIVACY_KEY}\n")
    return path


def test_erase_asks_for_a_plan_or_a_word_and_then_does_it(database_url: str, config: Path) -> None:
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url, "CALLRAIL_ROUTER_CONFIG": str(config), "PRIVACY_KEY": "k"}
    with opened(database_url) as database:
        put_all(database)

        plan = run_here("privacy", "erase", "--phone", "(404) 555-0123", "--plan", "-o", "json", environ=environ)
        assert (plan.code, {row["table"] for row in orjson.loads(plan.out)}) == (0, set(TABLES))
        assert left_in(texts_of(database), ["Ann Lovelace"])

        unsure = run_here("privacy", "erase", "--phone", NUMBER, environ=environ)
        assert (unsure.code, "look with --plan, then write --yes" in unsure.err) == (2, True)

        done = run_here("privacy", "erase", "--phone", NUMBER, "--yes", environ=environ)
        assert (done.code, "Erased." in done.err) == (0, True), done.err
        assert left_in(texts_of(database), OF_THE_PERSON) == []
        listed = run_here("audit", "-o", "json", environ=environ)
        assert [row["action"] for row in orjson.loads(listed.out)] == ["privacy erase"]


TABLES = ("attempts", "deliveries", "events", "objects", "quarantine", "transitions", "versions")


def test_without_a_key_erase_says_how_to_make_one(sqlite_url: str, tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text(config_text("http://127.0.0.1:9"))
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url, "CALLRAIL_ROUTER_CONFIG": str(config)}

    refused = run_here("privacy", "erase", "--phone", NUMBER, "--yes", environ=environ)

    assert (refused.code, "openssl rand -hex 32" in refused.err) == (2, True)


def test_export_writes_a_new_file_for_its_owner_alone(database_url: str, config: Path, tmp_path: Path) -> None:
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": database_url, "CALLRAIL_ROUTER_CONFIG": str(config), "PRIVACY_KEY": "k"}
    file = tmp_path / "ann.json"
    with opened(database_url) as database:
        put_all(database)

    assert run_here("privacy", "export", "--phone", NUMBER, "--to", file, environ=environ).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert orjson.loads(file.read_bytes()).keys() == {"phone", "events", "quarantine", "objects", "leads", "spool"}
    assert run_here("privacy", "export", "--phone", NUMBER, "--to", file, environ=environ).code == 3
    assert orjson.loads(run_here("privacy", "export", "--phone", NUMBER, environ=environ).out)["phone"] == NUMBER


def test_the_spool_is_searched_too(sqlite_url: str, config: Path, tmp_path: Path) -> None:
    """What was set aside is deleted; what waits is not ours to touch, and one is told to come back."""
    folder = tmp_path / "spool"
    spool = open_spool(folder)
    for number, name in ((NUMBER, "Ann"), ("+14045550188", "Bob")):
        body = orjson.dumps({"customer_phone_number": number, "customer_name": name})
        request = ReceivedRequest(datetime.now(UTC), "acme", "post_call", "application/json", {}, body)
        record = event_record(event_row(new_id(Prefix.EVENT), request, b"", None))
        assert spool.append([record]) is None
        spool.refuse(name, record)
    spool.close()
    environ = {"CALLRAIL_ROUTER_DATABASE_URL": sqlite_url, "CALLRAIL_ROUTER_CONFIG": str(config), "PRIVACY_KEY": "k"}
    environ["CALLRAIL_ROUTER_SPOOL"] = str(folder)

    told = orjson.loads(run_here("privacy", "export", "--phone", NUMBER, environ=environ).out)["spool"]
    planned = run_here("privacy", "erase", "--phone", NUMBER, "--plan", "-o", "json", environ=environ)
    done = run_here("privacy", "erase", "--phone", NUMBER, "--yes", environ=environ)

    assert [orjson.loads(one["body"])["customer_name"] for one in told] == ["Ann", "Ann"]
    assert orjson.loads(planned.out) == [{"table": "spool", "rows": 2}]
    assert (done.code, "1 webhooks that mention the person wait in the spool" in done.err) == (1, True)
    assert [path.name for path, _ in refused_in(folder)] == ["Bob.json"]
    assert len(list(waiting_in(folder))) == 2
