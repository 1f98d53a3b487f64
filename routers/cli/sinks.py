"""`sinks`: how each destination is doing, whether its credentials work, and how to pause it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.exceptions import ReceiverError, SecretMissing
from routers import lanes, ledger
from routers.audit import note
from routers.cli.groups import Commands
from routers.cli.looking import opened, reading
from routers.cli.options import config_option, database_option, output_option
from routers.cli.output import local, plain, print_rows
from routers.durations import age_of, written_duration
from routers.lanes import SHUT_AFTER, Condition
from routers.operating import clock_of
from routers.operating import resume as resume_sink
from routers.overview import SinkOverview, sinks_overview
from routers.rules.fields import did_you_mean
from routers.schema import DeliveryState

if TYPE_CHECKING:
    from routers.config import Configuration
    from routers.sinks import AnySinkConfig
    from routers.sinks.sink import Check

_GRACE = timedelta(seconds=1)  # a sink knows better than we what its own timeout means


class UnknownSink(ReceiverError):
    """A name that no sink has."""


@click.group(cls=Commands)
def sinks() -> None:
    """Where messages go, and how that is going."""


# --- list ------------------------------------------------------------------------------------------------------------


@sinks.command("list")
@config_option
@database_option
@output_option
def list_sinks(config: Path, database_url: str, output: str) -> None:
    """Each sink of router.yaml, and each that it names no longer: its state, what waits for it, and what failed.

    Sending are those that a dispatcher has claimed: on the wire, or about to be. What was delivered last is looked for
    among the newest 10,000 tries.
    """
    from routers.config import read_config

    configs = read_config(config).sink_configs
    with opened(database_url) as database, database.reading.connect() as conn:
        now = clock_of(database).now(conn)
        found = sinks_overview(conn, now)
        last_delivered = ledger.last_delivered(conn)
    names = [*configs, *sorted(found.keys() - configs.keys())]
    rows = [
        _row(name, configs.get(name), found.get(name, SinkOverview()), last_delivered.get(name), now, output == "table")
        for name in names
    ]
    print_rows(rows, output=output, empty="router.yaml has no sinks.", columns=_SHOWN_OF_A_SINK)


# What fits a terminal.
_SHOWN_OF_A_SINK = (
    "sink",
    "pending",
    "blocked",
    "sending",
    "dead",
    "uncertain",
    "oldest_undelivered",
    "last_delivered",
    "state",
)


def _row(
    name: str,
    config: AnySinkConfig | None,
    counted: SinkOverview,
    last: datetime | None,
    now: datetime,
    is_for_people: bool,
) -> dict[str, Any]:
    """A table has ages, which are short and need no reckoning; programs get times."""
    oldest = counted.oldest
    return {
        "sink": name,
        "type": config.type if config is not None else None,
        "audience": config.audience.value if config is not None else None,
        "pending": counted.of(DeliveryState.PENDING, DeliveryState.LEASED),
        "blocked": counted.of(DeliveryState.BLOCKED),
        "sending": counted.of(DeliveryState.SENDING),
        "dead": counted.of(DeliveryState.DEAD),
        "uncertain": counted.of(DeliveryState.UNCERTAIN),
        "oldest_undelivered": age_of(now - oldest) if is_for_people and oldest else oldest,
        "last_delivered": f"{age_of(now - last)} ago" if is_for_people and last else last,
        "state": state_of(counted.condition, now) + ("" if config is not None else "; router.yaml names it no longer"),
    }


def state_of(condition: Condition | None, now: datetime) -> str:
    """The condition of a sink in words. None is one that no server has opened yet."""
    if condition is None:
        return "new: no server has started with it yet"
    because = f" because {plain(condition.reason)}" if condition.reason else ""
    if condition.is_held:
        return f"held by an operator{because}"
    if condition.paused_until is not None and condition.paused_until > now:
        return f"paused until {local(condition.paused_until)}{because}"
    if condition.failures >= SHUT_AFTER:
        return f"probing{because}" if because else f"probing after {condition.failures} failures"
    return "open"


# --- test ------------------------------------------------------------------------------------------------------------


@sinks.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@output_option
def test(names: tuple[str, ...], config: Path, output: str) -> int:
    """Try the credentials and rights of each NAME, of all sinks if none is named, without telling people anything.

    Exit code 1: something is not as it should be; what to do stands below it.
    """
    from routers.cli.serving import run_on_fast_loop
    from routers.config import read_config

    configuration = read_config(config)
    configs = configuration.sink_configs
    _require_sinks(names, configs, config)
    tested: dict[str, Sequence[Check]] = {}

    async def run() -> None:
        await _test_all(configuration, dict.fromkeys(names or configs), tested, is_shown=output == "table")

    run_on_fast_loop(run())
    if output != "table":
        rows = [
            {"sink": name, "what": check.what, "ok": check.ok, "remedy": None if check.ok else check.remedy}
            for name, checks in tested.items()
            for check in checks
        ]
        print_rows(rows, output=output, empty="")
    return 0 if all(check.ok for checks in tested.values() for check in checks) else 1


def _require_sinks(names: Iterable[str], configs: Mapping[str, AnySinkConfig], config: Path) -> None:
    for name in names:
        if name not in configs:
            hint = did_you_mean(name, configs) or f"there are: {', '.join(sorted(configs)[:20])}"
            raise click.UsageError(f"{config} has no sink '{name}'; {hint}")


async def _test_all(
    configuration: Configuration, names: Iterable[str], tested: dict[str, Sequence[Check]], *, is_shown: bool
) -> None:
    """Test all of *names* at once into *tested*, in the order in which they are done."""
    from rich.console import Console

    waiting = list(names)

    async def test_one(name: str) -> None:
        config = configuration.sink_configs[name]
        tested[name] = await try_sink(config, configuration)
        waiting.remove(name)
        status.update(f"waiting for {', '.join(waiting)}")
        if is_shown:
            _show(name, config, tested[name])

    console = Console(stderr=True, highlight=False, markup=False)
    with console.status(f"waiting for {', '.join(waiting)}") as status:
        await asyncio.gather(*map(test_one, list(waiting)))


async def try_sink(config: AnySinkConfig, configuration: Configuration) -> Sequence[Check]:
    """What the sink itself says of its credentials and rights, or why it cannot say it."""
    from routers.api_clients import keys_for
    from routers.sinks.callrail import CallRailConfig
    from routers.sinks.sink import Check

    try:
        sink = config.build()
    except SecretMissing as error:
        return [Check(error.problem, ok=False, remedy=error.hint)]
    except ValueError as error:
        return [Check("its settings can be used", ok=False, remedy=str(error))]
    try:
        async with asyncio.timeout((config.timeout + _GRACE).total_seconds()):
            checks = await sink.check()
            return (
                [*checks, *keys_for(configuration, config, os.environ)]
                if isinstance(config, CallRailConfig)
                else checks
            )
    except TimeoutError:
        what = f"it answers within {written_duration(config.timeout)}"
        return [Check(what, ok=False, remedy="look whether it is up and can be reached, or give it a longer timeout")]
    except Exception as error:  # one sink's fault must not hide what the others say
        return [Check(f"the test failed with {type(error).__name__}", ok=False, remedy="report this")]
    finally:
        await sink.aclose()


def _show(name: str, config: AnySinkConfig, checks: Sequence[Check]) -> None:
    click.echo(f"{click.style(name, bold=True)} ({config.type})")
    for check in checks:
        mark = click.style("✓", fg="green") if check.ok else click.style("✗", fg="red")
        click.echo(f"  {mark} {plain(check.what)}")
        if not check.ok and check.remedy:
            click.echo(f"    {plain(check.remedy)}")


# --- setup -----------------------------------------------------------------------------------------------------------


@sinks.command()
@click.argument("name")
@click.option("--plan", "is_plan", is_flag=True, help="Say what would be made, and make nothing.")
@config_option
def setup(name: str, is_plan: bool, config: Path) -> int:
    """Make at NAME what it needs of ours, like properties of a CRM; what is there already stays as it is.

    Exit code 1: something is not as it should be; what to do stands below it.
    """
    from routers.cli.serving import run_on_fast_loop
    from routers.config import read_config
    from routers.sinks.sink import NeedsSetUp

    configs = read_config(config).sink_configs
    _require_sinks([name], configs, config)
    code: list[int] = []

    async def run() -> None:
        try:
            sink = configs[name].build()
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        try:
            if not isinstance(sink, NeedsSetUp):
                click.echo(f"{name} ({configs[name].type}) needs nothing to be made.", err=True)
                return
            steps = await sink.plan_setup() if is_plan else ()
            for step in steps:
                click.echo(plain(step))
            if not steps:
                checks = await sink.check() if is_plan else await sink.set_up()
                _show(name, configs[name], checks)
                code.append(0 if all(check.ok for check in checks) else 1)
        finally:
            await sink.aclose()

    run_on_fast_loop(run())
    return max(code, default=0)


# --- pause and resume ------------------------------------------------------------------------------------------------


@sinks.command()
@click.argument("name")
@click.option("--reason", default="paused by an operator", show_default=True, help="Shown to whoever looks.")
@database_option
def pause(name: str, reason: str, database_url: str) -> None:
    """Send nothing to NAME until `sinks resume`. What is for it waits; what was claimed already may still leave."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            if is_there := lanes.hold(conn, name, reason):
                note(conn, now=clock_of(database).now(conn), action="sinks pause", subject=name, details=reason)
        _require(is_there, name, database_url)
    click.echo(f"{name} is paused, and a running server heeds it within a second. To go on:")
    click.echo(f"  callrail-router sinks resume {name}")


@sinks.command()
@click.argument("name")
@database_option
def resume(name: str, database_url: str) -> None:
    """End every pause of NAME, whoever made it, and forget its failures."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            now = clock_of(database).now(conn)
            if is_there := resume_sink(conn, name, now=now):
                note(conn, now=now, action="sinks resume", subject=name)
        _require(is_there, name, database_url)
    click.echo(f"{name} is open; a running server sends to it within a second.")


def _require(is_there: bool, name: str, database_url: str) -> None:
    """Raises UnknownSink with a hint if the sink has no lane."""
    if is_there:
        return
    with reading(database_url) as conn:
        known = ledger.names_of_lanes(conn)
    hint = did_you_mean(name, known) or "a sink is known once a server has started with it"
    raise UnknownSink(f"there is no sink '{name}'; {hint}")
