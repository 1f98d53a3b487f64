"""What stands in the logs, and what never does."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from callrail.payload import read_payload
from receiver.schema import EventState, events
from routers.scenarios import SCENARIOS, Posting
from routers.schema import OPEN, deliveries
from routers.simulator import headers_of, life_cycle
from routers.transitions import Transition
from tests.client import post
from tests.fakes.destination import Conversation, answer, running_destination
from tests.fakes.receiver_of_webhooks import SECRET
from tests.routers.running import KEY, config_text, running
from tests.routers.store import opened, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

PERSONAL = """
customer_name customer_phone_number source_number destination_number form_data content transcription
conversational_transcript call_summary note agent_email recording recording_player recording_redirect timeline_url
voice_assist_message media_urls
""".split()  # noqa: SIM905  (a list of this length is read more easily as words)
HOSTILE = {
    "customer_name": "Avery\nBcc: eve@example.net\x1b[2J {{ 7 * 7 }}",
    "customer_phone_number": "+1 (555) 987-6543 \u202e",
    "note": {"deep": ["the caller's own secret words"]},
    "recording": "https://app.callrail.com/calls/1/recording?access_key=f00dfeedf00dfeed",
    "form_data": {"your \ud800 message": "please call my lawyer \x00"},
    "start_time": "not a time but 5559876543",
    "duration": "1e400 secondwords",
}


def texts_of(value: Any) -> Iterator[str]:
    """Each text and each long number in *value* that would be recognised if it were logged."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from texts_of(part)
    elif value is not None and not isinstance(value, bool) and len(str(value)) > 5:
        yield str(value)


def personal_texts(posting: Posting) -> set[str]:
    fields = read_payload(posting.body, posting.content_type).fields
    return {text for name in PERSONAL for text in texts_of(fields.get(name))}


def every_posting() -> list[Posting]:
    """All scenarios, each with a customer of its own, and one call with hostile values."""
    played = [
        posting
        for number, story in enumerate(SCENARIOS)
        for posting in life_cycle(
            story, rng=random.Random(number), started_at=datetime.now(UTC), callrail_id=None, company_name="Acme"
        )
    ]
    told = {"resource_id": "CALhostile", "call_type": "missed", "answered": False, **HOSTILE}
    return [*played, Posting("post_call", played[0].after, json.dumps(told).encode())]


async def echo(conversation: Conversation) -> None:
    """Refuse, and show all that was sent."""
    request = conversation.request
    assert request is not None
    said = f"refused {request.target}: ".encode() + request.body
    await answer(400, body=said)(conversation)


def configured(url: str) -> str:
    """Everything that can happen is told to a signed webhook, and by HTTP with the caller in the URL."""
    when = ", ".join(Transition)
    rules = f"  - {{id: all, when: [{when}], repeat: true, on_late: deliver, send: [{{to: crm}}, {{to: api}}]}}"
    api = f"  api: {{type: http, url: '{url}/{{{{ customer_name }}}}?number={{{{ customer_phone_number }}}}',"
    api += " json: {note: '{{ title }}'}, allow_hosts: [127.0.0.1]}"
    return config_text(url, rules).replace("rules:", f"{api}\nrules:")


def write(path: Path, text: str) -> None:
    path.write_text(text)


def is_done(url: str) -> bool:
    """Whether every event is routed, and everybody told or not."""
    with opened(url) as database:
        waiting = [row for row in rows_of(database, events) if row.state == EventState.RECEIVED]
        return not waiting and not [row for row in rows_of(database, deliveries) if row.state in OPEN]


async def test_no_level_shows_who_called_or_a_secret(sqlite_url: str, tmp_path: Path) -> None:
    """Every scenario and hostile values through the whole service, to destinations that repeat what they are sent."""
    config, postings = tmp_path / "router.yaml", every_posting()
    key = KEY.encode()
    async with running_destination() as destination:
        destination.behaves(echo)
        write(config, configured(destination.url))
        served = ("serve", "--config", config, "--database-url", sqlite_url, "--port", "0", "--log-level", "debug")
        with running(*served, stdout_too=True) as process:
            port = await asyncio.to_thread(lambda: process.port)
            for posting in postings:
                path = f"/callrail/acme/{posting.kind}?customer_phone_number=%2B15559876543"
                await post(port, path, posting.body, headers_of(posting, key).items())
            await until(lambda: is_done(sqlite_url))
            await asyncio.to_thread(process.end)
    logged = "".join(process.lines)

    assert logged.count("delivery.attempted") > len(postings)
    assert "HTTP 400: refused" in logged  # what they said is told
    private = {text for posting in postings for text in personal_texts(posting)}
    assert len(private) > 50
    signatures = {headers_of(posting, key).get("signature", KEY) for posting in postings}
    for text in private | signatures | {KEY, SECRET, "5559876543", "secondwords", "f00dfeed", "caller's own"}:
        assert text not in logged
        assert json.dumps(text)[1:-1] not in logged


def test_an_error_is_logged_by_type_and_place_without_its_text() -> None:
    """Of ours, of one that led to it, and of the libraries."""
    lines = logged_by("json", "log.exception('it.failed', id='ev_1')")
    library = logged_by("json", "logging.getLogger('uvicorn.error').error('Exception\\n+1555', exc_info=True)")

    for line, event in ((lines, "it.failed"), (library, "Exception")):
        told = orjson.loads(line)
        assert (told["event"], told["level"]) == (event, "error")
        assert "in number_of" in told["exception"]
        assert told["exception"].endswith("ValueError")
        assert "KeyError" in told["exception"]
        assert "+1555" not in line


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", ["info", "warning"]), ("info", ["info", "warning"]), ("warning", ["warning"])]
)
def test_the_level_says_what_is_worth_a_line(level: str, shown: list[str]) -> None:
    """Below warnings libraries say nothing at any level."""
    lines = logged_by(
        "json", "log.info('a'); log.warning('b'); logging.getLogger('httpcore2').info('c')", level=level
    ).splitlines()

    assert [orjson.loads(line)["level"] for line in lines] == shown


def test_people_get_lines_and_nothing_in_them_steers_the_terminal() -> None:
    """`--log-format console`, whatever stderr is."""
    line = logged_by("console", "log.warning('it.came', company='acme\\x1b[2J')")

    assert "it.came" in line
    assert "company='acme\\x1b[2J'" in line
    assert "\x1b[2J" not in line


PROGRAM = """
import logging, sys, structlog
from routers.logs import set_up_logs
set_up_logs({level!r}, {form!r})
log = structlog.get_logger()
def number_of(caller):
    try:
        {{}}["+15551234567"]
    except KeyError as error:
        raise ValueError("+15551234567") from error
try:
    number_of(1)
except ValueError:
    {what}
"""


def logged_by(form: str, what: str, *, level: str = "info") -> str:
    """What *what* writes on stderr, run where an error is being handled."""
    program = PROGRAM.format(level=level, form=form, what=what)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == ""
    return done.stderr
