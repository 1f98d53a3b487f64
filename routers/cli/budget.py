"""`budget`: how much of the accounts' allowances at CallRail is used."""

from __future__ import annotations

import click

from routers.budgets import in_words, usages
from routers.cli.groups import Commands
from routers.cli.looking import opened
from routers.cli.options import database_option, output_option
from routers.cli.output import print_rows
from routers.operating import clock_of


@click.group(cls=Commands)
def budget() -> None:
    """Requests that accounts may send to CallRail's API, by the hour and by the day."""


@budget.command()
@database_option
@output_option
def status(database_url: str, output: str) -> None:
    """What was sent in the last hour and day, of how many, and when it will be spent at this pace.

    Counted are the requests of this installation, and what CallRail told of others.
    """
    with opened(database_url) as database, database.reading.connect() as conn:
        now = clock_of(database).now(conn)
        found = usages(conn, now)
    rows = [
        {
            "account": usage.account_id,
            "kind": usage.kind,
            "in_hour": usage.in_hour,
            "of_hour": usage.hourly,
            "in_day": usage.in_day,
            "of_day": usage.daily,
            "forecast": in_words(usage, now),
        }
        for usage in found
    ]
    print_rows(rows, output=output, empty="Nothing was asked of CallRail's API so far.")
