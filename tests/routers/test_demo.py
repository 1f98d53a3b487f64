"""`demo`: the router on real sockets shows what people would see in Slack and mail, and tells nobody."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from receiver.schema import events
from routers.config import Configuration, read_config
from routers.demo import Show, demo, example_config, invent_missing_keys, standing_in
from routers.demo_world import DemoWorld
from routers.listening import bind
from routers.outcomes import Delivered
from routers.scenarios import Posting
from routers.serve import Plan, Role, serve
from routers.simulator import Sent, headers_of, life_cycle
from routers.standins.hubspot import Card
from routers.standins.mailbox import Mail
from routers.standins.slack import Post
from routers.starting import Refused
from routers.transitions import Transition
from tests.client import post
from tests.routers.store import opened, rows_of
from tests.routers.stories import message_of, story

pytestmark = pytest.mark.anyio

KEY = "an invented key"
EXAMPLE_KEYS = ("EXAMPLE_PLUMBING_KEY", "EXAMPLE_HEATING_KEY")


@dataclass
class Onlooker:
    """A screen that keeps what it is shown, and can be waited at."""

    posts: list[Post] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def posted(self, post: Post) -> None:
        self.posts.append(post)
        self._changed.set()

    def mailed(self, mail: Mail) -> None:
        self.mails.append(mail)
        self._changed.set()

    def logged(self, card: Card) -> None:
        self.cards.append(card)
        self._changed.set()

    async def sees(self, *lines: str) -> None:
        """Return once each of *lines* was the first of a message or of a mail."""
        async with asyncio.timeout(60):
            while not {*lines} <= {*titles(self.posts), *(mail.lines[0] for mail in self.mails)}:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """The example as `demo` has it, with known keys, and nothing else that it refers to."""
    for name in EXAMPLE_KEYS:
        monkeypatch.setenv(name, KEY)
    for name in ("SLACK_TOKEN", "SMTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return read_config(example_config())


async def test_messages_show_what_is_looked_up_of_a_caller_and_the_number(
    example: Configuration, sqlite_url: str, spool: Path
) -> None:
    """The API's stand-in hears of each call before it is posted, and invents as many earlier ones as were told."""
    screen, listener, stop = Onlooker(), bind("127.0.0.1", 0), asyncio.Event()
    plan = Plan(example, sqlite_url, Role.ALL, listener, spool)
    show = show_of(*["missed"] * 6)

    await demo(
        plan,
        f"http://127.0.0.1:{listener.getsockname()[1]}",
        show,
        screen=screen,
        stop=stop,
        on_sent=lambda _: None,
        on_played=lambda: None,
        once=True,
    )

    shown = [line for mail in screen.mails for line in mail.lines]
    assert any(line.startswith("1 of 2 earlier calls missed · number ") for line in shown), shown


async def test_who_calls_again_is_one_contact_with_two_calls(
    example: Configuration, sqlite_url: str, spool: Path
) -> None:
    """At HubSpot's stand-in, which a sink takes for the real one."""
    screen, listener = Onlooker(), bind("127.0.0.1", 0)
    await demo(
        Plan(example, sqlite_url, Role.ALL, listener, spool),
        f"http://127.0.0.1:{listener.getsockname()[1]}",
        show_of("repeat_caller"),
        screen=screen,
        stop=asyncio.Event(),
        on_sent=lambda _: None,
        on_played=lambda: None,
        once=True,
    )

    last = screen.cards[-1]
    assert sorted(entry.title for entry in last.entries) == ["Call: answered", "Call: missed"]
    assert {(card.name, card.phone) for card in screen.cards} == {(last.name, last.phone)}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def show_of(*stories: str, speed: float = math.inf) -> Show:
    return Show(stories, speed, timedelta(seconds=20), seed=1)


def titles(posts: Sequence[Post]) -> list[str]:
    """The first line of each message, in bold as it is."""
    return [one.lines[0].text for one in posts]


# --- one call, as people see it --------------------------------------------------------------------------------------


