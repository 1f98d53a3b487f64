"""`status`: how everything is going, on one screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import orjson

from receiver.database import Database
from receiver.exceptions import DatabaseUnavailable
from routers.cli.database_errors import told_plainly
from routers.cli.looking import opened
from routers.cli.options import database_option
from routers.cli.output import local, plain
from routers.cli.sinks import state_of
from routers.durations import age_of
from routers.operating import clock_of
from routers.overview import MOST_COUNTED, Overview, SinkOverview, overview
from routers.schema import OPEN, DeliveryState

if TYPE_CHECKING:
    from rich.console import RenderableType

_EVERY = 2.0  # seconds
_MOST_NAMES = 4


@click.command()
@database_option
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
def status(database_url: str, output: str, watch: bool) -> None:
    """Say on one screen what came in, what waits, and how each sink is doing.

    Counts over a time end at 100,000.
    """
    with opened(database_url) as database:
        if not watch:
            _print(_look(database), output)
        elif output == "table" and sys.stdout.isatty():
            _watch_live(database)
        else:
            _watch_plainly(database, output)


def _look(database: Database) -> Overview:
    with told_plainly(), database.reading.connect() as conn:
        return overview(conn, clock_of(database).now(conn))


def _print(seen: Overview, output: str) -> None:
    from rich.console import Console

    if output == "json":
        click.echo(orjson.dumps(as_json(seen)).decode())
    else:
        Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120).print(
            _screen(seen)
        )


def _watch_plainly(database: Database, output: str) -> None:
    """One after another, for a file or a pipe."""
    while True:
        try:
            _print(_look(database), output)
        except DatabaseUnavailable as error:
            click.echo(str(error), err=True)
        sys.stdout.flush()
        time.sleep(_EVERY)


def _watch_live(database: Database) -> None:
    from rich.live import Live
    from rich.text import Text

    shown: RenderableType = Text("...")
    with Live(shown, screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown = _screen(_look(database))
            except DatabaseUnavailable as error:  # it may come back
                shown = Text(str(error), style="red")
            live.update(shown, refresh=True)
            time.sleep(_EVERY)


# --- for people ------------------------------------------------------------------------------------------------------


def _screen(seen: Overview) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, told in _facts(seen):
        facts.add_row(Text(name, style="bold"), Text(told))
    sinks = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("sink", "waiting", "oldest", "sent in 1h", "dead", "uncertain", "state"):
        is_number = name not in ("sink", "state")
        sinks.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for name, sink in seen.sinks.items():
        sinks.add_row(*map(Text, _cells(name, sink, seen)))
    return Group(facts, sinks) if seen.sinks else facts


def _facts(seen: Overview) -> Iterator[tuple[str, str]]:
    yield "At", f"{local(seen.now)} UTC"
    processes = ", ".join(f"{row.role} on {plain(row.host)} (pid {row.pid})" for row in seen.processes[:_MOST_NAMES])
    more = len(seen.processes) - _MOST_NAMES
    yield "Processes", (processes or "none has a heartbeat") + (f" and {more} more" if more > 0 else "")
    hour = _counted(sum(seen.kinds.values()))
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in list(seen.kinds.items())[:_MOST_NAMES])
    yield "Came in", f"{hour} in the last hour{f' ({kinds})' if kinds else ''}, {_counted(seen.last_day)} in a day"
    waits = f", the oldest for {_age(seen, seen.waiting.oldest)}" if seen.waiting.count else ""
    yield "To be routed", f"{seen.waiting.count:,}{waits}"
    if seen.looking_up.count:
        yield "Looking up", f"{seen.looking_up.count:,} wait, the oldest for {_age(seen, seen.looking_up.oldest)}"
    if seen.media.pending or seen.media.refused or seen.media.gone:
        waiting = f", the oldest for {_age(seen, seen.media.oldest)}" if seen.media.pending else ""
        failed = f"; {seen.media.refused:,} refused, {seen.media.gone:,} given up in 7d"
        yield "Media", f"{seen.media.pending:,} to be fetched{waiting}{failed}"
    yield "Failed", f"{seen.failed:,}{'; callrail-router events list --state failed' if seen.failed else ''}"
    held = sorted(seen.held, key=lambda one: one.rows, reverse=True)
    names = ", ".join(f"{plain(one.company)} {one.rows:,}" for one in held[:_MOST_NAMES])
    yield "Quarantine", f"{sum(one.rows for one in held):,}{f' ({names})' if names else ''}"
    since = f", spooling for {_age(seen, seen.spooling_since)}" if seen.spooling_since else ""
    yield "Spool", f"{seen.spooled:,}{since}"


def _cells(name: str, sink: SinkOverview, seen: Overview) -> Iterator[str]:
    yield plain(name)
    yield f"{sink.of(*OPEN):,}"
    yield _age(seen, sink.oldest) if sink.oldest else ""
    yield _counted(sink.sent)
    yield f"{sink.of(DeliveryState.DEAD):,}"
    yield f"{sink.of(DeliveryState.UNCERTAIN):,}"
    yield state_of(sink.condition, seen.now)


def _age(seen: Overview, since: Any) -> str:
    return age_of(seen.now - since)


def _counted(count: int) -> str:
    return f"{count:,}" + ("+" if count >= MOST_COUNTED else "")


# --- for programs ----------------------------------------------------------------------------------------------------


def as_json(seen: Overview) -> dict[str, Any]:
    """All of it with plain numbers: ages are seconds, 0 where nothing waits."""
    return {
        "at": seen.now,
        "processes": [
            {"role": row.role, "host": row.host, "pid": row.pid, "version": row.version, "seen_at": row.seen_at}
            for row in seen.processes
        ],
        "came_in": {"last_hour": sum(seen.kinds.values()), "last_day": seen.last_day, "by_kind": seen.kinds},
        "repeats": seen.repeats,
        "to_be_routed": {"events": seen.waiting.count, "oldest_seconds": seen.age(seen.waiting.oldest)},
        "looking_up": {"transitions": seen.looking_up.count, "oldest_seconds": seen.age(seen.looking_up.oldest)},
        "media": {
            "pending": seen.media.pending,
            "oldest_seconds": seen.age(seen.media.oldest),
            "refused": seen.media.refused,
            "gone": seen.media.gone,
        },
        "failed": seen.failed,
        "quarantine": [{"company": one.company, "requests": one.rows, "bytes": one.bytes} for one in seen.held],
        "spool": {"webhooks": seen.spooled, "spooling_seconds": seen.age(seen.spooling_since)},
        "sinks": [
            {
                "sink": name,
                "waiting": sink.of(*OPEN),
                "oldest_seconds": seen.age(sink.oldest),
                "sent_last_hour": sink.sent,
                "states": sink.states,
                "state": state_of(sink.condition, seen.now),
            }
            for name, sink in seen.sinks.items()
        ],
    }
