"""`media`: recordings and media of texts, what became of each, and fetching them after all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from receiver.ids import Prefix, id_range
from routers import ledger
from routers.audit import note
from routers.cli.groups import Commands
from routers.cli.looking import media_shown, object_shown, only, opened, reading
from routers.cli.options import database_option, limit_option, output_option
from routers.cli.output import print_one, print_rows
from routers.media.rows import find, newest, try_again
from routers.operating import clock_of
from routers.schema import MediaState

_RETRYABLE = (MediaState.REFUSED, MediaState.GONE, MediaState.PENDING)
_IN_A_TABLE = ("id", "company", "kind", "state", "size", "content_type", "path", "reason")
_MOST = 10_000


@click.group(cls=Commands)
def media() -> None:
    """Recordings and media of texts that are fetched (`fetch_media`)."""


@media.command("list")
@click.option("--state", type=click.Choice([state.value for state in MediaState]), help="In this state only.")
@click.option("--company", help="Of this company only.")
@limit_option
@output_option
@database_option
def list_media(state: str | None, company: str | None, limit: int, output: str, database_url: str) -> None:
    """The newest first: where each is kept, or why it is not."""
    states = [MediaState(state)] if state is not None else list(MediaState)
    with reading(database_url) as conn:
        found = newest(conn, states=states, company=company, limit=limit)
    rows = [media_shown(row) for row in found]
    empty = "No such recordings or media." if state or company else "No recordings or media yet."
    print_rows(rows, output=output, empty=empty, columns=_IN_A_TABLE)


@media.command("show")
@click.argument("media_id", metavar="ID")
@output_option
@database_option
def show_media(media_id: str, output: str, database_url: str) -> None:
    """One of them, and the call or text it belongs to."""
    with reading(database_url) as conn:
        row = _found(conn, media_id)
        obj = ledger.objects_of(conn, [row.object_id])[row.object_id]
    print_one({**media_shown(row), "object": object_shown(obj)}, output=output)


@media.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--state", type=click.Choice([state.value for state in _RETRYABLE]), help="All in this state, 10,000 at most."
)
@click.option("--company", help="Of this company only.")
@click.option("--plan", "is_plan", is_flag=True, help="Say how many those are, and change nothing.")
@database_option
def retry_media(ids: tuple[str, ...], state: str | None, company: str | None, is_plan: bool, database_url: str) -> None:
    """Fetch what was refused or given up after all, or what waits at once: each ID, or all in a state.

    So is a stored one whose file is no longer there.

    What is refused for its size or type is refused again unless `fetch_media` was changed, and the server restarted.
    """
    if bool(ids) is (state is not None) or (ids and company):
        raise click.UsageError("say which: their ids, or a --state (and a --company).")
    with opened(database_url) as database:
        with database.reading.connect() as conn:
            meant = [_retryable(conn, one) for one in ids] if ids else _in_state(conn, str(state), company)
        if is_plan:
            click.echo(f"{len(meant):,} would be fetched again.")
            return
        with database.writing.begin() as conn:
            now = clock_of(database).now(conn)
            again = try_again(conn, meant, now=now)
            note(conn, now=now, action="media retry", subject=f"{again} recordings and media")
    click.echo(f"{again:,} to be fetched again; a running server picks this up within seconds.", err=True)


def _in_state(conn: Connection, state: str, company: str | None) -> list[str]:
    return [row.id for row in newest(conn, states=[MediaState(state)], company=company, limit=_MOST)]


def _retryable(conn: Connection, written: str) -> str:
    row = _found(conn, written)
    if row.state == MediaState.STORED and Path(row.path).exists():
        raise click.ClickException(f"{row.id} is stored at {row.path}; nothing was changed")
    found: str = row.id
    return found


def _found(conn: Connection, written: str) -> Any:
    return only(find(conn, *id_range(Prefix.MEDIA, written)), "recording or file of a text", written)