@asynccontextmanager
async def serving_the_demo(
    configuration: Configuration, database_url: str, spool: Path, onlooker: Onlooker, world: DemoWorld | None = None
) -> AsyncIterator[int]:
    """The router with stand-ins, without a play; its port."""
    listener = bind("127.0.0.1", 0)
    stop, ready = asyncio.Event(), asyncio.Event()
    async with standing_in(configuration, onlooker, world) as told_here:
        plan = Plan(told_here, database_url, Role.ALL, listener, spool, looks_every=timedelta(seconds=0.2))
        server = asyncio.create_task(serve(plan, stop=stop, on_ready=ready.set))
        await ready.wait()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            await server


async def test_one_message_is_edited_when_the_missed_call_proves_to_be_a_voicemail(
    example: Configuration, sqlite_url: str, spool: Path
) -> None:
    """In Slack the same message is another now; the mail is answered in its thread. Each step follows what was seen."""
    onlooker = Onlooker()
    rings, is_routed, missed, found = life_cycle(
        "late_voicemail",
        rng=random.Random(1),
        started_at=datetime.now(UTC),
        callrail_id=None,
        company_name="Example Plumbing",
    )
    async with serving_the_demo(example, sqlite_url, spool, onlooker) as port:

        async def tell(*webhooks: Posting) -> None:
            for webhook in webhooks:
                headers = headers_of(webhook, KEY.encode()).items()
                answer = await post(port, f"/callrail/example-plumbing/{webhook.kind}", webhook.body, headers)
                assert answer.status == 204

        await tell(rings, is_routed, missed)
        await onlooker.sees("*Missed call · Example Plumbing*", "Missed call · Example Plumbing")
        await tell(found)
        await onlooker.sees("*New voicemail · Example Plumbing*", "New voicemail · Example Plumbing")

    first, edited = onlooker.posts
    assert titles(onlooker.posts) == ["*Missed call · Example Plumbing*", "*New voicemail · Example Plumbing*"]
    assert (first.channel, first.was) == ("plumbing-calls", None)
    assert (edited.channel, edited.was) == ("plumbing-calls", first.lines)
    assert any("Caller: " in line.text for line in edited.lines)
    mail, *follow_ups = onlooker.mails
    assert (mail.sender, mail.recipients, mail.thread) == ("calls@example.com", "office@example.com", None)
    assert {one.thread for one in follow_ups} == {mail.subject}


async def test_a_missed_call_is_shown_before_its_post_call(
    example: Configuration, sqlite_url: str, spool: Path
) -> None:
    """CallRail's API knows it when the caller hangs up; what the post-call tells later is told to nobody again."""
    onlooker, over = Onlooker(), asyncio.Event()
    world = DemoWorld(speed=1_000_000, on_over=over.set)
    webhooks = life_cycle(
        "held_back",
        rng=random.Random(1),
        started_at=datetime.now(UTC),
        callrail_id=None,
        company_name="Example Plumbing",
    )
    async with serving_the_demo(example, sqlite_url, spool, onlooker, world) as port:

        async def tell(webhook: Posting) -> None:
            world.hear(webhook.body, webhook.content_type)
            headers = headers_of(webhook, KEY.encode()).items()
            assert (await post(port, f"/callrail/example-plumbing/{webhook.kind}", webhook.body, headers)).status == 204

        rings, is_routed, ended = webhooks
        await tell(rings)
        for webhook in webhooks:
            world.announce(webhook, asyncio.get_running_loop().time() + webhook.after.total_seconds())
        await over.wait()
        await onlooker.sees("*Missed call · Example Plumbing*", "Missed call · Example Plumbing")
        await tell(is_routed)
        await tell(ended)

    assert titles(onlooker.posts) == ["*Missed call · Example Plumbing*"]


# --- the play --------------------------------------------------------------------------------------------------------


async def test_a_play_ends_when_all_of_it_was_told(example: Configuration, sqlite_url: str, spool: Path) -> None:
    """A form to alerts and records, a text to alerts: seen before the end is announced, each at its own company's."""
    onlooker, seen = Onlooker(), list[tuple[int, int]]()
    listener = bind("127.0.0.1", 0)

    await demo(
        Plan(example, sqlite_url, Role.ALL, listener, spool),
        f"http://127.0.0.1:{listener.getsockname()[1]}",
        show_of("form", "missed"),
        screen=onlooker,
        stop=asyncio.Event(),
        on_sent=lambda _: None,
        on_played=lambda: seen.append((len(onlooker.posts), len(onlooker.mails))),
        once=True,
    )

    assert seen == [(2, 2)]
    assert {one.channel for one in onlooker.posts} == {"plumbing-calls", "heating-calls"}


