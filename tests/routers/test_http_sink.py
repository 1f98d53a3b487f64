"""Requests laid out in `router.yaml`, as they arrive at a real server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.exceptions import SecretMissing
from routers.messages import Message, Text
from routers.outcomes import Delivered, Outcome, Rejected, Retry, Uncertain
from routers.sinks.filling import OWN_NAMES
from routers.sinks.http import HttpConfig, HttpSink
from routers.templates import built_in_templates, render
from routers.transitions import Transition
from routers.uncertain import OnUncertain
from tests.fakes.destination import Destination, answer, port_nobody_listens_on, running_destination
from tests.routers.store import a_delivery

pytestmark = pytest.mark.anyio

NASTY = 'Zoë "Q" {{ 7 * 7 }}\n{% set a = 1 %}\\ \u2028 <b>[x](https://evil.example)</b>'
VALUES: dict[str, Any] = {
    "customer_name": NASTY,
    "customer_phone_number": "+14045550123",
    "duration": 0,
    "tags": ["VIP", "Kitchen\nfire"],
    "callrail_id": "CAL1",
    "transition": "call.missed",
}


def a_message(**values: Any) -> Message:
    return Message(
        key="dl_06bqexample",
        transition=Transition.CALL_MISSED,
        company="acme",
        occurred_at=datetime(2026, 3, 10, 13, 15, 2, tzinfo=UTC),
        data=lambda: {"company": "acme", "fields": {}},
        write=lambda escape: Text("Missed call", (escape("Zoë Quill"), escape("(404) 555-0123"))),
        links={"call": "https://app.callrail.com/calls/CAL_1?a=b&c=d"},
        values=lambda: VALUES | values,
    )


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


def a_sink(url: str, **settings: Any) -> HttpSink:
    """A sink as `router.yaml` makes it, allowed to reach loopback."""
    block = {"type": "http", "url": url, "allow_hosts": ["127.0.0.1"]}
    return HttpConfig.model_validate(block | settings).build()


async def deliver(sink: HttpSink, message: Message | None = None) -> Outcome:
    try:
        return await sink.deliver(message or a_message())
    finally:
        await sink.aclose()


async def sent(destination: Destination, **settings: Any) -> Any:
    """The JSON that arrives for a sink with these settings."""
    assert isinstance(await deliver(a_sink(destination.url, **settings)), Delivered)
    return json.loads(destination.requests[-1].body)


# --- bodies ----------------------------------------------------------------------------------------------------------


async def test_what_is_prepared_leaves_when_it_is_called(destination: Destination) -> None:
    """Once; and a template that fails is an outcome then, too."""
    sink = a_sink(destination.url, text="{{ 10 // duration }}")
    prepared, refused = sink.prepare(a_message(duration=5)), sink.prepare(a_message(duration=0))
    assert destination.requests == []
    assert (type(await prepared()), type(await refused())) == (Delivered, Rejected)
    assert [request.body for request in destination.requests] == [b"2"]
    await sink.aclose()


async def test_a_json_body_is_laid_out_as_it_is_written(destination: Destination) -> None:
    """Texts are templates; numbers, lists, true and nothing are sent as they stand."""
    body = {
        "title": "{{ title }}",
        "n": [1, 2.5, True, None],
        "deep": [{"who": "{{ tags | join('; ') }}"}],
        "x": "plain",
    }

    told = await sent(destination, json=body)

    assert told == {
        "title": "Missed call",
        "n": [1, 2.5, True, None],
        "deep": [{"who": "VIP; Kitchen fire"}],
        "x": "plain",
    }
    assert destination.requests[0].headers["content-type"] == "application/json"
    assert destination.requests[0].method == "POST"


async def test_a_value_is_a_text_in_json_whatever_it_holds(destination: Destination) -> None:
    """Quotes, brackets and templates in a caller's name are letters; line breaks in it become blanks."""
    told = await sent(destination, json={"name": "{{ customer_name }}"})

    assert told == {"name": 'Zoë "Q" {{ 7 * 7 }} {% set a = 1 %}\\   <b>[x](https://evil.example)</b>'}


