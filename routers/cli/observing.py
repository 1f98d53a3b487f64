"""`doctor --observe`: whether CallRail's API shows open calls as early outcomes assume, on a live account."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from routers.cli.looking import opened
from routers.cli.output import print_rows

if TYPE_CHECKING:
    from routers.config import Configuration


def observe_calls(config: Path, database_url: str, file: Path, lasting: timedelta, *, output: str) -> int:
    """Observe, and say how often each assumption held. Exit code 1: one failed."""
    from routers.cli.serving import run_on_fast_loop
    from routers.config import read_config
    from routers.observing import summary_of

    configuration = read_config(config)
    if not configuration.accounts:
        raise click.UsageError(f"{config} names no account of CallRail; write one under accounts:")
    records: list[dict[str, Any]] = []

    async def run() -> None:
        stop = asyncio.Event()
        _stop_on_signals(stop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lasting.total_seconds()):
                await _observe(configuration, database_url, file, records, stop)

    run_on_fast_loop(run())
    if not records:
        click.echo("No call was seen from its pre-call to its post-call; observe for longer.", err=True)
        return 0
    rows = summary_of(records)
    print_rows(rows, output=output, empty="")
    click.echo(f"{len(records):,} calls are recorded in {file}.", err=True)
    return 1 if any(row["failed"] for row in rows) else 0


def _stop_on_signals(stop: asyncio.Event) -> None:
    from routers.serve import stop_on_signals

    stop_on_signals(stop)


async def _observe(
    configuration: Configuration,
    database_url: str,
    file: Path,
    records: list[dict[str, Any]],
    stop: asyncio.Event,
) -> None:
    from callrail.exceptions import CallRailError
    from routers.api_clients import api_clients
    from routers.budgets import InThreads, Priority
    from routers.observing import LOOK_EVERY, Observer
    from routers.operating import clock_of

    with opened(database_url) as database:
        async with api_clients(configuration, InThreads(database), Priority.WATCHDOG, lambda _: True) as clients:
            if not clients:
                raise click.ClickException("no account has its key here; set it, as it is for the server")
            observer = Observer(database, clock_of(database), configuration.account_of, clients)
            click.echo(f"Observing {', '.join(clients)}; a server must receive the webhooks meanwhile.", err=True)
            while not stop.is_set():
                done = observer.posted()
                _append(file, done)
                records += done
                for each in done:
                    click.echo(_line(each), err=True)
                try:
                    await observer.look()
                except CallRailError as error:
                    click.echo(f"CallRail was not asked: {type(error).__name__}", err=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_EVERY.total_seconds())


def _append(file: Path, records: Sequence[dict[str, Any]]) -> None:
    if records:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
            out.writelines(orjson.dumps(each) + b"\n" for each in records)


def _line(record: dict[str, Any]) -> str:
    known, posted = record["known_after"], record["post_call_after"]
    known = "never known" if known is None else f"known {known:.0f} s after its end"
    return f"{record['call']}: {known}, posted {posted:.0f} s after it" if posted is not None else record["call"]