async def test_the_play_can_be_stopped_and_a_second_one_goes_on(
    example: Configuration, sqlite_url: str, spool: Path
) -> None:
    """Ctrl-C in the middle ends it in order, and nothing that was received is lost."""
    stop, sent = asyncio.Event(), list[Sent]()

    def stop_after_the_first(one: Sent) -> None:
        sent.append(one)
        stop.set()

    async def play(show: Show, *, stop: asyncio.Event, once: bool) -> Onlooker:
        onlooker, listener = Onlooker(), bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        plan = Plan(example, sqlite_url, Role.ALL, listener, spool)
        await demo(
            plan,
            url,
            show,
            screen=onlooker,
            stop=stop,
            on_sent=stop_after_the_first,
            on_played=lambda: None,
            once=once,
        )
        return onlooker

    await play(show_of("voicemail", speed=5.0), stop=stop, once=False)
    assert [one.kind for one in sent] == ["pre_call"]

    again = await play(show_of("form"), stop=asyncio.Event(), once=True)
    assert len(again.posts) == len(again.mails) == 1
    with opened(sqlite_url) as database:
        assert [(row.kind, row.state) for row in rows_of(database, events)] == [
            ("pre_call", "routed"),
            ("form_submission", "routed"),
        ]


async def test_what_keeps_the_router_from_starting_is_told(
    example: Configuration, unmigrated_url: str, spool: Path
) -> None:
    """The reason comes out as from `serve`, and the stand-ins are gone."""
    listener = bind("127.0.0.1", 0)
    try:
        with pytest.raises(Refused, match="callrail-router migrate"):
            await demo(
                Plan(example, unmigrated_url, Role.ALL, listener, spool),
                "http://127.0.0.1:9",
                show_of("form"),
                screen=Onlooker(),
                stop=asyncio.Event(),
                on_sent=lambda _: None,
                on_played=lambda: None,
                once=True,
            )
    finally:
        listener.close()


# --- nobody else is told ---------------------------------------------------------------------------------------------

SINKS = """
companies: {acme: {signing_keys: [env:ACME_KEY]}}
sinks:
  hook: {type: slack, webhook_url: env:NOT_SET_HOOK}
  mail: {type: email, host: smtp.example.com, user: me, password: env:NOT_SET, from: a@example.com, to: b@example.com}
  crm: {type: webhook, url: 'https://example.com/crm', signing_secrets: [env:NOT_SET]}
rules:
  - {id: all, when: [call.missed], send: [{to: hook}, {to: mail}, {to: crm}]}
"""


async def test_no_sink_of_a_file_of_ones_own_reaches_anybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A webhook of Slack's and a mail server have stand-ins, what has none is printed; no secret has to be there."""
    path, onlooker = tmp_path / "router.yaml", Onlooker()
    path.write_text(SINKS)
    message = message_of(*story(Transition.CALL_MISSED))

    async with standing_in(read_config(path), onlooker) as configuration:
        for config in configuration.sink_configs.values():
            sink = config.build()
            try:
                assert isinstance(await sink.deliver(message), Delivered)
            finally:
                await sink.aclose()

    assert [one.channel for one in onlooker.posts] == ["hook"]
    assert [one.recipients for one in onlooker.mails] == ["b@example.com"]
    assert capsys.readouterr().out.startswith("● Missed call")


async def test_a_token_that_is_set_is_not_given_to_the_stand_in(
    example: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a real one in the environment can run the demo all the same."""
    monkeypatch.setenv("SLACK_TOKEN", "xoxb-real")
    async with standing_in(example, Onlooker()) as configuration:
        written = [vars(config) for config in configuration.sink_configs.values() if config.type == "slack"]

    assert written
    assert {str(settings["token"]) for settings in written} == {"env:CALLRAIL_ROUTER_DEMO_TOKEN"}


def test_keys_are_invented_only_where_there_are_none(example: Configuration) -> None:
    """Keys that are set are those with which somebody else may play to the demo."""
    environ = {EXAMPLE_KEYS[0]: "kept"}

    invent_missing_keys(example.signing_key_references(), environ)

    assert environ[EXAMPLE_KEYS[0]] == "kept"
    assert len(environ[EXAMPLE_KEYS[1]]) == 32