A_LAYOUT = HttpConfig.model_validate(
    {"type": "http", "url": "https://a.example.com", "json": {"a": "{{ customer_name }}", "b": ["{{ title }}"]}}
).layout()


@settings(deadline=None)  # a busy machine is no failure
@given(name=st.text(max_size=200))
def test_no_name_can_change_the_shape_of_the_body(name: str) -> None:
    """The keys and the number of values are those that were written, for any text that a caller can have as name."""
    request = A_LAYOUT.request_for(a_message(customer_name=name))

    assert request.content is not None
    told = json.loads(request.content)
    assert (told.keys(), told["b"]) == ({"a", "b"}, ["Missed call"])
    assert "\n" not in told["a"]


async def test_the_text_keeps_its_own_line_breaks_only(destination: Destination) -> None:
    """A message has lines; a caller's name makes none."""
    told = await sent(
        destination,
        json={
            "a": "{{ text }}",
            "b": "{% for line in lines %}\n- {{ line }}\n{% endfor %}",
            "c": "{{ text ~ tags[1] }}",
        },
    )

    assert told == {
        "a": "Missed call\nZoë Quill\n(404) 555-0123",
        "b": "- Zoë Quill\n- (404) 555-0123",
        "c": "Missed call\nZoë Quill\n(404) 555-0123Kitchen fire",
    }


async def test_markdown_is_escaped_where_the_destination_reads_it(destination: Destination) -> None:
    """No link with another face, no emphasis; an address of our own still leads where it should."""
    told = await sent(destination, escape="markdown", json={"a": "**{{ customer_name }}**", "url": "{{ link_call }}"})

    assert told == {
        "a": '**Zoë "Q" {{ 7 \\* 7 }} {% set a = 1 %}\\\\   \\<b\\>\\[x\\](https://evil.example)\\</b\\>**',
        "url": "https://app.callrail.com/calls/CAL_1?a=b&c=d",
    }


async def test_html_is_escaped_where_the_destination_reads_it(destination: Destination) -> None:
    """A tag in a caller's name is shown and not obeyed."""
    told = await sent(destination, escape="html", json={"a": "<b>{{ customer_name | truncate(200) }}</b>"})

    assert "&lt;b&gt;[x]" in told["a"]
    assert told["a"].startswith("<b>Zoë &#34;Q&#34;") or told["a"].startswith("<b>Zoë &quot;Q&quot;")


async def test_a_form_is_encoded(destination: Destination) -> None:
    """A value cannot begin another field."""
    await deliver(
        a_sink(destination.url, form={"name": "{{ customer_name }}", "to": "a&b=c"}),
        a_message(customer_name="x&admin=1"),
    )

    (request,) = destination.requests
    assert parse_qs(request.body.decode()) == {"name": ["x&admin=1"], "to": ["a&b=c"]}
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


async def test_a_plain_text_is_sent_as_utf_8(destination: Destination) -> None:
    """For what takes lines and nothing else; the type can be another."""
    await deliver(a_sink(destination.url, text="{{ text }}"))
    await deliver(a_sink(destination.url, text="<a>{{ title }}</a>", headers={"Content-Type": "text/xml"}))

    plain, xml = destination.requests
    assert (plain.body.decode(), plain.headers["content-type"]) == (
        "Missed call\nZoë Quill\n(404) 555-0123",
        "text/plain; charset=utf-8",
    )
    assert (xml.body, xml.headers["content-type"]) == (b"<a>Missed call</a>", "text/xml")


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_without_a_body_none_is_sent(destination: Destination, method: str) -> None:
    """Some APIs need to be touched only."""
    await deliver(a_sink(destination.url, method=method))

    assert [(request.method, request.body) for request in destination.requests] == [(method, b"")]


