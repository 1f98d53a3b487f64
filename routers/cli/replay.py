"""`replay`: send what did not arrive, or send it again: planned first, carried out by the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Connection, Row

from callrail.kinds import Kind
from receiver.database import Database
from receiver.instances import alive
from routers import replays
from routers.cli.anew import FRESH, asking_anew, lookups_option
from routers.cli.groups import Commands
from routers.cli.looking import only, opened, reading
from routers.cli.options import config_option, database_option, limit_option, output_option
from routers.cli.output import plain, print_one, print_rows
from routers.cli.selecting import Moment, states_option
from routers.durations import written_duration
from routers.operating import clock_of
from routers.rates import Rate, parse_rate
from routers.replays import DEFAULT_RATE, Options, Plan, Progress, Routing, Scope
from routers.schema import DeliveryState, ReplayState
from routers.transitions import Transition

if TYPE_CHECKING:
    from routers.config import Configuration
    from routers.deciding import Looking

_LOOK_EVERY = 0.5  # seconds


@click.group(cls=Commands)
def replay() -> None:
    """Send what did not arrive, or send it again: `plan` first, then `run`. The server does it, behind live traffic."""


class _RateType(click.ParamType[Rate]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        try:
            return parse_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@replay.command("plan")
@click.option("--since", type=Moment(), help="Routed in the last 2h, 3d, ..., or since a time (UTC).")
@click.option("--until", type=Moment(), help="Routed more than 2h, 3d, ... ago, or before a time (UTC).")
@click.option("--company", help="Of this company only.")
@click.option(
    "--kind", type=click.Choice([kind.value for kind in Kind]), metavar="KIND", help="Of this kind of event only."
)
@click.option(
    "--transition",
    type=click.Choice([name.value for name in Transition]),
    metavar="TRANSITION",
    help="Of this only, like call.missed.",
)
@click.option("--rule", help="Of the rule with this id only.")
@click.option("--sink", help="To this sink only.")
@states_option(list(DeliveryState), default="any; with one, nothing new is made")
@click.option(
    "--routing",
    type=click.Choice([routing.value for routing in Routing]),
    default=Routing.ORIGINAL.value,
    show_default=True,
    help="original: what was made then; today: what the rules of router.yaml say now.",
)
@lookups_option("CallRail is asked anew for what today's rules need, and that is kept with what happened.")
@click.option("--again", is_flag=True, help="Send again what was delivered, as a new delivery.")
@click.option("--to-people", is_flag=True, help="Also to sinks that people read.")
@click.option("--late", is_flag=True, help="Also what is past its max_age or expires.")
@click.option("--rate", type=_RateType(), default=str(DEFAULT_RATE), show_default=True, help="How many at most.")
@config_option
@database_option
@output_option
def plan_replay(
    routing: str,
    lookups: str,
    again: bool,
    to_people: bool,
    late: bool,
    rate: Rate,
    config: Path,
    database_url: str,
    output: str,
    **parts: Any,
) -> None:
    """Say what a replay would send, and keep that as a plan. Nothing is sent.

    What is dead, cancelled, expired or uncertain is taken up again under its own id. What was delivered is left out
    unless --again; what people read, unless --to-people; what is late, unless --late.
    """
    from routers.config import read_config
    from routers.replay_planning import plan_replay as plan_of

    scope, options = Scope(**parts), Options(Routing(routing), again, to_people, late, rate)
    if scope == Scope():
        raise click.UsageError("say what to replay: an option such as --since 2h or --sink crm.")
    configuration = read_config(config)
    audiences = {name: sink.audience for name, sink in configuration.sink_configs.items()}
    with opened(database_url) as database:
        clock = clock_of(database)

        def planned(conn: Connection, looking: Looking | None) -> Plan:
            rules, now = configuration.rules, clock.now(conn)
            return plan_of(conn, scope, options, rules=rules, audiences=audiences, now=now, looking=looking)

        if lookups == FRESH:
            plan = _plan_anew(configuration, database, scope, options.routing, planned)
        else:
            with database.reading.connect() as conn:
                plan = planned(conn, None)
        if not plan.items:
            click.echo("Nothing of that was told, and nothing would be.", err=True)
            return
        replay_id = replays.store_plan(database, clock, scope, options, plan)
    if output != "table":
        print_one({"id": replay_id, **plan.summary}, output=output)
        return
    _print_plan(plan.summary, options.written())
    click.echo(f"Nothing is sent yet. To send it: callrail-router replay run {replay_id}")


def _plan_anew(
    configuration: Configuration,
    database: Database,
    scope: Scope,
    routing: Routing,
    plan_of: Callable[[Connection, Looking | None], Plan],
) -> Plan:
    """The plan with what CallRail says now, which is kept with what is to be sent and nothing else."""
    from routers.cli.serving import run_on_fast_loop
    from routers.lookups.anew import look_up_anew
    from routers.rules.needs import Needs

    rules, clock = configuration.rules, clock_of(database)
    plans: list[Plan] = []

    async def plan_it() -> None:
        # Of a rule that is named only its own questions are asked, and those of rules that may silence it.
        meant = [rule for rule in rules.rules if scope.rule in (None, rule.id) or rule.stop]
        async with asking_anew(configuration, database, Needs(replace(rules, rules=meant)), is_urgent=False) as anew:
            lacks = True
            while lacks:
                with database.reading.connect() as conn:
                    now = clock.now(conn)
                    plans[:] = [plan_of(conn, anew.looking(now) if routing is Routing.TODAY else None)]
                lacks = await anew.ask(now)
            wanted = {item.transition_id for item in plans[0].items if item.reason is None}
            age = configuration.retention.of_both
            since = None if age is None else now - age
            count = await look_up_anew(database, clock, rules, wanted, anew, since=since)
        click.echo(f"What CallRail says now is kept with {count:,} of what is to be sent.", err=True)

    run_on_fast_loop(plan_it())
    return plans[0]


def _print_plan(summary: dict[str, Any], options: dict[str, Any]) -> None:
    took = written_duration(timedelta(seconds=summary["seconds"])) if summary["seconds"] else "less than a second"
    click.echo(f"{summary['messages']:,} of {summary['selected']:,} to send, in {took} at {options['rate']}.")
    print_rows(summary["sinks"], output="table", empty="")
    if summary["left_out"]:
        click.echo("Left out:")
        for one in summary["left_out"]:
            click.echo(f"  {one['messages']:,} to {one['sink']}: {one['reason']}")
    for fact in _facts(summary, options):
        click.echo(fact)
    difference = summary.get("difference", {})
    for name, words in (("says_now", "say and said nothing then"), ("silent_now", "do not say and said then")):
        for one in difference.get(name, []):
            click.echo(f"Today's rules {words}: {one['rule']} to {one['sink']}, {one['messages']:,}.")


def _facts(summary: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
    if summary["delivered_already"]:
        what = "sent again" if options["again"] else "not sent again (--again would)"
        yield f"{summary['delivered_already']:,} were delivered already: {what}."
    if summary["late"]:
        what = "--late lifts that, and they expire no more" if options["late"] else "not sent (--late would)"
        yield f"{summary['late']:,} are late by max_age or expires: {what}."
    reaches = [sink for sink in summary["sinks"] if sink["audience"] == "people" and _to_send(sink)]
    if reaches:
        yield f"People read {', '.join(one['sink'] for one in reaches)}: {sum(map(_to_send, reaches)):,} messages."


def _to_send(sink: dict[str, Any]) -> int:
    count: int = sink["taken_up"] + sink["again"] + sink["new"]
    return count


# --- looking ----------------------------------------------------------------------------------------------------------


@replay.command("list")
@database_option
@output_option
@limit_option
def list_replays(database_url: str, output: str, limit: int) -> None:
    """The newest replays first."""
    with reading(database_url) as conn:
        rows = [
            {
                "id": row.id,
                "created_at": row.created_at,
                "state": row.state,
                "messages": row.summary.get("messages"),
                "finished_at": row.finished_at,
                "reason": row.reason,
            }
            for row in replays.newest_replays(conn, limit=limit)
        ]
    print_rows(rows, output=output, empty="No replays yet.")


@replay.command("show")
@click.argument("replay_id", metavar="ID")
@click.option("--items", "with_items", is_flag=True, help="List its messages, in the order in which they are sent.")
@limit_option
@database_option
@output_option
def show_replay(replay_id: str, with_items: bool, limit: int, database_url: str, output: str) -> None:
    """One replay: what was asked for, and what the plan found."""
    with reading(database_url) as conn:
        row = _only(conn, replay_id)
        items = replays.items_of(conn, row.id, limit=limit) if with_items else []
    if with_items:
        columns = ("n", "sink", "state", "delivery_id", "transition_id", "reason")
        rows = [{name: getattr(item, name) for name in columns} for item in items]
        print_rows(rows, output=output, empty="It has no messages.")
        return
    shown = {
        "id": row.id,
        "state": row.state,
        "reason": row.reason,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "selection": row.selection,
        "options": row.options,
        "plan": row.summary,
    }
    print_one(shown, output=output)


@replay.command("status")
@click.argument("replay_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Show how it gets on until it is over.")
@database_option
@output_option
def status(replay_id: str, watch: bool, database_url: str, output: str) -> None:
    """How far a replay is."""
    with opened(database_url) as database:
        with database.reading.connect() as conn:
            found = _only(conn, replay_id).id
        if watch:
            _watch(database, found)
        with database.reading.connect() as conn:
            row, progress = _only(conn, found), replays.progress_of(conn, found)
    print_one(_status(row, progress), output=output)


def _status(row: Row[Any], progress: Progress) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "reason": row.reason,
        "total": progress.total,
        "waiting": progress.waiting,
        "delivered": progress.delivered,
        "failed": progress.failed,
        "left_out": progress.items["skipped"],
        "deliveries": dict(sorted(progress.deliveries.items())),
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def _only(conn: Connection, written: str) -> Row[Any]:
    return only(replays.find_replays(conn, written), "replay", written)


# --- setting it going and stopping it ---------------------------------------------------------------------------------


@replay.command("run")
@click.argument("replay_id", metavar="ID")
@click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Show how it gets on until it is over; ends with 1 if something failed.")
@database_option
def run_replay(replay_id: str, is_sure: bool, wait: bool, database_url: str) -> int:
    """Let the server send what a plan says."""
    with opened(database_url) as database:
        with database.reading.connect() as conn:
            row = _only(conn, replay_id)
        if not is_sure and row.state == ReplayState.PLANNED:
            _ask(row)
        clock = clock_of(database)
        with database.writing.begin() as conn:
            replays.start(conn, row.id, now=clock.now(conn))
        _say_who_does_it(database)
        if not wait:
            click.echo(f"To see how it gets on: callrail-router replay status --watch {row.id}", err=True)
            return 0
        _watch(database, row.id)
        with database.reading.connect() as conn:
            row, progress = _only(conn, row.id), replays.progress_of(conn, row.id)
    why = f"; {plain(row.reason)}" if row.reason else ""
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(progress.deliveries.items())) or "nothing sent"
    click.echo(f"{row.state.capitalize()}: {counts}{why}", err=True)
    return 0 if row.state == ReplayState.DONE and not progress.failed else 1


def _ask(row: Row[Any]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask at: look with `replay show {row.id}`, then write --yes.")
    _print_plan(row.summary, row.options)
    count = row.summary["messages"]
    click.confirm(f"Send {'it' if count == 1 else f'these {count:,}'}?", abort=True, err=True)


def _say_who_does_it(database: Database) -> None:
    with database.reading.connect() as conn:
        dispatchers = [one for one in alive(conn, clock_of(database).now(conn)) if one.role != "intake"]
    if dispatchers:
        click.echo("It is running; the server sends it.", err=True)
    else:
        click.echo("No server that sends is alive: it begins when one is started (callrail-router serve).", err=True)


@replay.command("pause")
@click.argument("replay_id", metavar="ID")
@database_option
def pause(replay_id: str, database_url: str) -> None:
    """Send nothing more of it for now; what is in the outbox already still goes."""
    with opened(database_url) as database, database.writing.begin() as conn:
        row = _only(conn, replay_id)
        replays.pause(conn, row.id, now=clock_of(database).now(conn))
    click.echo(f"{row.id} is paused; go on with: callrail-router replay resume {row.id}", err=True)


@replay.command("resume")
@click.argument("replay_id", metavar="ID")
@database_option
def resume(replay_id: str, database_url: str) -> None:
    """Go on where a paused one was."""
    with opened(database_url) as database:
        with database.writing.begin() as conn:
            replays.resume(conn, _only(conn, replay_id).id, now=clock_of(database).now(conn))
        _say_who_does_it(database)


@replay.command("cancel")
@click.argument("replay_id", metavar="ID")
@database_option
def cancel(replay_id: str, database_url: str) -> None:
    """End it for good, and take back what it has in the outbox and is not sent."""
    with opened(database_url) as database:
        with database.reading.connect() as conn:
            row = _only(conn, replay_id)
        taken_back = replays.call_off(database, clock_of(database), row.id)
    click.echo(f"{row.id} is cancelled; {taken_back:,} taken back before they were sent.", err=True)


# --- watching ---------------------------------------------------------------------------------------------------------

_GOING = (ReplayState.RUNNING, ReplayState.PLANNED)


def _watch(database: Database, replay_id: str) -> None:
    """Show its progress on stderr until it is over, or somebody pauses it."""
    with _bar() as show:
        while True:
            with database.reading.connect() as conn:
                row, progress = _only(conn, replay_id), replays.progress_of(conn, replay_id)
            show(row, progress)
            if row.state not in _GOING:
                return
            time.sleep(_LOOK_EVERY)


@contextmanager
def _bar() -> Iterator[Callable[[Row[Any], Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns: Sequence[Any] = (
        BarColumn(),
        TextColumn("{task.fields[sent]:,} sent · {task.fields[waiting]:,} waiting · {task.fields[failed]:,} failed"),
        TextColumn("{task.fields[reason]}", style="dim", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("replay", sent=0, waiting=0, failed=0, reason="")

        def show(row: Row[Any], progress: Progress) -> None:
            bars.update(
                task,
                total=progress.total,
                completed=max(progress.total - progress.waiting, 0),
                sent=progress.delivered,
                waiting=progress.waiting,
                failed=progress.failed,
                reason=row.reason or "",
            )

        yield show
