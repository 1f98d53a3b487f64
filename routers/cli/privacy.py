"""`privacy`: what is stored of a person, told and erased."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import orjson

from callrail.phones import e164
from receiver.database import Database
from receiver.records import body_of
from routers.audit import note
from routers.cli.groups import Commands
from routers.cli.looking import opened
from routers.cli.options import config_option, database_option, output_option, spool_option
from routers.cli.output import print_rows
from routers.media.aging import NotRemoved
from routers.operating import clock_of
from routers.privacy import Erased, settle, subject_of
from routers.privacy import erase as erase_person
from routers.privacy import export as export_person
from routers.searching import Found, Spooled, returned, search, spooled

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Commands)
def privacy() -> None:
    """What is stored of a person: told to them, or erased."""


def _number(_ctx: click.Context, _param: click.Parameter, written: str | None) -> str | None:
    if written is None:
        return None
    number = e164(written)
    if number is None:
        raise click.BadParameter("this is no phone number; write one like +14045550123.")
    return number


def _phone_option(*, required: bool = False) -> Callable[[F], F]:
    help_ = "Their number, however it is written."
    return click.option("--phone", "number", required=required, callback=_number, help=help_)


@privacy.command()
@_phone_option()
@click.option("--again", "is_again", is_flag=True, help="Those erased before whom a restored backup has brought back.")
@click.option("--plan", "is_plan", is_flag=True, help="Say how many rows would be emptied, and change nothing.")
@click.option("--yes", "-y", "is_sure", is_flag=True, help="Do not ask.")
@output_option
@config_option
@database_option
@spool_option
def erase(
    number: str | None,
    is_again: bool,
    is_plan: bool,
    is_sure: bool,
    output: str,
    config: Path,
    database_url: str,
    spool: Path,
) -> int:
    """Erase the person with a number from every table, and remember to keep them erased.

    Their calls, texts and forms stay as empty rows: that they happened, when, and what became of them. What is still to
    be sent about them is cancelled. It cannot be taken back; look with --plan first. A server may run meanwhile.
    """
    if (number is not None) is is_again:
        raise click.UsageError("say whom to erase: --phone, or --again after a restore.")
    key = _key(config)
    if key is None and not (is_plan and number):
        raise click.UsageError(_HOW_TO_MAKE_A_KEY.format(config=config))
    with opened(database_url) as database:
        before = returned(database, key) if is_again and key is not None else {}
        persons = [search(database, one, tell=_tell) for one in ([number] if number is not None else before)]
        counts = _counts(persons, spool)
        if is_plan or key is None or (is_again and not persons):
            print_rows(counts, output=output, empty="Nothing is stored of that.")
            return 0
        if not is_sure:
            _ask(counts)
        left: list[str] = []
        for found in persons:
            moment = before.get(found.person.number)
            try:
                done = erase_person(database, found, key, clock=clock_of(database), erased_at=moment, tell=_tell)
            except NotRemoved as error:
                raise click.ClickException(f"{error}; do it as the user of the server, and run this again") from None
            left += _left(done)
            left += _erase_spooled(spooled(spool, done.found.person))
        if database.is_sqlite and not settle(database):
            left.append("somebody is reading, so the file's log (-wal) still holds what was")
    click.echo("Erased. What is told of it again will not be kept.", err=True)
    for one in left:
        click.echo(f"Not yet: {one}; run this again in a minute.", err=True)
    return 1 if left else 0


def _counts(persons: Sequence[Found], spool: Path) -> list[dict[str, Any]]:
    counts = sum((found.counts() for found in persons), Counter[str]())
    for found in persons:
        in_spool = spooled(spool, found.person)
        counts["spool"] += len(in_spool.waiting) + len(in_spool.set_aside)
    return [{"table": table, "rows": rows} for table, rows in sorted(counts.items()) if rows]


_HOW_TO_MAKE_A_KEY = (
    "{config} has no key by which to know an erased number again; make one with `openssl rand -hex 32`, keep it in the "
    "environment variable PRIVACY_KEY, and write into {config}: privacy: {{key: env:PRIVACY_KEY}}."
)


def _key(config: Path) -> bytes | None:
    from routers.config import read_config

    return read_config(config).privacy_key(os.environ)


def _tell(table: str) -> None:
    click.echo(f"  {table}", err=True)


def _ask(counts: list[dict[str, Any]]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: look with --plan, then write --yes.")
    for row in counts:
        click.echo(f"{row['rows']:,} of {row['table']}", err=True)
    click.confirm("Erase this person for good?", abort=True, err=True)


def _left(done: Erased) -> Iterator[str]:
    """What could not be erased yet."""
    if done.sending:
        yield f"{done.sending:,} messages about the person were being sent at this moment"
    if waiting := len(done.found.waiting):
        yield f"{waiting:,} webhooks of others that mention the person are still to be routed"


def _erase_spooled(found: Spooled) -> Iterator[str]:
    """Delete what was set aside. What waits belongs to the server that brings it back; the database then knows."""
    for path in found.set_aside:
        path.unlink(missing_ok=True)
    if found.waiting:
        yield f"{len(found.waiting):,} webhooks that mention the person wait in the spool"


@privacy.command()
@_phone_option(required=True)
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="A new file, for its owner alone.")
@config_option
@database_option
@spool_option
def export(number: str, path: Path | None, config: Path, database_url: str, spool: Path) -> None:
    """Tell all that is stored of the person with a number, as one JSON document."""
    key = _key(config)
    with opened(database_url) as database:
        found = search(database, number, tell=_tell)
        with _output(path) as out:
            _write(out, number, database, found, spooled(spool, found.person))
        with database.writing.begin() as conn:
            subject = subject_of(key, number) if key is not None else "a number"
            note(conn, now=clock_of(database).now(conn), action="privacy export", subject=subject)


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        from routers.starting import Refused

        raise Refused(f"{path} is there already; name a new file") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {os.strerror(error.errno or 0).lower()}") from None
    with os.fdopen(descriptor, "wb") as out:
        yield out


def _write(out: IO[bytes], number: str, database: Database, found: Found, in_spool: Spooled) -> None:
    """One document, a row at a time: a person may have thousands."""
    out.write(b'{"phone": ' + orjson.dumps(number))
    for section, rows in chain(export_person(database, found), [("spool", _of_spool(in_spool))]):
        out.write(b',\n"' + section.encode() + b'": [')
        for n, row in enumerate(rows):
            out.write((b",\n" if n else b"\n") + _json(row))
        out.write(b"]")
    out.write(b"}\n")


def _of_spool(found: Spooled) -> Iterator[dict[str, str]]:
    bodies = (*found.waiting, *(body_of(path.read_bytes()) for path in found.set_aside))
    return ({"body": body.decode("utf-8", "replace")} for body in bodies)


def _json(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row, default=str)
