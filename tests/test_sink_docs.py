"""The recipes of docs/sinks/: each loads, and what it sends has the form that the vendor has published."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml
from standardwebhooks import Webhook

from callrail.fields import FIELDS
from routers.config import Configuration, check_config, read_config
from routers.messages import Message
from routers.outcomes import Delivered
from routers.sinks import SINK_TYPES
from routers.sinks.http import HttpConfig
from routers.sinks.webhook import WebhookConfig
from routers.templates import built_in_templates, render
from tests.fakes.destination import Destination, Request, answer, running_destination
from tests.fakes.receiver_of_webhooks import SECRET
from tests.routers.store import a_delivery

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "sinks"
SPECS = Path(os.environ.get("CALLRAIL_ROUTER_SHARED", ROOT.parent / "shared")) / "specs"


class Recipe(NamedTuple):
    """One YAML block of a page."""

    page: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


RECIPES = [
    Recipe(path.stem, number, text)
    for path in sorted(FOLDER.glob("*.md"))
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S), 1)
]
IDS = [str(recipe) for recipe in RECIPES]


def read(recipe: Recipe, path: Path) -> Configuration:
    """The recipe as a whole file: with a company and, where it has none, a rule that sends to each of its sinks."""
    written = yaml.safe_load(recipe.text)
    text = recipe.text
    if "companies" not in written:
        text += "companies: {acme-plumbing: {signing_keys: [env:ACME_KEY]}}\n"
    if "rules" not in written:
        send = ", ".join(f"{{to: {name}}}" for name in written["sinks"])
        text += f"rules: [{{id: missed, when: [call.missed], send: [{send}]}}]\n"
    file = path / "router.yaml"
    file.write_text(text, encoding="utf-8")
    checked = check_config(file)
    assert [str(problem) for problem in (*checked.problems, *checked.warnings)] == []
    return read_config(file)


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_a_recipe_is_right_and_warns_of_nothing(recipe: Recipe, tmp_path: Path) -> None:
    """It can be copied as it stands."""
    assert read(recipe, tmp_path).sink_configs


@pytest.mark.parametrize("sink_type", SINK_TYPES)
def test_every_type_of_sink_has_its_place_in_the_overview(sink_type: str) -> None:
    """Who looks for a sink finds it in docs/sinks/README.md."""
    assert f"`type: {sink_type}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("sink_type", SINK_TYPES)
def test_the_overview_says_what_a_sink_does_as_the_code_has_it(sink_type: str) -> None:
    """How it amends what it sent, and what follows a lost answer."""
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")
    (row,) = [line.split(" | ") for line in overview.splitlines() if line.startswith(f"| `{sink_type}` |")]
    config = SINK_TYPES[sink_type]
    ways = config.model_construct(webhook_url=None).ways_to_amend
    assert set(re.findall(r"\w+", row[1].partition(";")[0])) == {way.value for way in ways}
    assert f"`{config.model_fields['on_uncertain'].default}`" in row[3]


def test_every_page_is_in_the_overview() -> None:
    """A recipe that nobody finds is none."""
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert [
        path.name for path in FOLDER.glob("*.md") if path.name != "README.md" and f"({path.name})" not in overview
    ] == []


# --- what arrives ----------------------------------------------------------------------------------------------------

ORDINARY: dict[str, Any] = {
    "customer_name": "Avery Quill",
    "customer_phone_number": "+14045550123",
    "source": "Google Ads",
    "duration": 27,
    "first_call": True,
    "company_time_zone": "America/New_York",
    "voicemail": False,
}
MARKUP = '@everyone <@1> <users/all> **b** [x](https://evil.example) <b>"</b> {{ 7 * 7 }}\n# '
# Each field of a call filled with what could do harm there, and more of it than any vendor takes.
FILLED = ("customer_name", "source", "keywords", "landing_page_url", "note", "transcription")
HOSTILE = ORDINARY | dict.fromkeys(FILLED, MARKUP * 100)
FACTS = {"ordinary": ORDINARY, "hostile": HOSTILE}


def a_message(facts: dict[str, Any]) -> Message:
    callrail_id = "CAL0191f00a1b2c7d3e8f405162738495a6"
    delivery = a_delivery(facts, id="dl_06bqexample", company="acme-plumbing", callrail_id=callrail_id)
    links = {"call": "https://app.callrail.com/calls/CAL0191_1?a=b&c=d"}
    return replace(render(delivery, built_in_templates()), links=links)


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    async with running_destination() as running:
        yield running


def redirected(config: WebhookConfig | HttpConfig, url: str) -> WebhookConfig | HttpConfig:
    """*config*, sending to *url* in place of its host, be that written out or in a variable of the environment."""
    here = re.sub(r"https://[^/]+", url, config.url) if isinstance(config.url, str) else f"{url}/hook"
    return config.model_copy(update={"url": here, "allow_hosts": ("127.0.0.1",)})


async def sent(
    recipe: Recipe, facts: dict[str, Any], destination: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Request]:
    """What arrives for each sink of the recipe whose whole request stands there: `webhook` and `http`."""
    for name in re.findall(r"env:(\w+)", recipe.text):
        monkeypatch.setenv(name, SECRET)
    requests: dict[str, Request] = {}
    for name, config in read(recipe, tmp_path).sink_configs.items():
        if isinstance(config, WebhookConfig | HttpConfig):
            sink = redirected(config, destination.url).build()
            outcome = await sink.deliver(a_message(facts))
            await sink.aclose()
            assert isinstance(outcome, Delivered), outcome
            requests[name] = destination.requests[-1]
    return requests


# Whatever a destination wants to hear.
YES = b'{"ok": true, "result": {"ok": true}, "id": "1"}'


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
async def test_a_recipe_sends_one_well_formed_request(
    recipe: Recipe,
    facts: dict[str, Any],
    destination: Destination,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each sink of it, to a server on loopback; what the vendor has published or documents is kept."""
    destination.behaves(answer(202 if recipe.page == "pagerduty" else 200, body=YES))

    requests = await sent(recipe, facts, destination, tmp_path, monkeypatch)

    assert len(destination.requests) == len(requests)
    for request in requests.values():
        if check := WELL_FORMED.get(recipe.page):
            check(request)


