"""`audit`: who changed by hand what is stored."""

from __future__ import annotations

from typing import Any

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
        {
            "at": row.at,
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "details": _written(row.details) if output == "table" else row.details,
        }
        for row in found
    ]
    print_rows(rows, output=output, empty="Nothing was done by hand yet.")


def _written(details: Any) -> str | None:
    """*details* in a cell: what it was about, by name."""
    if not isinstance(details, dict):
        return None if details is None else str(details)
    return ", ".join(f"{name} {value}" for name, value in details.items() if value not in (None, [], ""))
