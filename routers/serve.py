"""Everything in one process, wired in reading order: intake, writer, routing, dispatcher, sinks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
from collections import ChainMap, Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection
from starlette.types import ASGIApp

from receiver.app import receiver_app
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.exceptions import ConfigError, ConfigProblem, DatabaseUnavailable, SecretMissing
from receiver.heartbeat import Heartbeat
from receiver.hints import announce, listen
from receiver.instances import Instance
from receiver.keeping import Keeper
from receiver.loggers import get_logger
from receiver.writer import Writer
from routers.accounts import AccountConfig
from routers.api_clients import api_clients
from routers.budgets import Priority
from routers.config import Configuration
from routers.crm_memory import SqlMemory
from routers.deciding import Looking
from routers.dispatcher import Dispatcher, Limits
from routers.early_outcomes import LOOK_EVERY, EarlyOutcomes, Unheard
from routers.forgetting import Forgotten
from routers.jobs import jobs_of
from routers.listening import http_server
from routers.lookups.asking import Lookups
from routers.lookups.waiting import Waiting, looking_in
from routers.media.fetching import FETCH_EVERY, Fetching
from routers.media.rows import take_back_all
from routers.outbox import shift_open_times
from routers.own_writes import OwnWrites
from routers.periodic import Job, Periodic
from routers.retries import Policy
from routers.routing import MAX_BATCH, MAX_BATCH_ALONE, Router
from routers.rules.needs import Needs
from routers.sinks import AnySinkConfig
from routers.sinks.callrail import Acting, CallRailConfig
from routers.sinks.config import SinkConfig
from routers.sinks.crm import CrmMemory, CrmSinkConfig
from routers.sinks.sink import Sink
from routers.starting import dispatching_alone, require_schema, trouble_of
from routers.templates import Templates

if TYPE_CHECKING:
    from callrail.client import CallRail

_log = get_logger(__name__)

# Seconds after which a database that does not answer is asked again.
_ASK_AGAIN_AFTER = 1.0


class Role(StrEnum):
    """What a process does: everything, only take in, or only route and send."""

    ALL = "all"
    INTAKE = "intake"
    DISPATCH = "dispatch"


@dataclass(frozen=True)
class Plan:
    """What to serve. *listener* is a bound socket, None where nothing is taken in; *spool* the folder for webhooks that
    come while the database is away; *metrics* another socket, None for no metrics; *looks_every* how often open calls
    are looked at, None for `LOOK_EVERY`."""

    configuration: Configuration
    database_url: str
    role: Role
    listener: socket.socket | None
    spool: Path
    metrics: socket.socket | None = None
    looks_every: timedelta | None = None


async def serve(plan: Plan, *, stop: asyncio.Event, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until *stop* is set, then end in order: take in nothing more, route nothing more, let sendings come back.

    A database that does not answer keeps nobody from starting: what comes in waits in the spool.

    Raises:
        ConfigError: A secret is missing or cannot be one.
        Refused: The schema is not the one we know, or another dispatcher has the SQLite file.
    """
    database = open_database(plan.database_url)
    with contextlib.ExitStack() as held:
        held.callback(database.dispose)
        if plan.role is not Role.INTAKE:
            await require_schema(database)
            held.enter_context(dispatching_alone(database))
        service = _Service(plan, database, stop)
        for writer in service.writers:
            writer.start()
        try:
            async with contextlib.AsyncExitStack() as running:
                timed: Timed = _untimed
                if plan.metrics is not None:
                    timed = await running.enter_async_context(_measuring(service, plan.metrics))
                keeper = await running.enter_async_context(_keeping(service)) if plan.listener is not None else None
                await running.enter_async_context(_beating(service, keeper))
                if plan.role is not Role.INTAKE:
                    await running.enter_async_context(_dispatching(service))
                else:
                    await running.enter_async_context(_announcing(service))
                if keeper is not None and plan.listener is not None:
                    await running.enter_async_context(_taking_in(service, keeper, plan.listener, timed))
                on_ready()
                gc.freeze()  # what is there now stays, and need not be looked through for garbage again and again
                _log.info("serve.ready", role=plan.role.value)
                await stop.wait()
                _log.info("serve.stopping")
                for writer in service.writers:
                    writer.hurry()
        finally:
            await asyncio.gather(*(writer.stop() for writer in service.writers))


