"""The intake over real sockets: what is answered, what is kept, and that an answer of 2xx is never a lie."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Row, create_engine, event, make_url, select, text

from callrail.kinds import FROM_API, Kind
from callrail.signature import sign
from receiver.events import MAX_BODY_BYTES
from receiver.intake import MAX_QUARANTINING
from receiver.records import body_of
from receiver.schema import events, quarantine
from receiver.spool import refused_in
from routers import migrate
from tests.callrail.samples import ABSENT, SAMPLES, as_sent
from tests.client import Headers, Reply, exchange, get, post, post_signed, request
from tests.postgresql import RunServer
from tests.serving import (
    ACME_ID,
    ACME_KEY,
    ACME_OLD_KEY,
    GLOBEX_ID,
    GLOBEX_KEY,
    NO_SPOOL,
    TWO_COMPANIES,
    Receiver,
    companies_of,
    running_receiver,
)

pytestmark = pytest.mark.anyio

BODY = b'{"resource_id":"CAL0195a1c27d3e7f0891b2c3d4e5f60718","call_type":"missed","customer_name":"Kim O\'Hara"}'
PATH = "/callrail/acme/post_call"

Logged = list[Any]


@pytest.fixture(autouse=True)
def logged() -> Iterator[Logged]:
    """Every log event of the test, with its fields and its traceback as text."""
    with structlog.testing.capture_logs([structlog.processors.format_exc_info]) as captured:
        yield captured


def written_by_logging(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What reached the standard library's logging. The access log is switched off where we serve, as uvicorn does it,
    by taking its handlers away; pytest gives it one again."""
    return [record.getMessage() for record in caplog.records if record.name != "uvicorn.access"]


@pytest.fixture
async def receiver(database_url: str, tmp_path: Path, logged: Logged) -> AsyncIterator[Receiver]:
    """A receiver of two companies, on each database."""
    async with running_receiver(companies_of(tmp_path), database_url) as running:
        yield running


@asynccontextmanager
async def receiver_of(tmp_path: Path, url: str, companies: str) -> AsyncIterator[Receiver]:
    async with running_receiver(companies_of(tmp_path, companies), url) as running:
        yield running


async def rows(receiver: Receiver, table: Any) -> list[Row[Any]]:
    """All rows of *table*, as another process would see them."""
    with receiver.database.reading.connect() as conn:
        return list(conn.execute(select(table).order_by(table.c.id)))


async def only_event(receiver: Receiver) -> Row[Any]:
    (row,) = await rows(receiver, events)
    assert await rows(receiver, quarantine) == []
    return row


async def only_quarantined(receiver: Receiver) -> Row[Any]:
    (row,) = await rows(receiver, quarantine)
    assert await rows(receiver, events) == []
    return row


# --- stored ----------------------------------------------------------------------------------------------------------


async def test_a_proved_request_is_stored_as_it_came(receiver: Receiver) -> None:
    """204 means a row with the raw bytes, their hash, the company, the kind and the key that matched."""
    before = datetime.now(UTC)

    reply = await post_signed(
        receiver.port, PATH, BODY, key=ACME_KEY, headers=[("User-Agent", "CallRail Webhook/1.0"), ("X-Other", "1")]
    )

    assert (reply.status, reply.body) == (204, b"")
    row = await only_event(receiver)
    assert row.body == BODY
    assert row.sha256 == hashlib.sha256(BODY).digest()
    assert row.key_fingerprint == hashlib.sha256(ACME_KEY.encode()).hexdigest()[:8]
    assert (row.company, row.kind, row.state, row.origin) == ("acme", "post_call", "received", "webhook")
    assert row.content_type == "application/json"
    assert row.headers == {
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": "CallRail Webhook/1.0",
    }
    assert before <= row.received_at <= datetime.now(UTC)
    assert row.id.startswith("ev_")
    assert (row.object_id, row.repeat_of, row.attempts, row.reason) == (None, None, 0, None)


async def test_neither_key_nor_signature_is_stored(receiver: Receiver) -> None:
    """Nothing of a stored event helps anybody to sign another."""
    await post_signed(receiver.port, PATH, BODY, key=ACME_KEY, headers=[("Authorization", "Basic c2VjcmV0")])

    told = str(tuple(await only_event(receiver)))

    assert not any(secret in told for secret in (ACME_KEY, sign(ACME_KEY.encode(), BODY), "c2VjcmV0"))


