"""The webhook sink against a real server and the published library of Standard Webhooks."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.exceptions import SecretMissing
from routers.messages import Message, Text
from routers.outcomes import AuthFailed, Delivered, Gone, Outcome, Rejected, Retry, Uncertain
from routers.sinks.webhook import WebhookConfig, WebhookSink, sign, signing_secret
from routers.transitions import Transition
from tests.fakes.destination import (
    Behaviour,
    Destination,
    answer,
    break_off_in_the_body,
    close,
    hang,
    port_nobody_listens_on,
    redirect,
    reset,
    running_destination,
    talk_nonsense,
)
from tests.fakes.receiver_of_webhooks import SECRET, webhook_of

pytestmark = pytest.mark.anyio

SHARED = Path(os.environ.get("CALLRAIL_ROUTER_SHARED", Path(__file__).parents[3] / "shared"))
SPECS = SHARED / "specs"
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MESSAGE = Message(
    key="dl_06bqexample",
    transition=Transition.CALL_MISSED,
    company="acme",
    occurred_at=datetime(2026, 3, 10, 13, 15, 2, 417_000, tzinfo=UTC),
    data=lambda: {"company": "acme", "fields": {"customer_name": "Zoë \u2028 Quill", "tags": None}},
    write=lambda _: Text("Missed call · Acme", ("Zoë Quill",)),
)


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


def a_sink(monkeypatch: pytest.MonkeyPatch, url: str, **settings: Any) -> WebhookSink:
    """A sink as `router.yaml` makes it, allowed to reach loopback."""
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("OLD_SECRET", OLD_SECRET)
    block = {"type": "webhook", "url": url, "signing_secrets": ["env:SECRET"], "allow_hosts": ["127.0.0.1"]}
    return WebhookConfig.model_validate(block | settings).build()


async def deliver(sink: WebhookSink) -> Outcome:
    try:
        return await sink.deliver(MESSAGE)
    finally:
        await sink.aclose()


# --- the signature ---------------------------------------------------------------------------------------------------


async def test_the_published_library_verifies_what_is_sent(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and body as sent, under the secret as it is written down, and under no other."""
    assert await deliver(a_sink(monkeypatch, destination.url)) == Delivered("HTTP 200")

    (request,) = destination.requests
    told = Webhook(SECRET).verify(request.body, dict(request.headers))
    assert told == {
        "type": "call.missed",
        "timestamp": "2026-03-10T13:15:02.417Z",
        "data": {"company": "acme", "fields": {"customer_name": "Zoë \u2028 Quill", "tags": None}},
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(request.body, dict(request.headers))


async def test_while_a_secret_is_changed_either_verifies(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers may hold the old or the new one; both signatures stand in the one header."""
    await deliver(a_sink(monkeypatch, destination.url, signing_secrets=["env:SECRET", "env:OLD_SECRET"]))

    (request,) = destination.requests
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(request.body, dict(request.headers))
    assert request.headers["webhook-signature"].count("v1,") == 2


async def test_a_request_is_a_json_post_whose_id_is_the_deliverys(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every try the same id, so that a receiver can tell a repeat."""
    sink = a_sink(monkeypatch, f"{destination.url}/hooks/callrail?team=7")
    await sink.deliver(MESSAGE)
    await deliver(sink)

    first, second = destination.requests
    assert (first.method, first.target) == ("POST", "/hooks/callrail?team=7")
    assert first.headers["content-type"] == "application/json"
    assert webhook_of(first).id == webhook_of(second).id == MESSAGE.key
    assert first.body == second.body


# From the test suites of standard-webhooks/standard-webhooks (libraries/, MIT).
VECTOR_ID, VECTOR_SENT_AT, VECTOR_BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("written", [SECRET, SECRET.removeprefix("whsec_"), f"{SECRET}\n"])
def test_the_vector_of_the_specification_is_signed_as_published(written: str) -> None:
    """With the prefix of the secret or without it, and with a line break left by a file."""
    assert sign([signing_secret(written)], VECTOR_ID, VECTOR_SENT_AT, VECTOR_BODY) == VECTOR_SIGNATURE


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=200), st.text("abc_0", min_size=1, max_size=20))
def test_any_body_under_any_secret_verifies(secret: bytes, body: bytes, webhook_id: str) -> None:
    """Ours and the published signature are equal to the byte."""
    moment = datetime.now(UTC)
    written = "whsec_" + base64.b64encode(secret).decode()
    text = body.decode("latin-1")

    published = Webhook(written).sign(webhook_id, moment, text)

    assert sign([signing_secret(written)], webhook_id, int(moment.timestamp()), text.encode()) == published


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("whsec_", id="empty"),
        pytest.param("whsec_not base64!", id="not-base64"),
        pytest.param("whsec_" + base64.b64encode(bytes(23)).decode(), id="23-bytes"),
        pytest.param("whsec_" + base64.b64encode(bytes(65)).decode(), id="65-bytes"),
        pytest.param("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", id="padding-lost"),
        pytest.param("whsec_ñ", id="other-letters"),
    ],
)
def test_a_secret_that_cannot_be_one_is_refused_and_not_repeated(written: str) -> None:
    """The message says how one looks and does not hold what was written."""
    with pytest.raises(ValueError, match="base64 of 24 to 64 random bytes") as caught:
        signing_secret(written)

    assert written.removeprefix("whsec_")[:8] not in str(caught.value) or written == "whsec_"


