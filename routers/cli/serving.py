"""`serve` and `migrate`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from routers.cli import exit_code_of
from routers.cli.database_errors import told_plainly
from routers.cli.options import config_option, database_option, log_options, spool_option
from routers.listening import bind
from routers.serve import Plan, Role, stop_on_signals
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
@spool_option
@click.option(
    "--metrics-port",
    envvar="CALLRAIL_ROUTER_METRICS_PORT",
    default=0,
    show_default="off",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="The port at which Prometheus finds /metrics, usually 9090; 0 for none. Further workers have the next ports.",
)
@click.option(
    "--metrics-host",
    envvar="CALLRAIL_ROUTER_METRICS_HOST",
    default="127.0.0.1",
    show_default=True,
    show_envvar=True,
    help="The address for it. Never one that the internet reaches.",
)
@log_options
def serve(
    config: Path,
    database_url: str,
    host: str,
    port: int,
    role: str,
    workers: int,
    spool: Path,
    metrics_port: int,
    metrics_host: str,
    log_level: str,
    log_format: str,
) -> int:
    """Receive webhooks, route them and deliver.

    Ends on SIGTERM or Ctrl-C, within ten seconds and in order: what is on the way comes back first.
    """
    from routers.config import read_config
    from routers.logs import set_up_logs

    set_up_logs(log_level, log_format)
    if workers > 1:
        _require_shareable(database_url, Role(role))
    configuration = read_config(config)
    listener = bind(host, port) if Role(role) is not Role.DISPATCH else None
    plan = Plan(configuration, database_url, Role(role), listener, spool)
    plans = [replace(plan, metrics=_bind_metrics(metrics_host, metrics_port, worker)) for worker in range(workers)]
    if workers == 1:
        _serve(plans[0], on_ready=lambda: _announce(plans))
        return 0
    _announce(plans)
    return Workers([partial(_serve_under_watch, plan) for plan in plans]).run()


def _bind_metrics(host: str, port: int, worker: int) -> socket.socket | None:
    """Where the metrics of one of the processes are found: each counts for itself."""
    return bind(host, port + worker, "--metrics-host or --metrics-port") if port else None


def _require_shareable(database_url: str, role: Role) -> None:
    if role is not Role.INTAKE:
        raise click.UsageError("--workers is for --role intake; run further dispatchers as processes of their own")
    if database_url.startswith("sqlite"):
        raise click.UsageError("--workers needs PostgreSQL; on SQLite one process writes faster than several")


def _serve_under_watch(plan: Plan, lifeline: int) -> int:
    return exit_code_of(lambda: _serve(plan, lifeline=lifeline))


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


def _announce(plans: Sequence[Plan]) -> None:
    """Where *plans*, which share one listener, can be reached."""
    if plans[0].listener is not None:
        click.echo(f"Listening on http://{_address_of(plans[0].listener)}/callrail/{{company}}/{{kind}}", err=True)
    for plan in plans:
        if plan.metrics is not None:
            click.echo(f"Metrics at http://{_address_of(plan.metrics)}/metrics", err=True)


def _address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
