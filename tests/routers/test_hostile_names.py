"""Whoever calls chooses the name that CallRail tells: whatever it is, it arrives everywhere as a name and no more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from routers.config import read_config
from routers.routing import route
from routers.serve import build_sinks
from tests.fakes.destination import Request, running_destination
from tests.fakes.mailbox import Mail, running_mailbox
from tests.fakes.receiver_of_webhooks import SECRET, webhook_of
from tests.fakes.slack import TOKEN, Posted, running_slack, texts_of
from tests.routers.dispatching import World
from tests.routers.store import FixedClock, opened, receive
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

NAMES = {
    "mentions": "@channel <!channel> <@U0123ABCD> <!here|x>",
    "a link of Slack": "<https://evil.example|Open in CallRail>",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)> & \"quotes\" 'too'",
    "lines of headers": "Avery\r\nBcc: eve@example.net\r\n\r\n<b>another body</b>",
    "a formula": '=HYPERLINK("https://evil.example","Avery")',
    "emoji": "👩‍👩‍👧‍👦 Zoë 🏳️‍🌈",
    "right to left": "\u202eyrevA\u202c \u05d0\u05d1\u05d2",
    "a terminal": "\x1b[2J\x1b]0;owned\x07Avery\r● Missed call · forged",
    "a template": "{{ 7 * 7 }} {% for x in y %} ${7*7}",
    "markdown": "[click](https://evil.example) **bold** `code` ~struck~ *stars*",
    "ten kilobytes": "A" * 10_240,
}

CONFIG = """\
companies:
  acme: {{signing_keys: [env:ACME_KEY]}}
sinks:
  chat: {{type: slack, token: env:SLACK_TOKEN, channel: C0123ABCD, base_url: '{slack}', rate: 1000/ms,
         allow_hosts: [127.0.0.1]}}
  mail: {{type: email, host: 127.0.0.1, port: {port}, tls: none, from: a@example.com, to: b@example.com,
         allow_hosts: [127.0.0.1]}}
  signed: {{type: webhook, url: '{url}/signed', signing_secrets: [env:CRM_SECRET], allow_hosts: [127.0.0.1]}}
  api:
    type: http
    url: {url}/api/{{{{ customer_name }}}}?name={{{{ customer_name }}}}
    headers: {{X-Caller: "{{{{ customer_name }}}}"}}
    json: {{subject: "{{{{ title }}}}", name: "{{{{ customer_name }}}}"}}
    allow_hosts: [127.0.0.1]
  screen: {{type: stdout}}
rules:
  - id: missed
    when: [call.missed]
    on_late: deliver
    send: [{{to: chat}}, {{to: mail}}, {{to: signed}}, {{to: api}}, {{to: screen}}]
"""


async def test_a_hostile_name_is_a_name_at_every_sink(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No mention, no markup, no header, no line and no control of a terminal comes of it, and nothing is refused."""
    for secret, value in {"ACME_KEY": "0f1e2d3c", "SLACK_TOKEN": TOKEN, "CRM_SECRET": SECRET}.items():
        monkeypatch.setenv(secret, value)
    config = tmp_path / "router.yaml"
    async with running_slack() as slack, running_mailbox() as mailbox, running_destination() as systems:
        config.write_text(CONFIG.format(slack=slack.base_url, port=mailbox.port, url=systems.url))
        configuration = read_config(config)
        with opened(sqlite_url) as database:
            world, clock = World(database), FixedClock()
            for number, name in enumerate(NAMES.values(), 1):
                with database.writing.begin() as conn:
                    receive(conn, "post_call", call(number, name))
                    route(conn, clock, configuration.rules, limit=24)
            async with world.dispatching(build_sinks(configuration), clock=clock):
                await until(lambda: {row.state for row in world.every_delivery()} <= {"delivered", "dead"})

            assert [row.reason for row in world.every_delivery() if row.state == "dead"] == []
        told = [request for request in systems.requests if request.target.startswith("/api/")]
        signed = [request for request in systems.requests if request.target == "/signed"]
        for posted in slack.workspace.messages:
            is_harmless_in_slack(posted)
        for mail in mailbox.mails:
            is_harmless_as_mail(mail)
        for request in told:
            is_harmless_as_request(request)

    assert len(slack.workspace.messages) == len(mailbox.mails) == len(told) == len(NAMES)
    # Systems get the name as CallRail told it: what it means to them they know best.
    assert {webhook_of(request).data["fields"]["customer_name"] for request in signed} == set(NAMES.values())
    printed = await asyncio.to_thread(lambda: capsys.readouterr().out)
    blocks = [line for line in printed.splitlines() if line.startswith("●")]
    assert blocks == ["● Missed call · Acme"] * len(NAMES)
    assert all(char.isprintable() or char == "\n" for char in "\n".join(_ours(printed)))


def call(number: int, name: str) -> dict[str, object]:
    about = {"resource_id": f"CAL{number}", "customer_name": name, "customer_phone_number": f"+140455501{number:02}"}
    return {**about, "answered": False, "call_type": "missed", "duration": 30}


def _ours(printed: str) -> list[str]:
    """The lines of messages, without those of the log."""
    return [line for line in printed.split("\n") if line.startswith(("● ", "  ")) or not line]


def is_harmless_in_slack(posted: Posted) -> None:
    for block in posted.blocks:
        for text in texts_of(block):
            for part in text.split("<")[1:]:  # only dates are written in angle brackets here
                assert part.startswith("!date^"), text
    assert "<" not in posted.text
    assert posted.shown.splitlines()[0] == "*Missed call · Acme*"
    written = [block["text"] for block in posted.blocks if "text" in block]
    assert {text["verbatim"] for text in written} == {True}


def is_harmless_as_mail(mail: Mail) -> None:
    assert mail.recipients == ("b@example.com",)
    assert not {"bcc", "cc"} & {name.lower() for name in mail.parsed.keys()}  # noqa: SIM118  (a mail is no dict)
    assert "\n" not in mail.parsed["Subject"]
    html = mail.body("html").lower()
    for markup in ("<script", "<img", "<b>another", 'href="https://evil.example'):
        assert markup not in html


def is_harmless_as_request(request: Request) -> None:
    path, _, query = request.target.partition("?")
    assert path.count("/") == 2
    assert (query.count("&"), query.count("=")) == (0, 1)
    assert request.headers.keys() >= {"x-caller", "content-type"}
    assert "bcc" not in request.headers
    body = json.loads(request.body)
    assert body["subject"] == "Missed call · Acme"
    assert len(body["name"].splitlines()) == 1