def told(request: Request) -> Any:
    assert request.headers["content-type"] == "application/json"
    return json.loads(request.body)


def schema_of(*parts: str) -> Any:
    path = SPECS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the vendors' contracts are not at {SPECS}")
    return json.loads(path.read_text(encoding="utf-8"))


def is_standard_webhook(request: Request) -> None:
    body = Webhook(SECRET).verify(request.body, dict(request.headers))
    if request.headers["content-type"] == "application/cloudevents+json":
        schema = schema_of("cloudevents", "cloudevents.schema.json")
        jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(body)
        assert datetime.fromisoformat(body["time"]).tzinfo is not None
        assert body["id"] == request.headers["webhook-id"]
    else:
        assert body.keys() == {"type", "timestamp", "data"}


def is_flat_texts(request: Request) -> None:
    body = told(request)
    assert all(isinstance(value, str) for value in body.values())
    assert (body["id"], body["happened"]) == ("dl_06bqexample", "call.missed")
    assert body["at"] == "2026-03-10T13:15:00.000Z"


def is_teams_message(request: Request) -> None:
    body = told(request)
    (attachment,) = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert len(request.body) < 28_000
    title, lines = attachment["content"]["body"]
    assert_no_link_with_another_face(title["text"] + lines["text"])
    schema = schema_of("adaptivecards", "adaptive-card-1.4.0.schema.json")
    jsonschema.Draft6Validator(schema).validate(attachment["content"])


def is_discord_message(request: Request) -> None:
    body = told(request)
    assert body.keys() == {"content", "allowed_mentions"}
    assert body["allowed_mentions"] == {"parse": []}
    assert 0 < len(body["content"]) <= 2000
    assert_no_link_with_another_face(body["content"])


def assert_no_link_with_another_face(markdown: str) -> None:
    assert not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(", markdown)


def is_google_chat_message(request: Request) -> None:
    body = told(request)
    assert len(request.body) < 32_000
    (section,) = body["cardsV2"][0]["card"]["sections"]
    text = section["widgets"][0]["textParagraph"]["text"]
    assert set(re.findall(r"<[^>]*>", text)) <= {"<b>", "</b>", "<br>"}
    document = schema_of("googlechat", "chat.openapi.json")
    (path,) = [path for path in document["paths"] if path.endswith("/messages") and "post" in document["paths"][path]]
    wanted = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = {"components": document["components"], "allOf": [wanted]}
    jsonschema.Draft202012Validator(schema).validate(body)


def is_pagerduty_event(request: Request) -> None:
    """Events API v2 (developer.pagerduty.com, documented): what each action must have, and the bounds."""
    body = told(request)
    assert body["routing_key"] == SECRET
    assert body["dedup_key"] == "callrail:CAL0191f00a1b2c7d3e8f405162738495a6"
    assert len(request.body) < 512_000
    if body["event_action"] == "resolve":
        assert body.keys() == {"routing_key", "event_action", "dedup_key"}
        return
    payload = body["payload"]
    assert body["event_action"] == "trigger"
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"] == "callrail:acme-plumbing"
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert datetime.fromisoformat(payload["timestamp"]).tzinfo is not None
    assert body["links"] == [{"href": "https://app.callrail.com/calls/CAL0191_1?a=b&c=d", "text": "Open in CallRail"}]


WELL_FORMED: dict[str, Callable[[Request], None]] = {
    "webhook": is_standard_webhook,
    "zapier": is_flat_texts,
    "make": is_flat_texts,
    "n8n": is_flat_texts,
    "teams": is_teams_message,
    "discord": is_discord_message,
    "google-chat": is_google_chat_message,
    "pagerduty": is_pagerduty_event,
}


def test_each_form_is_held_against_a_page() -> None:
    """A page that is renamed keeps its test."""
    assert WELL_FORMED.keys() <= {recipe.page for recipe in RECIPES}


def test_the_names_of_the_hostile_facts_are_fields() -> None:
    """A field that is renamed is hostile no more."""
    assert HOSTILE.keys() - {"company_time_zone"} <= FIELDS.keys()
