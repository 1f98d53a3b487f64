"""`events`: what came in, what it brought about, and who was told or why not; and what failed is routed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Connection, Row

from callrail.payload import read_payload
from receiver.database import Database, open_database
from receiver.events import failed_events, find_events, is_emptied, newest_events, reach_of_events, route_again
from receiver.exceptions import DatabaseUnavailable
from receiver.ids import BadId
from receiver.schema import EventState
from routers import ledger
from routers.audit import note
from routers.cli.database_errors import told_plainly
from routers.cli.groups import Commands
from routers.cli.options import database_option, limit_option, output_option
from routers.cli.output import masked, print_one, print_rows
from routers.cli.selecting import Moment, say_how_far
from routers.explaining import Stored, in_words, nobody_of
from routers.history import History, history_of
from routers.ledger import MOST_LOOKED_AT
from routers.media.rows import media_of
from routers.operating import clock_of
from routers.schema import TransitionState

personal_option = click.option("--show-personal", is_flag=True, help="Do not mask names, numbers and texts.")


@contextmanager
def opened(database_url: str) -> Iterator[Database]:
    """A database that is there.

    Raises:
        DatabaseUnavailable: With the remedy.
    """
    database = open_database(database_url)
    try:
        if database.is_missing:
            raise DatabaseUnavailable(f"there is no file {database.url.database}; run: callrail-router migrate")
        with told_plainly():
            yield database
    finally:
        database.dispose()


@contextmanager
def reading(database_url: str) -> Iterator[Connection]:
    """A connection for looking.

    Raises:
        DatabaseUnavailable: With the remedy.
    """
    with opened(database_url) as database, database.reading.connect() as conn:
        yield conn


def only(found: Sequence[Row[Any]], what: str, written: str, *, several: str | None = None) -> Row[Any]:
    """The one row that was found.

    Args:
        several: The plural of *what*, if it is not made by an s.
    Raises:
        click.ClickException: There is none.
        BadId: There are several.
    """
    if not found:
        raise click.ClickException(f"there is no {what} {written}")
    if len(found) > 1:
        raise BadId(f"several {several or f'{what}s'} begin with {written}; write more of the id")
    return found[0]


# --- events ----------------------------------------------------------------------------------------------------------


@click.group(cls=Commands)
def events() -> None:
    """What CallRail told us."""


@events.command("list")
@database_option
@output_option
@limit_option
@click.option("--company", help="Of this company only.")
@click.option("--state", type=click.Choice([state.value for state in EventState]), help="In this state only.")
@click.option("--until", type=Moment(), help="That came more than 2h, 3d, ... ago, or before a time (UTC).")
def list_events(
    database_url: str, output: str, limit: int, company: str | None, state: str | None, until: datetime | None
) -> None:
    """The newest events first."""
    wanted = EventState(state) if state else None
    with reading(database_url) as conn:
        is_indexed = wanted in (EventState.RECEIVED, EventState.FAILED)
        end = None if is_indexed else reach_of_events(conn, most=MOST_LOOKED_AT, until=until)
        down_to = end[0] if end is not None else ""
        found = newest_events(conn, limit=limit, company=company, state=wanted, until=until, down_to=down_to)
        objects = ledger.objects_of(conn, [row.object_id for row in found if row.object_id])
    rows = [
        {
            "id": row.id,
            "received_at": row.received_at,
            "company": row.company,
            "kind": row.kind,
            "state": row.state,
            "object": objects[row.object_id].object_id if row.object_id in objects else None,
            "note": f"repeats {row.repeat_of}" if row.repeat_of else row.reason,
        }
        for row in found
    ]
    print_rows(rows, output=output, empty="No such events." if company or state or until else "No events yet.")
    if end is not None and len(found) < limit:
        say_how_far(end[1])


@events.command("show")
@click.argument("event_id")
@database_option
@output_option
@personal_option
def show_event(event_id: str, database_url: str, output: str, show_personal: bool) -> None:
    """One event: what it said, what it brought about, and who was told or why not."""
    with reading(database_url) as conn:
        row = only(find_events(conn, event_id), "event", event_id)
        rows = ledger.transitions_of_event(conn, row.id, row.object_id)
        history = history_of(conn, row.object_id) if rows else History((), ())
        obj = ledger.objects_of(conn, [row.object_id]).get(row.object_id) if row.object_id else None
        files = media_of(conn, row.object_id) if row.object_id else ()
    payload = read_payload(row.body, row.content_type)
    shown = {
        "id": row.id,
        "received_at": row.received_at,
        "company": row.company,
        "kind": row.kind,
        "state": row.state,
        "note": row.reason,
        "repeat_of": row.repeat_of,
        "signed_with": row.key_fingerprint,
        "object": object_shown(obj) if obj is not None else None,
        "happened": [_transition(history.stored(item), item) for item in rows],
        "media": [media_shown(item) for item in files],
        "body": _REMOVED if is_emptied(row) else masked(payload.fields, show_personal=show_personal) or payload.problem,
    }
    print_one(shown, output=output)


_REMOVED = "removed, by its age (retention) or because the person was erased"


@events.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All that failed.")
@click.option("--plan", "is_plan", is_flag=True, help="Say how many those are, and change nothing.")
@database_option
def retry_events(ids: tuple[str, ...], is_all: bool, is_plan: bool, database_url: str) -> None:
    """Route events after all that failed five times: each ID, or --all. After an upgrade that mends the cause.

    How late a message may be is said by `max_age` and `on_late` of the rules, as ever.
    """
    if bool(ids) is is_all:
        raise click.UsageError("say which events: their ids, or --all.")
    with opened(database_url) as database:
        with database.reading.connect() as conn:
            found = [_failed(conn, written) for written in ids] if ids else _all_failed(conn)
        if is_plan:
            click.echo(f"{len(found):,} would be routed again.")
            return
        routed = 0
        for first in range(0, len(found), _BATCH):
            with database.writing.begin() as conn:
                batch = found[first : first + _BATCH]
                routed += route_again(conn, batch)
                note(conn, now=clock_of(database).now(conn), action="events retry", subject=f"{len(batch)} events")
    click.echo(f"{routed:,} to be routed again; a running server picks this up within a second.", err=True)


_BATCH = 500


def _failed(conn: Connection, written: str) -> str:
    row = only(find_events(conn, written), "event", written)
    if row.state != EventState.FAILED:
        raise click.ClickException(
            f"{row.id} is {row.state}; only what failed can be routed again; nothing was changed"
        )
    found: str = row.id
    return found


def _all_failed(conn: Connection) -> list[str]:
    found: list[str] = []
    while batch := failed_events(conn, after=found[-1] if found else "", limit=_BATCH):
        found += batch
    return found


def object_shown(obj: Row[Any]) -> dict[str, Any]:
    """One call, text or form as it is shown."""
    return {"type": obj.type, "id": obj.object_id, "stage": obj.stage, "outcome": obj.outcome, "version": obj.version}


def media_shown(row: Row[Any]) -> dict[str, Any]:
    """One recording, or one file of a text, as it is shown."""
    return {
        "id": row.id,
        "company": row.company,
        "kind": row.kind,
        "source": row.source,
        "state": row.state,
        "reason": row.reason,
        "path": row.path,
        "size": row.size,
        "content_type": row.content_type,
        "sha256": row.sha256.hex() if row.sha256 is not None else None,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def _transition(stored: Stored, row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "transition": row.name,
        "state": row.state,
        "nobody_told": nobody_of(stored, is_superseded=row.state == TransitionState.SUPERSEDED),
        "verdicts": [
            {"rule": rule, "verdict": verdict, "meaning": in_words(verdict)}
            for rule, verdict in stored.verdicts.items()
        ],
        "deliveries": [
            {
                "delivery": told.id,
                "sink": told.sink,
                "rule": told.rule,
                "state": told.state,
                "reason": told.reason,
                "note": told.note,
            }
            for told in stored.deliveries
        ],
    }


def tries_of(conn: Connection, delivery_id: str) -> list[dict[str, Any]]:
    """Every try of a delivery as it is shown, oldest first."""
    return [
        {
            "started_at": item.started_at,
            "milliseconds": item.milliseconds,
            "outcome": item.outcome,
            "reason": item.reason,
        }
        for item in ledger.attempts_of(conn, delivery_id)
    ]
