"""`accounts`: which accounts at CallRail are known here, and what their keys may do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from receiver.exceptions import SecretMissing
from routers.account_testing import Report, examine
from routers.accounts import (
    ACCOUNT,
    ENVIRONMENT,
    KEY,
    NamedAccount,
    NoAccount,
    OpenAccount,
    named_accounts,
    open_account,
    opened,
    that_of_the_environment,
)
from routers.cli.groups import Commands
from routers.cli.options import config_option, output_option
from routers.cli.output import print_rows


@click.group(cls=Commands)
def accounts() -> None:
    """Accounts at CallRail: their names, their keys, and what the keys may do."""


@accounts.command("list")
@config_option
@output_option
def list_(config: Path, output: str) -> None:
    """Name all accounts known here, with the place of each key. Keys are never shown."""
    rows = [_row(account) for account in named_accounts(config, os.environ).values()]
    if os.environ.get(KEY):
        rows.append({"name": "", "account_id": None, "api_key": f"env:{KEY}", "is_set": True, "place": ENVIRONMENT})
    print_rows(
        rows, output=output, empty="No account is known. Add one under accounts: in router.yaml; see docs/api.md."
    )
    for account in named_accounts(config, os.environ).values():
        if account.hides:
            click.echo(f"{account.name} of {account.place} hides the one of {account.hides}.", err=True)


def _row(account: NamedAccount) -> dict[str, Any]:
    try:
        is_set = bool(account.config.api_key.resolve(os.environ))
    except SecretMissing:
        is_set = False
    return {
        "name": account.name,
        "account_id": account.config.account_id,
        "api_key": str(account.config.api_key),
        "is_set": is_set,
        "place": account.place,
    }


@accounts.command()
@click.argument("name", required=False)
@config_option
@output_option
def test(name: str | None, config: Path, output: str) -> int:
    """Ask CallRail what the key of NAME sees and may do; of all accounts known here without NAME. Changes nothing.

    Exit code 1: a key does not work.
    """

    async def examine_all() -> list[Report]:
        return [await examine(account) if isinstance(account, OpenAccount) else account for account in meant]

    meant = list(_meant(name, config))
    reports = asyncio.run(examine_all())
    if output == "table":
        for report in reports:
            _print(report)
    else:
        print_rows([report.row() for report in reports], output=output, empty="")
    return 0 if all(report.works for report in reports) else 1


def _meant(name: str | None, config: Path) -> Iterator[OpenAccount | Report]:
    """The accounts to ask; a report instead of one that has no key, so that the others are asked all the same."""
    known = named_accounts(config, os.environ)
    if name is not None or not known:
        yield open_account(name, config, os.environ)
        return
    for account in known.values():
        try:
            yield opened(account, os.environ)
        except NoAccount as error:
            yield Report(account.name, problem=str(error))
    if os.environ.get(KEY) and that_of_the_environment(known) is None:
        yield open_account(os.environ.get(ACCOUNT), config, os.environ)


def _print(report: Report) -> None:
    click.secho(f"{report.name}", bold=True)
    for mark, line in report.lines():
        click.echo(f"  {click.style(mark, fg={'✓': 'green', '✗': 'red'}.get(mark, 'yellow'))} {line}")