async def test_the_same_request_twice_is_two_events(receiver: Receiver) -> None:
    """Tag on, off, on again is byte-identical and real: what is a repeat is not decided here."""
    for _ in range(2):
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204

    first, second = await rows(receiver, events)
    assert first.body == second.body
    assert first.id < second.id


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in FROM_API])
async def test_every_kind_has_its_path(receiver: Receiver, kind: Kind) -> None:
    """Each kind is taken in under its own name, with underscores or hyphens."""
    for segment in (kind.value, kind.value.replace("_", "-")):
        assert (await post_signed(receiver.port, f"/callrail/acme/{segment}", BODY, key=ACME_KEY)).status == 204

    assert {row.kind for row in await rows(receiver, events)} == {kind.value}


@pytest.mark.parametrize(
    "segment", ["lead_created", "post%20call", "caf%C3%A9", "%FF%FE", "a%00b", "%ED%A0%80", "x" * 2000]
)
async def test_a_kind_nobody_knows_is_taken_in(receiver: Receiver, segment: str) -> None:
    """What CallRail may invent later, or somebody mistypes, is stored as unknown and answered 204."""
    assert (await post_signed(receiver.port, f"/callrail/acme/{segment}", BODY, key=ACME_KEY)).status == 204

    assert (await only_event(receiver)).kind == "unknown"


MISTYPED = {
    "slash at the end": (PATH + "/", "post_call"),
    "no kind": ("/callrail/acme", "unknown"),
    "no kind, with a slash": ("/callrail/acme/", "unknown"),
    "something behind the kind": (PATH + "/v2", "unknown"),
    "slash, encoded": ("/callrail/acme/post%2Fcall", "unknown"),
}


@pytest.mark.parametrize(("path", "kind"), MISTYPED.values(), ids=MISTYPED)
async def test_a_mistyped_path_loses_no_lead(receiver: Receiver, path: str, kind: str) -> None:
    """CallRail posts once and follows no redirect: what can be proved is stored, whatever is behind the company."""
    assert (await post_signed(receiver.port, path, BODY, key=ACME_KEY)).status == 204

    assert (await only_event(receiver)).kind == kind


BODIES: dict[str, bytes] = {
    "empty": b"",
    "test ping": b'{"foo":"bar"}',
    "toy": b"{}",
    "broken JSON": b'{"resource_id":"CAL1",',
    "broken UTF-8": b'{"customer_name":"Caf\xe9"}',
    "every byte": bytes(range(256)),
    "NUL alone": b"\x00",
    "NUL, escaped": b'{"note":"a\\u0000b"}',
    "lone surrogate": b'{"note":"\\ud800"}',
    "NaN": b'{"duration":NaN}',
    "1e400": b'{"duration":1e400}',
    "10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "10,000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "id missing": b'{"call_type":"missed"}',
    "id numeric": b'{"id":766970532,"call_type":"missed"}',
    "id of 4 kB": b'{"resource_id":"' + b"C" * 4096 + b'"}',
    "form": b"resource_id=CAL1&answered=true",
    "white space around": b' \n{"a": 1}\n\n',
    "another company, broken off": b'{"company_resource_id":"COM00000000000000000000000000000000"',
    "another company, 10,000 deep": b'{"company_resource_id":' + b"[" * 10_000,
    "company in a list": b'["company_resource_id"]',
    "company told empty": b'{"company_resource_id":""}',
    "company told as NUL": b'{"company_resource_id":null,"note":"\\u0000"}',
    "as large as is taken": b'{"note":"' + b"x" * (MAX_BODY_BYTES - 11) + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_any_proved_body_is_stored_raw(receiver: Receiver, body: bytes) -> None:
    """Whatever a body holds, if the key signed it then it is CallRail's: stored byte for byte and answered 204."""
    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 204

    row = await only_event(receiver)
    assert row.body == body
    assert row.sha256 == hashlib.sha256(body).digest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400))
async def test_any_bytes_at_all_come_back_as_they_were(receiver: Receiver, body: bytes) -> None:
    """No byte is lost, added or changed on the way into either database."""
    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 204

    assert (await rows(receiver, events))[-1].body == body


async def test_a_body_without_an_announced_length_is_stored(receiver: Receiver) -> None:
    """A body in chunks is put together before it is proved and stored."""
    head = request("POST", PATH, [("transfer-encoding", "chunked"), ("signature", sign(ACME_KEY.encode(), BODY))])

    reply = await exchange(receiver.port, head + in_chunks(BODY, 7))

    assert reply.status == 204
    assert (await only_event(receiver)).body == BODY


