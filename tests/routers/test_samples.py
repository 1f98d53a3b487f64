"""CallRail's webhooks through the real server: what each means, and exactly who is told."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.database import Database
from receiver.schema import EventState, events
from routers.config import read_config
from routers.demo import Show, play_to
from routers.schema import DeliveryState, deliveries, objects, transitions
from routers.simulator import Story, life_cycle
from routers.transitions import Transition
from tests.client import post_signed
from tests.fakes.destination import Destination, running_destination
from tests.fakes.receiver_of_webhooks import times_arrived, webhook_of
from tests.routers.running import KEY, SECRETS, config_text, serving_here
from tests.routers.store import NOW, opened, rows_of
from tests.routers.waiting import until

pytestmark = pytest.mark.anyio

SHARED = Path(os.environ.get("CALLRAIL_ROUTER_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLES = SHARED / "callrail" / "samples"

# The URL that CallRail would post each sample to, and what comes of it.
MEANING = {
    "pre_call.json": ("pre_call", ["call.ringing"]),
    "call_routing_complete.json": ("call_routing_complete", ["call.routed"]),
    "post_call.json": (
        "post_call",
        ["call.ended", "call.answered", "call.recording_ready", "call.transcript_ready"],
    ),
    "post_call.recording_not_ready.json": ("post_call", ["call.ended", "call.answered"]),
    "post_call.form_urlencoded.txt": ("post_call", ["call.ended", "call.answered"]),
    "call_modified.json": (
        "call_modified",
        ["call.ended", "call.answered", "call.recording_ready", "call.transcript_ready", "call.changed"],
    ),
    "text_message_received.json": ("text_received", ["text.received"]),
    "text_message_received.mms.json": ("text_received", ["text.received"]),
    "text_message_received.docs_literal.json": ("text_received", ["text.received"]),
    "text_message_sent.json": ("text_sent", ["text.sent"]),
    "form_submission.json": ("form_submission", ["form.submitted"]),
    "form_submission.docs_literal.json": ("form_submission", ["form.submitted"]),
    "outbound_post_call.json": ("outbound_post_call", ["outbound.answered", "call.recording_ready"]),
    "outbound_call_modified.json": (
        "outbound_call_modified",
        ["outbound.answered", "call.recording_ready", "outbound.changed"],
    ),
    "convert_assist_complete.json": ("convert_assist", ["assist.completed"]),
    "voice_assist_call_answered.observed.json": ("voice_assist", ["assist.answered"]),
    "test_ping.observed.json": ("unknown", ["unknown.received"]),
}

# A rule a transition, so that each delivery says which one it tells of.
ONE_RULE_EACH = "\n".join(
    f"  - {{id: {name.replace('.', '-')}, when: [{name}], send: [{{to: crm}}]}}" for name in Transition
)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


def company_of(file: str) -> str:
    """Each sample is of a company of its own, so that what one says of a call changes nothing for the next."""
    return file.replace(".", "-")


def bytes_of(file: str) -> bytes:
    """The sample as it is signed: JSON compact and with its own letters, a form as it stands."""
    raw = (SAMPLES / file).read_bytes()
    if not file.endswith(".json"):
        return raw
    return json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples at {SAMPLES}; name the place in CALLRAIL_ROUTER_SHARED")
async def test_every_sample_gives_its_transition(database_url: str, destination: Destination, tmp_path: Path) -> None:
    """Inbound calls, texts and forms are understood, the rest is kept as unknown; each is told, each once."""
    signatures = json.loads((SAMPLES / "signatures.json").read_text())["sample_files"]["items"]
    assert {item["file"] for item in signatures} == set(MEANING)
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url, ONE_RULE_EACH, companies=[company_of(file) for file in MEANING]))
    expected = {company_of(file): names for file, (_, names) in MEANING.items()}

    async with serving_here(config, database_url) as port:
        for item in signatures:
            path = f"/callrail/{company_of(item['file'])}/{MEANING[item['file']][0]}"
            form = ("content-type", "application/x-www-form-urlencoded")
            reply = await post_signed(
                port,
                path,
                bytes_of(item["file"]),
                key=item["key"],
                headers=[form] if item["file"].endswith("txt") else [],
            )
            assert reply.status == 204, item["file"]
        with opened(database_url) as database:
            await everything_is_delivered(database)
            found: dict[str, list[str]] = {}
            for row in rows_of(database, transitions):
                found.setdefault(row.company, []).append(row.name)
            signed = {row.company: row.body for row in rows_of(database, events)}

    assert found == expected
    assert signed == {company_of(file): bytes_of(file) for file in MEANING}
    told = sorted((webhook.data["company"], webhook.type) for webhook in map(webhook_of, destination.requests))
    assert told == sorted((company, name) for company, names in expected.items() for name in names)


async def everything_is_delivered(database: Database) -> None:
    def is_done() -> bool:
        waiting = {row.state for row in rows_of(database, events)} != {EventState.ROUTED}
        return not waiting and {row.state for row in rows_of(database, deliveries)} == {DeliveryState.DELIVERED}

    await until(is_done)


ENDINGS = {
    Story.MISSED: "call.missed",
    Story.ANSWERED: "call.answered",
    Story.VOICEMAIL: "call.voicemail",
    Story.ABANDONED: "call.abandoned",
}


async def test_simulated_life_cycles_give_their_transitions_and_exactly_these_deliveries(
    database_url: str, destination: Destination, tmp_path: Path
) -> None:
    """Four of each story, overlapping: every transition that is not superseded is told once, and nothing else is."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url, ONE_RULE_EACH, companies=["acme", "globex"]))
    stories = list(Story) * 4
    show = Show(stories, math.inf, timedelta(seconds=1), seed=7)

    async with serving_here(config, database_url) as port:
        companies = list(read_config(config).companies(os.environ))
        tally = await play_to(f"http://127.0.0.1:{port}", companies, show, on_sent=lambda _: None)
        with opened(database_url) as database:
            await until(lambda: len(rows_of(database, events)) == tally.sent)
            await everything_is_delivered(database)
            happened = rows_of(database, transitions)
            things = rows_of(database, objects)
            sent = rows_of(database, deliveries)

    assert tally.refused == 0
    count = Counter(row.name for row in happened)
    assert {name: count[name] for name in ENDINGS.values()} == dict.fromkeys(ENDINGS.values(), 4)
    assert count["call.ringing"] == count["call.ended"] == 16
    assert (count["call.routed"], count["form.submitted"], count["text.received"]) == (12, 4, 4)
    assert count["unknown.received"] == 0
    for thing in things:
        outcomes = [row.name for row in happened if row.object_id == thing.id and row.name in ENDINGS.values()]
        assert outcomes == ([f"call.{thing.outcome}"] if thing.type == "call" else [])
    told = [row for row in happened if row.state == "routed"]
    assert sorted(row.transition_id for row in sent) == sorted(row.id for row in told)
    assert times_arrived(destination.requests) == Counter(row.id for row in sent)
    assert Counter(webhook_of(request).type for request in destination.requests) == Counter(row.name for row in told)


