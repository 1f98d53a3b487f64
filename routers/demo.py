"""What `make run` shows: everything in one process, and simulated CallRail calls posted to its own URL.

Nobody else is told: Slack, mail and HubSpot are stand-ins, and what all other sinks would send is printed. What is
looked up is asked of a stand-in of CallRail's API.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, exists, or_, select

from callrail.exceptions import HttpError
from callrail.http import HttpClient
from receiver.companies import Companies, Company
from receiver.database import open_database
from receiver.schema import EventState, events
from receiver.secrets import SecretRef
from routers.accounts import AccountConfig
from routers.config import Configuration
from routers.demo_world import DemoWorld
from routers.fake_callrail.serving import serving
from routers.outbox import UNSENT
from routers.rules.ruleset import Amending
from routers.schema import DeliveryState, TransitionState, deliveries, transitions
from routers.serve import Plan, serve
from routers.simulator import Announce, Sent, SimulatedCompany, Tally, play
from routers.sinks import AnySinkConfig
from routers.sinks.email import EmailConfig
from routers.sinks.hubspot import HubSpotConfig
from routers.sinks.slack import SlackConfig
from routers.sinks.smtp import Tls
from routers.sinks.stdout import StdoutConfig
from routers.standins.hubspot import Card, HubSpotStandIn
from routers.standins.mailbox import Mail, running_mailbox
from routers.standins.serving import running_app
from routers.standins.slack import Post, SlackStandIn

_LOOKS_AT_CALLS_EVERY = timedelta(seconds=0.5)  # as fast as all the rest
_EDITS_APART = timedelta(seconds=5)
_LOOK_EVERY = 0.2  # seconds between looks at what is still to be told
_NOT_AFTER = 30.0  # seconds; what a failed sink tries again later is not waited for
# Whoever simulates names the URL, so every address is allowed.
_ANYWHERE = ("0.0.0.0/0", "::/0")
_LOOPBACK = "127.0.0.1"
# A token that is set for real is not sent to a stand-in either.
_TOKEN = SecretRef("env", "CALLRAIL_ROUTER_DEMO_TOKEN")
_API_KEY = SecretRef("env", "CALLRAIL_ROUTER_DEMO_API_KEY")
_A_CHANNEL = "C0123ABCD"  # for a webhook of Slack's, whose channel the file does not name


def example_config() -> Path:
    """The example configuration: beside this module in an installed wheel, in `examples/` in a checkout."""
    here = Path(__file__).parent
    packaged = here / "examples" / "router.yaml"
    return packaged if packaged.exists() else here.parent / "examples" / "router.yaml"


def invent_missing_keys(references: Sequence[SecretRef], environ: MutableMapping[str, str]) -> None:
    """Give every environment variable a configuration refers to, and that is not set, a random key: for the demo."""
    for reference in references:
        if reference.source == "env":
            environ.setdefault(reference.name, secrets.token_hex(16))


@dataclass(frozen=True)
class Show:
    """What to play, and how fast; *begins* is when the first story happens as it is told, None for now."""

    stories: Sequence[str]
    speed: float
    gap: timedelta
    seed: int
    begins: datetime | None = None


Hear = Callable[[bytes, str], None]  # a webhook's body and content type, before it is posted


class Screen(Protocol):
    """Shows what people would see."""

    def posted(self, post: Post) -> None: ...

    def mailed(self, mail: Mail) -> None: ...

    def logged(self, card: Card) -> None: ...


async def demo(
    plan: Plan,
    url: str,
    show: Show,
    *,
    screen: Screen,
    stop: asyncio.Event,
    on_sent: Callable[[Sent], None],
    on_played: Callable[[], None],
    on_over: Callable[[], None] = lambda: None,
    once: bool,
) -> None:
    """Serve *plan* with stand-ins for its sinks, play *show* to *url*, and serve on until *stop* is set.

    *on_played* is called when all of it has been told; with *once* that is the end. *on_over* is called when a call is
    over whose post-call is held back.
    """
    ready, world = asyncio.Event(), DemoWorld(show.speed, on_over)

    async def play_all() -> None:
        await ready.wait()
        companies = list(plan.configuration.companies(os.environ))
        await play_to(url, companies, show, on_sent=on_sent, hear=world.hear, announce=world.announce)
        await _all_told(plan.database_url)
        on_played()

    async with standing_in(plan.configuration, screen, world) as configuration:
        shown = replace(plan, configuration=configuration, looks_every=_LOOKS_AT_CALLS_EVERY)
        server = asyncio.create_task(serve(shown, stop=stop, on_ready=ready.set))
        playing = asyncio.create_task(play_all())
        await asyncio.wait([server, playing], return_when=asyncio.FIRST_COMPLETED)
        if once or (playing.done() and playing.exception() is not None):
            stop.set()
        try:
            await server
        finally:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing


@contextlib.asynccontextmanager
async def standing_in(
    configuration: Configuration, screen: Screen, world: DemoWorld | None = None
) -> AsyncIterator[Configuration]:
    """*configuration* with sinks that reach nobody: what they send is shown on *screen* while the block runs.

    What is looked up is asked of a stand-in of CallRail's API, which knows *world*.
    """
    world = world or DemoWorld()
    token = os.environ.setdefault(_TOKEN.name, secrets.token_hex(16))
    fake = world.fake
    async with (
        running_app(SlackStandIn(token, screen.posted).app) as slack,
        running_app(HubSpotStandIn(token, screen.logged).app) as hubspot,
        running_mailbox(screen.mailed) as mailbox,
        serving(fake) as api,
    ):
        os.environ[_API_KEY.name] = fake.world.key
        sinks = configuration.sink_configs.items()
        told_here = {
            name: _told_here(name, config, slack=slack, hubspot=hubspot, mailbox=mailbox) for name, config in sinks
        }
        account = AccountConfig(account_id=world.account.id, api_key=_API_KEY, base_url=api, early_outcomes=True)
        accounts = dict.fromkeys(configuration.accounts, account)
        rules = replace(configuration.rules, amends=_soon(configuration.rules.amends))
        yield replace(configuration, sink_configs=told_here, accounts=accounts, rules=rules)


def _soon(amends: Mapping[str, Amending]) -> Mapping[str, Amending]:
    """How later news amends what was sent, with no edit later than people who look on would wait."""
    return {name: replace(how, apart=min(how.apart, _EDITS_APART)) for name, how in amends.items()}


def _told_here(name: str, config: AnySinkConfig, *, slack: str, hubspot: str, mailbox: int) -> AnySinkConfig:
    """*config* of the sink *name* as it is in a demo. How it amends is decided by its rules, which stay as they are."""
    here = {"allow_hosts": (_LOOPBACK,), "ca_file": None}
    match config:
        case SlackConfig():
            bot = {"token": _TOKEN, "channel": config.channel or _A_CHANNEL, "webhook_url": None}
            return config.model_copy(update={**here, **bot, "base_url": f"{slack}/{name}"})
        case HubSpotConfig():
            return config.model_copy(update={**here, "token": _TOKEN, "base_url": hubspot})
        case EmailConfig():
            server = {"host": _LOOPBACK, "port": mailbox, "tls": Tls.NONE, "user": None, "password": None}
            return config.model_copy(update={**here, **server})
        case _:
            return StdoutConfig(type="stdout")


async def _all_told(database_url: str) -> None:
    """Return once nothing is left to be told, or when that takes too long."""
    database = open_database(database_url)

    def is_something_open() -> bool:
        with database.reading.connect() as conn:
            return _is_something_open(conn)

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOT_AFTER):
                while await asyncio.to_thread(is_something_open):  # noqa: ASYNC110  (other threads write it)
                    await asyncio.sleep(_LOOK_EVERY)
    finally:
        database.dispose()


def _is_something_open(conn: Connection) -> bool:
    """Whether an event is to be routed, or a delivery to be sent."""
    open_states = (
        exists().where(events.c.state == EventState.RECEIVED),
        exists().where(transitions.c.state.in_((TransitionState.NEW, TransitionState.WAITING))),
        exists().where(deliveries.c.state.in_((*UNSENT, DeliveryState.SENDING))),
    )
    return bool(conn.execute(select(or_(*open_states))).scalar())


async def play_to(
    url: str,
    companies: Sequence[Company],
    show: Show,
    *,
    on_sent: Callable[[Sent], None],
    hear: Hear = lambda _body, _type: None,
    announce: Announce = lambda _posting, _at: None,
) -> Tally:
    """Play *show* to the intake at *url*, its stories dealt out to *companies* in turn. *hear* hears of each webhook
    before it is posted, *announce* of all before the first."""
    rng = random.Random(show.seed)  # noqa: S311  (invented people, not secrets)
    tally = Tally(0, 0)
    async with _client() as client:
        plays = [
            play(
                show.stories[position :: len(companies)],
                post=_poster(client, url, company, hear),
                rng=random.Random(rng.random()),  # noqa: S311
                company=simulated(company),
                speed=show.speed,
                gap=show.gap * len(companies),
                now=show.begins or datetime.now(UTC),
                on_sent=on_sent,
                announce=announce,
            )
            for position, company in enumerate(companies)
        ]
        for part in await asyncio.gather(*plays):
            tally += part
    return tally


def simulated(company: Company) -> SimulatedCompany:
    """*company* as the simulator knows it, signing with its first key; with an id of its own if the file tells none."""
    invented = f"COM{hashlib.sha256(company.slug.encode()).hexdigest()[:32]}"
    name = company.slug.replace("-", " ").replace("_", " ").title()
    return SimulatedCompany(company.slug, name, company.callrail_id or invented, company.keys[0].secret)


@contextlib.asynccontextmanager
async def _client() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout=timedelta(seconds=30), allow_hosts=_ANYWHERE)
    try:
        yield client
    finally:
        await client.aclose()


class _Poster:
    def __init__(self, client: HttpClient, base: str, hear: Hear) -> None:
        self._client = client
        self._base = base
        self._hear = hear

    async def __call__(self, kind: str, body: bytes, headers: Mapping[str, str]) -> int:
        self._hear(body, headers.get("content-type", ""))
        try:
            answer = await self._client.post(f"{self._base}/{kind}", content=body, headers=headers)
        except HttpError as error:
            raise ConnectionError(str(error)) from None
        return answer.status


def _poster(client: HttpClient, url: str, company: Company, hear: Hear) -> _Poster:
    return _Poster(client, f"{url.rstrip('/')}/callrail/{company.slug}", hear)


def companies_named(companies: Companies, names: Sequence[str]) -> list[Company]:
    """The companies called *names*, all where none is named.

    Raises:
        KeyError: There is none of that name.
    """
    if not names:
        return list(companies)
    found = [companies.get(name) for name in names]
    missing = [name for name, company in zip(names, found, strict=True) if company is None]
    if missing:
        raise KeyError(missing[0])
    return [company for company in found if company is not None]
