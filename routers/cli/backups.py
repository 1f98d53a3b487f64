"""`backup` and `restore` of a SQLite database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from receiver.database import open_database
from receiver.exceptions import DatabaseUnavailable
from routers.backups import back_up, path_of
from routers.backups import restore as restore_from
from routers.cli.database_errors import told_plainly
from routers.cli.options import database_option
from routers.schema import SCHEMA_VERSION

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


def _progress() -> Callable[[int, int], None]:
    """Tells of each further tenth."""
    told = 0

    def tell(done: int, every: int) -> None:
        nonlocal told
        tenth = done * 10 // max(every, 1)
        if tenth > told:
            told = tenth
            click.echo(f"  {tenth * 10} %", err=True)

    return tell


@click.command()
@_file
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@database_option
def backup(file: Path, force: bool, database_url: str) -> None:
    """Copy the SQLite database to FILE, while a server works with it.

    The copy is the state of the moment at which it was begun. It is checked before it gets its name.
    """
    database = open_database(database_url)
    try:
        source = path_of(database, "backup", "pg_dump --format=custom --dbname '{url}' --file FILE")
        if database.is_missing:
            raise DatabaseUnavailable(f"there is no file {source}")
    finally:
        database.dispose()
    back_up(source, file, force=force, tell=_progress())
    click.echo(f"{file} holds the database, {file.stat().st_size:,} bytes, and is sound.", err=True)


@click.command()
@_file
@click.option("--force", is_flag=True, help="Put the database that is there aside.")
@database_option
def restore(file: Path, force: bool, database_url: str) -> None:
    """Put the backup FILE in the place of the SQLite database. No server may run.

    What was sent since the backup is not known any more: what was pending then is sent again, under its old id.
    """
    database = open_database(database_url)
    try:
        with told_plainly():
            done = restore_from(file, database, force=force, tell=_progress())
    finally:
        database.dispose()
    click.echo(f"{database.url.database} is what {file} holds.", err=True)
    if done.aside is not None:
        click.echo(f"What was there before is now {done.aside}; it still holds who was erased since.", err=True)
    if done.schema != SCHEMA_VERSION:
        click.echo(f"Its schema is {done.schema}; run: callrail-router migrate", err=True)
    if done.erased is None:
        click.echo("Who was erased since could not be read from it; erase them again by their numbers.", err=True)
    elif done.erased:
        click.echo(
            f"{done.erased:,} erasures since are remembered; run: callrail-router privacy erase --again", err=True
        )
