"""Everything in one process, wired in reading order: intake, writer, routing, dispatcher, sinks."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import socket
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from sqlalchemy import Connection, exc

from receiver.app import receiver_app
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, driver_text, open_database
from receiver.events import insert_events
from receiver.exceptions import ConfigError, ConfigProblem, DatabaseUnavailable, ReceiverError, SecretMissing
from receiver.heartbeat import Heartbeat
from receiver.instances import Instance
from receiver.keeping import Keeper
from receiver.protocol import BoundedHeadProtocol
from receiver.writer import Writer
from routers.config import Configuration
from routers.dispatcher import Dispatcher, Limits
from routers.migrate import NewerSchema, is_newer, schema_version
from routers.outbox import shift_open_times
from routers.periodic import Job, Periodic
from routers.retries import Policy
from routers.routing import Router
from routers.schema import SCHEMA_VERSION
from routers.sinks.config import SinkConfig
from routers.sinks.sink import Sink
from routers.templates import Templates

_log = structlog.get_logger(__name__)

_MAX_CONNECTIONS = 2_000
# Seconds: a database that does not answer is not waited for longer at the start, and is asked again after that.
_ANSWER_WITHIN = 2.0
_ASK_AGAIN_AFTER = 1.0


class Role(StrEnum):
    """What a process does: everything, only take in, or only route and send."""

    ALL = "all"
    INTAKE = "intake"
    DISPATCH = "dispatch"


class Refused(ReceiverError):
    """Starting would endanger what is stored."""


class _NotAnswering(ReceiverError):
    """The database cannot be asked now."""


class CannotListen(ReceiverError):
    """The address is taken, or not ours."""


@dataclass(frozen=True)
class Plan:
    """What to serve. *listener* is a bound socket, None where nothing is taken in; *spool* the folder for webhooks that
    come while the database is away."""

    configuration: Configuration
    database_url: str
    role: Role
    listener: socket.socket | None
    spool: Path


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
            await _require_schema(database)
            held.enter_context(_dispatching_alone(database))
        service = _Service(plan, database, stop)
        service.writer.start()
        try:
            async with contextlib.AsyncExitStack() as running:
                keeper = await running.enter_async_context(_keeping(service)) if plan.listener is not None else None
                await running.enter_async_context(_beating(service, keeper))
                if plan.role is not Role.INTAKE:
                    await running.enter_async_context(_dispatching(service))
                if keeper is not None and plan.listener is not None:
                    await running.enter_async_context(_taking_in(service, keeper, plan.listener))
                on_ready()
                _log.info("serve.ready", role=plan.role.value)
                await stop.wait()
                _log.info("serve.stopping")
        finally:
            await service.writer.stop()


class _Service:
    """What the parts of a process share."""

    def __init__(self, plan: Plan, database: Database, stop: asyncio.Event) -> None:
        self.plan = plan
        self.database = database
        self.stop = stop
        self.writer = Writer(database, insert_events)
        self.instance = Instance.of(plan.role.value)
        # An intake may meet a schema without the tables that a jump of the clock would have to mend.
        on_jump = shift_open_times if plan.role is not Role.INTAKE else _leave_alone
        self.clock: Clock = WallClock(on_jump) if database.is_sqlite else DatabaseClock()


def _leave_alone(_conn: Connection, _back: timedelta) -> None:
    """Whoever dispatches moves the times."""


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
async def _taking_in(service: _Service, keeper: Keeper, listener: socket.socket) -> AsyncIterator[None]:
    """The HTTP server. It is told to end by us and handles no signals of its own."""
    app = receiver_app(service.plan.configuration.companies(os.environ), keeper)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedHeadProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=3,
            limit_concurrency=_MAX_CONNECTIONS,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: service.stop.set())  # a server that ends by itself ends the process
    try:
        yield
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def _dispatching(service: _Service) -> AsyncIterator[None]:
    """Routing and all lanes, as soon as the database answers."""
    plan, database, writer, clock = service.plan, service.database, service.writer, service.clock
    sinks = build_sinks(plan.configuration)
    rules = plan.configuration.rules
    router = Router(writer, clock, rules)
    dispatcher = Dispatcher(
        writer,
        clock,
        sinks,
        instance=service.instance.id,
        rng=random.Random(),  # noqa: S311  (jitter, no secret)
        templates=Templates.of(plan.configuration.templates),
        zones=ChainMap({**rules.zones}, router.zones),
    )
    router.on_deliveries = dispatcher.hint
    writer.on_stored = router.hint
    periodic = Periodic(writer, clock, _jobs())
    parts = (router, dispatcher, periodic)

    async def begin() -> str | None:
        """What the database has against it, None once everything runs."""
        if (trouble := await _trouble(database)) is None:
            try:
                await dispatcher.start(alone=database.is_sqlite)
            except DatabaseUnavailable as error:
                return str(error)
            tasks.extend(asyncio.create_task(part.run()) for part in parts)
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
        async with _in_background(begin_when_it_answers(trouble) if trouble is not None else None, service.stop):
            yield
    finally:
        for part in parts:
            part.stop()
        await asyncio.gather(*tasks)


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


def _jobs() -> list[Job]:
    """What a dispatching process does again and again."""
    return []


def build_sinks(configuration: Configuration) -> Mapping[str, tuple[Sink, Limits]]:
    """Each sink of the file with how its lane treats it.

    Raises:
        ConfigError: A secret is missing or cannot be one.
    """
    sinks: dict[str, tuple[Sink, Limits]] = {}
    problems: list[ConfigProblem] = []
    for name, config in configuration.sink_configs.items():
        try:
            sinks[name] = (config.build(), _limits(config))
        except (SecretMissing, ValueError) as error:
            problems.append(ConfigProblem(str(error), configuration.document.place(("sinks", name))))
    if problems:
        raise ConfigError(problems)
    return sinks


def _limits(config: SinkConfig) -> Limits:
    policy = Policy(config.schedule, config.on_uncertain)
    return Limits(config.concurrency, config.timeout, policy, config.rate, config.holds_back)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        CannotListen: With the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unknown reason"  # strerror repeats the address
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another with --host or --port") from error


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set *stop*; a second Ctrl-C is not waited for."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, first)
    loop.add_signal_handler(signal.SIGTERM, stop.set)


async def _require_schema(database: Database) -> None:
    """Refuse a database that is not ours to use. One that does not answer is no reason not to start."""
    with contextlib.suppress(_NotAnswering):
        if (trouble := await _schema_trouble(database)) is not None:
            raise Refused(trouble)


async def _trouble(database: Database) -> str | None:
    """What keeps us from dispatching from *database*."""
    try:
        return await _schema_trouble(database)
    except _NotAnswering as error:
        return str(error)


async def _schema_trouble(database: Database) -> str | None:
    """What is wrong with the schema.

    Raises:
        _NotAnswering: It cannot be asked.
    """
    try:
        version = await asyncio.wait_for(asyncio.to_thread(_version, database), _ANSWER_WITHIN)
    except TimeoutError:
        raise _NotAnswering("no answer in time") from None
    except exc.DBAPIError as error:
        raise _NotAnswering(driver_text(error)) from None
    except OSError as error:  # the directory of the SQLite file cannot be read
        raise _NotAnswering(str(error.strerror)) from None
    if is_newer(version):
        return str(NewerSchema(version))
    if version != SCHEMA_VERSION:
        return "the database does not have the schema of this version; run: callrail-router migrate"
    return None


def _version(database: Database) -> str | None:
    if database.is_missing:
        return None
    with database.reading.connect() as conn:
        return schema_version(conn)


@contextlib.contextmanager
def _dispatching_alone(database: Database) -> Iterator[None]:
    """On SQLite one dispatcher a file, by a lock that the system drops with the process. PostgreSQL needs none."""
    if not database.is_sqlite:
        yield
        return
    path = Path(f"{Path(str(database.url.database)).resolve()}.dispatcher.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"another process dispatches from {database.url.database} already; stop it first") from None
        yield
