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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog
import uvicorn

from receiver.app import receiver_app
from receiver.clock import Clock, DatabaseClock, WallClock
from receiver.database import Database, open_database
from receiver.events import insert_events
from receiver.exceptions import ConfigError, ConfigProblem, ReceiverError, SecretMissing
from receiver.ids import Prefix, new_id
from receiver.protocol import BoundedHeadProtocol
from receiver.writer import Writer
from routers.alarms import LOOK_EVERY, watch
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


class Role(StrEnum):
    """What a process does: everything, only take in, or only route and send."""

    ALL = "all"
    INTAKE = "intake"
    DISPATCH = "dispatch"


class Refused(ReceiverError):
    """Starting would endanger what is stored."""


class CannotListen(ReceiverError):
    """The address is taken, or not ours."""


@dataclass(frozen=True)
class Plan:
    """What to serve. *listener* is a bound socket, None where nothing is taken in."""

    configuration: Configuration
    database_url: str
    role: Role
    listener: socket.socket | None


async def serve(plan: Plan, *, stop: asyncio.Event, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until *stop* is set, then end in order: take in nothing more, route nothing more, let sendings come back.

    Raises:
        ConfigError: A secret is missing or cannot be one.
        Refused: The schema is not the one we know, or another dispatcher has the SQLite file.
    """
    database = open_database(plan.database_url)
    with contextlib.ExitStack() as held:
        held.callback(database.dispose)
        if plan.role is not Role.INTAKE:
            _require_schema(database)
            held.enter_context(_dispatching_alone(database))
        writer = Writer(database, insert_events)
        writer.start()
        try:
            async with contextlib.AsyncExitStack() as running:
                if plan.role is not Role.INTAKE:
                    await running.enter_async_context(_dispatching(plan, database, writer, stop))
                if plan.listener is not None:
                    await running.enter_async_context(_taking_in(plan, writer, plan.listener, stop))
                on_ready()
                _log.info("serve.ready", role=plan.role.value)
                await stop.wait()
                _log.info("serve.stopping")
        finally:
            await writer.stop()


@contextlib.asynccontextmanager
async def _taking_in(plan: Plan, writer: Writer, listener: socket.socket, stop: asyncio.Event) -> AsyncIterator[None]:
    """The HTTP server. It is told to end by us and handles no signals of its own."""
    app = receiver_app(plan.configuration.companies(os.environ), writer)
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
    task.add_done_callback(lambda _: stop.set())  # a server that ends by itself ends the process
    try:
        yield
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def _dispatching(plan: Plan, database: Database, writer: Writer, stop: asyncio.Event) -> AsyncIterator[None]:
    """Routing and all lanes."""
    clock: Clock = WallClock(shift_open_times) if database.is_sqlite else DatabaseClock()
    sinks = build_sinks(plan.configuration)
    rules = plan.configuration.rules
    router = Router(writer, clock, rules)
    dispatcher = Dispatcher(
        writer,
        clock,
        sinks,
        instance=new_id(Prefix.INSTANCE),
        rng=random.Random(),  # noqa: S311  (jitter, no secret)
        templates=Templates.of(plan.configuration.templates),
        zones=ChainMap({**rules.zones}, router.zones),
    )
    router.on_deliveries = dispatcher.hint
    writer.on_stored = router.hint
    periodic = Periodic(writer, clock, _jobs(writer, clock))
    await dispatcher.start(alone=database.is_sqlite)
    tasks = [asyncio.create_task(part.run()) for part in (router, dispatcher, periodic)]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())  # one that ends by itself ends the process, to be started anew
    try:
        yield
    finally:
        for part in (router, dispatcher, periodic):
            part.stop()
        await asyncio.gather(*tasks)


def _jobs(writer: Writer, clock: Clock) -> list[Job]:
    """What a dispatching process does again and again."""

    async def look() -> None:
        await writer.run(lambda conn: watch(conn, clock.now(conn)))

    return [Job("alarms", LOOK_EVERY, look)]


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


def _require_schema(database: Database) -> None:
    if not database.is_missing:
        with database.reading.connect() as conn:
            version = schema_version(conn)
        if version == SCHEMA_VERSION:
            return
        if is_newer(version):
            raise Refused(str(NewerSchema(version)))
    raise Refused("the database does not have the schema of this version; run: callrail-router migrate")


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
