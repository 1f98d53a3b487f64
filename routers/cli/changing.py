"""`deliveries retry` and `deliveries cancel`: what an operator does about deliveries, planned and asked about first.

Only rows are written. The server does what follows from them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Connection, Row

from receiver.database import Database
from receiver.exceptions import ConfigError
from routers import lanes, ledger
from routers.audience import Audience
from routers.audit import note
from routers.cli.looking import only, opened
from routers.cli.options import config_option, database_option, output_option
from routers.cli.output import plain, print_rows
from routers.cli.selecting import selection_options, states_option
from routers.ledger import Selection
from routers.operating import CANCELLABLE, Change, cancel, change_all, clock_of, retry
from routers.schema import OPEN, RETRYABLE, DeliveryState

_IDS_NOTED = 5
FAILED = (DeliveryState.DEAD, DeliveryState.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class _Verb:
    """A change, in words. *able* are the states it is for, *usual* those that are meant if none is named."""

    name: str
    done: str
    change: Change
    able: tuple[DeliveryState, ...]
    usual: tuple[DeliveryState, ...]


_RETRY = _Verb("retry", "taken up again", retry, RETRYABLE, FAILED)
_CANCEL = _Verb("cancel", "cancelled", cancel, CANCELLABLE, CANCELLABLE)


@dataclass(frozen=True, slots=True)
class _Typed:
    """What was typed: which deliveries, and how to go about it."""

    ids: tuple[str, ...]
    states: tuple[DeliveryState, ...]
    selection: Selection
    database_url: str
    config: Path
    output: str
    is_plan: bool
    is_sure: bool


F = TypeVar("F", bound=Any)


def _options(command: F) -> F:
    for option in (
        selection_options,
        click.option("--plan", "is_plan", is_flag=True, help="Say what would be changed, and change nothing."),
        click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask."),
        output_option,
        config_option,
        database_option,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@click.command("retry")
@_options
@states_option(RETRYABLE, default="dead and uncertain")
def retry_deliveries(**typed: Any) -> None:
    """Send deliveries after all: each ID, or all that the options select.

    They keep their id, by which a receiver knows a repeat, and begin their tries anew, however old they are. What was
    delivered is never sent again. Look with --plan first.
    """
    _run(_RETRY, _Typed(**typed))


@click.command("cancel")
@_options
@states_option(CANCELLABLE, default="all of them")
def cancel_deliveries(**typed: Any) -> None:
    """Do not send deliveries that wait: each ID, or all that the options select.

    What is being sent at this moment is left. `deliveries retry --state cancelled` takes it back.
    """
    _run(_CANCEL, _Typed(**typed))


def _run(verb: _Verb, typed: _Typed) -> None:
    _require_a_choice(verb, typed)
    with opened(typed.database_url) as database:
        with database.reading.connect() as conn:
            now = clock_of(database).now(conn)
            meant = _meant(conn, verb, typed)
            plan = _plan(conn, verb, meant, typed.config, now)
            if verb is _CANCEL:
                _tell_of_what_is_left(conn, meant, now)
        if typed.is_plan:
            print_rows(plan, output=typed.output, empty=f"Nothing of that can be {verb.done}.")
        else:
            _carry_out(database, verb, meant, plan, is_sure=typed.is_sure)


# --- what is meant ---------------------------------------------------------------------------------------------------


def _require_a_choice(verb: _Verb, typed: _Typed) -> None:
    is_narrowed = typed.selection != Selection() or bool(typed.states)
    if typed.ids and is_narrowed:
        raise click.UsageError("give ids or options that select, not both.")
    if not typed.ids and not is_narrowed:
        every = f"--state {verb.usual[0]} alone takes all that are"
        raise click.UsageError(f"say which to {verb.name}: ids, or an option such as --sink ({every}).")


def _meant(conn: Connection, verb: _Verb, typed: _Typed) -> Selection:
    """All that is to be changed.

    Raises:
        click.ClickException: One of the ids is not there, or in a state in which it cannot be changed.
        BadId: One is no id, or several begin so.
    """
    if not typed.ids:
        return replace(typed.selection, states=typed.states or verb.usual)
    rows = [only(ledger.find_deliveries(conn, one), "delivery", one, several="deliveries") for one in typed.ids]
    for row in rows:
        if row.state not in verb.able:
            raise click.ClickException(f"{_why_not(verb, row)}; nothing was changed")
    return Selection(ids=tuple(row.id for row in rows), states=verb.able)


def _why_not(verb: _Verb, row: Row[Any]) -> str:
    if row.state == DeliveryState.SENDING and verb is _CANCEL:
        return f"{row.id} is being sent at this moment and cannot be called back"
    if row.state in OPEN:
        return f"{row.id} is {row.state}: it will be sent, and need not be taken up again"
    return f"{row.id} is {row.state}; only what is {', '.join(verb.able[:-1])} or {verb.able[-1]} can be {verb.done}"


def _tell_of_what_is_left(conn: Connection, meant: Selection, now: datetime) -> None:
    on_the_wire = ledger.count_by_cause(conn, replace(meant, states=(DeliveryState.SENDING,)), now=now)
    if count := sum(row.deliveries for row in on_the_wire):
        click.echo(f"{count:,} being sent at this moment, which cannot be called back.", err=True)


# --- the plan --------------------------------------------------------------------------------------------------------


def _plan(conn: Connection, verb: _Verb, meant: Selection, config: Path, now: datetime) -> list[dict[str, Any]]:
    """What is to be changed, by sink, cause and state, with what an operator should know before."""
    found = ledger.count_by_cause(conn, meant, now=now)
    audiences = _audiences(config) if found and verb is _RETRY else None
    named = ledger.names_of_lanes(conn)
    paused = {name for name in named if lanes.read_lane(conn, name).is_paused(now)}
    return [
        {
            "sink": row.sink,
            "cause": row.cause,
            "state": row.state,
            "deliveries": row.deliveries,
            "oldest": row.oldest,
            "older_than_24h": row.older_than_a_day,
            "note": "; ".join(_notes(row, audiences, paused)) if verb is _RETRY else None,
        }
        for row in found
    ]


def _audiences(config: Path) -> dict[str, Audience] | None:
    """Who is at each sink; None where the file cannot be used, which is said."""
    from routers.config import read_config

    try:
        return {name: sink.audience for name, sink in read_config(config).sink_configs.items()}
    except ConfigError:
        click.echo(f"Warning: {config} cannot be used, so it is not known which sinks people read.", err=True)
        return None


def _notes(row: Row[Any], audiences: dict[str, Audience] | None, paused: set[str]) -> list[str]:
    notes = {
        "people read it": audiences is not None and audiences.get(row.sink) is Audience.PEOPLE,
        "each may have arrived already": row.state == DeliveryState.UNCERTAIN,
        "the sink is paused": row.sink in paused,
        "router.yaml names no such sink, so they will wait": audiences is not None and row.sink not in audiences,
    }
    return [note for note, holds in notes.items() if holds]


# --- the change ------------------------------------------------------------------------------------------------------


def _carry_out(
    database: Database, verb: _Verb, meant: Selection, plan: Sequence[dict[str, Any]], *, is_sure: bool
) -> None:
    count = sum(row["deliveries"] for row in plan)
    if not count:
        click.echo(f"Nothing of that can be {verb.done}.", err=True)
        return
    if not is_sure:
        _ask(verb, count, plan)

    def tell(changed: int) -> None:
        click.echo(f"  {changed:,} of {count:,}", err=True)

    changed = change_all(database, meant, verb.change, clock=clock_of(database), on_batch=tell)
    with database.writing.begin() as conn:
        now = clock_of(database).now(conn)
        note(conn, now=now, action=f"deliveries {verb.name}", subject=_in_words(meant), details={"changed": changed})
    click.echo(f"{changed:,} {verb.done}; a running server picks this up within a second.", err=True)


def _in_words(meant: Selection) -> str:
    """*meant* as the audit keeps it."""
    narrowed = {name: value for name, value in asdict(meant).items() if value}
    if meant.ids:
        narrowed = {"ids": (*meant.ids[:_IDS_NOTED], *(["..."] if len(meant.ids) > _IDS_NOTED else []))}
    return "; ".join(f"{name}: {plain(_written(value))}" for name, value in narrowed.items())


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _ask(verb: _Verb, count: int, plan: Sequence[dict[str, Any]]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: look with --plan, then write --yes.")
    for row in plan:
        parts = [f"{row['deliveries']:,} {row['state']} to {row['sink']}"]
        parts += [plain(row["cause"])] if row["cause"] else []
        parts += [f"{row['older_than_24h']:,} older than 24 h"] if row["older_than_24h"] else []
        parts += [row["note"]] if row["note"] else []
        click.echo("; ".join(parts), err=True)
    click.confirm(f"{verb.name.capitalize()} {'it' if count == 1 else f'these {count:,}'}?", abort=True, err=True)
