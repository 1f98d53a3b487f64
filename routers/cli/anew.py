"""`--lookups fresh`: asking CallRail anew, from a command, within the account's allowance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from receiver.database import Database
    from routers.config import Configuration
    from routers.deciding import Looking
    from routers.lookups.anew import Anew
    from routers.rules.needs import Needs

T = TypeVar("T")

STORED, FRESH = "stored", "fresh"


def lookups_option(fresh: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """The option `--lookups`; *fresh* is what asking anew means there."""
    return click.option(
        "--lookups",
        type=click.Choice([STORED, FRESH]),
        default=STORED,
        show_default=True,
        help=f"stored: what was looked up then; fresh: {fresh}",
    )


@asynccontextmanager
async def asking_anew(
    configuration: Configuration, database: Database, needs: Needs, *, is_urgent: bool = True
) -> AsyncIterator[Anew]:
    """Who asks what *needs* says, while the block runs. What *is_urgent* may use up the whole allowance."""
    from routers.api_clients import api_clients
    from routers.budgets import InThreads, Priority
    from routers.lookups.anew import Anew
    from routers.lookups.asking import Lookups
    from routers.operating import clock_of

    transactions, clock = InThreads(database), clock_of(database)
    with database.reading.connect() as conn:
        begun = clock.now(conn)
    priority = Priority.INTERACTIVE if is_urgent else Priority.BACKFILL
    async with api_clients(configuration, transactions, priority, lambda _: configuration.looks_up) as clients:
        lookups = Lookups(configuration.lookups, configuration.account_of, clients, transactions, clock)
        try:
            yield Anew(lookups, needs, begun, tell=_tell)
        finally:
            await lookups.aclose()


def _tell(questions: int) -> None:
    click.echo(f"Asking CallRail {questions:,} question{'s' if questions != 1 else ''} ...", err=True)


def found_anew(configuration: Configuration, database_url: str, find: Callable[[Connection, Looking], T]) -> T:
    """What *find* finds once nothing is lacking that it looks up."""
    from routers.cli.looking import opened
    from routers.cli.serving import run_on_fast_loop
    from routers.operating import clock_of
    from routers.rules.needs import Needs

    found: list[T] = []

    async def find_all() -> None:
        with opened(database_url) as database:
            async with asking_anew(configuration, database, Needs(configuration.rules)) as anew:
                lacks = True
                while lacks:
                    with database.reading.connect() as conn:
                        now = clock_of(database).now(conn)
                        found[:] = [find(conn, anew.looking(now))]
                    lacks = await anew.ask(now)

    run_on_fast_loop(find_all())
    return found[0]
