"""The webhook sink against a real server and the published library of Standard Webhooks."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
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

OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MESSAGE = Message(
    key="dl_06bqexample",
    transition=Transition.CALL_MISSED,
    company="acme",
    occurred_at=datetime(2026, 3, 10, 13, 15, 2, 417_000, tzinfo=UTC),
    data={"company": "acme", "fields": {"customer_name": "Zoë \u2028 Quill", "tags": None}},
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