def vectors() -> list[dict[str, Any]]:
    """The cases of the published test suites; empty where the file is absent."""
    path = SPECS / "standardwebhooks" / "vectors.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["vectors"] if path.exists() else []
    return found


@pytest.mark.skipif(not vectors(), reason=f"the published vectors are not at {SPECS}")
def test_the_published_vectors_hold_our_signature_where_they_are_valid() -> None:
    """What a receiver would accept is among ours; what it must refuse is not."""
    asked = [vector for vector in vectors() if vector["secret"] != "whsec_" and vector["webhook-timestamp"].isdigit()]
    for vector in asked:
        ours = sign(
            [signing_secret(vector["secret"])],
            vector["webhook-id"],
            int(vector["webhook-timestamp"]),
            vector["body"].encode(),
        )
        is_recent = abs(vector["verify_at"] - int(vector["webhook-timestamp"])) <= 300

        assert (ours in vector["webhook-signature"].split() and is_recent) is vector["valid"], vector["name"]
    assert {vector["valid"] for vector in asked} == {True, False}


async def test_a_secret_signs_to_the_end_of_its_last_day(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one stops by itself, in UTC, so that nobody has to remember it."""
    last_second = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    secrets: list[object] = ["env:SECRET", {"secret": "env:OLD_SECRET", "until": "2026-12-31"}]
    sink = a_sink(monkeypatch, destination.url, signing_secrets=secrets)

    for moment in (last_second, last_second + 1):
        sink._now = lambda moment=moment: moment  # type: ignore[misc]
        await sink.deliver(MESSAGE)
    await sink.aclose()

    before, after = destination.requests
    assert [request.headers["webhook-signature"].count("v1,") for request in (before, after)] == [2, 1]
    assert after.headers["webhook-signature"] == sign(
        [signing_secret(SECRET)], MESSAGE.key, int(last_second) + 1, after.body
    )


# --- what leaves -----------------------------------------------------------------------------------------------------

FULL = replace(
    MESSAGE,
    callrail_id="CAL1",
    data=lambda: {
        "company": "acme",
        "object": {"type": "call", "id": "CAL1"},
        "rule": "missed",
        "fields": {"customer_name": "Avery Quill", "duration": 27, "tags": ["VIP"]},
        "before": {"duration": 0, "customer_name": "Avery"},
    },
)


async def data_sent(destination: Destination, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    sink = a_sink(monkeypatch, destination.url, **settings)
    await sink.deliver(FULL)
    await sink.aclose()
    (request,) = destination.requests
    body = Webhook(SECRET).verify(request.body, dict(request.headers))
    data: dict[str, Any] = body["data"]
    return data


async def test_only_the_fields_that_are_listed_leave(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what was before; one that was not told is not made up."""
    data = await data_sent(destination, monkeypatch, fields=["duration", "note"])

    assert (data["fields"], data["before"]) == ({"duration": 27}, {"duration": 0})
    assert data["object"] == {"type": "call", "id": "CAL1"}


async def test_a_thin_body_says_what_happened_to_which_thing(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of the person."""
    data = await data_sent(destination, monkeypatch, body="thin")

    assert data == {"company": "acme", "object": {"type": "call", "id": "CAL1"}, "rule": "missed"}


async def test_a_cloud_event_carries_the_same_data_under_the_same_signature(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In structured mode; its id is the webhook's."""
    data = await data_sent(destination, monkeypatch, format="cloudevents")

    (request,) = destination.requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(request.body) == {
        "specversion": "1.0",
        "id": FULL.key,
        "source": "/callrail/acme",
        "type": "com.callrail.call.missed",
        "subject": "CAL1",
        "time": "2026-03-10T13:15:02.417Z",
        "datacontenttype": "application/json",
        "data": data,
    }
    assert data == FULL.data()


async def test_further_headers_are_sent_with_each(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts as they stand, references looked up; none takes the place of ours."""
    monkeypatch.setenv("GATE", "s3cret")

    await deliver(a_sink(monkeypatch, destination.url, headers={"X-Team": "{{ 7 }}", "X-Api-Key": "env:GATE"}))

    headers = destination.requests[0].headers
    assert (headers["x-team"], headers["x-api-key"]) == ("{{ 7 }}", "s3cret")
    assert headers["content-type"] == "application/json"


async def test_the_check_proves_the_certificate_and_tells_nobody_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With an authority of the house; the first request is the first message."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with running_destination(context) as destination:
        trusting = a_sink(monkeypatch, destination.url, ca_file=str(tmp_path / "ca.pem"))
        checks = [*await trusting.check(), *await (doubting := a_sink(monkeypatch, destination.url)).check()]
        await deliver(trusting)
        await doubting.aclose()

        assert len(destination.requests) == 1
    assert [check.ok for check in checks] == [True, False]
    assert "its certificate is right; no message was sent" in checks[0].what
    assert "ca_file" in checks[1].remedy


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param(answer(204), Delivered, id="204"),
        pytest.param(answer(500), Retry, id="500"),
        pytest.param(answer(400), Rejected, id="400"),
        pytest.param(answer(401), AuthFailed, id="401"),
        pytest.param(answer(410), Gone, id="410"),
        pytest.param(hang, Uncertain, id="hangs"),
        pytest.param(reset, Uncertain, id="resets-after-reading"),
        pytest.param(close, Uncertain, id="closes"),
        pytest.param(talk_nonsense, Uncertain, id="speaks-another-protocol"),
        pytest.param(break_off_in_the_body, Uncertain, id="breaks-off"),
    ],
)
async def test_each_answer_is_one_outcome_of_one_request(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, expected: type[Outcome]
) -> None:
    """The sink sends once; a lost answer is uncertain. No reason holds the URL, which may be a secret."""
    destination.behaves(behaviour)

    outcome = await deliver(a_sink(monkeypatch, f"{destination.url}/secret-path", timeout="500ms"))

    assert isinstance(outcome, expected)
    assert "secret-path" not in outcome.reason
    assert len(destination.requests) == 1


async def test_a_connection_reset_as_it_is_accepted_is_uncertain(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was on its way; nobody can say how much of it was read."""
    destination.on_accept(reset)

    assert isinstance(await deliver(a_sink(monkeypatch, destination.url)), Uncertain)
    assert destination.connections == 1


async def test_nobody_listening_is_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing left, so nothing can be repeated."""
    with port_nobody_listens_on() as port:
        outcome = await deliver(a_sink(monkeypatch, f"http://127.0.0.1:{port}/"))

    assert isinstance(outcome, Retry)


async def test_a_redirect_is_not_followed(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to another host nor to another path of the same."""
    destination.behaves(redirect(f"{destination.url}/elsewhere"))

    assert await deliver(a_sink(monkeypatch, destination.url)) == Rejected("HTTP 307: redirects are not followed")
    assert len(destination.requests) == 1


async def test_retry_after_reaches_the_dispatcher_unchanged(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink does not wait itself."""
    destination.behaves(answer(429, headers={"Retry-After": "30"}))

    assert await deliver(a_sink(monkeypatch, destination.url)) == Retry(
        "HTTP 429", after=timedelta(seconds=30), whole_lane=True
    )


async def test_loopback_is_reached_only_where_it_is_allowed(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL in a file must not reach the machine itself unless the operator says so; the reason says how."""
    outcome = await deliver(a_sink(monkeypatch, destination.url, allow_hosts=[]))

    assert isinstance(outcome, Retry)
    assert "allow_hosts" in outcome.reason
    assert destination.connections == 0


# --- settings --------------------------------------------------------------------------------------------------------


async def test_the_url_may_be_a_secret_too(destination: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference is looked up when the sink is built."""
    monkeypatch.setenv("HOOK", f"{destination.url}/token")

    await deliver(a_sink(monkeypatch, "env:HOOK"))

    assert [request.target for request in destination.requests] == ["/token"]


def test_a_secret_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, and not what it should hold."""
    with pytest.raises(SecretMissing, match="the environment variable ABSENT is not set"):
        a_sink(monkeypatch, "https://example.com", signing_secrets=["env:ABSENT"])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"url": "ftp://example.com"}, id="ftp"),
        pytest.param({"url": 7}, id="number"),
        pytest.param({"url": "env:"}, id="reference-to-nothing"),
        pytest.param({"signing_secrets": []}, id="no-secret"),
        pytest.param({"signing_secrets": [SECRET]}, id="literal-secret"),
        pytest.param({"timeout": "0s"}, id="no-time"),
        pytest.param({"timeout": "3m"}, id="too-much-time"),
        pytest.param({"concurrency": 0}, id="none-at-once"),
        pytest.param({"concurrency": 65}, id="too-many-at-once"),
        pytest.param({"retry": []}, id="no-retries-listed"),
        pytest.param({"colour": "red"}, id="unknown-setting"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, object]) -> None:
    """So that nothing later has to ask."""
    block: dict[str, object] = {"type": "webhook", "url": "https://example.com", "signing_secrets": ["env:SECRET"]}

    with pytest.raises(ValidationError):
        WebhookConfig.model_validate(block | settings)


def test_a_configuration_holds_references_and_no_secrets() -> None:
    """What is printed or exported of it names the places where the secrets are kept."""
    config = WebhookConfig.model_validate(
        {"type": "webhook", "url": "env:HOOK", "signing_secrets": ["env:SECRET"], "retry": ["1s", "500ms"]}
    )

    assert config.schedule == (timedelta(seconds=1), timedelta(milliseconds=500))
    assert json.loads(config.model_dump_json())["signing_secrets"] == [{"secret": "env:SECRET", "until": None}]
