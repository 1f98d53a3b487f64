"""`deliveries`: what was told to whom, and how that went."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Connection, Row

from routers import lanes, ledger
from routers.cli.changing import FAILED, cancel_deliveries, retry_deliveries
from routers.cli.groups import Commands
from routers.cli.looking import only, opened, personal_option, reading, tries_of
from routers.cli.options import database_option, limit_option, output_option
from routers.cli.output import masked, plain, print_one, print_rows
from routers.cli.selecting import say_how_far, selection_options, states_option
from routers.cli.sinks import state_of
from routers.explaining import in_words
from routers.history import made_with
from routers.ledger import Selection
from routers.operating import clock_of
from routers.schema import OPEN, DeliveryState


@click.group(cls=Commands)
def deliveries() -> None:
    """What was told to whom, and how that went."""


_IN_A_TABLE = ("id", "created_at", "transition", "sink", "state", "reason")


@deliveries.command("list")
@database_option
@output_option
@limit_option
@states_option(list(DeliveryState), default="any")
@selection_options
def list_deliveries(
    database_url: str, output: str, limit: int, states: tuple[DeliveryState, ...], selection: Selection
) -> None:
    """The newest deliveries first."""
    with reading(database_url) as conn:
        selection = replace(selection, states=states)
        end = ledger.reach(conn, selection)
        found = ledger.newest_deliveries(conn, selection, limit=limit, down_to=end[0] if end is not None else "")
    rows = [
        {
            "id": row.id,
            "created_at": row.created_at,
            "transition": row.name,
            "company": row.company,
            "rule": row.rule,
            "sink": row.sink,
            "state": row.state,
            "attempts": row.attempts,
            "cause": row.cause,
            "reason": row.reason,
        }
        for row in found
    ]
    empty = "No such deliveries." if selection != Selection() else "No deliveries yet."
    print_rows(rows, output=output, empty=empty, columns=_IN_A_TABLE)
    if end is not None and len(found) < limit:
        say_how_far(end[1])


@deliveries.command()
@database_option
@output_option
@selection_options
def causes(database_url: str, output: str, selection: Selection) -> None:
    """Dead letters and uncertain ones by sink and cause, each with the command that retries them."""
    with opened(database_url) as database, database.reading.connect() as conn:
        now = clock_of(database).now(conn)
        found = ledger.count_by_cause(conn, replace(selection, states=FAILED), now=now)
    rows = [
        {
            "sink": row.sink,
            "cause": row.cause,
            "state": row.state,
            "deliveries": row.deliveries,
            "oldest": row.oldest,
            "newest": row.newest,
            "retry": _command_to_retry(row),
        }
        for row in found
    ]
    if output != "table" or not rows:
        print_rows(rows, output=output, empty="Nothing is dead or uncertain.")
        return
    print_rows([{name: row[name] for name in row if name != "retry"} for row in rows], output=output, empty="")
    click.echo("To look what a retry would do; without --plan it is done:")
    for row in rows:  # not in the table, which would break them
        click.echo(f"  {row['retry']} --plan")


def _command_to_retry(row: Row[Any]) -> str:
    words = ["callrail-router", "deliveries", "retry", "--sink", row.sink, "--state", row.state]
    return shlex.join([*words, "--cause", plain(row.cause or "")])


@deliveries.command("show")
@click.argument("delivery_id")
@database_option
@output_option
@personal_option
def show_delivery(delivery_id: str, database_url: str, output: str, show_personal: bool) -> None:
    """One delivery with every try, and what it waits for."""
    with opened(database_url) as database, database.reading.connect() as conn:
        row = only(ledger.find_deliveries(conn, delivery_id), "delivery", delivery_id, several="deliveries")
        made = made_with(conn, row)
        verdict = (made.made_for.verdicts or {}).get(row.rule)
        waiting = _waiting(conn, row, clock_of(database).now(conn))
        amended_by = ledger.amendments_of(conn, row.id)
        tries = tries_of(conn, row.id)
    shown = {
        "id": row.id,
        "transition": row.name,
        "note": made.note,
        "event": row.event_id,
        "company": row.company,
        "rule": row.rule,
        "verdict": in_words(verdict) if verdict is not None else None,
        "sink": row.sink,
        "template": row.template,
        "state": row.state,
        "cause": row.cause,
        "reason": row.reason,
        **waiting,
        "order_key": _order_key(row.order_key, show_personal=show_personal),
        "amends": row.amends,
        "amended_by": list(amended_by),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "due_at": row.due_at if row.finished_at is None else None,
        "finished_at": row.finished_at,
        "remote_id": row.remote_id,
        "idempotency_key": row.key,
        "replay": row.replay,
        "may_repeat": row.may_repeat,
        "real_tries": row.attempts,
        "attempts": tries,
    }
    print_one(shown, output=output)


def _waiting(conn: Connection, row: Row[Any], now: datetime) -> dict[str, Any]:
    """What holds an open delivery back: one about the same person, or its lane."""
    behind = ledger.in_front_of(conn, row) if row.state == DeliveryState.BLOCKED else None
    has_lane = row.state in OPEN and row.sink in ledger.names_of_lanes(conn)
    return {"behind": behind, "lane": state_of(lanes.read_lane(conn, row.sink), now) if has_lane else None}


def _order_key(order_key: str | None, *, show_personal: bool) -> str | None:
    """The company, and the person as far as they may be shown."""
    if order_key is None:
        return None
    company, _, person = order_key.partition(":")
    return f"{company}:{masked({'person': person}, show_personal=show_personal)['person']}"


for _command in (retry_deliveries, cancel_deliveries):
    deliveries.add_command(_command)