@pytest.mark.skipif(not SAMPLES.exists(), reason=ABSENT)
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*_*.*") if path.name != "signatures.json"))
async def test_a_collected_sample_is_taken_in(receiver: Receiver, name: str) -> None:
    """Every collected webhook, signed as its company signs, is answered 204 and stored as it was."""
    body = as_sent(name)

    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 204
    assert (await only_event(receiver)).body == body


# --- not believed ----------------------------------------------------------------------------------------------------


async def test_a_request_without_a_signature_is_refused_and_kept(receiver: Receiver, logged: Logged) -> None:
    """401 shows a wrong set-up to CallRail's own alarm; the request is kept whole, for the lead in it is real."""
    reply = await post(receiver.port, PATH, BODY, [("content-type", "application/json")])

    assert reply.status == 401
    row = await only_quarantined(receiver)
    assert (row.reason, row.signature, row.company, row.kind) == ("signature_missing", None, "acme", "post_call")
    assert (row.body, row.content_type) == (BODY, "application/json")
    assert [(line["event"], line["id"], line["reason"]) for line in logged] == [
        ("intake.quarantined", row.id, "signature_missing")
    ]


async def test_a_request_with_a_wrong_signature_is_refused_and_kept(receiver: Receiver) -> None:
    """The signature is kept as it was given, so that it can be verified once the right key is known."""
    signature = sign(b"a key we were never told", BODY)

    assert (await post(receiver.port, PATH, BODY, [("Signature", signature)])).status == 401

    row = await only_quarantined(receiver)
    assert (row.reason, row.signature, row.body) == ("signature_wrong", signature, BODY)


async def test_a_signature_of_other_bytes_proves_nothing(receiver: Receiver) -> None:
    """One byte changed on the way is one byte too many."""
    reply = await post(receiver.port, PATH, BODY + b"\n", [("Signature", sign(ACME_KEY.encode(), BODY))])

    assert reply.status == 401
    assert (await only_quarantined(receiver)).reason == "signature_wrong"


async def test_another_companys_key_proves_nothing(receiver: Receiver) -> None:
    """A key is worth something for its own company only."""
    assert (await post_signed(receiver.port, PATH, BODY, key=GLOBEX_KEY)).status == 401

    assert (await only_quarantined(receiver)).reason == "signature_wrong"


