"""`serve` and `migrate`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from routers.cli import exit_code_of
from routers.cli.database_errors import told_plainly
from routers.cli.options import config_option, database_option
from routers.serve import Plan, Role, bind, stop_on_signals
from routers.serve import serve as serve_plan
from routers.workers import Workers


@click.command()
@config_option
@database_option
@click.option(
    "--host",
    envvar="CALLRAIL_ROUTER_HOST",
    default="127.0.0.1",
    show_default=True,
    show_envvar=True,
    help="The address to listen at.",
)
@click.option(
    "--port",
    envvar="CALLRAIL_ROUTER_PORT",
    default=8080,
    show_default=True,
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="The port to listen at; 0 takes any free one.",
)
@click.option(
    "--role",
    envvar="CALLRAIL_ROUTER_ROLE",
    default=Role.ALL.value,
    show_default=True,
    show_envvar=True,
    type=click.Choice([role.value for role in Role]),
    help="all; intake: takes webhooks in and never routes; dispatch: routes and sends.",
)
@click.option(
    "--workers",
    envvar="CALLRAIL_ROUTER_WORKERS",
    default=1,
    show_default=True,
    show_envvar=True,
    type=click.IntRange(1, 64),
    help="How many processes take webhooks in on the port; more than one with --role intake and PostgreSQL.",
)
def serve(config: Path, database_url: str, host: str, port: int, role: str, workers: int) -> int:
    """Receive webhooks, route them and deliver.

    Ends on SIGTERM or Ctrl-C, within ten seconds and in order: what is on the way comes back first.
    """
    from routers.config import read_config
    from routers.logs import set_up_logs

    set_up_logs()
    if workers > 1:
        _require_shareable(database_url, Role(role))
    configuration = read_config(config)
    listener = bind(host, port) if Role(role) is not Role.DISPATCH else None
    plan = Plan(configuration, database_url, Role(role), listener)
    if workers > 1:
        _announce(listener)
        return Workers(workers, lambda lifeline: exit_code_of(lambda: _serve(plan, lifeline=lifeline))).run()
    _serve(plan, on_ready=lambda: _announce(listener))
    return 0


def _require_shareable(database_url: str, role: Role) -> None:
    if role is not Role.INTAKE:
        raise click.UsageError("--workers is for --role intake; run further dispatchers as processes of their own")
    if database_url.startswith("sqlite"):
        raise click.UsageError("--workers needs PostgreSQL; on SQLite one process writes faster than several")


def _serve(plan: Plan, *, on_ready: Callable[[], None] = lambda: None, lifeline: int | None = None) -> None:
    """Serve until told to end, or until the other end of *lifeline*, a pipe, is closed."""

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, stop.set)
        await serve_plan(plan, stop=stop, on_ready=on_ready)

    with told_plainly():
        run_on_fast_loop(run())


def _announce(listener: socket.socket | None) -> None:
    if listener is not None:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"Listening on http://{shown}:{port}/callrail/{{company}}/{{kind}}", err=True)


def run_on_fast_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where it is installed, which is everywhere but on Windows."""
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(main)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@click.command()
@database_option
def migrate(database_url: str) -> None:
    """Bring the database to the newest schema. Safe to repeat."""
    from receiver.database import open_database
    from routers.migrate import schema_version, upgrade

    database = open_database(database_url)
    try:
        with told_plainly():
            with database.reading.connect() as conn:
                before = schema_version(conn)
            upgrade(database_url)
            with database.reading.connect() as conn:
                after = schema_version(conn)
    finally:
        database.dispose()
    click.echo(
        f"Schema {after}: nothing to do." if before == after else f"Migrated from {before or 'empty'} to {after}."
    )