class _Service:
    """What the parts of a process share."""

    def __init__(self, plan: Plan, database: Database, stop: asyncio.Event) -> None:
        self.plan = plan
        self.database = database
        self.stop = stop
        self.writer = Writer(database, insert_events)
        # Where no webhooks are taken in, and the database takes two writers, turns do not wait behind routing.
        self.routes_alone = plan.role is Role.DISPATCH and not database.is_sqlite
        self.routing_writer = Writer(database, insert_events) if self.routes_alone else self.writer
        self.instance = Instance.of(plan.role.value)
        # An intake may meet a schema without the tables that a jump of the clock would have to mend.
        on_jump = shift_open_times if plan.role is not Role.INTAKE else _leave_alone
        self.clock: Clock = WallClock(on_jump) if database.is_sqlite else DatabaseClock()

    @property
    def writers(self) -> set[Writer]:
        """All of them, each once."""
        return {self.writer, self.routing_writer}


def _leave_alone(_conn: Connection, _back: timedelta) -> None:
    """Whoever dispatches moves the times."""


Timed = Callable[[ASGIApp], ASGIApp]


def _untimed(app: ASGIApp) -> ASGIApp:
    return app


@contextlib.asynccontextmanager
async def _measuring(service: _Service, listener: socket.socket) -> AsyncIterator[Timed]:
    """The metrics on their own port, and what measures the intake for them."""
    from routers.metrics import Metrics, metrics_app  # few ask for them, and Prometheus's library costs start time

    metrics = Metrics(service.database, service.plan.configuration.company_configs)
    async with http_server(metrics_app(metrics.text, metrics.text_without_database), listener, service.stop):
        yield metrics.timed


@contextlib.asynccontextmanager
async def _keeping(service: _Service) -> AsyncIterator[Keeper]:
    """The way into the database, or into the spool."""
    keeper = Keeper(service.writer, service.plan.spool)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()


@contextlib.asynccontextmanager
async def _beating(service: _Service, keeper: Keeper | None) -> AsyncIterator[None]:
    heartbeat = Heartbeat(service.writer, service.clock, service.instance, keeper)
    heartbeat.start()
    try:
        yield
    finally:
        await heartbeat.stop()


@contextlib.asynccontextmanager
async def _announcing(service: _Service) -> AsyncIterator[None]:
    """Where nobody routes, those who do are told of what is stored."""
    stored = asyncio.Event()
    service.writer.on_stored = stored.set
    async with _in_background(announce(service.database, stored), service.stop):
        yield


@contextlib.asynccontextmanager
async def _taking_in(service: _Service, keeper: Keeper, listener: socket.socket, timed: Timed) -> AsyncIterator[None]:
    """The intake over HTTP."""
    app = receiver_app(service.plan.configuration.companies(os.environ), keeper)
    async with http_server(timed(app), listener, service.stop):
        yield


@contextlib.asynccontextmanager
async def _dispatching(service: _Service) -> AsyncIterator[None]:
    """Routing and all lanes, as soon as the database answers."""
    configuration, writer = service.plan.configuration, service.writer

    def keeps_files(account: AccountConfig) -> bool:
        return bool(account.fetch_media)

    async with (
        api_clients(configuration, writer, Priority.INTERACTIVE, lambda _: configuration.looks_up) as asked,
        api_clients(configuration, writer, Priority.FOLLOW_UP, lambda account: account.early_outcomes) as watched,
        api_clients(configuration, writer, Priority.FOLLOW_UP, lambda _: configuration.acts) as acting,
        api_clients(configuration, writer, Priority.BACKFILL, keeps_files, is_paced=True) as fetching,
    ):
        parts = _Parts.of(service, asked, watched, acting, fetching)
        async with _running(service, parts):
            yield