GOOD = sign(ACME_KEY.encode(), BODY)
MALFORMED: dict[str, list[tuple[str, str | bytes]]] = {
    "empty": [("Signature", "")],
    "white space": [("Signature", "   ")],
    "very long": [("Signature", GOOD * 1000)],
    "list": [("Signature", f"{GOOD}, {GOOD}")],
    "hex": [("Signature", "5190076d475f9b71aa2fbab38a51a8cc6cd657ae")],
    "prefix": [("Signature", f"sha1={GOOD}")],
    "unpadded": [("Signature", GOOD.rstrip("="))],
    "quoted": [("Signature", f'"{GOOD}"')],
    "other case": [("Signature", GOOD.swapcase())],
    "sha256": [("Signature", "3EKZyllyVyhS4jNJByNBaHwL/7+khwJcyz46YKJiez4=")],
    "UTF-8": [("Signature", "подпись".encode())],
    "bytes 0x80 to 0xff": [("Signature", bytes(range(0x80, 0x100)))],
    "tab within": [("Signature", "a\tb")],
    "two headers, the first right": [("Signature", GOOD), ("Signature", "wrong")],
    "two headers, the second right": [("Signature", "wrong"), ("Signature", GOOD)],
    "two headers, both right": [("Signature", GOOD), ("signature", GOOD)],
    "another header": [("X-CallRail-Signature", GOOD)],
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_signature_is_refused_and_kept(receiver: Receiver, headers: Headers) -> None:
    """No signature of any sort gets in or breaks the intake: 401, and the body is in quarantine."""
    assert (await post(receiver.port, PATH, BODY, headers)).status == 401

    assert (await only_quarantined(receiver)).body == BODY


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x7fb", b"a\x01b"], ids=["NUL", "DEL", "SOH"])
async def test_a_header_that_is_no_http_is_no_error_of_ours(receiver: Receiver, value: bytes) -> None:
    """The server may refuse what HTTP forbids, but nothing is believed and nothing breaks."""
    reply = await post(receiver.port, PATH, BODY, [("Signature", value)])

    assert reply.status in (400, 401)
    assert await rows(receiver, events) == []


async def test_a_body_of_another_company_is_kept_apart(receiver: Receiver) -> None:
    """Two keys swapped in the file would give one company's leads to the other; the body betrays it."""
    body = json.dumps({"resource_id": "CAL1", "company_resource_id": GLOBEX_ID}).encode()

    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 401

    row = await only_quarantined(receiver)
    assert (row.reason, row.company, row.body) == ("company_mismatch", "acme", body)


async def test_a_form_of_another_company_is_kept_apart(receiver: Receiver) -> None:
    """The cross-check holds for form-encoded bodies, too."""
    body = f"resource_id=CAL1&company_resource_id={GLOBEX_ID}".encode()

    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 401
    assert (await only_quarantined(receiver)).reason == "company_mismatch"


OF_ACME = {
    "as CallRail writes it": json.dumps({"company_resource_id": ACME_ID}).encode(),
    "escaped": b'{"company_resource_id":"' + "".join(f"\\u{ord(c):04x}" for c in ACME_ID).encode() + b'"}',
    "as a form": f"company_resource_id={ACME_ID}".encode(),
    "percent-encoded": ("company_resource_id=" + "".join(f"%{ord(c):02X}" for c in ACME_ID)).encode(),
    "not told, as Voice Assist does": b'{"call_id":"CAL1"}',
    "told empty": b'{"company_resource_id":""}',
}


@pytest.mark.parametrize("body", OF_ACME.values(), ids=OF_ACME)
async def test_a_body_of_the_same_company_is_stored(receiver: Receiver, body: bytes) -> None:
    """However the id is written, it is the right company; where none is told the key is proof enough."""
    assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 204


async def test_without_a_configured_id_any_company_is_believed(sqlite_url: str, tmp_path: Path) -> None:
    """The cross-check needs the id in the file; the key alone proves the rest."""
    async with receiver_of(tmp_path, sqlite_url, "companies:\n  acme: {signing_keys: [env:ACME_KEY]}\n") as receiver:
        body = json.dumps({"company_resource_id": GLOBEX_ID}).encode()

        assert (await post_signed(receiver.port, PATH, body, key=ACME_KEY)).status == 204


@pytest.mark.parametrize("slug", ["initech", "ACME", "acme2", "defaults", "caf%C3%A9", "%FF", "a%00b", "x" * 3000])
async def test_an_unknown_company_is_accepted_and_kept_apart(receiver: Receiver, slug: str) -> None:
    """202: nobody can prove it yet, but an URL configured here before the file knows the company loses no lead."""
    assert (await post_signed(receiver.port, f"/callrail/{slug}/post_call", BODY, key=ACME_KEY)).status == 202

    row = await only_quarantined(receiver)
    assert (row.reason, row.body, row.kind) == ("company_unknown", BODY, "post_call")
    assert (row.signature, len(row.company) <= 64) == (sign(ACME_KEY.encode(), BODY), True)


async def test_a_bad_signature_is_answered_202_where_the_file_says_so(database_url: str, tmp_path: Path) -> None:
    """`bad_signature: accept` keeps CallRail from switching the integration off; the request is kept all the same."""
    async with receiver_of(tmp_path, database_url, "bad_signature: accept\n" + TWO_COMPANIES) as receiver:
        assert (await post(receiver.port, PATH, BODY, [("Signature", "wrong")])).status == 202
        assert (await post(receiver.port, PATH, BODY)).status == 202

        reasons = {row.reason for row in await rows(receiver, quarantine)}
        assert reasons == {"signature_wrong", "signature_missing"}
        assert await rows(receiver, events) == []


UNSIGNED_FORMS = """\
companies:
  acme: {unsigned: accept_form, signing_keys: [env:ACME_KEY]}
  globex: {signing_keys: [env:GLOBEX_KEY]}
"""
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")


async def test_an_unsigned_form_is_stored_where_the_file_says_so(database_url: str, tmp_path: Path) -> None:
    """It is not known whether CallRail signs forms: a company may take them unsigned, and the row says that none was
    proved."""
    async with receiver_of(tmp_path, database_url, UNSIGNED_FORMS) as receiver:
        assert (await post(receiver.port, PATH, b"resource_id=CAL1", [FORM_TYPE])).status == 204

        row = await only_event(receiver)
        assert (row.body, row.key_fingerprint) == (b"resource_id=CAL1", None)


NOT_THAT_FORM: dict[str, tuple[str, Headers]] = {
    "JSON": ("acme", [("Content-Type", "application/json")]),
    "no content type": ("acme", []),
    "a wrong signature": ("acme", [FORM_TYPE, ("Signature", "wrong")]),
    "an empty signature": ("acme", [FORM_TYPE, ("Signature", "")]),
    "another company": ("globex", [FORM_TYPE]),
}


@pytest.mark.parametrize(("company", "headers"), NOT_THAT_FORM.values(), ids=NOT_THAT_FORM)
async def test_only_an_unsigned_form_is_taken_unsigned(
    sqlite_url: str, tmp_path: Path, company: str, headers: Headers
) -> None:
    """The exception reaches no further than it says: a signature that is given must be right."""
    async with receiver_of(tmp_path, sqlite_url, UNSIGNED_FORMS) as receiver:
        reply = await post(receiver.port, f"/callrail/{company}/post_call", b"resource_id=CAL1", headers)

        assert reply.status == 401
        await only_quarantined(receiver)


async def test_an_unsigned_form_of_another_company_is_kept_apart(sqlite_url: str, tmp_path: Path) -> None:
    """Without a signature the body's own word is all there is; where it contradicts the path it is not believed."""
    text = f"companies:\n  acme: {{callrail_id: {ACME_ID}, unsigned: accept_form, signing_keys: [env:ACME_KEY]}}\n"
    async with receiver_of(tmp_path, sqlite_url, text) as receiver:
        body = f"resource_id=CAL1&company_resource_id={GLOBEX_ID}".encode()

        assert (await post(receiver.port, PATH, body, [FORM_TYPE])).status == 401
        assert (await only_quarantined(receiver)).reason == "company_mismatch"


async def test_a_flood_of_unproved_requests_does_not_queue_before_the_proved(sqlite_url: str, tmp_path: Path) -> None:
    """Only so many are kept at once; what is not kept is never answered 2xx, and proved requests go on."""
    companies = "bad_signature: accept\n" + TWO_COMPANIES
    async with receiver_of(tmp_path, sqlite_url, companies) as receiver:
        begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_conn: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            may_end.wait()

        holding = asyncio.create_task(receiver.writer.run(hold))
        await begun.wait()
        flood = {asyncio.create_task(post(receiver.port, PATH, BODY)) for _ in range(MAX_QUARANTINING + 4)}
        refused: set[asyncio.Task[Reply]] = set()
        while len(refused) < 4:
            done, flood = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        may_end.set()
        kept = await asyncio.gather(*flood)
        await holding

        assert [task.result().status for task in refused] == [401] * 4
        assert [reply.status for reply in kept] == [202] * MAX_QUARANTINING
        assert len(await rows(receiver, quarantine)) == MAX_QUARANTINING
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
        assert (await post(receiver.port, PATH, BODY)).status == 202


# --- keys ------------------------------------------------------------------------------------------------------------


def with_old_key_until(day: date) -> str:
    return f"""\
companies:
  acme: {{signing_keys: [env:ACME_KEY, {{secret: env:ACME_OLD_KEY, until: {day}}}]}}
"""


async def test_both_keys_of_a_rotation_are_accepted(database_url: str, tmp_path: Path) -> None:
    """While a key is replaced either proves, and the row tells which did."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    async with receiver_of(tmp_path, database_url, with_old_key_until(tomorrow)) as receiver:
        for key in (ACME_KEY, ACME_OLD_KEY):
            assert (await post_signed(receiver.port, PATH, BODY, key=key)).status == 204

        fingerprints = [row.key_fingerprint for row in await rows(receiver, events)]
        assert fingerprints == [hashlib.sha256(key.encode()).hexdigest()[:8] for key in (ACME_KEY, ACME_OLD_KEY)]


async def test_a_key_proves_nothing_after_its_last_day(sqlite_url: str, tmp_path: Path) -> None:
    """An ended key is refused by itself, without a change of the file; the other one goes on."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    async with receiver_of(tmp_path, sqlite_url, with_old_key_until(yesterday)) as receiver:
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_OLD_KEY)).status == 401
        assert (await only_quarantined(receiver)).reason == "signature_wrong"
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204