# --- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("CAL1", "/calls/CAL1/notes?by=CAL1"),
        ("../admin", "/calls/%2E%2E%2Fadmin/notes?by=%2E%2E%2Fadmin"),
        ("a b&c=d#e?f", "/calls/a%20b%26c%3Dd%23e%3Ff/notes?by=a%20b%26c%3Dd%23e%3Ff"),
        ("ë\r\nHost: x", "/calls/%C3%AB%20Host%3A%20x/notes?by=%C3%AB%20Host%3A%20x"),
        ("%2e%2e", "/calls/%252e%252e/notes?by=%252e%252e"),
    ],
)
async def test_a_value_in_the_url_is_one_part_of_it(destination: Destination, value: str, target: str) -> None:
    """It divides nothing and leads nowhere else."""
    url = destination.url + "/calls/{{ callrail_id }}/notes?by={{ callrail_id }}"

    await deliver(a_sink(url), a_message(callrail_id=value))

    assert [request.target for request in destination.requests] == [target]


async def test_what_a_reference_leads_to_is_no_template(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is sent as it is, braces and all."""
    monkeypatch.setenv("HOOK", destination.url + "/%7B%7B%20title%20%7D%7D")
    monkeypatch.setenv("TOKEN", "{{ title }}")

    await deliver(a_sink("env:HOOK", headers={"X-Token": "env:TOKEN"}, json={"key": "env:TOKEN"}))

    (request,) = destination.requests
    assert request.target == "/%7B%7B%20title%20%7D%7D"
    assert (request.headers["x-token"], json.loads(request.body)) == ("{{ title }}", {"key": "{{ title }}"})


@pytest.mark.parametrize(
    "held", ["ftp://example.com/secret", "secret", "https:///secret", "https://x.webhook.office.com/secret"]
)
def test_a_reference_to_no_url_is_told_without_it(monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    """Neither a text that is no URL nor the URL of a retired service is tried, and none is repeated."""
    monkeypatch.setenv("HOOK", held)

    with pytest.raises(ValueError, match=r"env:HOOK holds is no URL|no host|Workflows") as caught:
        a_sink("env:HOOK")

    assert "secret" not in str(caught.value)


def test_a_secret_that_is_not_there_is_named() -> None:
    """Also one inside the body."""
    with pytest.raises(SecretMissing, match="the environment variable ABSENT is not set"):
        a_sink("https://example.com", json={"a": [{"key": "env:ABSENT"}]})


# --- headers ---------------------------------------------------------------------------------------------------------


async def test_a_value_in_a_header_is_one_line_of_ascii(destination: Destination) -> None:
    """No caller can add a header, and none can stop a message by a letter that headers do not know."""
    await deliver(
        a_sink(destination.url, headers={"X-Name": "by {{ customer_name }}"}), a_message(customer_name="Zoë\r\nX: 1")
    )

    assert destination.requests[0].headers["x-name"] == "by Zo? X: 1"
    assert "x" not in destination.requests[0].headers


@pytest.mark.parametrize(
    ("auth", "wanted"),
    [
        ({"bearer": "env:TOKEN"}, "Bearer t0ken"),
        ({"bearer": "env:BRACES"}, "Bearer {{ title }}"),
        ({"basic": {"user": "api", "password": "env:TOKEN"}}, "Basic " + base64.b64encode(b"api:t0ken").decode()),
        ({"basic": {"user": "env:TOKEN"}}, "Basic " + base64.b64encode(b"t0ken:").decode()),
    ],
    ids=["bearer", "no-template", "basic", "key-as-user"],
)
async def test_it_proves_who_it_is(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, auth: dict[str, object], wanted: str
) -> None:
    """By a token or by a name and a password, all of them references."""
    monkeypatch.setenv("TOKEN", "t0ken\n")
    monkeypatch.setenv("BRACES", "{{ title }}")
    if "basic" in auth:
        monkeypatch.setenv("TOKEN", "t0ken")

    await deliver(a_sink(destination.url, auth=auth))

    assert destination.requests[0].headers["authorization"] == wanted


async def test_the_key_is_the_same_in_every_try(destination: Destination) -> None:
    """In the header by which the destination drops repeats."""
    sink = a_sink(destination.url, idempotency_header="Idempotency-Key", json={})

    await sink.deliver(a_message())
    await deliver(sink)

    assert [request.headers["idempotency-key"] for request in destination.requests] == ["dl_06bqexample"] * 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, OnUncertain.REPEAT),
        ({"idempotency_header": "Idempotency-Key"}, OnUncertain.RETRY),
        ({"idempotency_header": "Idempotency-Key", "on_uncertain": "hold"}, OnUncertain.HOLD),
    ],
    ids=["repeats-are-seen", "repeats-are-dropped", "told-otherwise"],
)
def test_a_lost_answer_is_retried_only_where_repeats_are_dropped(
    settings: dict[str, str], expected: OnUncertain
) -> None:
    """Else it is repeated once and marked."""
    config = HttpConfig.model_validate({"type": "http", "url": "https://a.example.com"} | settings)

    assert config.on_uncertain is expected


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "status", "body", "expected"),
    [
        pytest.param("2xx", 299, b"", Delivered("HTTP 299"), id="any-2xx"),
        pytest.param([202], 202, b"", Delivered("HTTP 202"), id="listed"),
        pytest.param([200, 409], 409, b"", Delivered("HTTP 409"), id="listed-although-an-error"),
        pytest.param(
            [202], 200, b"", Rejected("HTTP 200, which is not among those that 'success' lists"), id="not-listed"
        ),
        pytest.param([202], 503, b"", Retry("HTTP 503"), id="an-error-stays-one"),
        pytest.param({"json": {"ok": True}}, 200, b'{"ok": true}', Delivered("HTTP 200"), id="json"),
        pytest.param({"json": {"r.0.n": 0}}, 200, b'{"r": [{"n": 0}]}', Delivered("HTTP 200"), id="path"),
        pytest.param({"json": {"ok": True}}, 200, b"", Uncertain("HTTP 200 without JSON"), id="no-json"),
        pytest.param(
            {"json": {"ok": True}},
            200,
            b'{"ok": false, "why": "closed"}',
            Rejected('HTTP 200, but \'ok\' is not as \'success\' wants: {"ok": false, "why": "closed"}'),
            id="error-in-the-answer",
        ),
        pytest.param(
            {"json": {"ok": True}},
            200,
            b'{"ok": 1}',
            Rejected("HTTP 200, but 'ok' is not as 'success' wants: {\"ok\": 1}"),
            id="one-is-not-true",
        ),
        pytest.param(
            {"json": {"a.9.b": "x"}},
            200,
            b'{"a": []}',
            Rejected("HTTP 200, but 'a.9.b' is not as 'success' wants: {\"a\": []}"),
            id="path-that-is-not-there",
        ),
    ],
)
async def test_what_counts_as_success_is_as_written(
    destination: Destination, success: object, status: int, body: bytes, expected: Outcome
) -> None:
    """By the status, and where an API hides errors in a 200, by its answer."""
    destination.behaves(answer(status, body=body))

    assert await deliver(a_sink(destination.url, success=success)) == expected


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"data": {"id": "rec_1"}}', "rec_1"),
        (b'{"data": {"id": 17}}', "17"),
        (b'{"data": {"id": null}}', None),
        (b'{"data": {"id": true}}', None),
        (b'{"data": {"id": {"a": 1}}}', None),
        (b"[1]", None),
        (b"no json", None),
    ],
)
async def test_the_id_that_they_give_is_kept(destination: Destination, body: bytes, kept: str | None) -> None:
    """An answer without it is a success all the same."""
    destination.behaves(answer(201, body=body))

    assert await deliver(a_sink(destination.url, remote_id="data.id")) == Delivered("HTTP 201", remote_id=kept)


async def test_a_template_that_cannot_be_computed_sends_nothing(destination: Destination) -> None:
    """The same message would fail again, so it is rejected, in words without its values."""
    outcome = await deliver(a_sink(destination.url, json={"a": "{{ 60 / duration }} {{ customer_name }}"}))

    assert outcome == Rejected("a template of the sink cannot be written: line 1: a number is divided by 0")
    assert destination.connections == 0


# --- the check -------------------------------------------------------------------------------------------------------


async def test_the_check_says_what_it_proved_and_sends_nothing(destination: Destination) -> None:
    """The request that comes after it is the first."""
    sink = a_sink(destination.url + "/secret-path", json={})

    (found,) = await sink.check()
    await deliver(sink)

    assert found.ok
    assert found.what == (
        "127.0.0.1 accepts connections; no message was sent, so the path and the credentials are not proved"
    )
    assert len(destination.requests) == 1


async def test_the_check_says_what_is_wrong() -> None:
    """With the remedy, and without the URL."""
    with port_nobody_listens_on() as port:
        sink = a_sink(f"http://127.0.0.1:{port}/secret-path", json={})
        (found,) = await sink.check()
        await sink.aclose()

    assert not found.ok
    assert found.what == "127.0.0.1 can be reached"
    assert "no connection" in found.remedy
    assert "secret" not in found.remedy


# --- with the rest of the program ------------------------------------------------------------------------------------


async def test_a_stored_delivery_arrives_with_all_that_templates_may_name(
    destination: Destination,
) -> None:
    """Fields by CallRail's name, the text, the time in the company's zone, and what was before."""
    fields = {"customer_name": "Avery Quill", "company_time_zone": "America/New_York"}
    delivery = a_delivery(fields, rule="missed")
    body = {
        "name": "{{ customer_name }}",
        "at": "{{ occurred_at | localtime('%H:%M') }}",
        "who": "{{ who }}",
        "field": "{{ fields['customer_name'] }}",
        "title": "{{ title }}",
        "rule": "{{ rule }}",
    }

    await deliver(a_sink(destination.url, json=body), render(delivery, built_in_templates()))

    told = json.loads(destination.requests[0].body)
    assert (told["name"], told["field"], told["at"], told["rule"]) == ("Avery Quill", "Avery Quill", "09:15", "missed")
    assert "Avery Quill" in told["title"] + told["who"]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_every_name_of_its_own_is_in_the_docs(name: str) -> None:
    """Who lays out a request finds all that it may name."""
    page = (Path(__file__).parents[2] / "docs" / "sinks" / "http.md").read_text()

    assert f"| `{name}` |" in page


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"url": "ftp://a.example.com"}, id="ftp"),
        pytest.param({"url": "https:///path"}, id="no-host"),
        pytest.param({"url": "https://[::1/path"}, id="bracket-left-open"),
        pytest.param({"auth": {}}, id="auth-of-no-kind"),
        pytest.param({"auth": {"bearer": "env:A", "basic": {"user": "a"}}}, id="auth-of-two-kinds"),
        pytest.param({"auth": {"bearer": "env:A"}, "headers": {"Authorization": "env:B"}}, id="auth-twice"),
        pytest.param({"success": [99]}, id="status-that-is-none"),
        pytest.param({"success": "3xx"}, id="success-of-another-kind"),
        pytest.param({"remote_id": "a..b"}, id="path-with-a-gap"),
        pytest.param({"json": {"a": "env:"}}, id="reference-to-nothing"),
        pytest.param({"headers": {"Content-Length": "7"}}, id="header-of-http-itself"),
        pytest.param({"idempotency_header": "a b"}, id="no-header"),
        pytest.param({"method": "TRACE"}, id="method-that-nobody-needs"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, object]) -> None:
    """When the file is read, and not at the first message."""
    with pytest.raises(ValidationError):
        HttpConfig.model_validate({"type": "http", "url": "https://a.example.com"} | settings)