@dataclass(frozen=True)
class _Parts:
    """What a dispatching process does, side by side."""

    router: Router
    waiting: Waiting
    dispatcher: Dispatcher
    periodic: Periodic
    lookups: Lookups

    @classmethod
    def of(
        cls,
        service: _Service,
        asked: Mapping[str, CallRail],
        watched: Mapping[str, CallRail],
        acting: Mapping[str, CallRail],
        fetching: Mapping[str, CallRail],
    ) -> Self:
        """All of it, wired. The clients are those for look-ups, for open calls, of sinks, and for files."""
        configuration, writer, clock = service.plan.configuration, service.writer, service.clock
        rules = configuration.rules
        needs, lookups = Needs(rules), Lookups(configuration.lookups, configuration.account_of, asked, writer, clock)

        def looking(conn: Connection) -> Looking | None:
            return looking_in(conn, lookups, needs, clock) if configuration.looks_up else None

        forgotten = Forgotten(configuration.privacy_key(os.environ))
        fetched = configuration.media_ages
        router = Router(
            service.routing_writer,
            clock,
            rules,
            forgotten=forgotten,
            looking=looking,
            fetched=fetched,
            most=MAX_BATCH_ALONE if service.routes_alone else MAX_BATCH,
        )
        waiting = Waiting(writer, clock, rules, lookups, needs, router.zones)
        dispatcher = Dispatcher(
            writer,
            clock,
            build_sinks(
                configuration,
                acting_with(acting, configuration, OwnWrites(writer, clock)),
                memories_of(configuration, writer, clock),
            ),
            instance=service.instance.id,
            rng=random.Random(),  # noqa: S311  (jitter, no secret)
            templates=Templates.of(configuration.templates),
            zones=ChainMap({**rules.zones}, router.zones),
        )
        router.on_deliveries = waiting.on_deliveries = dispatcher.hint
        router.on_waiting = waiting.hint
        writer.on_stored = router.hint
        jobs = jobs_of(configuration, writer, clock, dispatcher.hint)
        if watched:
            unheard = unheard_of(configuration, forgotten)
            early = EarlyOutcomes(writer, clock, configuration.account_of, watched, router.hint, unheard)
            jobs.append(Job("early_outcomes", service.plan.looks_every or LOOK_EVERY, early.look))
        jobs += fetching_jobs(configuration, writer, clock, fetching)
        return cls(router, waiting, dispatcher, Periodic(writer, clock, jobs), lookups)

    @property
    def all(self) -> tuple[Router, Waiting, Dispatcher, Periodic]:
        """Those that run."""
        return self.router, self.waiting, self.dispatcher, self.periodic


@contextlib.asynccontextmanager
async def _running(service: _Service, parts: _Parts) -> AsyncIterator[None]:
    """All parts, from when the database answers to the end of the block."""
    database = service.database

    async def begin() -> str | None:
        """What the database has against it, None once everything runs."""
        if (trouble := await trouble_of(database)) is None:
            try:
                await parts.dispatcher.start(alone=database.is_sqlite)
                await parts.waiting.start(alone=database.is_sqlite)
                if database.is_sqlite:
                    await service.writer.run(lambda conn: take_back_all(conn, now=service.clock.now(conn)))
            except DatabaseUnavailable as error:
                return str(error)
            tasks.extend(asyncio.create_task(part.run()) for part in parts.all)
            for task in tasks:
                task.add_done_callback(lambda _: service.stop.set())  # one that ends by itself ends the process
        return trouble

    async def begin_when_it_answers(trouble: str) -> None:
        _log.error("serve.waiting_for_database", reason=trouble)
        while still := await begin():
            _log.debug("serve.waiting_for_database", reason=still)
            await asyncio.sleep(_ASK_AGAIN_AFTER)
        _log.info("serve.database_answers")

    tasks: list[asyncio.Task[None]] = []
    trouble = await begin()
    try:
        async with (
            _in_background(begin_when_it_answers(trouble) if trouble is not None else None, service.stop),
            _in_background(listen(database, parts.router.hint), service.stop),
        ):
            yield
    finally:
        for part in parts.all:
            part.stop()
        await asyncio.gather(*tasks)
        await parts.lookups.aclose()


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None] | None, stop: asyncio.Event) -> AsyncIterator[None]:
    """Do *work*, if any, beside the block; what it raises sets *stop* and comes out at the end."""
    if work is None:
        yield
        return
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: stop.set() if not done.cancelled() and done.exception() else None)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def fetching_jobs(
    configuration: Configuration, writer: Writer, clock: Clock, clients: Mapping[str, CallRail]
) -> Iterator[Job]:
    """Fetching files, a job for each account: one whose API hangs holds up no other."""
    for name, client in clients.items():
        config, companies = configuration.accounts[name].fetch_media, configuration.fetched_of(name)
        if config is not None and companies:
            rng = random.Random()  # noqa: S311  (jitter, no secret)
            fetching = Fetching(writer, clock, client, companies, config, rng)
            # Each process takes of it what nobody else is at.
            yield Job(f"media {name}", FETCH_EVERY, fetching.fetch, is_shared=False)


