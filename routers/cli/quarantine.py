"""`quarantine`: what could not be proved, why, and what becomes of it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Connection

from callrail.payload import read_payload
from receiver import quarantine as store
from receiver.buckets import LIMITS
from receiver.companies import Companies, read_companies
from receiver.database import Database
from receiver.instances import alive
from receiver.quarantine import KEPT_FOR, UNKNOWN_KEPT_FOR, Selection
from receiver.reverification import Verdict, verdicts_on, verify_again
from receiver.schema import QuarantineReason
from routers.cli.groups import Commands
from routers.cli.looking import only, opened, personal_option, reading
from routers.cli.options import config_option, database_option, limit_option, output_option
from routers.cli.output import masked, plain, print_one, print_rows
from routers.cli.selecting import Moment
from routers.operating import clock_of
from routers.refusals import what_to_check

F = TypeVar("F", bound=Callable[..., Any])

_IN_A_TABLE = ("id", "received_at", "company", "kind", "reason", "bytes")
_PROVED = "proved"
_UNKNOWN = QuarantineReason.COMPANY_UNKNOWN


@click.group(cls=Commands)
def quarantine() -> None:
    """What could not be proved to come from CallRail, and is kept until it can."""


def _selection_options(command: F) -> F:
    for option in (
        click.option("--since", type=Moment(), help="Received in the last 2h, 3d, ..., or since a time (UTC)."),
        click.option("--reason", type=click.Choice([reason.value for reason in QuarantineReason]), help="For it only."),
        click.option("--company", help="Of this company only, as the URL named it."),
    ):
        command = option(command)
    return command


def _selection(
    company: str | None, reason: str | None, since: datetime | None, ids: tuple[str, ...] | None = None
) -> Selection:
    return Selection(ids, company, QuarantineReason(reason) if reason is not None else None, since)


# --- looking ---------------------------------------------------------------------------------------------------------


@quarantine.command("list")
@database_option
@output_option
@limit_option
@_selection_options
def list_quarantined(
    database_url: str, output: str, limit: int, company: str | None, reason: str | None, since: datetime | None
) -> None:
    """The newest first; below a table, how full each bucket is."""
    selection = _selection(company, reason, since)
    with reading(database_url) as conn:
        found = store.newest_quarantined(conn, selection, limit=limit)
        full = _buckets(conn) if output == "table" else []
    rows = [{name: getattr(row, name) for name in _IN_A_TABLE} for row in found]
    print_rows(rows, output=output, empty="Nothing of that is in quarantine." if full else "Nothing is in quarantine.")
    for bucket in full:
        click.echo(f"{plain(bucket['bucket'])}: {bucket['webhooks']:,}, {bucket['full']} full", err=True)


@quarantine.command()
@database_option
@output_option
def buckets(database_url: str, output: str) -> None:
    """How full each bucket is: one for each company, and one for all unknown ones together."""
    with reading(database_url) as conn:
        rows = _buckets(conn)
    print_rows(rows, output=output, empty="Nothing is in quarantine.")


def _buckets(conn: Connection) -> list[dict[str, Any]]:
    webhooks: Counter[str | None] = Counter()
    size: Counter[str | None] = Counter()
    for row in store.counts(conn, Selection()):
        bucket = None if row.reason == _UNKNOWN else row.company
        webhooks[bucket] += row.webhooks
        size[bucket] += row.bytes
    return [
        {
            "bucket": bucket if bucket is not None else "(unknown companies)",
            "webhooks": webhooks[bucket],
            "bytes": size[bucket],
            "of": LIMITS.of(bucket),
            "full": f"{size[bucket] / LIMITS.of(bucket):.0%}",
        }
        for bucket in sorted(webhooks, key=lambda name: (name is None, name))
    ]


@quarantine.command("show")
@click.argument("quarantine_id", metavar="ID")
@database_option
@output_option
@personal_option
@click.option("--body", "is_whole", is_flag=True, help="Show the body as it came, with all it holds.")
def show_quarantined(quarantine_id: str, database_url: str, output: str, show_personal: bool, is_whole: bool) -> None:
    """One webhook: why it is not believed, and what is probably wrong."""
    with reading(database_url) as conn:
        row = only(store.find_quarantined(conn, quarantine_id), "webhook in quarantine", quarantine_id)
    payload = read_payload(row.body, row.content_type)
    reason = QuarantineReason(row.reason)
    kept_for = UNKNOWN_KEPT_FOR if reason is _UNKNOWN else KEPT_FOR
    fields = masked(payload.fields, show_personal=show_personal) or payload.problem
    shown = {
        "id": row.id,
        "received_at": row.received_at,
        "company": row.company,
        "kind": row.kind,
        "reason": row.reason,
        "what_to_check": what_to_check(reason, row.company),
        "has_signature": row.signature is not None,
        "kept_until": row.received_at + kept_for,
        "bytes": row.bytes,
        "content_type": row.content_type,
        "headers": row.headers,
        "body": row.body.decode("utf-8", "replace") if is_whole else fields,
    }
    print_one(shown, output=output)


# --- retry and drop --------------------------------------------------------------------------------------------------


def _changing_options(command: F) -> F:
    for option in (
        _selection_options,
        click.option("--all", "is_all", is_flag=True, help="All that is in quarantine."),
        click.option("--plan", "is_plan", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask."),
        output_option,
        database_option,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class _Typed:
    """What was typed: which webhooks, and how to go about it."""

    ids: tuple[str, ...]
    company: str | None
    reason: str | None
    since: datetime | None
    is_all: bool
    is_plan: bool
    is_sure: bool
    output: str
    database_url: str

    def meant(self, conn: Connection, verb: str) -> Selection:
        """Which webhooks those are.

        Raises:
            click.UsageError: None are named, or in two ways.
            click.ClickException: One of the ids is not there.
            BadId: One is no id, or several begin so.
        """
        selected = _selection(self.company, self.reason, self.since)
        ways = bool(self.ids) + (selected != Selection()) + self.is_all
        if ways > 1:
            raise click.UsageError("give ids, or options that select, or --all.")
        if not ways:
            raise click.UsageError(f"say which to {verb}: ids, an option such as --company, or --all.")
        if not self.ids:
            return selected
        rows = [only(store.find_quarantined(conn, one), "webhook in quarantine", one) for one in self.ids]
        return Selection(ids=tuple(row.id for row in rows))


@quarantine.command()
@config_option
@_changing_options
def retry(config: Path, **typed: Any) -> None:
    """Verify webhooks again, with the keys of the file as it is now: each ID, or all that the options select.

    What is proved becomes an event with its id and the time at which it was received, and the server routes it. A key
    counts if it was accepted on the day of reception. The server does the same by itself when it is started with
    another key, so this is for when you do not want to wait for that.
    """
    _retry(config, _Typed(**typed))


def _retry(config: Path, typed: _Typed) -> None:
    companies = read_companies(config, os.environ)
    with opened(typed.database_url) as database:
        with database.reading.connect() as conn:
            meant = typed.meant(conn, "retry")
            total = _total(conn, meant)
        if typed.is_plan or not total:
            found = _verify(database, meant, companies, total, is_plan=True)
            print_rows(found, output=typed.output, empty="Nothing of that is in quarantine.")
            return
        _ask(typed, meant, database, f"Verify {_these(total)} again?")
        found = _verify(database, meant, companies, total, is_plan=False)
        print_rows(found, output=typed.output, empty="Nothing of that is in quarantine any more.")
        proved = sum(row["webhooks"] for row in found if row["result"] == _PROVED)
        left = sum(row["webhooks"] for row in found) - proved
        click.echo(f"{proved:,} proved, {left:,} left in quarantine.", err=True)
        if proved:
            _tell_who_routes(database)


def _verify(
    database: Database, meant: Selection, companies: Companies, total: int, *, is_plan: bool
) -> list[dict[str, Any]]:
    """By company and result, how many of *meant* are proved, or would be, and why the others are not."""
    found: Counter[Verdict] = Counter()

    def work(conn: Connection, ids: list[str]) -> None:
        found.update(verdicts_on(conn, companies, ids) if is_plan else verify_again(conn, companies, ids))

    engine = database.reading if is_plan else database.writing
    store.in_pieces(engine, meant, work, on_piece=lambda: _tell(found.total(), total))
    return [
        {
            "company": verdict.company,
            "result": verdict.refused.value if verdict.refused is not None else _PROVED,
            "webhooks": found[verdict],
            "what_to_check": what_to_check(verdict.refused, verdict.company) if verdict.refused is not None else None,
        }
        for verdict in sorted(found, key=lambda one: (one.company, one.refused or ""))
    ]


@quarantine.command("drop")
@_changing_options
def drop_quarantined(**typed: Any) -> None:
    """Remove webhooks for good: each ID, or all that the options select. Nothing brings them back."""
    _drop(_Typed(**typed))


def _drop(typed: _Typed) -> None:
    with opened(typed.database_url) as database:
        with database.reading.connect() as conn:
            meant = typed.meant(conn, "drop")
            plan = _plan_of_drop(conn, meant)
        total = sum(row["webhooks"] for row in plan)
        if typed.is_plan or not total:
            print_rows(plan, output=typed.output, empty="Nothing of that is in quarantine.")
            return
        _ask(typed, meant, database, f"Remove {_these(total)} for good?")
        dropped = 0

        def work(conn: Connection, ids: list[str]) -> None:
            nonlocal dropped
            dropped += store.drop(conn, ids)

        store.in_pieces(database.writing, meant, work, on_piece=lambda: _tell(dropped, total))
        click.echo(f"{dropped:,} removed.", err=True)


def _plan_of_drop(conn: Connection, meant: Selection) -> list[dict[str, Any]]:
    return [
        {"company": row.company, "reason": row.reason, "webhooks": row.webhooks, "bytes": row.bytes}
        for row in store.counts(conn, meant)
    ]


def _total(conn: Connection, meant: Selection) -> int:
    return sum(row.webhooks for row in store.counts(conn, meant))


def _tell(done: int, total: int) -> None:
    click.echo(f"  {done:,} of {total:,}", err=True)


def _these(count: int) -> str:
    return "it" if count == 1 else f"these {count:,}"


def _ask(typed: _Typed, meant: Selection, database: Database, question: str) -> None:
    if typed.is_sure:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: look with --plan, then write --yes.")
    with database.reading.connect() as conn:
        rows: Sequence[Any] = store.counts(conn, meant)
    for row in rows:
        click.echo(f"{row.webhooks:,} of {plain(row.company)}: {row.reason}", err=True)
    click.confirm(question, abort=True, err=True)


def _tell_who_routes(database: Database) -> None:
    with database.reading.connect() as conn:
        is_routed = any(row.role != "intake" for row in alive(conn, clock_of(database).now(conn)))
    click.echo(
        "The server routes them within a second."
        if is_routed
        else "No server that routes is running; they are routed once one is started.",
        err=True,
    )
