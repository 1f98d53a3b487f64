"""`audit`: who changed by hand what is stored."""

from __future__ import annotations

import click

from routers.audit import newest
from routers.cli.looking import reading
from routers.cli.options import database_option, limit_option, output_option
from routers.cli.output import print_rows


@click.command()
@database_option
@output_option
@limit_option
def audit(database_url: str, output: str, limit: int) -> None:
    """What was done by hand, and by whom; the newest first."""
    with reading(database_url) as conn:
        found = newest(conn, limit=limit)
    rows = [
        {"at": row.at, "actor": row.actor, "action": row.action, "subject": row.subject, "details": row.details}
        for row in found
    ]
    print_rows(rows, output=output, empty="Nothing was done by hand yet.")