def unheard_of(configuration: Configuration, forgotten: Forgotten) -> Unheard:
    """Whose calls become events although no webhook told of them. An id that two companies have tells neither."""
    companies = configuration.company_configs
    ids = Counter(company.callrail_id for company in companies.values())
    known = {
        each.callrail_id: slug for slug, each in companies.items() if each.callrail_id and ids[each.callrail_id] == 1
    }
    accounts = {slug: configuration.account_of(slug) for slug in companies}
    takes = {slug: configuration.accounts[name].unheard_calls for slug, name in accounts.items() if name is not None}
    return Unheard(known, takes, forgotten)


def acting_with(clients: Mapping[str, CallRail], configuration: Configuration, writes: OwnWrites) -> Acting:
    """How sinks act in CallRail: with *clients* by the account's name."""

    def client_of(company: str, account: str | None) -> CallRail | None:
        return clients.get(account or configuration.account_of(company) or "")

    return Acting(client_of, writes.keep, writes.take_back)


def memories_of(configuration: Configuration, writer: Writer, clock: Clock) -> Mapping[str, CrmMemory]:
    """By CRM sink, what it remembers."""
    return {
        name: SqlMemory(
            writer,
            clock,
            name,
            # A request that was given up on may still act over there.
            lease=config.timeout + timedelta(seconds=30),
            shared=configuration.shared_numbers,
        )
        for name, config in configuration.sink_configs.items()
        if isinstance(config, CrmSinkConfig)
    }


def build_sinks(
    configuration: Configuration, acting: Acting | None = None, memories: Mapping[str, CrmMemory] = MappingProxyType({})
) -> Mapping[str, tuple[Sink, Limits]]:
    """Each sink of the file with how its lane treats it.

    Args:
        acting: How sinks act in CallRail; without it they do nothing there.
        memories: By CRM sink, what it remembers; without it nothing is delivered to it.

    Raises:
        ConfigError: A secret is missing or cannot be one.
    """
    sinks: dict[str, tuple[Sink, Limits]] = {}
    problems: list[ConfigProblem] = []
    for name, config in configuration.sink_configs.items():
        try:
            sinks[name] = (_built(config, acting, memories.get(name)), _limits(config))
        except (SecretMissing, ValueError) as error:
            problems.append(ConfigProblem(str(error), configuration.document.place(("sinks", name))))
    if problems:
        raise ConfigError(problems)
    return sinks


def _built(config: AnySinkConfig, acting: Acting | None, memory: CrmMemory | None) -> Sink:
    if isinstance(config, CallRailConfig):
        return config.build(acting)
    return config.build(memory) if isinstance(config, CrmSinkConfig) else config.build()


def _limits(config: SinkConfig) -> Limits:
    policy = Policy(config.schedule, config.on_uncertain)
    return Limits(config.concurrency, config.timeout, policy, config.rate, config.holds_back)


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set *stop*; a second Ctrl-C is not waited for."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, first)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