# --- not a webhook ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
async def test_another_method_is_not_allowed(receiver: Receiver, method: str) -> None:
    """405 for anything but POST, and nothing is stored."""
    raw = request(method, PATH, [("content-length", "2"), ("signature", sign(ACME_KEY.encode(), b"{}"))]) + b"{}"

    reply = await exchange(receiver.port, raw)

    assert reply.status in ((405, 400) if method == "BREW" else (405,))  # a parser may know no BREW
    assert await rows(receiver, events) == await rows(receiver, quarantine) == []


@pytest.mark.parametrize("path", ["/", "/callrail", "/callrail/", "/callrail//post_call", "/CallRail/acme/post_call"])
async def test_another_path_is_not_found(receiver: Receiver, path: str) -> None:
    """404, and nothing is stored: there is nothing to prove it with."""
    assert (await post_signed(receiver.port, path, BODY, key=ACME_KEY)).status == 404
    assert await rows(receiver, events) == await rows(receiver, quarantine) == []


async def test_a_path_that_is_no_ascii_breaks_nothing(receiver: Receiver) -> None:
    """Raw bytes in an URL may be refused by the server, but the next request is served."""
    raw = b"POST /callrail/acme/\xff\xfe HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"

    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        assert (await exchange(receiver.port, raw)).status < 500
    assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204


