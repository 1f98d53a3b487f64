"""The client of a command: the account that is meant, and the allowance that all commands and the server share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from callrail.client import CallRail
from routers.accounts import client_of, open_account

if TYPE_CHECKING:
    from receiver.database import Database

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Where:
    """Where accounts are named, and where requests are counted."""

    config: Path = Path("router.yaml")
    database_url: str = "sqlite:///callrail-router.db"

    @classmethod
    def of(cls, ctx: click.Context) -> Where:
        """What the group of the command was told."""
        return ctx.find_object(Where) or Where()


@asynccontextmanager
async def open_client(account: str | None, where: Where) -> AsyncIterator[CallRail]:
    """A client of the account that is meant, as `routers.accounts` finds it.

    Its requests are counted in the database if there is one of this version, else in this process alone.
    """
    meant = open_account(account, where.config, os.environ)
    with _counting_in(where.database_url) as database:
        if database is None:
            async with client_of(meant) as client:
                yield client
            return
        from routers.budgets import InThreads, Priority, SqlBudgets
        from routers.cli.database_errors import told_plainly

        budgets = SqlBudgets(InThreads(database), Priority.INTERACTIVE)
        with told_plainly():
            try:
                async with client_of(meant, budgets) as client:
                    yield client
            finally:
                await budgets.aclose()


@contextmanager
def _counting_in(url: str) -> Iterator[Database | None]:
    """The database, if it is there and has the tables."""
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        yield None  # without loading what databases need
        return
    from sqlalchemy import exc

    from receiver.database import open_database
    from routers.migrate import is_current

    database = open_database(url)
    try:
        with database.reading.connect() as conn:
            is_ours = is_current(conn)
    except exc.DBAPIError:
        is_ours = False
        click.echo("The database does not answer; requests are counted in this command alone.", err=True)
    try:
        yield database if is_ours else None
    finally:
        database.dispose()