async def test_a_call_whose_webhooks_arrive_backwards_is_told_of_as_ended_only(
    database_url: str, destination: Destination, tmp_path: Path
) -> None:
    """Ringing and routed, arriving after the end, are recorded and reach nobody."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url, ONE_RULE_EACH))
    story = life_cycle(Story.MISSED, rng=random.Random(3), started_at=NOW, callrail_id=None, company_name="Acme")

    async with serving_here(config, database_url) as port:
        with opened(database_url) as database:
            for number, posting in enumerate(reversed(story), 1):
                reply = await post_signed(port, f"/callrail/acme/{posting.kind}", posting.body, key=KEY)
                assert reply.status == 204
                await until(lambda number=number: routed(database) == number)  # type: ignore[misc]
            await everything_is_delivered(database)
            happened = {row.name: row.state for row in rows_of(database, transitions)}

    assert happened == {
        "call.ended": "routed",
        "call.missed": "routed",
        "call.routed": "superseded",
        "call.ringing": "superseded",
    }
    assert sorted(webhook_of(request).type for request in destination.requests) == ["call.ended", "call.missed"]


def routed(database: Database) -> int:
    return sum(row.state == EventState.ROUTED for row in rows_of(database, events))


async def test_a_repeated_webhook_reaches_nobody_twice(
    database_url: str, destination: Destination, tmp_path: Path
) -> None:
    """Posted ten times at once, the same ended call is one delivery."""
    config = tmp_path / "router.yaml"
    config.write_text(config_text(destination.url))
    body = json.dumps({"resource_id": "CAL1", "call_type": "missed", "answered": False, "duration": 30}).encode()

    async with serving_here(config, database_url) as port:
        replies = await asyncio.gather(
            *[post_signed(port, "/callrail/acme/post_call", body, key=KEY) for _ in range(10)]
        )
        with opened(database_url) as database:
            await until(lambda: routed(database) == 10)
            await everything_is_delivered(database)
            repeats = [row.repeat_of for row in rows_of(database, events)]

    assert {reply.status for reply in replies} == {204}
    assert sum(repeat is None for repeat in repeats) == 1
    assert len(destination.requests) == 1
    facts: dict[str, Any] = webhook_of(destination.requests[0]).data["fields"]
    assert (facts["outcome"], facts["duration"]) == ("missed", 30)