def in_chunks(body: bytes, size: int) -> bytes:
    """*body* in HTTP's chunked form."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 10 * 1024 * 1024], ids=["a byte too many", "10 MB"])
async def test_a_body_too_large_is_refused_by_its_length(receiver: Receiver, size: int) -> None:
    """413 from the announced length alone: not a byte of the body is waited for."""
    head = request("POST", PATH, [("content-length", str(size)), ("signature", GOOD)])

    assert (await exchange(receiver.port, head)).status == 413
    assert await rows(receiver, events) == await rows(receiver, quarantine) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_ten_megabytes_are_refused_and_the_next_request_is_served(receiver: Receiver, chunked: bool) -> None:
    """A body that is really sent, whole or in chunks without a length, is not stored, and costs nobody else."""
    body = b"x" * (10 * 1024 * 1024)
    if chunked:
        raw = request("POST", PATH, [("transfer-encoding", "chunked")]) + in_chunks(body, 65_536)
    else:
        raw = request("POST", PATH, [("content-length", str(len(body)))]) + body

    assert (await exchange(receiver.port, raw)).status == 413
    assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
    assert (await only_event(receiver)).body == BODY


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 400, "²"], ids=str)
async def test_a_length_that_is_none_breaks_nothing(receiver: Receiver, length: str) -> None:
    """A nonsensical length is the client's mistake: never a 500, never an event."""
    raw = request("POST", PATH, [("content-length", length), ("signature", GOOD)]) + BODY

    assert 400 <= (await exchange(receiver.port, raw)).status < 500
    assert await rows(receiver, events) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
async def test_a_client_that_leaves_within_the_body_leaves_nothing(
    receiver: Receiver, logged: Logged, caplog: pytest.LogCaptureFixture, chunked: bool, reset: bool
) -> None:
    """Half a body is no event and no error: nothing is stored, no traceback is written."""
    length = ("transfer-encoding", "chunked") if chunked else ("content-length", "1000")
    head = request("POST", PATH, [length, ("signature", GOOD)])
    _, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(head + (b"64\r\n" if chunked else b"") + BODY[:50])
    await writer.drain()
    if reset:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
    else:
        writer.close()
        await writer.wait_closed()

    # What came later is there, so what came before would be as well.
    assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
    assert (await only_event(receiver)).body == BODY
    assert logged == []
    assert caplog.records == []


# --- what must not be seen -------------------------------------------------------------------------------------------


