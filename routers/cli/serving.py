"""`serve` and `migrate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from routers.cli.database_errors import told_plainly
from routers.cli.options import config_option, database_option, spool_option
from routers.serve import Plan, Role, bind, stop_on_signals
from routers.serve import serve as serve_plan


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
@spool_option
def serve(config: Path, database_url: str, host: str, port: int, role: str, spool: Path) -> None:
    """Receive webhooks, route them and deliver.

    Ends on SIGTERM or Ctrl-C, within ten seconds and in order: what is on the way comes back first.
    """
    from routers.config import read_config
    from routers.logs import set_up_logs

    set_up_logs()
    configuration = read_config(config)
    listener = bind(host, port) if Role(role) is not Role.DISPATCH else None
    plan = Plan(configuration, database_url, Role(role), listener, spool)

    def announce() -> None:
        if listener is not None:
            shown_host, shown_port = listener.getsockname()[:2]
            shown = f"[{shown_host}]" if ":" in shown_host else shown_host
            click.echo(f"Listening on http://{shown}:{shown_port}/callrail/{{company}}/{{kind}}", err=True)

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await serve_plan(plan, stop=stop, on_ready=announce)

    with told_plainly():
        run_on_fast_loop(run())


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