async def test_the_query_string_is_neither_stored_nor_logged(
    receiver: Receiver, logged: Logged, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """CallRail appends the caller's number to the URL: no part of it is read, kept or written anywhere."""
    query = "?callernum=%2B14045550123&callername=Hara&signature=abc"
    caplog.set_level(0)

    assert (await post_signed(receiver.port, PATH + query, BODY, key=ACME_KEY)).status == 204
    assert (await post(receiver.port, PATH + query, BODY)).status == 401
    assert (await post(receiver.port, "/callrail/nobody/post_call" + query, BODY)).status == 202

    stored = [str(tuple(row)) for table in (events, quarantine) for row in await rows(receiver, table)]
    captured = capfd.readouterr()
    written = [str(logged), str(written_by_logging(caplog)), captured.out, captured.err]
    assert len(stored) == 3
    assert not any("5550123" in place or "callername" in place for place in [*stored, *written])


async def test_nothing_of_a_body_is_logged(
    receiver: Receiver, logged: Logged, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who called is nobody's business who reads the log, also where the row is refused by the database itself."""
    caplog.set_level(0)
    with receiver.database.writing.begin() as conn:
        refuse_bodies_with(conn, "O'Hara")

    assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
    assert (await post(receiver.port, PATH, BODY)).status == 401

    captured = capfd.readouterr()
    written = str([logged, written_by_logging(caplog), captured])
    assert "spool.refused" in written
    assert not any(part in written for part in ("Hara", "CAL0195", BODY.hex()[:12]))


def refuse_bodies_with(conn: Connection, words: str) -> None:
    """Make the database itself refuse events whose body holds *words*: an error of that row alone."""
    pattern = "%" + words.replace("'", "''") + "%"
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(
            "ALTER TABLE events ADD CONSTRAINT no_such_words "
            f"CHECK (encode(body, 'escape') NOT LIKE '{pattern.replace('%', '%%')}')"
        )
    else:
        conn.exec_driver_sql(
            f"CREATE TRIGGER no_such_words BEFORE INSERT ON events WHEN CAST(NEW.body AS TEXT) LIKE '{pattern}' "
            "BEGIN SELECT RAISE(ABORT, 'no such words'); END"
        )


# --- never 2xx without a row -----------------------------------------------------------------------------------------


async def test_one_refused_row_costs_no_other(receiver: Receiver) -> None:
    """Of many requests in one batch only the one with the guilty row is not stored, and it is set aside whole."""
    with receiver.database.writing.begin() as conn:
        refuse_bodies_with(conn, "O'Hara")
    others = [b'{"n":%d}' % n for n in range(20)]

    replies = await asyncio.gather(
        *(post_signed(receiver.port, PATH, body, key=ACME_KEY) for body in [*others[:10], BODY, *others[10:]])
    )

    assert {reply.status for reply in replies} == {204}
    assert sorted(row.body for row in await rows(receiver, events)) == sorted(others)
    assert [body_of(record) for _, record in refused_in(receiver.keeper.folder)] == [BODY]


async def test_without_tables_nothing_is_acknowledged(unmigrated_url: str, tmp_path: Path, logged: Logged) -> None:
    """Before `migrate` the answer is 503, for proved and unproved requests; after it the same process stores."""
    async with running_receiver(companies_of(tmp_path), unmigrated_url, spool=NO_SPOOL) as receiver:
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 503
        assert (await post(receiver.port, PATH, BODY)).status == 503
        assert (await get(receiver.port, "/readyz")).status == 503
        assert {"spool.unusable", "intake.not_stored", "writer.database_error"} == {line["event"] for line in logged}

        await asyncio.to_thread(migrate.upgrade, unmigrated_url)

        assert (await get(receiver.port, "/readyz")).status == 200
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
        assert (await only_event(receiver)).body == BODY


async def test_a_file_that_cannot_be_opened_is_not_acknowledged(sqlite_url: str, tmp_path: Path) -> None:
    """Where the directory of the SQLite file is missing, as a volume that is not mounted, the answer is 503."""
    missing = tmp_path / "volume"
    async with running_receiver(companies_of(tmp_path), f"sqlite:///{missing / 'test.db'}", spool=NO_SPOOL) as receiver:
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 503

        missing.mkdir()
        (tmp_path / "test.db").rename(missing / "test.db")

        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204
        assert (await only_event(receiver)).body == BODY


async def test_a_full_disk_is_not_acknowledged(sqlite_url: str, tmp_path: Path) -> None:
    """SQLite's own "database or disk is full" is answered 503; as soon as there is room the next is stored."""
    async with running_receiver(companies_of(tmp_path), sqlite_url, spool=NO_SPOOL) as receiver:
        engine = receiver.stored_through.writing
        event.listen(engine, "connect", allow_no_more_pages)
        large = json.dumps({"note": "x" * 500_000}).encode()

        assert (await post_signed(receiver.port, PATH, large, key=ACME_KEY)).status == 503

        event.remove(engine, "connect", allow_no_more_pages)
        assert (await post_signed(receiver.port, PATH, large, key=ACME_KEY)).status == 204
        assert (await only_event(receiver)).body == large


def allow_no_more_pages(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size if that is more


async def test_a_locked_file_is_not_acknowledged(sqlite_url: str, tmp_path: Path) -> None:
    """While another process holds the file nobody waits for ever: 503 at the bound, 204 once it is free."""
    async with running_receiver(
        companies_of(tmp_path), sqlite_url, spool=NO_SPOOL, stalled_after=timedelta(milliseconds=200)
    ) as receiver:
        other = create_engine(sqlite_url, isolation_level="AUTOCOMMIT")
        with other.connect() as holder:
            holder.exec_driver_sql("BEGIN EXCLUSIVE")

            assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 503

            holder.exec_driver_sql("ROLLBACK")
        other.dispose()
        while (await get(receiver.port, "/readyz")).status != 200:  # it tries again by itself
            pass
        assert (await post_signed(receiver.port, PATH, b"{}", key=ACME_KEY)).status == 204
        # The one that was refused may still have been stored, under its own id: what is denied is only a false 2xx.
        assert b"{}" in {row.body for row in await rows(receiver, events)}


@contextlib.contextmanager
def maintenance(server: RunServer) -> Iterator[Connection]:
    """A connection to the server beside the database of the test."""
    engine = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def end_backends(conn: Connection, database: str) -> int:
    """End PostgreSQL's side of every connection to *database*; how many there were."""
    query = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :database")
    return int(conn.execute(query, {"database": database}).scalar_one())


async def test_a_lost_backend_costs_no_event(postgresql_url: str, postgresql_server: RunServer, tmp_path: Path) -> None:
    """After PostgreSQL ended the connection, as at its restart, the next webhook is stored over a new one."""
    async with running_receiver(companies_of(tmp_path), postgresql_url, spool=NO_SPOOL) as receiver:
        assert (await post_signed(receiver.port, PATH, b"1", key=ACME_KEY)).status == 204
        with maintenance(postgresql_server) as conn:
            assert end_backends(conn, str(make_url(postgresql_url).database)) == 1

        assert (await post_signed(receiver.port, PATH, b"2", key=ACME_KEY)).status == 204
        assert [row.body for row in await rows(receiver, events)] == [b"1", b"2"]


async def test_a_server_that_lets_nobody_in_is_not_acknowledged(
    postgresql_url: str, postgresql_server: RunServer, tmp_path: Path
) -> None:
    """While PostgreSQL takes no connections the answer is 503; the same process stores again when it does."""
    database = str(make_url(postgresql_url).database)
    async with running_receiver(companies_of(tmp_path), postgresql_url, spool=NO_SPOOL) as receiver:
        assert (await post_signed(receiver.port, PATH, b"1", key=ACME_KEY)).status == 204
        with maintenance(postgresql_server) as conn:
            conn.exec_driver_sql(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
            end_backends(conn, database)

            assert (await post_signed(receiver.port, PATH, b"2", key=ACME_KEY)).status == 503
            assert (await get(receiver.port, "/readyz")).status == 503

            conn.exec_driver_sql(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')

        assert (await post_signed(receiver.port, PATH, b"3", key=ACME_KEY)).status == 204
        assert [row.body for row in await rows(receiver, events)] == [b"1", b"3"]


REFUSED_AT_COMMIT = {"database error": "53100", "data error": "23514"}


@pytest.mark.parametrize("code", REFUSED_AT_COMMIT.values(), ids=REFUSED_AT_COMMIT)
async def test_a_failing_commit_is_not_acknowledged(postgresql_url: str, tmp_path: Path, code: str) -> None:
    """All statements went well and COMMIT itself fails: 503, because only COMMIT makes it true."""
    async with running_receiver(companies_of(tmp_path), postgresql_url, spool=NO_SPOOL) as receiver:
        with receiver.database.writing.begin() as conn:
            refuse_at_commit(conn, code)

        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 503
        assert await rows(receiver, events) == []

        with receiver.database.writing.begin() as conn:
            conn.execute(text("DROP TRIGGER at_commit ON events"))
        assert (await post_signed(receiver.port, PATH, BODY, key=ACME_KEY)).status == 204


def refuse_at_commit(conn: Connection, code: str) -> None:
    conn.execute(
        text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '{code}'; END $$"
        )
    )
    conn.execute(
        text(
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON events "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    )


async def test_the_answer_comes_after_the_commit(receiver: Receiver) -> None:
    """At the moment of each 204 another connection sees the row, however many come at once."""
    bodies = [b'{"n":%d}' % n for n in range(60)]

    async def is_seen_when_answered(body: bytes) -> bool:
        reply = await post_signed(receiver.port, PATH, body, key=ACME_KEY)
        return reply.status == 204 and body in {row.body for row in await rows(receiver, events)}

    assert all(await asyncio.gather(*(is_seen_when_answered(body) for body in bodies)))
